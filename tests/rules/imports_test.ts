/** Imports go down: commands, roles, engine choice, engines, balancing, FFI room, seams, ground. */
import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";

/** Floors from the top; a file belongs to the first one whose pattern matches. */
const FLOORS: readonly (readonly [name: string, pattern: RegExp])[] = [
  ["commands", /^cli\/[^/]+\//],
  ["command runner", /^cli\//],
  ["library", /^mod\.ts$/],
  ["roles", /^net\/(udp|relay|tunnel|loadtest|echo|mqtt)\//],
  ["engine choice", /^net\/engine\/choose_/],
  ["engines", /^net\/engine\/(portable|linux\/(?!ffi\/)|memory)/],
  ["balancing", /^net\/engine\/balancing\//],
  ["FFI room", /^net\/engine\/linux\/ffi\//],
  ["engine seams", /^net\/engine\//],
  ["ground", /^net\//],
];

/** Rooms on one floor: a product uses no other product, a plane no other plane. */
const ROOMED = new Set(["roles", "engines"]);
const ROOMS = /^net\/(?:engine\/(?:portable|linux)|[^/]+)(?=\/)/;

interface Module {
  specifier: string;
  dependencies?: {
    code?: { specifier?: string };
    type?: { specifier?: string };
  }[];
}

Deno.test("imports go down, never to another room of the same floor, and in no circle", async () => {
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
  const wrong = [...edges].flatMap(([from, targets]) =>
    targets.filter((to) => floorOf(to) < floorOf(from) || isAcross(from, to))
      .map((to) => `${from} → ${to}`)
  );
  assertEquals(wrong, []);
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

function floorOf(file: string): number {
  const floor = FLOORS.findIndex(([, pattern]) => pattern.test(file));
  if (floor < 0) throw new Error(`${file} belongs to no floor`);
  return floor;
}

/** Whether both lie on one floor, but in different rooms of it. */
function isAcross(from: string, to: string): boolean {
  const floor = floorOf(from);
  if (floor !== floorOf(to) || !ROOMED.has(FLOORS[floor]![0])) return false;
  return roomOf(from) !== roomOf(to);
}

function roomOf(file: string): string | undefined {
  return ROOMS.exec(file)?.[0];
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
