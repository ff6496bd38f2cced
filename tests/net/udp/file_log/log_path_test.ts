import { assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { checkLogPath } from "../../../../net/udp/file_log/log_path.ts";
import { UsageError } from "../../../../net/errors.ts";
import { needsLinux, needsProgram, testUnless } from "../../../support/skip.ts";

const folder = Deno.makeTempDirSync({ prefix: "mproxy-path-" });
addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

function assertRefused(path: string, reason: string, split = false): void {
  assertThrows(
    () => checkLogPath(path, split),
    UsageError,
    `Cannot log to "${path}": ${reason}`,
  );
}

Deno.test("checkLogPath takes a new file and one that is there, and makes neither", () => {
  const path = join(folder, "new.log");
  assertEquals(checkLogPath(path), "file");
  assertThrows(() => Deno.statSync(path), Deno.errors.NotFound);
  Deno.writeTextFileSync(path, "before");
  assertEquals(checkLogPath(path), "file");
  assertEquals(Deno.readTextFileSync(path), "before");
});

Deno.test("checkLogPath refuses a folder, a missing folder and a file as a folder", () => {
  assertRefused(folder, "it is a folder");
  const missing = join(folder, "missing");
  assertRefused(
    join(missing, "feed.log"),
    `the folder "${missing}" is missing`,
  );
  assertRefused(join(missing, "feed.log"), "the folder", true);
  const file = join(folder, "file");
  Deno.writeTextFileSync(file, "");
  assertRefused(join(file, "feed.log"), `"${file}" is not a folder`);
});

Deno.test("checkLogPath with split looks at the folder alone", () => {
  Deno.mkdirSync(join(folder, "name"));
  assertEquals(checkLogPath(join(folder, "name"), true), "file");
  assertEquals([...Deno.readDirSync(join(folder, "name"))], []);
});

testUnless(
  needsLinux() ?? needsProgram("mkfifo"),
  "checkLogPath tells a named pipe and a device from a file",
  () => {
    const pipe = join(folder, "pipe");
    new Deno.Command("mkfifo", { args: [pipe] }).outputSync();
    assertEquals(checkLogPath(pipe), "pipe");
    assertEquals(checkLogPath("/dev/null"), "device");
  },
);

testUnless(
  needsLinux(),
  "checkLogPath refuses a folder where the system makes no files",
  () => {
    // Root may write anywhere but there.
    const path = "/proc/feed.log";
    assertThrows(() => checkLogPath(path), UsageError, `log to "${path}": `);
  },
);

testUnless(
  needsLinux() ?? (Deno.uid() === 0 ? "root may write anywhere" : undefined),
  "checkLogPath refuses a file that may not be written to",
  () => {
    const path = join(folder, "read-only.log");
    Deno.writeTextFileSync(path, "", { mode: 0o400 });
    assertRefused(path, "Permission denied");
  },
);
