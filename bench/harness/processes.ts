/** What Linux tells about processes and their sockets, in /proc (proc(5)). */

/** Clock ticks a second of /proc/PID/stat: USER_HZ is 100 on every Linux. */
const TICKS_PER_SECOND = 100;

/** What others may use of a calm machine, looked at for so long. */
const CALM_SHARE = 0.15;
const CALM_MS = 200;

const POLL_MS = 5;
const MOST_WAIT_MS = 10_000;

/** CPU seconds, in user and system mode, of processes with all threads and children. */
export function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids.flatMap(processTree)) {
    // The name in parentheses may hold spaces: fields count from behind it.
    const stat = read(`/proc/${pid}/stat`);
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  }
  return ticks / TICKS_PER_SECOND;
}

/** CPU seconds that the machine has spent, and what of them this process and its ended children have. */
export function machineSeconds(): { all: number; own: number } {
  // user, nice and system of all; waiting and interrupts belong to nobody.
  const [, user, nice, system] = read("/proc/stat").split(/\s+/).map(Number);
  const stat = read(`/proc/${Deno.pid}/stat`);
  const own = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
    .slice(11, 15).map(Number);
  return {
    all: (user! + nice! + system!) / TICKS_PER_SECOND,
    own: own.reduce((sum, ticks) => sum + ticks, 0) / TICKS_PER_SECOND,
  };
}

/** Resolves when others leave most of the machine idle, or when patience is over. */
export async function calm(patienceSeconds: number): Promise<void> {
  const end = performance.now() + patienceSeconds * 1000;
  while (performance.now() < end) {
    const before = machineSeconds().all;
    await sleep(CALM_MS);
    const used = machineSeconds().all - before;
    const share = used / (CALM_MS / 1000 * navigator.hardwareConcurrency);
    if (share < CALM_SHARE) return;
  }
}

/** Most resident memory that processes and their children ever had, in bytes. */
export function peakBytes(pids: readonly number[]): number {
  return statusBytes(pids, "VmHWM");
}

/** Resident memory of processes and their children now, in bytes. */
export function residentBytes(pids: readonly number[]): number {
  return statusBytes(pids, "VmRSS");
}

function statusBytes(pids: readonly number[], field: string): number {
  let kib = 0;
  for (const pid of pids.flatMap(processTree)) {
    const match = new RegExp(`^${field}:\\s*(\\d+) kB`, "m").exec(
      read(`/proc/${pid}/status`),
    );
    kib += Number(match?.[1] ?? 0);
  }
  return kib * 1024;
}

/** Bytes that a process has read, of files, pipes and sockets by read(2). */
export function readBytes(pid: number): number {
  const match = /^rchar: (\d+)/m.exec(read(`/proc/${pid}/io`));
  return Number(match?.[1] ?? 0);
}

/** A process and all that it has started, as far as they still run. */
export function processTree(pid: number): number[] {
  const pids = [pid];
  for (let i = 0; i < pids.length; i++) {
    let tasks: Deno.DirEntry[];
    try {
      tasks = [...Deno.readDirSync(`/proc/${pids[i]}/task`)];
    } catch {
      // It has ended.
      continue;
    }
    for (const { name } of tasks) {
      const children = read(`/proc/${pids[i]}/task/${name}/children`);
      for (const child of children.split(" ")) {
        if (child.trim() !== "") pids.push(Number(child));
      }
    }
  }
  return pids;
}

/** A port that nobody had a moment ago. */
export function freePort(transport: "udp" | "tcp"): number {
  const options = { hostname: "127.0.0.1", port: 0 };
  const socket = transport === "udp"
    ? Deno.listenDatagram({ ...options, transport })
    : Deno.listen({ ...options, transport });
  const { port } = socket.addr as Deno.NetAddr;
  socket.close();
  return port;
}

/** Resolves when somebody has bound (UDP) or listens on (TCP) a port. */
export async function portTaken(
  transport: "udp" | "tcp",
  port: number,
): Promise<void> {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  // A TCP listener's state is 0A; UDP sockets that are not connected have 07.
  const line = new RegExp(
    `:${hex} [0-9A-F]+:0000 ${transport === "tcp" ? "0A" : "07"} `,
  );
  await until(
    () =>
      [transport, `${transport}6`].some((table) =>
        line.test(read(`/proc/net/${table}`))
      ),
    `nobody took ${transport} port ${port}`,
  );
}

/** Resolves when a TCP port takes connections; whoever listens there sees one that ends at once. */
export async function portAnswers(port: number): Promise<void> {
  const start = performance.now();
  for (;;) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      if (performance.now() - start > MOST_WAIT_MS) {
        throw new Error(`nobody took tcp port ${port}`);
      }
      await sleep(POLL_MS);
    }
  }
}

/** Resolves when a condition holds; throws after ten seconds. */
export async function until(
  condition: () => boolean,
  otherwise: string,
): Promise<void> {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > MOST_WAIT_MS) throw new Error(otherwise);
    await sleep(POLL_MS);
  }
}

/** Waits; a benchmark measures time, so it may. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    // A process that has ended, or a table of a protocol that is not there.
    return "";
  }
}
