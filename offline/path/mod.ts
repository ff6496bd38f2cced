/**
 * Stand-in for `@std/path` where JSR cannot be reached: the functions that
 * this project uses, with the signatures of the real package.
 *
 * @module
 */
import { posix, win32 } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const native = Deno.build.os === "windows" ? win32 : posix;

/** Last part of a path, less `suffix`. */
export function basename(path: string, suffix = ""): string {
  return native.basename(path, suffix);
}

/** All of a path but its last part. */
export function dirname(path: string): string {
  return native.dirname(path);
}

/** Extension of a path with its dot, or "". */
export function extname(path: string): string {
  return native.extname(path);
}

/** Joins the parts and normalizes the result. */
export function join(path: string, ...paths: string[]): string {
  return native.join(path, ...paths);
}

/** Absolute path of the parts, resolved right to left. */
export function resolve(...segments: string[]): string {
  return native.resolve(...segments);
}

/** Path of `to` as seen from `from`. */
export function relative(from: string, to: string): string {
  return native.relative(from, to);
}

/** Whether a path starts at a root. */
export function isAbsolute(path: string): boolean {
  return native.isAbsolute(path);
}

/** Path of a `file:` URL. */
export function fromFileUrl(url: URL | string): string {
  return fileURLToPath(url);
}

/** `file:` URL of an absolute path. */
export function toFileUrl(path: string): URL {
  return pathToFileURL(path);
}
