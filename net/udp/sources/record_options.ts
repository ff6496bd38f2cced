/** Checks how streams are made into datagrams, before anything is opened. */
import { UsageError } from "../../errors.ts";
import type { RecordOptions } from "./splitter.ts";
import { checkDatagramBytes, checkRange } from "../options.ts";

/** Throws a UsageError where the options are out of range or contradict each other. */
export function checkRecordOptions(options: RecordOptions): void {
  checkDatagramBytes(options.datagramBytes);
  checkRange("fillWaitMs", options.fillWaitMs, 1, 3_600_000);
  if (options.fill && options.lines) {
    throw new UsageError(
      "cannot use fill with lines: records of one size have no line ends; leave one out",
    );
  }
}

/** Throws a UsageError where options of streams are given and no stream is read. */
export function refuseRecordOptions(
  options: RecordOptions,
  sources: string,
): void {
  const { datagramBytes, lines, fill, fillWaitMs } = options;
  const given = datagramBytes !== undefined
    ? "datagramBytes"
    : lines
    ? "lines"
    : fill !== undefined
    ? "fill"
    : fillWaitMs !== undefined
    ? "fillWaitMs"
    : undefined;
  if (given === undefined) return;
  throw new UsageError(
    `cannot use ${given} without a stream: datagrams are forwarded as they come; requires ${sources}`,
  );
}
