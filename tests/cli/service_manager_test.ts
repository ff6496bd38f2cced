/** What a service manager hears of a role: sd_notify(3). */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { parseAddress } from "../../net/address.ts";
import { TestFolder } from "../support/folder.ts";
import { startRole } from "../support/process.ts";
import { needsLinux, testUnless } from "../support/skip.ts";
import { connectTo } from "../support/tcp.ts";

/** The manager's end: messages one after the other. */
class Manager implements Disposable {
  readonly #socket: Deno.DatagramConn;

  constructor(path: string) {
    this.#socket = Deno.listenDatagram({ transport: "unixpacket", path });
  }

  async hears(): Promise<string> {
    const [message] = await this.#socket.receive();
    return new TextDecoder().decode(message);
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

const ECHO = ["--listen", "127.0.0.1:0", "--protocol", "tcp"];

testUnless(
  needsLinux(),
  "a role tells its service manager when it serves and when it drains",
  async () => {
    await using folder = await TestFolder.create();
    const path = `${folder.path}/notify`;
    using manager = new Manager(path);
    await using echo = startRole("echo", ECHO, {
      env: { NOTIFY_SOCKET: path },
      denoFlags: [
        ...["--no-prompt", "--allow-net"],
        ...["--allow-env=NOTIFY_SOCKET", `--allow-write=${path}`],
      ],
    });
    assertEquals(await manager.hears(), "READY=1");
    // Nothing was waited for: who is told so can connect.
    const [, address] = /listening address=(\S+)/.exec(echo.stderr)!;
    (await connectTo(parseAddress(address!))).close();
    echo.signal("SIGTERM");
    assertEquals(await manager.hears(), "STOPPING=1");
    const { code, stderr } = await echo.end;
    assertEquals(code, 0, stderr);
  },
);

testUnless(
  needsLinux(),
  "a role serves on where its service manager cannot be told",
  async (t) => {
    await using folder = await TestFolder.create();
    const path = `${folder.path}/notify`;
    const cases: [string, string, string[], RegExp | undefined][] = [
      ["nobody listens there", path, ["-A"], /Cannot tell .*No such file/],
      ["nobody has the name", `@${path}`, ["-A"], /Cannot tell .*refused/],
      ["the path may not be written", path, [
        ...["--allow-net", "--allow-env=NOTIFY_SOCKET"],
      ], /Cannot tell .*--allow-write/],
      ["the environment may not be read", path, ["--allow-net"], undefined],
    ];
    for (const [name, socket, denoFlags, warning] of cases) {
      await t.step(name, async () => {
        await using echo = startRole("echo", ECHO, {
          env: { NOTIFY_SOCKET: socket },
          denoFlags: ["--no-prompt", ...denoFlags],
        });
        if (warning) await echo.line(warning);
        else await echo.line(/listening address/);
        const { code, stderr } = await echo.stop();
        assertEquals(code, 0, stderr);
        if (warning) assertMatch(stderr, warning);
        else assert(!stderr.includes("service manager"), stderr);
      });
    }
  },
);
