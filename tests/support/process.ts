/** Roles and peers as real processes: started, watched line by line, always ended. */
import { assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

/** How long a test waits for what must come: only a broken role lets it pass. */
const DEADLINE_MS = 60_000;

/** How a process ended, with all that it wrote. */
export interface ProcessEnd {
  code: number;
  signal: Deno.Signal | null;
  stdout: Uint8Array<ArrayBuffer>;
  stderr: string;
}

/** How a process is started. */
export interface ProcessOptions {
  /** Folder to run in. Default: the repository. */
  cwd?: string;
  env?: Record<string, string>;
  /** Whether its stdin can be written to; else it reads nothing. */
  stdin?: boolean;
  /**
   * Who reads its stdout: this test, nobody, or somebody who left.
   * @default {"read"}
   */
  stdout?: "read" | "unread" | "closed";
  /** Flags of Deno itself, for roles. Default: `-A`. */
  denoFlags?: readonly string[];
}

/** A running process. */
export class TestProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: string[] = [];
  readonly #waiting = new Set<() => void>();
  readonly #stdout: Uint8Array[] = [];
  #stdoutBytes = 0;
  #ended = false;
  readonly #stdoutMode: "read" | "unread" | "closed";
  readonly #hasStdin: boolean;
  /** Resolves when it has ended. */
  readonly end: Promise<ProcessEnd>;

  constructor(
    program: string,
    args: readonly string[],
    options: ProcessOptions = {},
  ) {
    this.#child = new Deno.Command(program, {
      args: [...args],
      cwd: options.cwd ?? ROOT,
      env: { NO_COLOR: "1", ...options.env },
      stdin: options.stdin ? "piped" : "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#stdoutMode = options.stdout ?? "read";
    this.#hasStdin = options.stdin ?? false;
    this.end = this.#watch();
  }

  /** The process's id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Its stdin, where it was asked for. */
  get stdin(): WritableStream<Uint8Array<ArrayBuffer>> {
    return this.#child.stdin;
  }

  /** All that it has written to stderr. */
  get stderr(): string {
    return this.#lines.join("\n");
  }

  /** All that it has written to stdout. */
  get stdout(): Uint8Array<ArrayBuffer> {
    const all = new Uint8Array(this.#stdoutBytes);
    let at = 0;
    for (const part of this.#stdout) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  /** The first match of a pattern in a line of stderr, now or later. */
  async line(pattern: RegExp): Promise<RegExpExecArray> {
    const [first] = await this.lines(pattern, 1);
    return first!;
  }

  /** The first so many matches of a pattern in lines of stderr, now or later. */
  async lines(pattern: RegExp, count: number): Promise<RegExpExecArray[]> {
    const found = await this.#until(() => {
      const matches: RegExpExecArray[] = [];
      for (const line of this.#lines) {
        const match = pattern.exec(line);
        if (match) matches.push(match);
        if (matches.length === count) return matches;
      }
    }, `${count} lines like ${pattern}`);
    if (found) return found;
    throw new Error(
      `Process ended without ${count} lines like ${pattern}:\n${this.stderr}`,
    );
  }

  /** Resolves when stdout has at least so many bytes. */
  async stdoutBytes(least: number): Promise<Uint8Array<ArrayBuffer>> {
    const enough = await this.#until(
      () => this.#stdoutBytes >= least ? true : undefined,
      `${least} bytes on stdout, not ${this.#stdoutBytes}`,
    );
    if (enough) return this.stdout;
    throw new Error(
      `Process ended with ${this.#stdoutBytes} of ${least} bytes on stdout:\n${this.stderr}`,
    );
  }

  /** Sends a signal. */
  signal(signal: Deno.Signal): void {
    if (this.#ended) return;
    try {
      this.#child.kill(signal);
    } catch (error) {
      // It has ended, and what tells us so is on its way.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  /** Sends SIGTERM and waits for the end. */
  stop(): Promise<ProcessEnd> {
    this.signal("SIGTERM");
    return this.end;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.signal("SIGKILL");
    await this.end;
  }

  async #until<T>(
    probe: () => T | undefined,
    what: string,
  ): Promise<T | undefined> {
    const deadline = performance.now() + DEADLINE_MS;
    for (;;) {
      const found = probe();
      if (found !== undefined || this.#ended) return found;
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`Never came: ${what}\n${this.stderr}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#waiting.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  #notify(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  async #watch(): Promise<ProcessEnd> {
    const [status] = await Promise.all([
      this.#child.status,
      this.#readStdout(),
      this.#readStderr(),
    ]);
    // A test that never wrote to it need not close it; one that did has it locked.
    if (this.#hasStdin && !this.#child.stdin.locked) {
      await this.#child.stdin.abort().catch(() => {});
    }
    this.#ended = true;
    this.#notify();
    const { code, signal } = status;
    return { code, signal, stdout: this.stdout, stderr: this.stderr };
  }

  async #readStdout(): Promise<void> {
    if (this.#stdoutMode !== "read") {
      if (this.#stdoutMode === "unread") await this.#child.status;
      await this.#child.stdout.cancel();
      return;
    }
    for await (const part of this.#child.stdout) {
      this.#stdout.push(part);
      this.#stdoutBytes += part.length;
      this.#notify();
    }
  }

  async #readStderr(): Promise<void> {
    let rest = "";
    for await (
      const part of this.#child.stderr.pipeThrough(new TextDecoderStream())
    ) {
      const lines = (rest + part).split("\n");
      rest = lines.pop()!;
      this.#lines.push(...lines);
      this.#notify();
    }
    if (rest !== "") this.#lines.push(rest);
  }
}

/** Starts a role's command as a user does. */
export function startRole(
  role: string,
  args: readonly string[],
  options: ProcessOptions = {},
): TestProcess {
  const main = `${ROOT}cli/${role}/main.ts`;
  return new TestProcess(
    Deno.execPath(),
    ["run", ...options.denoFlags ?? ["-A"], main, ...args],
    options,
  );
}

/** Runs a role that must refuse its arguments: exit code 2 and one line on stderr. */
export async function assertWrongUsage(
  role: string,
  args: readonly string[],
  line: RegExp,
  options: ProcessOptions = {},
): Promise<void> {
  await using process = startRole(role, args, options);
  const { code, stderr, stdout } = await process.end;
  assertEquals([code, stdout.length], [2, 0], stderr);
  assertMatch(stderr, line);
  assertEquals(stderr.split("\n").length, 1, stderr);
}

/** Starts a peer program. */
export function startPeer(
  program: string,
  args: readonly string[],
  options: ProcessOptions = {},
): TestProcess {
  return new TestProcess(program, args, options);
}
