/** Edits: what is named changes, everything else stays byte for byte. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { UsageError } from "../../../../net/errors.ts";
import {
  type ConnectEdit,
  type Direction,
  editAck,
  editAuth,
  editConnack,
  editConnect,
  editDisconnect,
  editPublish,
  editSuback,
  editSubscribe,
  editUnsubscribe,
  PacketError,
  PacketReader,
  type PacketView,
  type Property,
  PropertyId,
  type ProtocolVersion,
  type PublishEdit,
} from "../../../../net/mqtt/packet/mod.ts";
import {
  ackModel,
  connackModel,
  connectModel,
  encodeModel,
  lastModel,
  type Model,
  publishModel,
  subackModel,
  subscribeModel,
  unsubscribeModel,
} from "../../../support/mqtt_models.ts";
import { describePacket, hex, latin1 } from "../../../support/mqtt_packet.ts";

const versions = fc.constantFrom<ProtocolVersion>(3, 4, 5);
const directions = fc.constantFrom<Direction>("upstream", "downstream");
const topics = fc.constantFrom("t", "tenant/1/a/b", "é", "x".repeat(300));
const payloads = fc.uint8Array({ maxLength: 300 });

/** A reader that has just read the packet. */
function readerOf(
  model: Model,
  version: ProtocolVersion,
  direction: Direction,
  form = 0,
): PacketReader {
  const reader = new PacketReader({ direction });
  const first = model.type === "CONNECT" || model.type === "CONNACK";
  if (model.type !== "CONNECT") reader.version = version;
  reader.framer.established = !first;
  reader.push(encodeModel(model, version, form));
  assert(reader.next());
  return reader;
}

function plain(view: PacketView): Record<string, unknown> {
  return describePacket(view as Parameters<typeof describePacket>[0]);
}

/** A version with a model of it. */
function withVersion(
  of: (version: ProtocolVersion) => fc.Arbitrary<Model>,
): fc.Arbitrary<[ProtocolVersion, Model]> {
  return versions.chain((version) =>
    of(version).map((model): [ProtocolVersion, Model] => [version, {
      ...model,
    }])
  );
}

Deno.test("an edit of nothing copies a packet of minimal length byte for byte", () => {
  const kinds: fc.Arbitrary<[ProtocolVersion, Direction, Model, number]> = fc
    .tuple(versions, directions).chain(([version, direction]) =>
      fc.tuple(
        fc.constant(version),
        fc.constant(direction),
        direction === "upstream"
          ? fc.oneof(
            connectModel(version),
            publishModel(version, direction),
            subscribeModel(version),
            unsubscribeModel(version),
            ackModel(version, direction),
            lastModel(version, direction),
          )
          : fc.oneof(
            connackModel(version),
            publishModel(version, direction),
            subackModel(version),
            ackModel(version, direction),
            ...(version === 5 ? [lastModel(version, direction)] : []),
          ),
        fc.nat({ max: 2 }),
      )
    );
  fc.assert(
    fc.property(kinds, ([version, direction, model, form]) => {
      const reader = readerOf(model, version, direction, form);
      const before = hex(reader.packet.bytes());
      const after = hex(editNothing(reader).bytes());
      assertEquals(after, before);
    }),
    { numRuns: 1000 },
  );
});

function editNothing(reader: PacketReader): PacketView {
  switch (reader.type) {
    case 1:
      return editConnect(reader.connect, {});
    case 2:
      return editConnack(reader.connack, {});
    case 3:
      return editPublish(reader.publish, {});
    case 8:
      return editSubscribe(reader.subscribe, {});
    case 9:
    case 11:
      return editSuback(reader.suback, {});
    case 10:
      return editUnsubscribe(reader.unsubscribe, {});
    case 14:
      return editDisconnect(reader.disconnect, {});
    case 15:
      return editAuth(reader.auth, {});
    default:
      return editAck(reader.ack, {});
  }
}

Deno.test("editPublish() changes what it names and nothing else", () => {
  const edits = fc.record({
    topic: topics,
    payload: payloads,
    retain: fc.boolean(),
    dup: fc.boolean(),
    qos: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
    packetId: fc.integer({ min: 1, max: 65535 }),
  }, { requiredKeys: [] });
  fc.assert(
    fc.property(
      versions.chain((version) =>
        directions.chain((direction) =>
          fc.tuple(
            fc.constant(version),
            fc.constant(direction),
            publishModel(version, direction),
          )
        )
      ),
      edits,
      ([version, direction, model], drawn) => {
        const view = readerOf(model, version, direction).publish;
        const edit: PublishEdit = { ...drawn };
        const qos = edit.qos ?? view.qos;
        if (qos > 0 && view.qos === 0) edit.packetId ??= 9;
        // A repetition of QoS 0 is refused, which is tested apart.
        if (qos === 0) delete edit.dup;
        const edited = editPublish(view, edit);
        assertEquals(plain(edited), {
          ...model,
          topic: edit.topic ?? model.topic,
          payload: edit.payload === undefined
            ? model.payload
            : latin1(edit.payload),
          retain: edit.retain ?? model.retain,
          dup: qos === 0 ? false : edit.dup ?? model.dup,
          qos,
          id: qos === 0 ? 0 : edit.packetId ?? model.id,
        });
        // The properties and, unless it was named, the payload lie there as they lay.
        assertEquals(
          hex(part(edited, edited.properties.lengthStart, edited.payloadStart)),
          hex(part(view, view.properties.lengthStart, view.payloadStart)),
        );
        assertEquals(hex(view.bytes()), hex(encodeModel(model, version)));
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("editPublish() lets the fixed header grow and shrink", () => {
  const model: Model = {
    type: "PUBLISH",
    ...{ topic: "t", payload: "x", qos: 1, dup: false, retain: false, id: 5 },
    ...{ alias: 0, properties: [] },
  };
  const { publish } = readerOf(model, 4, "upstream");
  const large = editPublish(publish, { payload: new Uint8Array(20_000) });
  assertEquals(large.bodyStart - large.start, 4);
  const small = editPublish(large, { payload: new Uint8Array() });
  assertEquals(hex(small.bytes()), "32 05 00 01 74 00 05");
});

Deno.test("editConnect() changes what it names and nothing else", () => {
  const will = fc.record({
    topic: topics,
    payload: payloads,
    qos: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
    retain: fc.boolean(),
  }, { requiredKeys: [] });
  const edits = fc.record({
    clientId: fc.constantFrom("id", "longer-id", "é"),
    username: fc.constantFrom(null, "", "user"),
    password: fc.constantFrom(null, "", "secret", new Uint8Array([0, 255])),
    cleanStart: fc.boolean(),
    keepAliveSeconds: fc.nat({ max: 65535 }),
    will: fc.oneof(fc.constant(null), will),
  }, { requiredKeys: [] });
  fc.assert(
    fc.property(withVersion(connectModel), edits, ([version, model], drawn) => {
      const view = readerOf(model, version, "upstream").connect;
      const edit = { ...drawn } as ConnectEdit;
      if (edit.will && !view.hasWill) edit.will = { topic: "w", ...edit.will };
      const wanted: Record<string, unknown> = {
        ...model,
        clientId: edit.clientId ?? model.clientId,
        cleanStart: edit.cleanStart ?? model.cleanStart,
        keepAlive: edit.keepAliveSeconds ?? model.keepAlive,
        username: edit.username === undefined
          ? model.username
          : edit.username ?? undefined,
        password: edit.password === undefined
          ? model.password
          : edit.password === null
          ? undefined
          : typeof edit.password === "string"
          ? edit.password
          : latin1(edit.password),
      };
      if (edit.will === null) {
        Object.assign(wanted, {
          willTopic: undefined,
          willPayload: undefined,
          willQos: 0,
          willRetain: false,
          willProperties: [],
        });
      } else if (edit.will !== undefined) {
        const { topic, payload, qos, retain } = edit.will;
        Object.assign(wanted, {
          willTopic: topic ?? model.willTopic,
          willPayload: payload === undefined
            ? model.willPayload ?? ""
            : latin1(payload),
          willQos: qos ?? model.willQos,
          willRetain: retain ?? model.willRetain,
        });
      }
      const impossible = version !== 5 && wanted.username === undefined &&
          wanted.password !== undefined ||
        version === 4 && wanted.clientId === "" && !wanted.cleanStart;
      if (impossible) {
        assertThrows(() => editConnect(view, edit), PacketError);
        return;
      }
      const edited = editConnect(view, edit);
      assertEquals(plain(edited), wanted);
      assertEquals(
        hex(part(edited, edited.properties.lengthStart, edited.properties.end)),
        hex(part(view, view.properties.lengthStart, view.properties.end)),
      );
    }),
    { numRuns: 2000 },
  );
});

Deno.test("editSubscribe() keeps, changes and takes out filters in any combination", () => {
  fc.assert(
    fc.property(
      withVersion(subscribeModel),
      fc.array(fc.tuple(fc.nat(), fc.boolean(), fc.boolean()), {
        minLength: 1,
        maxLength: 4,
      }),
      ([version, model], picks) => {
        const view = readerOf(model, version, "upstream").subscribe;
        const entries = picks.map(([index, renamed, lowered]) => ({
          index: index % view.count,
          ...(renamed ? { filter: "tenant/#" } : {}),
          ...(lowered ? { options: 0 } : {}),
        }));
        const filters = model.filters as [string, number][];
        assertEquals(plain(editSubscribe(view, { entries })), {
          ...model,
          filters: entries.map(({ index, filter, options }) => [
            filter ?? filters[index]![0],
            options ?? filters[index]![1],
          ]),
        });
      },
    ),
  );
});

Deno.test("editUnsubscribe() keeps, changes and takes out filters in any combination", () => {
  fc.assert(
    fc.property(
      withVersion(unsubscribeModel),
      fc.array(fc.tuple(fc.nat(), fc.boolean()), {
        minLength: 1,
        maxLength: 4,
      }),
      ([version, model], picks) => {
        const view = readerOf(model, version, "upstream").unsubscribe;
        const entries = picks.map(([index, renamed]) => ({
          index: index % view.count,
          ...(renamed ? { filter: "tenant/#" } : {}),
        }));
        const filters = model.filters as string[];
        assertEquals(plain(editUnsubscribe(view, { entries })), {
          ...model,
          filters: entries.map(({ index, filter }) =>
            filter ?? filters[index]!
          ),
        });
      },
    ),
  );
});

Deno.test("editSuback() puts other codes into a SUBACK and keeps the rest", () => {
  fc.assert(
    fc.property(
      withVersion(subackModel),
      fc.integer({ min: 1, max: 65535 }),
      fc.integer({ min: 1, max: 300 }),
      ([version, model], packetId, count) => {
        const view = readerOf(model, version, "downstream").suback;
        const codes = (model.codes as number[]).length === 0
          ? []
          : Array.from({ length: count }, () => 0);
        assertEquals(plain(editSuback(view, { codes, packetId })), {
          ...model,
          id: packetId,
          codes,
        });
      },
    ),
  );
});

Deno.test("editConnack(), editAck(), editDisconnect() and editAuth() change codes and properties", () => {
  const added: Property = {
    id: PropertyId.USER_PROPERTY,
    value: ["added", "é"],
  };
  fc.assert(
    fc.property(
      directions.chain((direction) =>
        fc.oneof(
          ackModel(5, direction),
          lastModel(5, direction),
          ...(direction === "downstream" ? [connackModel(5)] : []),
        ).map((model): [Direction, Model] => [direction, { ...model }])
      ),
      fc.nat({ max: 2 }),
      ([direction, model], form) => {
        const reader = readerOf(model, 5, direction, form);
        const edit = { properties: { append: [added] } };
        const edited = model.type === "CONNACK"
          ? editConnack(reader.connack, edit)
          : model.type === "DISCONNECT"
          ? editDisconnect(reader.disconnect, edit)
          : model.type === "AUTH"
          ? editAuth(reader.auth, edit)
          : editAck(reader.ack, edit);
        assertEquals(plain(edited), {
          ...model,
          properties: [
            ...(model.properties as unknown[]),
            [added.id, added.value],
          ],
        });
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("editAck() changes the identifier and writes a code into a short form", () => {
  const model: Model = { type: "PUBACK", id: 7, code: 0, properties: [] };
  const four = readerOf(model, 4, "upstream").ack;
  assertEquals(hex(editAck(four, { packetId: 300 }).bytes()), "40 02 01 2c");
  const five = readerOf(model, 5, "upstream").ack;
  assertEquals(
    hex(editAck(five, { reasonCode: 0x87 }).bytes()),
    "40 03 00 07 87",
  );
});

Deno.test("properties are removed, replaced in their place and appended, and keep their order", () => {
  fc.assert(
    fc.property(
      publishModel(5, "downstream"),
      fc.subarray([0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x26]),
      fc.boolean(),
      fc.boolean(),
      (model, remove, sets, appends) => {
        const view = readerOf({ ...model }, 5, "downstream").publish;
        const before = model.properties as [number, unknown][];
        const set: Property[] = sets
          ? [
            { id: PropertyId.CONTENT_TYPE, value: "set" },
            { id: PropertyId.USER_PROPERTY, value: ["a", "1"] },
            { id: PropertyId.USER_PROPERTY, value: ["a", "2"] },
          ]
          : [];
        const append: Property[] = appends
          ? [{ id: PropertyId.SUBSCRIPTION_IDENTIFIER, value: 16384 }]
          : [];
        const edited = editPublish(view, {
          properties: { remove, set, append },
        });

        // The same by a shorter way: each list entry becomes what it turns into.
        const done = new Set<number>();
        const wanted: [number, unknown][] = [];
        for (const [id, value] of before) {
          const replacing = set.filter((property) => property.id === id);
          if (replacing.length > 0) {
            if (!done.has(id)) {
              wanted.push(...replacing.map(asPair));
            }
            done.add(id);
          } else if (!remove.includes(id)) wanted.push([id, value]);
        }
        wanted.push(
          ...set.filter(({ id }) => !done.has(id)).map(asPair),
          ...append.map(asPair),
        );
        assertEquals(plain(edited), { ...model, properties: wanted });
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("properties may grow beyond a length of one byte, and go altogether", () => {
  const model: Model = {
    type: "PUBLISH",
    ...{ topic: "t", payload: "x", qos: 0, dup: false, retain: false, id: 0 },
    ...{ alias: 0, properties: [[0x26, ["k", "v"]]] },
  };
  const view = readerOf(model, 5, "upstream").publish;
  const large = editPublish(view, {
    properties: {
      append: [{ id: PropertyId.CORRELATION_DATA, value: new Uint8Array(200) }],
    },
  });
  assertEquals(large.properties.start - large.properties.lengthStart, 2);
  const none = editPublish(large, { properties: { remove: [0x26, 0x09] } });
  assertEquals(hex(none.bytes()), "30 05 00 01 74 00 78");
});

Deno.test("the will's properties are changed apart from those of the CONNECT", () => {
  const model: Model = {
    type: "CONNECT",
    ...{ version: 5, bridge: false, clientId: "c", cleanStart: true },
    ...{ keepAlive: 60, username: undefined, password: undefined },
    ...{ willTopic: "w", willPayload: "m", willQos: 0, willRetain: false },
    properties: [[0x26, ["k", "connect"]]],
    willProperties: [[0x08, "answer"], [0x26, ["k", "will"]]],
  };
  const view = readerOf(model, 5, "upstream").connect;
  const edited = editConnect(view, {
    properties: { set: [{ id: PropertyId.TOPIC_ALIAS_MAXIMUM, value: 0 }] },
    will: {
      properties: {
        set: [{ id: PropertyId.RESPONSE_TOPIC, value: "tenant/answer" }],
      },
    },
  });
  assertEquals(plain(edited), {
    ...model,
    properties: [[0x26, ["k", "connect"]], [0x22, 0]],
    willProperties: [[0x08, "tenant/answer"], [0x26, ["k", "will"]]],
  });
});

Deno.test("an edit that breaks a rule is refused with its clause", () => {
  const model: Model = {
    type: "PUBLISH",
    ...{ topic: "t", payload: "x", qos: 0, dup: false, retain: false, id: 0 },
    ...{ alias: 0, properties: [] },
  };
  const { publish } = readerOf(model, 5, "upstream");
  const subscribe = readerOf(
    { type: "SUBSCRIBE", id: 1, filters: [["a", 0]], properties: [] },
    5,
    "upstream",
  ).subscribe;
  const refused: [() => unknown, string][] = [
    [() => editPublish(publish, { topic: "a/#" }), "MQTT-3.3.2-2"],
    [() => editPublish(publish, { topic: "" }), "3.3.2.1"],
    [() => editPublish(publish, { topic: "a\0b" }), "MQTT-1.5.4-2"],
    [() => editPublish(publish, { dup: true }), "MQTT-3.3.1-2"],
    [
      () =>
        editPublish(publish, {
          properties: { append: [{ id: 0x23, value: 0 }] },
        }),
      "MQTT-3.3.2-8",
    ],
    [
      () =>
        editPublish(publish, {
          properties: {
            append: [{ id: 0x03, value: "a" }, { id: 0x03, value: "b" }],
          },
        }),
      "3.3.2.3.9",
    ],
    [() => editSubscribe(subscribe, { entries: [] }), "MQTT-3.8.3-2"],
    [
      () => editSubscribe(subscribe, { entries: [{ index: 0, options: 3 }] }),
      "3.8.3.1",
    ],
    [
      () => editSubscribe(subscribe, { entries: [{ index: 0, filter: "a#" }] }),
      "MQTT-4.7.1-1",
    ],
  ];
  for (const [call, clause] of refused) {
    assertEquals(assertThrows(call, PacketError).clause, clause);
  }
});

Deno.test("an edit that cannot be written is refused by name", () => {
  const model: Model = {
    type: "PUBLISH",
    ...{ topic: "t", payload: "x", qos: 0, dup: false, retain: false, id: 0 },
    ...{ alias: 0, properties: [] },
  };
  const four = readerOf(model, 4, "upstream").publish;
  const five = readerOf(model, 5, "upstream").publish;
  const refused: [() => unknown, string][] = [
    [
      () => editPublish(four, { qos: 1 }),
      "Cannot use packet identifier 0: it must be 1 to 65535",
    ],
    [
      () => editPublish(four, { qos: 3 as 2, packetId: 1 }),
      "Cannot use QoS 3: it must be 0, 1 or 2",
    ],
    [
      () =>
        editSuback(
          readerOf(
            { type: "SUBACK", id: 1, codes: [0], properties: [] },
            4,
            "downstream",
          ).suback,
          { codes: [256] },
        ),
      "Cannot write 256 as a byte: it must be 0 to 255",
    ],
    [
      () => editPublish(four, { topic: "\udc00" }),
      "Cannot write the topic: the text has a lone surrogate",
    ],
    [
      () => editPublish(four, { topic: "é".repeat(40_000) }),
      "Cannot write the topic of 80000 bytes: at most 65535 fit",
    ],
    [
      () => editPublish(four, { properties: { remove: [0x26] } }),
      "Cannot write properties: they came with MQTT 5",
    ],
    [
      () =>
        editPublish(five, {
          properties: { append: [{ id: 0x55, value: 1 }] },
        }),
      "Cannot write property 85: there is none",
    ],
    [
      () =>
        editPublish(five, {
          properties: { append: [{ id: 0x23, value: "1" }] },
        }),
      "Cannot write Topic Alias: it must be a whole number",
    ],
    [
      () =>
        editConnect(
          readerOf(
            {
              type: "CONNECT",
              ...{ version: 4, bridge: false, clientId: "c", cleanStart: true },
              ...{ keepAlive: 60, willQos: 0, willRetain: false },
              ...{ properties: [], willProperties: [] },
            },
            4,
            "upstream",
          ).connect,
          { will: { qos: 1 } },
        ),
      "Cannot add a will without a topic",
    ],
  ];
  for (const [call, message] of refused) {
    assertThrows(call, UsageError, message);
  }
});

function part(view: PacketView, from: number, to: number): Uint8Array {
  return view.buffer.subarray(from, to);
}

function asPair({ id, value }: Property): [number, unknown] {
  return [id, value];
}
