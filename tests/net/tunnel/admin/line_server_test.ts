import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { formatAddress } from "../../../../net/address.ts";
import {
  type LineDoorOptions,
  LineSession,
  openLineDoor,
} from "../../../../net/tunnel/admin/line_server.ts";
import { UsageError } from "../../../../net/errors.ts";
import { Tunnels } from "../../../../net/tunnel/tunnels.ts";
import { LogWatch } from "../../../support/log_watch.ts";
import { needsProgram, testUnless } from "../../../support/skip.ts";
import {
  connectTo,
  echoServer,
  howItEnds,
  readExactly,
  readToEnd,
  refusingAddress,
  writeAll,
} from "../../../support/tcp.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

async function withDoor(
  test: (
    talk: (text: string) => Promise<string>,
    tunnels: Tunnels,
    connect: () => Promise<Deno.TcpConn>,
  ) => Promise<void>,
  options: Partial<LineDoorOptions> = {},
): Promise<void> {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  await using door = openLineDoor({
    address: { hostname: "127.0.0.1", port: 0 },
    tunnels,
    ...options,
  });
  const connect = () => connectTo(door.address);
  await test(
    async (text) => {
      using conn = await connect();
      await writeAll(conn, encoder.encode(text));
      await conn.closeWrite();
      return decoder.decode(await readToEnd(conn));
    },
    tunnels,
    connect,
  );
}

function free(): string {
  return formatAddress(refusingAddress());
}

Deno.test("openLineDoor answers as the original's README shows, in the words of its code", async () => {
  await withDoor(async (talk, tunnels) => {
    const [one, two] = [free(), free()];
    await tunnels.open(`${one}=3333`);
    await tunnels.open(`${two}=3333`);
    const none =
      "open conns 0, total conns 0, bytes sent 0, received 0, total errors 0";
    const reply = await talk(
      `status\nstatus full\nclose ${two}\nstatus\nopen ${two}=127.0.0.1:3333\n` +
        `STATUS LONG\r\nhelp\nexit\nstatus\n`,
    );
    assertEquals(
      reply,
      `OK: Tunnels: 2\nOK: Tunnels: 2\n\t${one} = ${none}\n\t${two} = ${none}\n` +
        `OK\nOK: Tunnels: 1\nOK\nOK: Tunnels: 2\n\t${one} = ${none}\n\t${two} = ${none}\n` +
        "OK: commands\n\tOPEN tunnel\n\tCLOSE tunnel [now|drain [SECONDS]]\n\tADD tunnel remote\n" +
        "\tREMOVE tunnel remote [now|drain [SECONDS]]\n\tSTATUS [full|long]\n\tDETAIL tunnel\n\tEXIT\n\tHELP\n" +
        "\tDRAIN tunnel [SECONDS]\n\tCONNS tunnel\n\tKILL id\n\tRELOAD\n" +
        "\tQUIT [now|drain [SECONDS]]\n\tAUTH token\n\tJSON command\n",
    );
  });
});

testUnless(
  needsProgram("ncat"),
  "openLineDoor can be driven with ncat, line by line",
  async () => {
    const watch = new LogWatch();
    await using tunnels = await Tunnels.start({ log: watch.log });
    await using door = openLineDoor({
      address: { hostname: "127.0.0.1", port: 0 },
      tunnels,
    });
    const ncat = new Deno.Command("ncat", {
      args: [door.address.hostname, String(door.address.port)],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const stdin = ncat.stdin.getWriter();
    const stdout = ncat.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const local = free();
    for (
      const [command, reply] of [
        ["status", "OK: Tunnels: 0\n"],
        [`open ${local}=127.0.0.1:3333`, "OK\n"],
        [`OPEN ${local}=3333`, "SORRY: Tunnel already exists\n"],
        [`add ${local} 4444`, "OK\n"],
        [`close ${local}`, "OK\n"],
      ]
    ) {
      await stdin.write(encoder.encode(`${command}\n`));
      assertEquals((await stdout.read()).value, reply);
    }
    await stdin.write(encoder.encode("exit\n"));
    assertEquals((await stdout.read()).done, true);
    await stdin.close();
    await ncat.status;
  },
);

Deno.test("LineSession says what is wrong in the original's words", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  const { label } = await tunnels.open("0=4444");
  await using taken = echoServer();
  const busy = formatAddress(taken.address);
  const session = new LineSession({ tunnels });
  const PARSER = "Tunnel definition parsing error: Parser:";
  const SOCKET = "Socket spec parse error:";
  const CONTROL = "Control protocol error:";
  for (
    const [line, message, column] of [
      ["OPEN 3000", `${PARSER} Char, Unparsed: `, 5],
      ["OPEN 3000=", `${PARSER} Digit, Unparsed: `, 6],
      ["OPEN x", `${PARSER} Digit, Unparsed: x`, 2],
      ["OPEN 3000=4000 ", `${PARSER} Eof, Unparsed:  `, 10],
      ["OPEN 3000=4000[timeout=x]", `${PARSER} Verify, Unparsed: x`, 19],
      ["OPEN", `${CONTROL} Missing argument`],
      [`OPEN ${label}=1`, "Tunnel already exists"],
      [`OPEN ${busy}=1`, "IO error: Address already in use (os error 98)"],
      ["CLOSE", `${CONTROL} Missing argument`],
      ["CLOSE x", `${SOCKET} Failed parser: Digit, unparsed: x`, 2],
      ["CLOSE 1 2", `${SOCKET} Extra characters after spec:  2`, 2],
      ["CLOSE 1", "Tunnel doesn't exist"],
      ["CLOSE 1 now 5", `${SOCKET} Extra characters after spec:  now 5`, 2],
      ["DETAIL 1", "Tunnel doesn't exist"],
      ["ADD 1", `${CONTROL} Missing remote socket spec`],
      ["ADD", `${CONTROL} Missing argument`],
      ["ADD 1 2", "Tunnel doesn't exist"],
      [`ADD ${label} 4444`, "Remote already exists"],
      [`ADD  ${label} 1`, `${SOCKET} Failed parser: Digit, unparsed: `, 1],
      [`REMOVE ${label} 1`, "Remote does not exists"],
      [`REMOVE ${label} 1 2`, `${SOCKET} Extra characters after spec:  2`, 2],
      ["STATUS ALL", `${CONTROL} Invalid argument to STATUS`],
      ["STATUS full ", `${CONTROL} Invalid argument to STATUS`],
      ["nonsense 1", `${CONTROL} Invalid command: NONSENSE`],
      ["", `${CONTROL} Invalid command: `],
      [" status", `${CONTROL} Invalid command: `],
      ["KILL 1-1", "Connection doesn't exist"],
      ["KILL", `${CONTROL} Missing argument`],
      [
        "KILL abc",
        `${CONTROL} Invalid connection id: abc; expected TUNNEL-CONNECTION as CONNS shows it, such as 1-5`,
      ],
      ["DRAIN 1", "Tunnel doesn't exist"],
      [`DRAIN ${label} soon`, `${CONTROL} Invalid seconds: soon`],
      ["QUIT tomorrow", `${CONTROL} Invalid argument: tomorrow`],
    ] as const
  ) {
    const reply = await session.answer(line);
    if (column === undefined) assertEquals(reply, `SORRY: ${message}\n`, line);
    else {
      assert(
        reply.startsWith(`SORRY: ${message} (column ${column}: `) &&
          reply.endsWith(")\n"),
        reply,
      );
    }
  }
  assertEquals(session.over, false);
});

Deno.test("LineSession shows detail of live remotes, and dead ones by number", async () => {
  const watch = new LogWatch();
  await using echo = echoServer();
  await using tunnels = await Tunnels.start({ log: watch.log });
  const live = formatAddress(echo.address);
  const dead = free();
  const tunnel = await tunnels.open(
    `0=${dead},${live}[strategy=round-robin,timeout=2.5,errors=1]`,
  );
  const conn = await connectTo(tunnel.address);
  await writeAll(conn, encoder.encode("ping"));
  await readExactly(conn, 4);
  // What moved is counted a moment after it moved; an answer comes after that.
  await tunnel.connections();
  const session = new LineSession({ tunnels });
  assertEquals(
    await session.answer(`DETAIL ${tunnel.label} `),
    "OK: Remotes: 1, Dead Remotes: 1, Options: strategy=round-robin,retries=3,timeout=2.5, errors=1," +
      "check-interval=10,remote-tls=false,remote-ca=,tls-cert=,tls-key=,idle-timeout=0,half-close-timeout=0,max-connections=0," +
      "max-connections-per-source=0,remote-tls-name=,remote-tls-pin=,remote-tls-insecure=false,drain-timeout=0\n" +
      `\t${live} = open conns 1, total conns 1, bytes sent 4, received 4, recent errors 0, total errors 0\n` +
      `\t${dead} = open conns 0, total conns 0, bytes sent 0, received 0, recent errors 1, total errors 1, dead\n`,
  );
  assertEquals(
    await session.answer("STATUS FULL"),
    `OK: Tunnels: 1\n\t${tunnel.label} = open conns 1, total conns 1, bytes sent 4, received 4, total errors 1\n`,
  );
  const client = formatAddress(conn.localAddr as Deno.NetAddr);
  const conns = await session.answer(`CONNS ${tunnel.label}`);
  const [, id] = /^OK: Connections: 1\n\t(\S+) = client /.exec(conns)!;
  assert(
    conns.includes(
      `client ${client}, remote ${live}, bytes sent 4, received 4, age `,
    ),
  );
  assertEquals(await session.answer(`KILL ${id}`), "OK\n");
  assert(["eof", "ConnectionReset"].includes(await howItEnds(conn)));
  conn.close();
  assertEquals(
    await session.answer(`CONNS ${tunnel.label}`),
    "OK: Connections: 0\n",
  );
});

Deno.test("LineSession makes a long reply in pieces, each when it is asked for", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  const remotes = Array.from({ length: 1024 }, (_, i) => ({
    hostname: `127.1.${i >> 8}.${i & 255}`,
    port: 9,
  }));
  const { label } = await tunnels.open({
    local: { hostname: "127.0.0.1", port: 0 },
    remotes,
    options: {},
  });
  const session = new LineSession({ tunnels });
  const pieces = [...await session.reply(`DETAIL ${label}`)];
  assert(pieces.length > 1);
  for (const piece of pieces) assert(piece.length < 65 * 1024);
  const lines = pieces.join("").split("\n");
  assertEquals(lines.length, 1 + 1024 + 1);
  assertEquals(pieces.join(""), await session.answer(`DETAIL ${label}`));
});

Deno.test("LineSession has an empty line for an empty list, as the original", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  const session = new LineSession({ tunnels });
  assertEquals(await session.answer("status full"), "OK: Tunnels: 0\n\n");
  assertEquals(await session.answer("status"), "OK: Tunnels: 0\n");
});

Deno.test("LineSession drains, closes and removes in the asked mode", async () => {
  const watch = new LogWatch();
  await using echo = echoServer();
  await using tunnels = await Tunnels.start({ log: watch.log });
  const session = new LineSession({ tunnels });
  const remote = formatAddress(echo.address);
  const open = async () => {
    const { label, address } = await tunnels.open(`0=${remote}`);
    const conn = await connectTo(address);
    await writeAll(conn, encoder.encode("ping"));
    await readExactly(conn, 4);
    return { label, conn };
  };
  for (
    const [command, ends] of [
      ["CLOSE @", true],
      ["CLOSE @ NOW", true],
      ["CLOSE @ drain", false],
      ["CLOSE @ drain 60", false],
      ["CLOSE @ drain 0.01", true],
      ["DRAIN @", false],
      ["DRAIN @ 0.01", true],
      [`REMOVE @ ${remote}`, false],
      [`REMOVE @ ${remote} drain`, false],
      [`REMOVE @ ${remote} now`, true],
    ] as const
  ) {
    const { label, conn } = await open();
    assertEquals(await session.answer(command.replace("@", label)), "OK\n");
    if (ends) {
      assert(
        ["eof", "ConnectionReset"].includes(await howItEnds(conn)),
        command,
      );
    } else {
      await writeAll(conn, encoder.encode("pong"));
      assertEquals(decoder.decode(await readExactly(conn, 4)), "pong");
    }
    conn.close();
  }
});

Deno.test("LineSession answers JSON command in one line", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  const session = new LineSession({ tunnels });
  const ask = async (command: string) => {
    const line = await session.answer(`json ${command}`);
    assertEquals(line.indexOf("\n"), line.length - 1);
    return JSON.parse(line);
  };
  const { ok, result } = await ask("open 0=1,2[strategy=round-robin]");
  assertEquals(ok, true);
  const status = await ask("STATUS");
  assertEquals(status.result.tunnels[0].tunnel, result.tunnel);
  assertEquals(status.result.tunnels[0].options.strategy, "round-robin");
  const detail = await ask(`DETAIL ${result.tunnel}`);
  assertEquals(detail.result.num_remotes, 2);
  assertEquals(detail.result.remotes.length, 2);
  assertEquals(await ask(`CONNS ${result.tunnel}`), { ok: true, result: [] });
  assertEquals(await ask(`CLOSE ${result.tunnel}`), { ok: true, result: null });
  const error = await ask("OPEN 3000=bad-:1");
  assertEquals(error.error.code, 1001);
  assert(error.error.detail.includes("column 9"));
  assertEquals((await ask("NOPE")).error.code, 1010);
  assertEquals((await ask("HELP")).result[0], "OPEN tunnel");
});

Deno.test("LineSession reloads", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({
    log: watch.log,
    tunnels: ["0=1"],
  });
  const session = new LineSession({ tunnels });
  assertEquals(
    await session.answer("RELOAD"),
    "OK: Opened: 0, Closed: 0, Changed: 0, Unchanged: 1, Failed: 0\n",
  );
});

Deno.test("LineSession QUIT answers and then ends all tunnels", async () => {
  for (const command of ["QUIT", "QUIT now", "QUIT drain 1"]) {
    const watch = new LogWatch();
    await using tunnels = await Tunnels.start({
      log: watch.log,
      tunnels: ["0=1"],
    });
    assertEquals(await new LineSession({ tunnels }).answer(command), "OK\n");
    await tunnels.finished;
    assertEquals(tunnels.list(), []);
  }
});

Deno.test("openLineDoor takes lines of 1024 bytes and cuts longer ones", async () => {
  await withDoor(async (talk) => {
    const longest = "x".repeat(1024);
    assertEquals(
      await talk(`${longest}\nstatus\n`),
      `SORRY: Control protocol error: Invalid command: ${longest.toUpperCase()}\nOK: Tunnels: 0\n`,
    );
    assertEquals(
      await talk(`${longest}x\nstatus\n`),
      "SORRY: Invalid control protocol line: max line length exceeded\n",
    );
  });
});

Deno.test("openLineDoor cuts a client that sends 10 MB without a line end", async () => {
  await withDoor(async (_talk, _tunnels, connect) => {
    using conn = await connect();
    const chunk = new Uint8Array(65536).fill(120);
    let sent = 0;
    const sending = (async () => {
      try {
        while (sent < 10_000_000) sent += await conn.write(chunk);
        return "all was taken";
      } catch (error) {
        return (error as Error).name;
      }
    })();
    assert(
      ["BrokenPipe", "ConnectionReset"].includes(await sending),
      `${sent} bytes`,
    );
  });
});

Deno.test("openLineDoor cuts what is not UTF-8, and tells of a line without end", async () => {
  await withDoor(async (talk, _tunnels, connect) => {
    assertEquals(
      await talk("status\nsta"),
      "OK: Tunnels: 0\nSORRY: IO error: bytes remaining on stream\n",
    );
    using conn = await connect();
    await writeAll(conn, Uint8Array.of(0xff, 0xfe, 10));
    assertEquals(
      decoder.decode(await readToEnd(conn)),
      "SORRY: Invalid control protocol line: Unable to decode input as UTF8\n",
    );
  });
});

Deno.test("openLineDoor reads lines whatever pieces they come in", async () => {
  await withDoor(async (_talk, _tunnels, connect) => {
    using conn = await connect();
    for (const byte of encoder.encode("status\r\nstatus\n")) {
      await writeAll(conn, Uint8Array.of(byte));
    }
    assertEquals(
      decoder.decode(await readExactly(conn, 30)),
      "OK: Tunnels: 0\nOK: Tunnels: 0\n",
    );
  });
});

Deno.test("openLineDoor closes the client that is silent or idle longest where there is no room", async () => {
  await withDoor(async (talk, _tunnels, connect) => {
    const idle = await connect();
    await writeAll(idle, encoder.encode("status\n"));
    await readExactly(idle, 15);
    const silent = await Promise.all(Array.from({ length: 511 }, connect));
    assertEquals(await talk("status\n"), "OK: Tunnels: 0\n");
    assertEquals(await readToEnd(silent[0]!), new Uint8Array());
    // The silent ones go before one that has proved itself.
    await writeAll(idle, encoder.encode("status\n"));
    await readExactly(idle, 15);
    for (const conn of [idle, ...silent]) conn.close();
  });
});

Deno.test("openLineDoor wants a token elsewhere than on loopback, and where one is set", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  for (const hostname of ["0.0.0.0", "::", "192.0.2.1", "example.com"]) {
    assertThrows(
      () => openLineDoor({ address: { hostname, port: 0 }, tunnels }),
      UsageError,
      "`controlToken`",
    );
  }
  await withDoor(async (talk) => {
    const first = "SORRY: Control protocol error: AUTH token is wanted first\n";
    assertEquals(await talk("status\nopen 0=1\n"), first + first);
    assertEquals(
      await talk("AUTH 0123456789abcdef\nstatus\n"),
      "OK\nOK: Tunnels: 0\n",
    );
    assertEquals(
      await talk("AUTH 0123456789abcdeX\nstatus\n"),
      "SORRY: Control protocol error: Wrong token\n",
    );
  }, { token: "0123456789abcdef" });
});

Deno.test("openLineDoor does nothing that a web page posts to it", async () => {
  await withDoor(async (talk, tunnels) => {
    for (
      const head of [
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET /x HTTP/1.0\r\n",
        "host: 127.0.0.1\r\n",
      ]
    ) {
      const word = head.split(" ")[0]!.toUpperCase();
      assertEquals(
        await talk(`${head}open 0=1\nopen 0=2\n`),
        `SORRY: Control protocol error: Invalid command: ${word}\n`,
      );
    }
    assertEquals(tunnels.list(), []);
  });
});

Deno.test("LineSession has a reply of whole lines for every line", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({
    log: watch.log,
    tunnels: ["0=1"],
  });
  const session = new LineSession({ tunnels });
  const word = fc.constantFrom(
    "OPEN",
    "CLOSE",
    "ADD",
    "REMOVE",
    "STATUS",
    "DETAIL",
    "DRAIN",
    "CONNS",
    "KILL",
    "JSON",
    "HELP",
    "AUTH",
    "RELOAD",
    "toString",
  );
  const rest = fc.oneof(
    fc.string(),
    fc.constantFrom("1", "1 2", "1=2[", "1 now", "x:1 y"),
  );
  await fc.assert(
    fc.asyncProperty(word, rest, async (word, rest) => {
      const reply = await session.answer(`${word} ${rest}`);
      assert(/^(OK|SORRY|\{)[^]*\n$/.test(reply), reply);
      for (const tunnel of tunnels.list().slice(1)) {
        await tunnels.close(tunnel.address);
      }
    }),
  );
});
