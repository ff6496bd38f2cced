/** How a connection of a session ends in order: last packet, end of the stream, close. */
import type { StreamWriter } from "./stream_writer.ts";
import type { ByteStream } from "../transport/byte_stream.ts";

/** A connection that is to end. */
export interface EndingStream {
  readonly stream: ByteStream;
  /** Its writer, if packets were written. */
  readonly writer: StreamWriter | undefined;
  /**
   * What resolves when its reader has seen its end, or undefined if nobody
   * reads it. Called late: the reader may be about to start.
   */
  readonly reading: () => Promise<void> | undefined;
}

/**
 * Sends the last packet, ends the stream and closes it when the other end has,
 * or after the linger time. Never rejects.
 *
 * Whoever reads it goes on and throws away what comes: a close with unread
 * bytes would be a reset, and could take the last packet with it.
 */
export async function endStream(
  { stream, writer, reading }: EndingStream,
  last: Uint8Array | undefined,
  lingerMs: number,
): Promise<void> {
  const timer = setTimeout(() => stream.close(), lingerMs);
  try {
    if (last) writer?.add(last);
    await writer?.flushed();
    await stream.end();
    await (reading() ?? discard(stream));
  } catch {
    // It is closed already.
  } finally {
    clearTimeout(timer);
    stream.close();
  }
}

/** Reads and throws away until the other end closes. */
async function discard(stream: ByteStream): Promise<void> {
  const waste = new Uint8Array(4096);
  while (await stream.read(waste) !== null);
}
