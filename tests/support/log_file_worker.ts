/** Writes numbered datagrams to a log that other threads write to, too. */
/// <reference lib="deno.worker" />
import { LogFile } from "../../net/udp/file_log/log_file.ts";
import { batchOf } from "./batches.ts";

/** What to write where. */
export interface LogFileOrder {
  path: string;
  state: SharedArrayBuffer;
  rotateBytes: number;
  /** Stands before each datagram's number. */
  name: string;
  datagrams: number;
}

self.addEventListener("message", async (event: MessageEvent<LogFileOrder>) => {
  const { path, state, rotateBytes, name, datagrams } = event.data;
  const file = new LogFile({
    path,
    state,
    rotateBytes,
    keepsHouse: false,
  });
  const encoder = new TextEncoder();
  for (let i = 0; i < datagrams; i++) {
    // Some are large enough to go to the file from where they lie.
    const width = i % 7 === 0 ? 20_000 : 100;
    const line = `${name} ${i} `.padEnd(width - 1, ".") + "\n";
    file.write(batchOf({ bytes: encoder.encode(line) }));
    if (i % 3 === 0) file.flush();
  }
  await file[Symbol.asyncDispose]();
  self.postMessage(file.counters.read().writtenDatagrams);
});
