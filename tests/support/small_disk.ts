/** A disk that is soon full: a tmpfs of a few pages, mounted for one test. */
import { needsLinux, needsProgram, type SkipReason } from "./skip.ts";

function run(program: string, ...args: string[]): boolean {
  return new Deno.Command(program, { args, stderr: "null" }).outputSync()
    .success;
}

/** A reason where this process may not mount. */
export function needsSmallDisk(): SkipReason {
  const reason = needsLinux() ?? needsProgram("mount", "umount");
  if (reason) return reason;
  if (Deno.uid() !== 0) return "mounting needs root";
  const folder = Deno.makeTempDirSync({ prefix: "mproxy-disk-" });
  try {
    if (!run("mount", "-t", "tmpfs", "-o", "size=16k", "none", folder)) {
      return "mounting is not permitted";
    }
    run("umount", "--lazy", folder);
  } finally {
    Deno.removeSync(folder);
  }
  return undefined;
}

/** Mounts a disk of so many KiB for as long as `fn` runs. */
export async function withSmallDisk(
  kib: number,
  fn: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "mproxy-disk-" });
  run("mount", "-t", "tmpfs", "-o", `size=${kib}k`, "none", folder);
  try {
    await fn(folder);
  } finally {
    run("umount", "--lazy", folder);
    Deno.removeSync(folder);
  }
}
