import { assert, assertEquals, assertRejects } from "@std/assert";
import { UsageError } from "../../../../../net/errors.ts";
import { parseAddress } from "../../../../../net/address.ts";
import { DatagramBatch } from "../../../../../net/engine/batch.ts";
import {
  createLinuxEngine,
  linuxEngineUnavailable,
} from "../../../../../net/engine/linux/datagram/engine.ts";
import {
  findLibc,
  openLibc,
} from "../../../../../net/engine/linux/ffi/libc.ts";
import { countingFilter } from "../../../../../net/engine/linux/datagram/arrivals.ts";
import { batchOf, openSender, pattern } from "../../../../support/datagrams.ts";
import { startPeer } from "../../../../support/process.ts";
import { testUnless } from "../../../../support/skip.ts";

const skip = linuxEngineUnavailable();
const engineUrl = import.meta.resolve(
  "../../../../../net/engine/linux/datagram/engine.ts",
);

/** Runs a program with some permissions only; gives what it wrote to stdout. */
async function runWith(
  permissions: readonly string[],
  source: string,
): Promise<string> {
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(path, source);
    await using peer = startPeer(Deno.execPath(), [
      "run",
      ...permissions,
      path,
    ]);
    const { code, stdout, stderr } = await peer.end;
    assertEquals(code, 0, stderr);
    return new TextDecoder().decode(stdout);
  } finally {
    await Deno.remove(path);
  }
}

testUnless(
  Deno.build.os === "linux" ? undefined : "this is not Linux",
  "linuxEngineUnavailable() names the permission that is missing, and asks for none",
  async () => {
    const text = await runWith(
      [],
      `import { linuxEngineUnavailable } from "${engineUrl}";
       console.log(linuxEngineUnavailable());`,
    );
    assertEquals(
      text.trim(),
      "it calls libc, which is not permitted: give --allow-ffi",
    );
  },
);

testUnless(
  skip,
  "createLinuxEngine() needs no permission but FFI",
  async () => {
    const text = await runWith(
      ["--no-prompt", "--allow-ffi"],
      `import { createLinuxEngine, linuxEngineUnavailable } from "${engineUrl}";
     const engine = createLinuxEngine({ blocking: true });
     const address = { hostname: "127.0.0.1", port: 0 };
     using listener = await engine.listen({ address, networkInterface: "lo" });
     using sender = await engine.connect({
       address: listener.address,
       maxWaitMs: 0,
       counters: new Float64Array(8),
     });
     console.log(linuxEngineUnavailable(), engine.description, sender.address.hostname);`,
    );
    assertEquals(text.trim(), `undefined ${findLibc()} 127.0.0.1`);
  },
);

testUnless(skip, "openLibc() keeps errno until the next call", () => {
  using libc = openLibc();
  assertEquals(libc.symbols.close(-1), -1);
  assertEquals(libc.errno(), 9);
  assertEquals(libc.symbols.setsockopt(-1, 0, 0, new Int32Array(1), 4), -1);
  assertEquals(libc.errno(), 9);
  assertEquals(libc.symbols.poll(new Int32Array(4), 0n, 0), 0);
});

testUnless(
  skip,
  "hold() gives up after its time, and finds a datagram or a wake-up",
  async () => {
    const engine = createLinuxEngine({ blocking: false });
    using listener = await engine.listen({
      address: { hostname: "127.0.0.1", port: 0 },
    });
    const batch = new DatagramBatch(listener.batchSize);
    const { sender } = await openSender(engine, listener.address);
    using _ = sender;
    assertEquals(listener.hold!(1), false);
    await sender.send(batchOf([pattern(4)]));
    assertEquals(listener.hold!(60_000), true);
    assertEquals(listener.tryReceive(batch), 1);
    assertEquals(listener.hold!(0), false);
    listener.wake();
    assertEquals(listener.hold!(60_000), true);
    assertEquals(listener.hold!(0), false);
    const waiting = listener.readable();
    assertEquals(listener.hold!(60_000), false);
    listener.wake();
    await waiting;
  },
);

for (
  const [options, reason] of [
    [{ address: "192.0.2.1:1", groups: ["239.1.1.1:1"] }, "beside groups"],
    [{ address: "239.1.1.2:1", groups: ["192.0.2.1:1"] }, "not a group"],
    [{ address: "239.1.1.2:1", groups: ["239.1.1.1:2"] }, "port must be 1"],
    [{ address: "239.1.1.2:1", groups: ["[ff12::1]:1"] }, "one is IPv4"],
    [{ address: "239.1.1.2:1", reusePort: true }, "use one listener"],
  ] as const
) {
  testUnless(
    skip,
    `listen() refuses ${JSON.stringify(options)}`,
    async () => {
      const { address, ...rest } = options;
      const groups = "groups" in rest
        ? rest.groups.map((group) => parseAddress(group))
        : undefined;
      await assertRejects(
        async () =>
          await createLinuxEngine({ blocking: false }).listen({
            ...rest,
            address: parseAddress(address),
            groups,
          }),
        UsageError,
        reason,
      );
    },
  );
}

for (
  const [address, options, reason] of [
    ["127.0.0.1:9", { ttl: 256 }, "0 to 255"],
    ["127.0.0.1:9", { ttl: 1.5 }, "0 to 255"],
    ["127.0.0.1:9", { ttl: 0 }, "1 to 255"],
    ["127.0.0.1@239.1.1.1:9", {}, "for listening"],
  ] as const
) {
  testUnless(
    skip,
    `connect() refuses ${address} with ${JSON.stringify(options)}`,
    async () => {
      await assertRejects(
        () =>
          openSender(
            createLinuxEngine({ blocking: false }),
            parseAddress(address),
            options,
          ),
        UsageError,
        reason,
      );
    },
  );
}

testUnless(
  skip,
  "send() refuses a closed sender, tryReceive() a closed listener",
  async () => {
    const engine = createLinuxEngine({ blocking: false });
    const listener = await engine.listen({
      address: { hostname: "127.0.0.1", port: 0 },
    });
    const { sender } = await openSender(engine, listener.address);
    sender[Symbol.dispose]();
    sender[Symbol.dispose]();
    await assertRejects(
      async () => await sender.send(batchOf([pattern(1)])),
      Error,
      "the sender is closed",
    );
    listener[Symbol.dispose]();
    await assertRejects(
      async () => await listener.tryReceive(new DatagramBatch(1)),
      Error,
      "the listener is closed",
    );
  },
);

testUnless(
  skip,
  "tryReceive() refuses slots that a read may not fit into",
  async () => {
    const engine = createLinuxEngine({ blocking: false });
    using listener = await engine.listen({
      address: { hostname: "127.0.0.1", port: 0 },
    });
    await assertRejects(
      async () => await listener.tryReceive(new DatagramBatch(1, 2048)),
      TypeError,
      "slots of 2048 bytes",
    );
  },
);

Deno.test("countingFilter() names the map in its program", () => {
  const program = countingFilter(7);
  assertEquals(program.length, 19 * 8);
  // ld_imm64 r1, map 7: dst 1, src 1 (a map's descriptor), then its second half.
  assertEquals([...program.subarray(32, 48)], [
    0x18,
    0x11,
    0,
    0,
    7,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
  ]);
  // exit
  assert(program.at(-8) === 0x95);
});
