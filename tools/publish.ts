/**
 * Publishes every package, the library first, from a copy of the tree without
 * the stand-ins of offline/: they are part of no package. In a workflow with
 * an identity token; anywhere else Deno asks who publishes.
 *
 *     deno run -A tools/publish.ts [--dry-run]
 */
import { join } from "@std/path";
import { packageFolders, stageTree } from "./publish_check.ts";
import { unlinked } from "./unlink.ts";

if (import.meta.main) {
  const folder = await Deno.makeTempDir();
  let code = 0;
  try {
    const tree = await stageTree(folder);
    if (!Deno.args.includes("--dry-run")) {
      const config = join(tree, "deno.json");
      await Deno.writeTextFile(
        config,
        unlinked(await Deno.readTextFile(config)),
      );
    }
    for (const member of await packageFolders(tree)) {
      ({ code } = await new Deno.Command(Deno.execPath(), {
        args: ["publish", "--allow-dirty", "--no-check", ...Deno.args],
        cwd: join(tree, member),
      }).spawn().status);
      if (code !== 0) break;
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  Deno.exit(code);
}
