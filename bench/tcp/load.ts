/** The load of the tcp suite: a C program, compiled where a benchmark begins. */
import { fromFileUrl, join } from "@std/path";

const SOURCE = fromFileUrl(new URL("../load/tcp_load.c", import.meta.url));

/** A compiled load, or why there is none. */
export interface Load {
  path: string;
  missing?: string;
}

/** Compiles the load into a folder. */
export async function compileLoad(folder: string): Promise<Load> {
  const path = join(folder, "tcp_load");
  try {
    const { success, stderr } = await new Deno.Command("gcc", {
      args: ["-O2", "-pthread", "-o", path, SOURCE],
    }).output();
    if (success) return { path };
    const [line] = new TextDecoder().decode(stderr).split("\n")
      .filter((line) => line.includes("error"));
    return {
      path,
      missing:
        `the load does not compile, ${line}: apt-get install gcc libc6-dev`,
    };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return {
      path,
      missing: "no compiler for the load: apt-get install gcc libc6-dev",
    };
  }
}
