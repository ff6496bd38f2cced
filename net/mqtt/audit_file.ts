/** The audit log's file, or stdout: written asynchronously, opened again after a rotation. */
import { openLineSink } from "../line_sinks.ts";
import { LineWriter } from "../line_writer.ts";
import type { Log } from "../observe/log.ts";
import type { AuditOptions } from "./audit.ts";

/** What of the audit log is the user's choice. */
export type AuditChoices = Pick<
  AuditOptions,
  "messages" | "payloads" | "required"
>;

/**
 * Opens the audit log; `-` is stdout.
 *
 * @throws {OperationError} if the file cannot be opened.
 */
export function openAuditFile(name: string, log: Log): Promise<LineWriter> {
  return LineWriter.open({
    open: () => openLineSink(name),
    subject: name === "-"
      ? "the audit log on stdout"
      : `the audit log "${name}"`,
    lostLine: ({ lines, reason }) =>
      JSON.stringify({
        time: new Date().toISOString(),
        event: "lines_lost",
        lines,
        reason,
      }),
    onLost: (reason) =>
      log.warn("audit log cannot be written", { file: name, reason }),
    onRecovered: ({ lines }) =>
      log.info("audit log is written again", { file: name, lostLines: lines }),
  });
}

/** What the gateway needs of an audit log's file. */
export function auditOptions(
  file: LineWriter,
  choices: AuditChoices,
): AuditOptions {
  return {
    write: (line) => file.write(line),
    isWritable: () => file.healthy,
    ...choices,
  };
}
