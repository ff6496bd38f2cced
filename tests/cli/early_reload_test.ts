/** SIGHUP before a role has started: it must not end a role that reloads. */
import { assertEquals } from "@std/assert";
import { TestFolder } from "../support/folder.ts";
import { needsLinux, testUnless } from "../support/skip.ts";

const SIGNALS = new URL("../../cli/signals.ts", import.meta.url).href;

/** Starts watching, is sent SIGHUP, and attaches a role at the first byte of stdin. */
const program = (reload: string): string => `
import { watchSignals } from "${SIGNALS}";
const log = { info() {}, warn() {}, error() {} };
const signals = watchSignals({ log, graceSeconds: 1, onStuck() {} });
console.log("watching");
await Deno.stdin.read(new Uint8Array(1));
const ended = setTimeout(() => {}, 60_000);
signals.attach({ role: { drain: () => Promise.resolve() }, ${reload} });
`;

for (
  const [name, reload, code, output] of [
    [
      "reloads",
      'reload: () => { console.log("reloaded"); Deno.exit(0); }',
      0,
      "watching\nreloaded\n",
    ],
    ["does not reload", "", 129, "watching\n"],
  ] as const
) {
  testUnless(
    needsLinux(),
    `SIGHUP before the start of a role that ${name} takes effect when it has started`,
    async () => {
      await using files = await TestFolder.create();
      const path = await files.file("watch.ts", program(reload));
      await using child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", path],
        stdin: "piped",
        stdout: "piped",
      }).spawn();
      const lines = child.stdout.pipeThrough(new TextDecoderStream())[
        Symbol.asyncIterator
      ]();
      let text = (await lines.next()).value ?? "";
      child.kill("SIGHUP");
      const writer = child.stdin.getWriter();
      await writer.write(new Uint8Array(1)).catch(() => {});
      for (;;) {
        const { value, done } = await lines.next();
        if (done) break;
        text += value;
      }
      assertEquals([(await child.status).code, text], [code, output]);
      await writer.close().catch(() => {});
    },
  );
}
