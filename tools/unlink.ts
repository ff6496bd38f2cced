/**
 * Takes the stand-ins of offline/ out of deno.json, so that the standard
 * library comes from its registry. With a folder of real packages, such as a
 * checkout of denoland/std, links those in their place.
 *
 *     deno task unlink [FOLDER]
 */
import { fromFileUrl, join, resolve, toFileUrl } from "@std/path";

const MANIFEST = fromFileUrl(new URL("../deno.json", import.meta.url));

/**
 * The manifest without the stand-ins, or with other folders linked in their
 * place. The lock is no longer frozen: it has no entries for what replaces them.
 */
export function unlinked(manifest: string, links?: readonly string[]): string {
  const { links: _, ...rest } = JSON.parse(manifest);
  const thawed = { ...rest, lock: { ...rest.lock, frozen: false } };
  return JSON.stringify(links ? { ...thawed, links } : thawed, null, 2) + "\n";
}

/** The folder that a link of a manifest names, which lies in `root`. */
export function linkedFolder(link: string, root: string): string {
  return link.startsWith("file:") ? fromFileUrl(link) : resolve(root, link);
}

/**
 * Links to all `@std` packages in a folder's subfolders: those that the manifest
 * imports want others of their kind. Throws a TypeError where one that it
 * imports is not there.
 */
export async function standardPackages(
  folder: string,
  manifest: string,
): Promise<string[]> {
  const found = new Map<string, string>();
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (!isDirectory) continue;
    const path = join(folder, name);
    const own = await packageName(join(path, "deno.json"));
    // An address: Deno would take the drive of a Windows path for a scheme.
    if (own?.startsWith("@std/")) found.set(own, toFileUrl(path).href);
  }
  const { imports } = JSON.parse(manifest) as { imports: object };
  for (const name of Object.keys(imports)) {
    if (name.startsWith("@std/") && !found.has(name)) {
      throw new TypeError(
        `"${folder}" has no folder with the package ${name}: each wants its deno.json`,
      );
    }
  }
  return [...found.values()].sort();
}

async function packageName(file: string): Promise<string | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(file)).name;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

if (import.meta.main) {
  const [folder, ...rest] = Deno.args;
  const manifest = await Deno.readTextFile(MANIFEST);
  try {
    if (rest.length > 0) throw new TypeError("one folder is wanted, or none");
    const links = folder === undefined
      ? undefined
      : await standardPackages(resolve(folder), manifest);
    await Deno.writeTextFile(MANIFEST, unlinked(manifest, links));
  } catch (error) {
    if (
      !(error instanceof TypeError || error instanceof Deno.errors.NotFound)
    ) throw error;
    await Deno.stderr.write(
      new TextEncoder().encode(`unlink: ${error.message}\n`),
    );
    Deno.exit(2);
  }
}
