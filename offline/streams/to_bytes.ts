import { arrayBuffer } from "node:stream/consumers";

/** All of a byte stream as one array. */
export async function toBytes(
  stream: ReadableStream<Uint8Array>,
): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await arrayBuffer(stream as never));
}
