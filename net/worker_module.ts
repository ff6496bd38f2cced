/** Whether a Worker can be started from a module of this package. */
import { fromFileUrl } from "@std/path";

/**
 * Why a module cannot be loaded into a Worker, or undefined where it can. A
 * Worker's module is no part of the program's graph: from a disk it wants
 * `--allow-read`, from JSR it is permitted unless `--allow-import` says less.
 * Never prompts.
 */
export function workerModuleUnreadable(url: string): string | undefined {
  if (!url.startsWith("file:")) return undefined;
  const path = fromFileUrl(url);
  const { state } = Deno.permissions.querySync({ name: "read", path });
  if (state === "granted") return undefined;
  return `its thread may not read "${path}": permit it with --allow-read="${path}"`;
}
