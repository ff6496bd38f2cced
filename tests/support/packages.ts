/**
 * The packages as a stranger gets them: exactly the files that a dry run would
 * publish, in a folder of their own, linked to each other by name.
 */
import { packageFolders, stageTree } from "../../tools/publish_check.ts";
import { linkedFolder } from "../../tools/unlink.ts";
import { basename, dirname, fromFileUrl, join, relative } from "@std/path";

/** Packages in a folder. */
export interface UnpackedPackages {
  /** Where a user stands: a folder with nothing but a deno.json that links the packages. */
  app: string;
  /** Folder of each package by its name. */
  folders: Map<string, string>;
}

/** Unpacks what would be published into an empty folder. */
export async function unpackPackages(
  folder: string,
): Promise<UnpackedPackages> {
  const staging = join(folder, "staging");
  const tree = await stageTree(staging);
  const folders = new Map<string, string>();
  const versions = new Map<string, string>();
  for (const member of await packageFolders(tree)) {
    const from = join(tree, member);
    const manifest = await readManifest(from);
    const to = join(folder, "packages", manifest.name);
    for (const file of await publishedFiles(from)) {
      const target = join(to, relative(from, file));
      await Deno.mkdir(dirname(target), { recursive: true });
      await Deno.copyFile(file, target);
    }
    folders.set(manifest.name, to);
    versions.set(manifest.name, manifest.version);
  }
  // The registry rewrites imports of siblings by name to its own addresses;
  // what is meant for the checkout alone, it leaves out of account.
  const siblings = Object.fromEntries(
    [...versions].map((
      [name, version],
    ) => [name, `jsr:${name}@^${version}`]),
  );
  for (const to of folders.values()) {
    const { workspace: _, links: __, tasks: ___, ...manifest } =
      await readManifest(to);
    manifest.imports = { ...manifest.imports, ...siblings };
    await Deno.writeTextFile(join(to, "deno.json"), JSON.stringify(manifest));
  }
  // The stand-ins, or what was linked in their place, or nothing: then they
  // come from their registry.
  const { links = [] } = await readManifest(tree);
  const std: string[] = [];
  for (const link of links) {
    const to = join(folder, "packages", "@std", basename(link));
    await copyFolder(linkedFolder(link, tree), to);
    std.push(to);
  }
  await Deno.remove(staging, { recursive: true });
  const app = join(folder, "app");
  await Deno.mkdir(app);
  const config = {
    links: [...folders.values(), ...std].map((path) => relative(app, path)),
    imports: siblings,
  };
  await Deno.writeTextFile(join(app, "deno.json"), JSON.stringify(config));
  return { app, folders };
}

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyFolder(join(from, name), join(to, name));
    else await Deno.copyFile(join(from, name), join(to, name));
  }
}

// deno-lint-ignore no-explicit-any
async function readManifest(folder: string): Promise<any> {
  return JSON.parse(await Deno.readTextFile(join(folder, "deno.json")));
}

/** Files that a dry run says it would publish. */
async function publishedFiles(folder: string): Promise<string[]> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["publish", "--dry-run", "--allow-dirty", "--no-check"],
    cwd: folder,
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout) +
    new TextDecoder().decode(stderr);
  if (!success) throw new Error(`Dry run failed in "${folder}":\n${text}`);
  return [...text.matchAll(/^ +(file:\/\/\S+) \(/gm)]
    .map(([, url]) => fromFileUrl(url!));
}
