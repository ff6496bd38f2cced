/** `/readyz` and the metrics of listeners and destinations. */
import { assertEquals, assertMatch } from "@std/assert";
import { freeUdpPort, Receiver, Sender } from "../support/datagram_peer.ts";
import { testOnEngines } from "../support/engines.ts";
import { startRole, type TestProcess } from "../support/process.ts";

async function door(role: TestProcess): Promise<string> {
  const [, url] = await role.line(/url=(\S+)\/metrics/);
  return url!;
}

/** Asks until the status is the expected one, and gives the text. */
async function readyz(url: string, status: number): Promise<string> {
  for (;;) {
    const answer = await fetch(`${url}/readyz`);
    const text = await answer.text();
    if (answer.status === status) return text;
  }
}

testOnEngines(
  "--ready-within answers 503 while a listener is silent",
  async (engine) => {
    await using receiver = await Receiver.open();
    const port = await freeUdpPort();
    await using proxy = startRole("proxy", [
      ...["--udp-listen-addr", `127.0.0.1:${port}`, "--ready-within=1.5"],
      ...["--udp-downstream-addr", receiver.text, "--engine", engine],
      "--metrics-addr=127.0.0.1:0",
    ]);
    const url = await door(proxy);
    await using sender = await Sender.open(`127.0.0.1:${port}`);
    await sender.send("alive");
    assertMatch(
      await readyz(url, 503),
      /listener 127\.0\.0\.1:\d+ received nothing for \d+ s/,
    );
    await sender.send("again");
    await readyz(url, 200);
    const metrics = await (await fetch(`${url}/metrics`)).text();
    for (
      const line of [
        /^mproxy_listener_open\{listener="127\.0\.0\.1:\d+"\} 1$/m,
        /^mproxy_listener_lost_total\{.*\} 0$/m,
        /^mproxy_listener_reopened_total\{.*\} 0$/m,
        /^mproxy_listener_last_received_seconds\{.*\} [0-9]+$/m,
        /^mproxy_destination_open\{destination="127\.0\.0\.1:\d+"\} 1$/m,
        /^mproxy_destination_lost_total\{.*\} 0$/m,
        /^mproxy_destination_reopened_total\{.*\} 0$/m,
      ]
    ) assertMatch(metrics, line);
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
  },
);

testOnEngines(
  "a role with a name that does not resolve is not ready, and serves the others",
  async (engine) => {
    await using receiver = await Receiver.open();
    const port = await freeUdpPort();
    await using proxy = startRole("proxy", [
      ...["--udp-listen-addr", `127.0.0.1:${port}`, "--engine", engine],
      ...["--udp-downstream-addr", "nosuchname.invalid:9"],
      ...["--udp-downstream-addr", receiver.text, "--metrics-addr=127.0.0.1:0"],
    ]);
    const url = await door(proxy);
    assertMatch(await readyz(url, 503), /destination nosuchname\.invalid:9/);
    await using sender = await Sender.open(`127.0.0.1:${port}`);
    await sender.send("served");
    await receiver.atLeast(1);
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
    assertMatch(
      stderr,
      /sent to nosuchname.*0 datagrams .* 1 dropped \(unreachable 1\)/,
    );
  },
);
