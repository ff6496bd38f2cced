/**
 * Takes the stand-ins of offline/ out of deno.json, so that the standard
 * library comes from its registry. With a folder, links the packages there.
 *
 *     deno run -A .ci/unlink.ts [FOLDER]
 */
import { fromFileUrl } from "@std/path";

/** The manifest without the stand-ins, or with those of a folder in their place. */
export function unlinked(manifest: string, folder?: string): string {
  const { links, ...rest } = JSON.parse(manifest) as { links: string[] };
  const replaced = folder === undefined ? {} : {
    links: links.map((link) => link.replace("./offline", folder)),
  };
  return JSON.stringify({ ...rest, ...replaced }, null, 2) + "\n";
}

if (import.meta.main) {
  const file = fromFileUrl(new URL("../deno.json", import.meta.url));
  await Deno.writeTextFile(
    file,
    unlinked(await Deno.readTextFile(file), Deno.args[0]),
  );
}
