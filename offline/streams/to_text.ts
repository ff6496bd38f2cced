import { text } from "node:stream/consumers";

/** All of a stream as one string. */
export function toText(stream: ReadableStream): Promise<string> {
  return text(stream as never);
}
