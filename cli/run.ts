/**
 * Runs a command: arguments to values, help, configuration, log, metrics door,
 * signals, progress, summary, exit code. The only place that ends the process.
 */
import type { Address } from "../net/address.ts";
import { formatAddress } from "../net/address.ts";
import { OperationError, UsageError } from "../net/errors.ts";
import { Log, LOG_LEVELS, writeStderr } from "../net/observe/log.ts";
import {
  type MetricsServer,
  serveMetrics,
} from "../net/observe/metrics_server.ts";
import { ProgressLine } from "../net/observe/terminal.ts";
import {
  address,
  choice,
  type Command,
  type CommandContext,
  type ConfigFile,
  flag,
  type OptionTable,
  type RunningRole,
  seconds,
  text,
  value,
  type Values,
} from "./command.ts";
import { configError, problemLines, readConfigFile } from "./config.ts";
import { helpText } from "./help.ts";
import { readValues, splitArguments } from "./parse.ts";
import { VERSION } from "./version.ts";

/** How often the progress line of a terminal is written again. */
const PROGRESS_MS = 250;

/** The options that every role has. */
export function commonOptions(command: Command) {
  return {
    config: value(
      "Read options from a TOML file; the command line wins",
      "FILE",
      text,
      {
        group: "Common options",
      },
    ),
    checkConfig: flag(
      "Show everything that is wrong with the configuration file, and exit",
      { group: "Common options" },
    ),
    metricsAddr: value(
      "Serve /metrics, /healthz and /readyz here; off for none",
      "HOST:PORT",
      (given): Address | undefined =>
        given === "off"
          ? undefined
          : address({ defaultHostname: "127.0.0.1", allowPortZero: true })(
            given,
          ),
      {
        group: "Common options",
        defaultText: command.metricsAddress ?? "off",
        ...(command.metricsAddress
          ? {
            fallback: address({ allowPortZero: true })(command.metricsAddress),
          }
          : {}),
      },
    ),
    logLevel: choice(
      "Leave out log lines below this level",
      LOG_LEVELS,
      "info",
      {
        group: "Common options",
      },
    ),
    logFormat: choice("How log lines look", ["text", "json"], "text", {
      group: "Common options",
    }),
    stats: value("Log a line of figures every so often", "SECONDS", seconds, {
      group: "Common options",
    }),
    quiet: flag("Only errors on stderr: no log, no progress, no summary", {
      group: "Common options",
    }),
    grace: value(
      "How long an end waits for what is in flight",
      "SECONDS",
      seconds,
      {
        group: "Common options",
        fallback: command.graceSeconds ?? 5,
        aliases: ["grace-period-secs"],
      },
    ),
    help: flag("Show this help", { short: "h", group: "Common options" }),
    version: flag("Show the version", { short: "V", group: "Common options" }),
  };
}

/** All options of a command: its own and the common ones. */
export function allOptions(command: Command): OptionTable {
  return { ...command.options, ...commonOptions(command) };
}

/** Runs a command to its end and exits: 0 done, 1 failed, 2 wrong usage. */
export async function runCommand(
  command: Command,
  args: readonly string[] = Deno.args,
  program = `mproxy-${command.name}`,
): Promise<never> {
  Deno.exit(await commandExitCode(command, args, program));
}

async function commandExitCode(
  command: Command,
  args: readonly string[],
  program: string,
): Promise<number> {
  let format: "text" | "json" = "text";
  try {
    const table = allOptions(command);
    const { texts, positionals } = splitArguments(args, table);
    if (texts.has("help")) {
      await writeStdout(helpText(program, command, table));
      return 0;
    }
    if (texts.has("version")) {
      await writeStdout(`${program} ${VERSION}\n`);
      return 0;
    }
    if (positionals.length > 0 && command.positionals === undefined) {
      throw new UsageError(
        `Unknown argument "${positionals[0]}": --help lists the options`,
      );
    }
    if (texts.has("checkConfig")) {
      return await checkConfig(command, table, texts);
    }
    const read = () => readAll(command, table, texts);
    const { values, config } = read();
    format = values.logFormat;
    return await runRole(command, values, {
      positionals,
      config,
      reread: read,
    });
  } catch (error) {
    const line = error instanceof UsageError || error instanceof OperationError
      ? error.message
      : `Internal error: ${error instanceof Error ? error.stack : error}`;
    if (format === "json") new Log({ format }).error(line);
    else writeStderr(`${program}: ${line}\n`);
    return error instanceof UsageError ? 2 : 1;
  }
}

/** Values of the common options, and of the command's own. */
type CommonValues =
  & Values<ReturnType<typeof commonOptions>>
  & Record<string, unknown>;

/** Command line over configuration file; throws a UsageError. */
function readAll(
  command: Command,
  table: OptionTable,
  texts: ReadonlyMap<string, readonly string[]>,
): { values: CommonValues; config: ConfigFile | undefined } {
  const path = texts.get("config")?.[0];
  const config = path === undefined
    ? undefined
    : readConfigFile(path, table, command);
  if (config && config.problems.length > 0) {
    throw configError(config.file, config.problems);
  }
  const given = new Map([...config?.texts ?? [], ...texts]);
  return { values: readValues(table, given) as CommonValues, config };
}

/** Shows every problem of the configuration file; exits with 2 where there is one. */
async function checkConfig(
  command: Command,
  table: OptionTable,
  texts: ReadonlyMap<string, readonly string[]>,
): Promise<number> {
  const path = texts.get("config")?.[0];
  if (path === undefined) {
    throw new UsageError("--check-config wants --config FILE too");
  }
  const config = readConfigFile(path, table, command);
  const problems = [...config.problems];
  try {
    const given = new Map([...config.texts, ...texts]);
    const values = readValues(table, given) as CommonValues;
    problems.push(...await command.checkConfig?.(config.root, values) ?? []);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    problems.push({ line: 1, column: 1, message: error.message });
  }
  if (problems.length === 0) {
    await writeStdout(`${path}: ok\n`);
    return 0;
  }
  for (const line of problemLines(path, problems)) writeStderr(`${line}\n`);
  return 2;
}

async function runRole(
  command: Command,
  values: CommonValues,
  given: Pick<CommandContext, "positionals" | "config" | "reread">,
): Promise<number> {
  const { quiet, logFormat, logLevel, grace, stats } = values;
  const terminal = !quiet && logFormat === "text" && Deno.stderr.isTerminal();
  const progressLine = new ProgressLine();
  const log = new Log({
    level: quiet ? "error" : logLevel,
    format: logFormat,
    write: (line) => progressLine.above(line),
  });
  const print = (line: string) => {
    if (quiet) return;
    if (logFormat === "text") progressLine.above(line);
    // Rules and empty lines are for eyes only.
    else if (/\w/.test(line)) log.info(line.trim());
  };
  const running = await command.start(values, {
    log,
    print,
    terminal,
    tables: given.config?.tables ?? {},
    ...given,
  });
  if (running === undefined) return 0;
  const { role, progress } = running;

  await using disposals = new AsyncDisposableStack();
  disposals.use(role);
  const signals = watchSignals(running, log, grace);
  disposals.defer(signals.unwatch);
  let metricsAddress: Address | undefined;
  if (values.metricsAddr) {
    const server = disposals.use(openMetrics(values.metricsAddr, running));
    metricsAddress = server.address;
    log.info("metrics door is open", {
      url: `http://${formatAddress(metricsAddress)}/metrics`,
    });
  }
  running.started?.(metricsAddress);
  if (progress && terminal) {
    const timer = setInterval(() => progressLine.show(progress()), PROGRESS_MS);
    disposals.defer(() => clearInterval(timer));
  }
  if (progress && stats) {
    const timer = setInterval(() => log.info(progress()), stats * 1000);
    disposals.defer(() => clearInterval(timer));
  }

  let failure: unknown;
  try {
    await Promise.race([role.finished, signals.graceIsOver]);
  } catch (error) {
    failure = error;
  }
  await disposals.disposeAsync();
  progressLine.clear();
  if (!quiet) summarize(running, log, logFormat);
  if (failure !== undefined) throw failure;
  return running.exitCode?.() ?? 0;
}

function openMetrics(address: Address, running: RunningRole): MetricsServer {
  return serveMetrics({
    address,
    metrics: running.metrics,
    ...(running.ready ? { ready: running.ready } : {}),
    ...(running.json ? { json: running.json } : {}),
  });
}

function summarize(
  running: RunningRole,
  log: Log,
  format: "text" | "json",
): void {
  if (format === "json") {
    log.info("summary", { lines: running.summary().join("\n") });
    return;
  }
  for (const line of running.summary()) writeStderr(`${line}\n`);
}

/** First SIGINT or SIGTERM drains, the second ends at once; SIGHUP reloads. */
function watchSignals(running: RunningRole, log: Log, graceSeconds: number) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const graceIsOver = Promise.withResolvers<void>();
  const end = (signal: Deno.Signal) => {
    if (timer !== undefined) {
      // 128 + SIGINT, as a shell reports it.
      Deno.exit(130);
    }
    log.info("draining: a second signal ends at once", { graceSeconds });
    timer = setTimeout(() => {
      log.warn("the grace period is over: ending with work in flight");
      graceIsOver.resolve();
    }, graceSeconds * 1000);
    running.draining?.(signal);
    running.role.drain().catch((error) => graceIsOver.reject(error));
  };
  const reload = async () => {
    try {
      await running.reload?.();
    } catch (error) {
      log.error(
        `Cannot reload: ${error instanceof Error ? error.message : error}`,
      );
    }
  };
  const handlers: [Deno.Signal, () => void][] = Deno.build.os === "windows"
    ? [["SIGINT", () => end("SIGINT")], ["SIGBREAK", () => end("SIGBREAK")]]
    : [["SIGINT", () => end("SIGINT")], ["SIGTERM", () => end("SIGTERM")]];
  if (running.reload && Deno.build.os !== "windows") {
    handlers.push(["SIGHUP", reload]);
  }
  for (const [signal, handler] of handlers) {
    Deno.addSignalListener(signal, handler);
  }
  return {
    graceIsOver: graceIsOver.promise,
    unwatch: () => {
      clearTimeout(timer);
      for (const [signal, handler] of handlers) {
        Deno.removeSignalListener(signal, handler);
      }
    },
  };
}

/** Writes all of a text to stdout; a reader that left (EPIPE) is not an error. */
export async function writeStdout(text: string): Promise<void> {
  let bytes = new TextEncoder().encode(text);
  try {
    while (bytes.length > 0) {
      bytes = bytes.subarray(await Deno.stdout.write(bytes));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
