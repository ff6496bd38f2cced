/** Roots that cannot be read end a role at its start, with one line. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { startRole } from "../support/process.ts";
import { fromFileUrl } from "@std/path";

const CA = fromFileUrl(new URL("../vectors/tls/ca.pem", import.meta.url));

const PROXY = [
  ...["--tcp-connect-addr", "tls://localhost:9"],
  ...["--udp-listen-addr", "127.0.0.1:0"],
  ...["--udp-downstream-addr", "127.0.0.1:9"],
];

const denoFlags = [
  "--no-prompt",
  "--unstable-net",
  "--allow-net",
  "--allow-read",
];

for (
  const [role, args] of [
    ["proxy", PROXY],
    ["tunnel", ["0=localhost:9[remote-tls=true]"]],
    ["mqtt", [
      ...["--listen", "mqtt://127.0.0.1:0"],
      ...["--target", "mqtts://localhost:9", "--target-ca", CA],
    ]],
  ] as const
) {
  Deno.test(`mproxy-${role} ends at its start where it may not read the roots that it verifies by`, async () => {
    await using process = startRole(role, [...args], { denoFlags });
    const { code, stderr } = await process.end;
    assertEquals(code, 1, stderr);
    assertMatch(
      stderr,
      /annot read the (system|runtime)'s certificates.*--allow-sys/,
    );
    assert(!stderr.includes("    at "), stderr);
  });
}

for (const flag of ["--tls-insecure", `--tls-ca=${CA}`]) {
  Deno.test(`mproxy-proxy needs no permission for roots with ${flag.replace(/=.*/, "")}`, async () => {
    await using process = startRole("proxy", [...PROXY, flag], { denoFlags });
    const [line] = await process.line(/not connected, trying again.*/);
    assert(!/allow-sys/.test(line), line);
    await process.stop();
  });
}
