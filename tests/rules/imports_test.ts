/** Imports go downwards: cli → roles → loops → engine seam → engines → FFI room. */
import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";

/** Layers from the top; a file belongs to the first one whose pattern fits. */
const LAYERS: readonly (readonly [name: string, pattern: RegExp])[] = [
  ["commands", /^cli\/[^/]+\//],
  ["command runner", /^cli\//],
  ["library", /^mod\.ts$/],
  ["roles", /^net\/(dispatch|tcp|mqtt|control)\//],
  ["placement", /^net\/place\//],
  ["engine choice", /^net\/engine\/choose/],
  ["engines", /^net\/engine\/(portable|linux\/(?!ffi\/)|memory)/],
  ["FFI room", /^net\/engine\/linux\/ffi\//],
  ["engine seam", /^net\/engine\//],
  ["ground", /^net\//],
];

/** A Worker's entry is at the end of a message, not of an import: it may use the roles' loops. */
const WORKER_ENTRIES = /_worker\.ts$/;

interface Module {
  specifier: string;
  dependencies?: {
    code?: { specifier?: string };
    type?: { specifier?: string };
  }[];
}

Deno.test("imports go downwards and in no circle", async () => {
  const root = new URL("../../", import.meta.url).href;
  const modules = await moduleGraph(fromFileUrl(root));
  const edges = new Map<string, string[]>();
  for (const { specifier, dependencies = [] } of modules) {
    if (!isOurs(specifier, root)) continue;
    const from = specifier.slice(root.length);
    edges.set(
      from,
      dependencies.flatMap((
        { code, type },
      ) => [code?.specifier, type?.specifier])
        .filter((to): to is string => to !== undefined && isOurs(to, root))
        .map((to) => to.slice(root.length)),
    );
  }
  const upward = [...edges].flatMap(([from, targets]) =>
    targets.filter((to) =>
      !WORKER_ENTRIES.test(from) && layerOf(to) < layerOf(from)
    )
      .map((to) => `${from} → ${to}`)
  );
  assertEquals(upward, []);
  assertEquals(circles(edges), []);
});

async function moduleGraph(root: string): Promise<Module[]> {
  const entries = [
    "mod.ts",
    "cli/mod.ts",
    "net/udp/worker/loop_worker.ts",
    "net/engine/linux/stream/reactor_worker.ts",
  ];
  for (const { name, isDirectory } of Deno.readDirSync(`${root}cli`)) {
    if (isDirectory) entries.push(`cli/${name}/main.ts`);
  }
  const modules = new Map<string, Module>();
  for (const entry of entries) {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", entry],
      cwd: root,
      stderr: "inherit",
    }).output();
    const info = JSON.parse(new TextDecoder().decode(stdout)) as {
      modules: Module[];
    };
    for (const module of info.modules) modules.set(module.specifier, module);
  }
  return [...modules.values()];
}

function isOurs(specifier: string, root: string): boolean {
  return specifier.startsWith(root) && /\.ts$/.test(specifier) &&
    !specifier.startsWith(`${root}offline/`);
}

function layerOf(file: string): number {
  const layer = LAYERS.findIndex(([, pattern]) => pattern.test(file));
  if (layer < 0) throw new Error(`${file} belongs to no layer`);
  return layer;
}

/** Each circle once, as the files along it. */
function circles(edges: Map<string, string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): void => {
    const at = path.indexOf(file);
    if (at >= 0) {
      found.push([...path.slice(at), file].join(" → "));
      return;
    }
    if (done.has(file)) return;
    path.push(file);
    for (const next of edges.get(file) ?? []) visit(next);
    path.pop();
    done.add(file);
  };
  for (const file of edges.keys()) visit(file);
  return found;
}
