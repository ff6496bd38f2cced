import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { FileState } from "../../../../net/udp/file_log/file_state.ts";
import { LogFile } from "../../../../net/udp/file_log/log_file.ts";
import { namesIn, readRotated, withFolder } from "../../../support/folder.ts";
import type { LogFileOrder } from "../../../support/log_file_worker.ts";

/** Has a thread write to a log; resolves with the datagrams it wrote. */
function writeElsewhere(order: LogFileOrder): Promise<number> {
  const worker = new Worker(
    import.meta.resolve("../../../support/log_file_worker.ts"),
    { type: "module" },
  );
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(event.message));
  };
  worker.postMessage(order);
  return promise.finally(() => worker.terminate());
}

Deno.test("FileState lets several threads write whole datagrams to one log and rotate it", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "feed.log");
    const state = new FileState();
    const rotateBytes = 300_000;
    const house = new LogFile({ path, state: state.buffer, rotateBytes });
    const datagrams = 700;
    const written = await Promise.all(
      ["a", "b", "c"].map((name) =>
        writeElsewhere({
          path,
          state: state.buffer,
          rotateBytes,
          name,
          datagrams,
        })
      ),
    );
    assertEquals(written, [datagrams, datagrams, datagrams]);
    await house.drain();
    await house[Symbol.asyncDispose]();

    assert(namesIn(folder).every((name) => /\.(log|gz)$/.test(name)));
    const files = readRotated(folder, "feed.log").map((content) =>
      new TextDecoder().decode(content)
    );
    assert(files.length > 20, String(files.length));
    const next = new Map<string, number>();
    for (const file of files) {
      assert(file.length <= rotateBytes);
      assert(file.endsWith("\n"));
      for (const line of file.trimEnd().split("\n")) {
        const [name, number] = line.split(" ");
        assertEquals(Number(number), next.get(name!) ?? 0, line.slice(0, 40));
        assert([99, 19_999].includes(line.length), line.slice(0, 40));
        next.set(name!, Number(number) + 1);
      }
    }
    assertEquals([...next.values()], [datagrams, datagrams, datagrams]);
  });
});
