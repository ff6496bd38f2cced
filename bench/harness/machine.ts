/** Where a benchmark ran. */

/** The machine and the programs on it, for the results. */
export interface Machine {
  date: string;
  cpu: string;
  cores: number;
  memoryGb: number;
  kernel: string;
  deno: string;
  /** Load average of the last minute when the run began. */
  load: number;
  /** Bytes that SO_RCVBUF may ask for. */
  receiveBufferMost: number;
}

/** Describes this machine. */
export function describeMachine(): Machine {
  const cpu = /^model name\s*: (.*)$/m.exec(text("/proc/cpuinfo"))?.[1] ??
    Deno.build.arch;
  return {
    date: new Date().toISOString().slice(0, 16).replace("T", " ") + " UTC",
    cpu,
    cores: navigator.hardwareConcurrency,
    memoryGb: Math.round(Deno.systemMemoryInfo().total / 1e9),
    kernel: `Linux ${Deno.osRelease()}`,
    deno: Deno.version.deno,
    load: Deno.loadavg()[0]!,
    receiveBufferMost: Number(text("/proc/sys/net/core/rmem_max")),
  };
}

/** The first line that a program prints of itself that holds a digit; undefined where it is not there. */
export async function programVersion(
  program: string,
  ...args: string[]
): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await new Deno.Command(program, {
      args,
      stdin: "null",
    }).output();
    const decoder = new TextDecoder();
    return `${decoder.decode(stdout)}\n${decoder.decode(stderr)}`.split("\n")
      .find((line) => /\d/.test(line))?.trim() ?? program;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** How many files a process may have open at most. */
export function openFilesLimit(): number {
  const [, hard] =
    /^Max open files\s+\S+\s+(\S+)/m.exec(text("/proc/self/limits")) ?? [];
  return hard === undefined || hard === "unlimited" ? Infinity : Number(hard);
}

function text(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}
