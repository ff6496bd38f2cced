/**
 * A role in which something hangs or fails: run as a program by the tests of
 * the end. The argument of `--what` says what.
 */
import {
  choice,
  type Command,
  counted,
  defineCommand,
  runCommand,
} from "../../cli/mod.ts";

/** What can be wrong. */
export const TROUBLES = [
  "drain",
  "dispose",
  "call",
  "worker",
  "pipe",
  "rejection",
  "exception",
  "dead-worker",
  "early-rejection",
  "start",
] as const;

const SLEEP = { sleep: { parameters: ["u32"], result: "u32" } } as const;
const LONG_SECONDS = 600;
const forever = new Promise<void>(() => {});

function worker(source: string): Worker {
  const url = URL.createObjectURL(
    new Blob([source], { type: "text/javascript" }),
  );
  return new Worker(url, { type: "module" });
}

/** Starts the trouble. */
async function start(what: typeof TROUBLES[number]): Promise<void> {
  switch (what) {
    case "call": {
      const { symbols } = Deno.dlopen("libc.so.6", {
        sleep: { ...SLEEP.sleep, nonblocking: true },
      });
      void symbols.sleep(LONG_SECONDS);
      break;
    }
    case "worker":
      worker(
        `Deno.dlopen("libc.so.6", ${JSON.stringify(SLEEP)})
          .symbols.sleep(${LONG_SECONDS});`,
      );
      break;
    case "pipe": {
      const path = await Deno.makeTempFile();
      await Deno.remove(path);
      await new Deno.Command("mkfifo", { args: [path] }).output();
      // Nobody ever opens the other end.
      void Deno.readTextFile(path);
      break;
    }
    case "rejection":
      setTimeout(() => void Promise.reject(new TypeError("nobody awaits\nme")));
      break;
    case "exception":
      setTimeout(() => {
        throw new RangeError("nobody catches me");
      });
      break;
    case "dead-worker":
      worker("setTimeout(() => { throw new Error('the end of a Worker'); });");
      break;
    case "early-rejection":
      void Promise.reject(new TypeError("nobody awaits me"));
      await forever;
      break;
    case "start":
      setInterval(() => {}, 60_000);
      // deno-lint-ignore no-console
      console.error("starting");
      await forever;
  }
}

const command: Command = defineCommand({
  name: "hang",
  summary: "Hang or fail",
  examples: [],
  options: { what: choice("What is wrong", TROUBLES, "drain") },
  async start({ what }, { log }) {
    await start(what);
    const done = Promise.withResolvers<void>();
    // What a role that works does.
    const isFine = what === "rejection" || what === "exception";
    const keepAlive = setInterval(() => {}, 60_000);
    log.info("started");
    return {
      role: {
        finished: done.promise,
        drain: async () => {
          if (isFine || what === "dispose") done.resolve();
          await done.promise;
        },
        [Symbol.asyncDispose]: async () => {
          clearInterval(keepAlive);
          if (!isFine) await forever;
        },
      },
      metrics: () => [],
      summary: () => [counted(1, "summary")],
      inFlight: () => ({ count: 3, noun: "connection" }),
    };
  },
});

if (import.meta.main) await runCommand(command);
