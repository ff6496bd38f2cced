/** Keepalive times, as ss(8) shows the timers of the kernel. */
import { assertMatch } from "@std/assert";
import { keepAlive } from "../../../net/udp/keep_alive.ts";
import { needsLinux, needsProgram, testUnless } from "../../support/skip.ts";

testUnless(
  needsLinux() ?? needsProgram("ss"),
  "a TCP connection of a dispatch role probes its peer after 30 s",
  async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    using connection = await Deno.connect({
      hostname: "127.0.0.1",
      port: (listener.addr as Deno.NetAddr).port,
    });
    using _peer = await listener.accept();
    keepAlive(connection);
    const { stdout } = await new Deno.Command("ss", {
      args: [
        ...["--tcp", "--numeric", "--options", "--no-header"],
        `sport = :${connection.localAddr.port}`,
      ],
    }).output();
    // The default is 2 hours: "timer:(keepalive,119min,0)".
    assertMatch(
      new TextDecoder().decode(stdout),
      /timer:\(keepalive,(?:29|30)(?:\.\d+)?sec,0\)/,
    );
  },
);
