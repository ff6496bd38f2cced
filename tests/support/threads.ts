/** What a process holds: threads of Workers, descriptors; by what Linux tells. */
import { setImmediate } from "node:timers";

/** How many Workers a process has that have not ended yet. */
export function workerThreads(pid: number | "self" = "self"): number {
  let count = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    try {
      const comm = Deno.readTextFileSync(`/proc/${pid}/task/${name}/comm`);
      if (comm.startsWith("worker-")) count++;
    } catch {
      // It has ended since the folder was read.
    }
  }
  return count;
}

/** How many descriptors this process has. */
export function descriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

/** How long a test waits for what must come: only broken code lets it pass. */
const DEADLINE_MS = 60_000;

/** Resolves when a condition holds that nobody tells of: it is looked at again and again. */
export async function holds(
  condition: () => boolean,
  what: () => string,
): Promise<void> {
  const end = performance.now() + DEADLINE_MS;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`Never came: ${what()}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
