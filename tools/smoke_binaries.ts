/**
 * Runs each program of a target: its version, and its role once over loopback.
 *
 *     deno run -A tools/smoke_binaries.ts dist x86_64-unknown-linux-gnu
 */
import { resolve } from "@std/path";
import { roleSmoke } from "../tests/support/role_smoke.ts";
import { TestProcess } from "../tests/support/process.ts";
import { fileName, programs } from "./compile.ts";
import manifest from "../deno.json" with { type: "json" };

if (import.meta.main) {
  const [dist = "dist", target] = Deno.args;
  const folder = await Deno.makeTempDir();
  try {
    for (const program of programs) {
      const file = resolve(dist, fileName(program, target));
      // Artifacts lose the mode of their files.
      if (Deno.build.os !== "windows") await Deno.chmod(file, 0o755);
      await using version = new TestProcess(file, ["--version"]);
      const { stdout, stderr } = await version.end;
      const said = new TextDecoder().decode(stdout).trim();
      if (said !== `${program.name} ${manifest.version}`) {
        throw new Error(`"${file} --version" says "${said}": ${stderr}`);
      }
      const all = program.name === "mproxy";
      const role = all ? "echo" : program.name.slice("mproxy-".length);
      await roleSmoke[role]!(
        (...args) => new TestProcess(file, all ? [role, ...args] : args),
        folder,
      );
      await Deno.stdout.write(new TextEncoder().encode(`${said}: ok\n`));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
