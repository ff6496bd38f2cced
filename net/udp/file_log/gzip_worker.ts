/**
 * Compresses files in a thread of its own, because zlib computes in the thread
 * that calls it and datagrams must not wait for that. Started by
 * rotated_files.ts.
 */
/// <reference lib="deno.worker" />
import { createReadStream, createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import type { GzipAnswer, GzipRequest } from "./rotated_files.ts";
import { errorText } from "../../errors.ts";

const READ_BYTES = 256 * 1024;

self.addEventListener("message", async (event: MessageEvent<GzipRequest>) => {
  const { source, target } = event.data;
  let answer: GzipAnswer = {};
  try {
    await pipeline(
      createReadStream(source, { highWaterMark: READ_BYTES }),
      createGzip(),
      createWriteStream(target),
    );
    // On the disk before the original may go.
    using file = await Deno.open(target, { write: true });
    await file.sync();
  } catch (error) {
    answer = {
      error: errorText(error),
      code: (error as { code?: string }).code ?? "",
    };
  }
  self.postMessage(answer);
});
