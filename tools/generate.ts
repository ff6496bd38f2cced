/**
 * Writes everything that is made from the option tables and from results:
 * README tables, pages of the roles, systemd units, the picture of the roles.
 *
 *     deno task generate            writes
 *     deno task generate --check    fails if something is not up to date
 */
import { fromFileUrl } from "@std/path";

const WRITERS = ["write_readme", "write_docs", "write_units", "draw_roles"];

/** Runs all writers; true if each succeeded. */
export async function generate(args: readonly string[]): Promise<boolean> {
  let ok = true;
  for (const writer of WRITERS) {
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", `tools/${writer}.ts`, ...args],
      cwd: fromFileUrl(new URL("..", import.meta.url)),
      stdout: "inherit",
      stderr: "inherit",
    }).output();
    ok &&= success;
  }
  return ok;
}

if (import.meta.main) Deno.exit(await generate(Deno.args) ? 0 : 1);
