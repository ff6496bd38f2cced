/** Where lines go: stderr, stdout, a file. */
import { type LineSink, LineWriter } from "./line_writer.ts";

/** Readable by the owner and its group, as log files are. */
const LOG_FILE_MODE = 0o640;

/** Opens a file to append lines to, made with mode 0640; `-` is stdout. */
export async function openLineSink(path: string): Promise<LineSink> {
  if (path === "-") return stdoutSink;
  return await Deno.open(path, {
    append: true,
    create: true,
    mode: LOG_FILE_MODE,
  });
}

const stdoutSink: LineSink = { write: (bytes) => Deno.stdout.write(bytes) };
const stderrSink: LineSink = { write: (bytes) => Deno.stderr.write(bytes) };

let stderr: LineWriter | undefined;

/** The one writer of this process's stderr. Never closed. */
export function stderrLines(): LineWriter {
  return stderr ??= new LineWriter(stderrSink, {
    open: () => stderrSink,
    subject: "stderr",
    lostLine: ({ lines, reason }) =>
      `${
        new Date().toISOString()
      } warn log lines were lost lines=${lines} reason="${reason}"`,
  });
}
