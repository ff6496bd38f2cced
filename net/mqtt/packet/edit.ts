/**
 * Edits of packets. An edit is a splice: what it does not name is copied as it
 * stands, byte for byte, the lengths around it are computed anew, and the
 * result is checked like a packet that arrived. The packet that is edited
 * stays as it is; the result lies in memory of its own and may be edited again.
 *
 * Every function throws `UsageError` for a value that cannot be written (a
 * text with a lone surrogate, more than 65535 bytes, properties before MQTT 5)
 * and `PacketError` where the result breaks a rule (a wildcard in a topic).
 */
import { UsageError } from "../../errors.ts";
import type { AckView } from "./ack.ts";
import type { AuthView } from "./auth.ts";
import type { ConnackView } from "./connack.ts";
import type { ConnectView } from "./connect.ts";
import { fixedHeaderProblem } from "./fixed_header.ts";
import type { DisconnectView } from "./disconnect.ts";
import type { PacketView } from "./packet_view.ts";
import { PacketType } from "./protocol.ts";
import type { Property, PropertyList } from "./properties.ts";
import type { PublishView } from "./publish.ts";
import type { SubackView } from "./suback.ts";
import type { FiltersView } from "./filters_view.ts";
import type { SubscribeView } from "./subscribe.ts";
import type { UnsubscribeView } from "./unsubscribe.ts";
import { PacketWriter } from "./writer.ts";

/** Changes of the properties of an MQTT 5 packet; the rest keeps its order. */
export interface PropertyEdit {
  /** Identifiers of which every occurrence is taken out. */
  remove?: readonly number[];
  /**
   * Replaces every occurrence of an identifier by the ones given, at the place
   * of the first; at the end where there was none.
   */
  set?: readonly Property[];
  /** Added at the end. */
  append?: readonly Property[];
}

/** What {@linkcode editPublish} changes. */
export interface PublishEdit {
  /** The topic; empty only where a topic alias stands for it. */
  topic?: string;
  /** The payload. */
  payload?: Uint8Array;
  /** The QoS. 0 takes the packet identifier and DUP out. */
  qos?: 0 | 1 | 2;
  /** Whether the broker keeps the message. */
  retain?: boolean;
  /** Whether this may be a repetition. */
  dup?: boolean;
  /** Needed where the QoS rises from 0. */
  packetId?: number;
  /** Changes of the properties. */
  properties?: PropertyEdit;
}

/** What {@linkcode editConnect} changes. */
export interface ConnectEdit {
  /** The client identifier. */
  clientId?: string;
  /** The username; null takes it out. */
  username?: string | null;
  /** The password; null takes it out. */
  password?: Uint8Array | string | null;
  /** Clean Session, called Clean Start in MQTT 5. */
  cleanStart?: boolean;
  /** 0 to 65535. */
  keepAliveSeconds?: number;
  /** Changes of the will, or a new one; null takes it out. */
  will?: WillEdit | null;
  /** Changes of the properties. */
  properties?: PropertyEdit;
}

/** Changes of a will. */
export interface WillEdit {
  /** The topic; needed where there was no will. */
  topic?: string;
  /** The payload; empty where there was no will. */
  payload?: Uint8Array;
  /** The QoS. */
  qos?: 0 | 1 | 2;
  /** Whether the broker keeps the message. */
  retain?: boolean;
  /** Changes of the will's properties. */
  properties?: PropertyEdit;
}

/** A filter of the result of {@linkcode editSubscribe}. */
export interface SubscribeEntry {
  /** The filter of the edited packet that is kept. */
  index: number;
  /** Another filter in its place. */
  filter?: string;
  /** Another options byte in its place; before MQTT 5 the QoS. */
  options?: number;
}

/** What {@linkcode editSubscribe} changes. */
export interface SubscribeEdit {
  /** The filters that are kept, in order; the others are taken out. */
  entries?: readonly SubscribeEntry[];
  /** The packet identifier. */
  packetId?: number;
  /** Changes of the properties. */
  properties?: PropertyEdit;
}

/** What {@linkcode editUnsubscribe} changes. */
export interface UnsubscribeEdit {
  /** The filters that are kept, in order; the others are taken out. */
  entries?: readonly Omit<SubscribeEntry, "options">[];
  /** The packet identifier. */
  packetId?: number;
  /** Changes of the properties. */
  properties?: PropertyEdit;
}

/** What {@linkcode editSuback} changes. */
export interface SubackEdit {
  /** All codes, one byte for each filter. */
  codes?: Uint8Array | readonly number[];
  /** The packet identifier. */
  packetId?: number;
  /** Changes of the properties. */
  properties?: PropertyEdit;
}

/** What {@linkcode editConnack} changes. */
export interface ConnackEdit {
  /** Whether the broker goes on with a session. */
  sessionPresent?: boolean;
  /** The byte as it is written: a return code before MQTT 5. */
  reasonCode?: number;
  /** Changes of the properties. */
  properties?: PropertyEdit;
}

/** What {@linkcode editAck} changes. */
export interface AckEdit {
  /** The packet identifier. */
  packetId?: number;
  /** The reason code of MQTT 5. */
  reasonCode?: number;
  /** Changes of the properties. */
  properties?: PropertyEdit;
}

/** What {@linkcode editDisconnect} and {@linkcode editAuth} change. */
export interface ReasonEdit {
  /** The reason code of MQTT 5. */
  reasonCode?: number;
  /** Changes of the properties. */
  properties?: PropertyEdit;
}

/** Changes topic, payload, QoS, flags or properties of a PUBLISH. */
export function editPublish(
  view: PublishView,
  edit: PublishEdit,
): PublishView {
  const { buffer, start, properties } = view;
  const qos = checkedQos(edit.qos ?? view.qos);
  const dup = (edit.dup ?? view.dup) && (qos > 0 || edit.dup === true);
  const retain = edit.retain ?? view.retain;
  const writer = writerFor(view, edit.payload?.length);
  if (edit.topic === undefined) {
    writer.bytes(buffer, view.topicStart - 2, view.topicEnd);
  } else writer.text(edit.topic, "the topic");
  if (qos > 0) writer.uint16(checkedPacketId(edit.packetId ?? view.packetId));
  editProperties(writer, view, properties, edit.properties);
  if (edit.payload === undefined) {
    writer.bytes(buffer, view.payloadStart, view.end);
  } else writer.bytes(edit.payload);
  const first = buffer[start]! & 0xf0 | (dup ? 8 : 0) | qos << 1 |
    (retain ? 1 : 0);
  return finish(view, writer, first);
}

/** Changes client identifier, credentials, will or properties of a CONNECT. */
export function editConnect(
  view: ConnectView,
  edit: ConnectEdit,
): ConnectView {
  const { buffer, flagsAt } = view;
  const will = edit.will === undefined ? view.hasWill : edit.will !== null;
  const username = edit.username === undefined
    ? view.usernameStart > 0
    : edit.username !== null;
  const password = edit.password === undefined
    ? view.passwordStart > 0
    : edit.password !== null;
  const willEdit = edit.will ?? {};
  if (will && !view.hasWill && willEdit.topic === undefined) {
    throw new UsageError("Cannot add a will without a topic");
  }
  const willQos = will ? checkedQos(willEdit.qos ?? view.willQos) : 0;
  const willRetain = will && (willEdit.retain ?? view.willRetain);
  const cleanStart = edit.cleanStart ?? view.cleanStart;

  const writer = writerFor(view);
  writer.bytes(buffer, view.bodyStart, flagsAt);
  writer.byte(
    (username ? 0x80 : 0) | (password ? 0x40 : 0) | (willRetain ? 0x20 : 0) |
      willQos << 3 | (will ? 0x04 : 0) | (cleanStart ? 0x02 : 0),
  );
  writer.uint16(checkedUint16(
    edit.keepAliveSeconds ?? view.keepAliveSeconds,
    "a keep alive",
  ));
  editProperties(writer, view, view.properties, edit.properties);
  spliceText(
    writer,
    view,
    view.clientIdStart,
    view.clientIdEnd,
    edit.clientId,
    "the client identifier",
  );
  if (will) writeWill(writer, view, willEdit);
  if (username) {
    spliceText(
      writer,
      view,
      view.usernameStart,
      view.usernameEnd,
      edit.username ?? undefined,
      "the username",
    );
  }
  if (password) {
    if (typeof edit.password === "string") {
      writer.text(edit.password, "the password");
    } else if (edit.password) writer.binary(edit.password, "the password");
    else writer.bytes(buffer, view.passwordStart - 2, view.passwordEnd);
  }
  return finish(view, writer, buffer[view.start]!);
}

/** Takes filters out of a SUBSCRIBE, or changes them, their options or the properties. */
export function editSubscribe(
  view: SubscribeView,
  edit: SubscribeEdit,
): SubscribeView {
  return editFilters(view, edit, 1);
}

/** Takes filters out of an UNSUBSCRIBE, or changes them or the properties. */
export function editUnsubscribe(
  view: UnsubscribeView,
  edit: UnsubscribeEdit,
): UnsubscribeView {
  return editFilters(view, edit, 0);
}

/** `optionsBytes` stand behind each filter: 1 or none. */
function editFilters<View extends FiltersView>(
  view: View,
  edit: SubscribeEdit,
  optionsBytes: 0 | 1,
): View {
  const { buffer } = view;
  const writer = writerFor(view);
  writer.uint16(checkedPacketId(edit.packetId ?? view.packetId));
  editProperties(writer, view, view.properties, edit.properties);
  if (edit.entries === undefined) {
    writer.bytes(buffer, view.entryStart(0), view.end);
  } else {
    for (const { index, filter, options } of edit.entries) {
      const from = view.entryStart(index);
      const to = view.entryStart(index + 1) - optionsBytes;
      if (filter === undefined) writer.bytes(buffer, from, to);
      else writer.text(filter, "the topic filter");
      if (optionsBytes === 1) writer.byte(options ?? buffer[to]!);
    }
  }
  return finish(view, writer, buffer[view.start]!);
}

/** Changes the codes, the packet identifier or the properties of a SUBACK or UNSUBACK. */
export function editSuback(view: SubackView, edit: SubackEdit): SubackView {
  const { buffer } = view;
  const writer = writerFor(view, edit.codes?.length);
  writer.uint16(checkedPacketId(edit.packetId ?? view.packetId));
  editProperties(writer, view, view.properties, edit.properties);
  if (edit.codes === undefined) {
    writer.bytes(buffer, view.codesStart, view.end);
  } else for (const code of edit.codes) writer.byte(code);
  return finish(view, writer, buffer[view.start]!);
}

/** Changes the flag, the code or the properties of a CONNACK. */
export function editConnack(
  view: ConnackView,
  edit: ConnackEdit,
): ConnackView {
  const writer = writerFor(view);
  writer.byte(edit.sessionPresent ?? view.sessionPresent ? 1 : 0);
  writer.byte(edit.reasonCode ?? view.reasonCode);
  editProperties(writer, view, view.properties, edit.properties);
  return finish(view, writer, view.buffer[view.start]!);
}

/** Changes a PUBACK, PUBREC, PUBREL or PUBCOMP. */
export function editAck(view: AckView, edit: AckEdit): AckView {
  const writer = writerFor(view);
  writer.uint16(checkedPacketId(edit.packetId ?? view.packetId));
  editReason(writer, view, view.bodyStart + 2, edit);
  return finish(view, writer, view.buffer[view.start]!);
}

/** Changes the reason code or the properties of a DISCONNECT. */
export function editDisconnect(
  view: DisconnectView,
  edit: ReasonEdit,
): DisconnectView {
  const writer = writerFor(view);
  editReason(writer, view, view.bodyStart, edit);
  return finish(view, writer, view.buffer[view.start]!);
}

/** Changes the reason code or the properties of an AUTH. */
export function editAuth(view: AuthView, edit: ReasonEdit): AuthView {
  const writer = writerFor(view);
  editReason(writer, view, view.bodyStart, edit);
  return finish(view, writer, view.buffer[view.start]!);
}

function writeWill(
  writer: PacketWriter,
  view: ConnectView,
  edit: WillEdit,
): void {
  const { buffer } = view;
  if (view.hasWill || view.version !== 5) {
    editProperties(writer, view, view.willProperties, edit.properties);
  } else writeProperties(writer, undefined, edit.properties ?? {});
  spliceText(
    writer,
    view,
    view.willTopicStart,
    view.willTopicEnd,
    edit.topic,
    "the will topic",
  );
  if (edit.payload !== undefined) {
    writer.binary(edit.payload, "the will payload");
  } else if (!view.hasWill) writer.uint16(0);
  else writer.bytes(buffer, view.willPayloadStart - 2, view.willPayloadEnd);
}

// The code and the properties of acknowledgements, DISCONNECT and AUTH may be
// left out from the end; a packet that did so keeps doing so where it can.
function editReason(
  writer: PacketWriter,
  view: AckView | DisconnectView | AuthView,
  at: number,
  edit: ReasonEdit,
): void {
  if (view.version !== 5) {
    if (edit.reasonCode !== undefined) failVersion("a reason code");
    if (edit.properties !== undefined) failVersion("properties");
    return;
  }
  const { properties } = view;
  const hasCode = at < view.end;
  const hasList = properties.lengthStart < properties.start;
  const reasonCode = edit.reasonCode ?? view.reasonCode;
  const writesList = hasList || edit.properties !== undefined ||
    // 3.15.2.1: an AUTH has both or none.
    view.type === 15 && reasonCode !== 0;
  if (!hasCode && reasonCode === 0 && !writesList) return;
  writer.byte(reasonCode);
  if (hasList) editProperties(writer, view, properties, edit.properties);
  else if (writesList) {
    writeProperties(writer, undefined, edit.properties ?? {});
  }
}

function editProperties(
  writer: PacketWriter,
  view: PacketView,
  list: PropertyList,
  edit: PropertyEdit | undefined,
): void {
  if (edit === undefined) {
    writer.bytes(view.buffer, list.lengthStart, list.end);
    return;
  }
  if (view.version !== 5) failVersion("properties");
  writeProperties(writer, list, edit);
}

function writeProperties(
  writer: PacketWriter,
  list: PropertyList | undefined,
  edit: PropertyEdit,
): void {
  const { remove = [], set = [], append = [] } = edit;
  const content = new PacketWriter(list === undefined ? 64 : list.byteLength);
  const written: number[] = [];
  if (list !== undefined) {
    for (let at = list.start; at < list.end;) {
      const next = list.next(at);
      const id = list.buffer[at]!;
      if (written.includes(id)) {
        at = next;
        continue;
      }
      if (set.some((property) => property.id === id)) {
        written.push(id);
        for (const property of set) {
          if (property.id === id) content.property(property);
        }
      } else if (!remove.includes(id)) content.bytes(list.buffer, at, next);
      at = next;
    }
  }
  for (const property of set) {
    if (!written.includes(property.id)) content.property(property);
  }
  for (const property of append) content.property(property);
  writer.varint(content.end - content.bodyStart);
  writer.bytes(content.buffer, content.bodyStart, content.end);
}

function spliceText(
  writer: PacketWriter,
  view: PacketView,
  start: number,
  end: number,
  text: string | undefined,
  field: string,
): void {
  if (text === undefined) writer.bytes(view.buffer, start - 2, end);
  else writer.text(text, field);
}

function writerFor(view: PacketView, addedBytes = 0): PacketWriter {
  return new PacketWriter(view.end - view.bodyStart + addedBytes + 64);
}

function finish<View extends PacketView>(
  view: View,
  writer: PacketWriter,
  first: number,
): View {
  writer.finish(first);
  const problem = fixedHeaderProblem(
    first,
    writer.end - writer.bodyStart,
    view.version,
    view.upstream,
    view.type !== PacketType.CONNECT && view.type !== PacketType.CONNACK,
  );
  if (problem !== undefined) {
    const { reasonCode, clause4, clause5 } = problem;
    view.fail(reasonCode, problem.problem, clause4, clause5);
  }
  const result = view.blank();
  result.load(
    writer.buffer,
    writer.start,
    writer.bodyStart,
    writer.end,
    view.version,
    view.upstream,
  );
  return result;
}

function checkedQos(qos: number): number {
  if (qos !== 0 && qos !== 1 && qos !== 2) {
    throw new UsageError(`Cannot use QoS ${qos}: it must be 0, 1 or 2`);
  }
  return qos;
}

function checkedPacketId(id: number): number {
  if (!Number.isInteger(id) || id < 1 || id > 0xffff) {
    throw new UsageError(
      `Cannot use packet identifier ${id}: it must be 1 to 65535`,
    );
  }
  return id;
}

function checkedUint16(value: number, field: string): number {
  if (!Number.isInteger(value) || value < 0 || value > 0xffff) {
    throw new UsageError(
      `Cannot use ${value} as ${field}: it must be 0 to 65535`,
    );
  }
  return value;
}

function failVersion(what: string): never {
  throw new UsageError(`Cannot write ${what}: they came with MQTT 5`);
}
