/**
 * Everything that is checked apart from the tests: format, lint, types,
 * generated texts, documentation, packages, programs. Runs all steps, prints
 * what each took, and fails if one of them failed.
 *
 *     deno task ok
 */
import { fromFileUrl } from "@std/path";

const STEPS: readonly (readonly [name: string, args: readonly string[]])[] = [
  ["format", ["fmt", "--check"]],
  ["lint", ["lint"]],
  ["types", ["check", "."]],
  ["generated texts", ["run", "-A", "tools/generate.ts", "--check"]],
  ["documentation", ["task", "doc"]],
  ["dry run of publishing", ["run", "-A", "tools/publish_check.ts"]],
  ["packages, programs, pages", ["task", "ship"]],
];

const encoder = new TextEncoder();

async function main(): Promise<number> {
  const failed: string[] = [];
  for (const [name, args] of STEPS) {
    const startedMs = performance.now();
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: [...args],
      cwd: fromFileUrl(new URL("..", import.meta.url)),
      stdout: "inherit",
      stderr: "inherit",
    }).output();
    if (!success) failed.push(name);
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    print(`${success ? "ok" : "FAILED"}: ${name} (${seconds} s)`);
  }
  if (failed.length > 0) print(`failed: ${failed.join(", ")}`);
  return failed.length === 0 ? 0 : 1;
}

function print(line: string): void {
  Deno.stderr.writeSync(encoder.encode(`${line}\n`));
}

if (import.meta.main) Deno.exit(await main());
