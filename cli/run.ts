/**
 * Runs a command: arguments to values, help, configuration, log, metrics door,
 * signals, progress, summary, exit code. The only place that ends the process.
 */
import type { Address } from "../net/address.ts";
import { formatAddress } from "../net/address.ts";
import { OperationError, UsageError } from "../net/errors.ts";
import {
  Log,
  LOG_LEVELS,
  type LogFormat,
  type LogLevel,
  writeStderr,
} from "../net/observe/log.ts";
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
  type Option,
  type OptionTable,
  type RunningRole,
  seconds,
  text,
  value,
  type Values,
} from "./command.ts";
import { completionScript, SHELLS } from "./completions.ts";
import { configError, problemLines, readConfigFile } from "./config.ts";
import { commandsHelpText, helpText } from "./help.ts";
import { manualPage } from "./manual.ts";
import { readValues, splitArguments } from "./parse.ts";
import { openServiceManager } from "./service_manager.ts";
import { watchSignals } from "./signals.ts";
import { VERSION } from "./version.ts";

/** How often the progress line of a terminal is written again. */
const PROGRESS_MS = 250;

/** The options that every role has. */
export type CommonOptions = {
  /** A TOML file with more options. */
  readonly config: Option<string | undefined>;
  /** Only checks the configuration file. */
  readonly checkConfig: Option<boolean>;
  /** Where metrics are served. */
  readonly metricsAddr: Option<Address | undefined>;
  /** The least important lines that are logged. */
  readonly logLevel: Option<LogLevel>;
  /** How log lines look. */
  readonly logFormat: Option<LogFormat>;
  /** Seconds between lines of figures. */
  readonly stats: Option<number | undefined>;
  /** Only errors on stderr. */
  readonly quiet: Option<boolean>;
  /** Seconds that an end waits. */
  readonly grace: Option<number>;
  /** Asks for the help. */
  readonly help: Option<boolean>;
  /** Asks for the version. */
  readonly version: Option<boolean>;
};

/** The options that every role has, with the defaults of one. */
export function commonOptions(command: Command): CommonOptions {
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

/** Runs the command that the first argument names; the rest is its own. */
export async function runCommands(
  commands: readonly Command[],
  args: readonly string[] = Deno.args,
  program = "mproxy",
): Promise<never> {
  const [name, ...rest] = args;
  const command = commands.find((one) => one.name === name);
  if (command) {
    return await runCommand(command, rest, `${program} ${command.name}`);
  }
  if (name === "-V" || name === "--version") {
    await writeStdout(`${program} ${VERSION}\n`);
    Deno.exit(0);
  }
  if (name === "-h" || name === "--help") {
    await writeStdout(commandsHelpText(program, commands));
    Deno.exit(0);
  }
  const names = commands.map((one) => one.name).join(", ");
  const [subject] = rest;
  if (name === "completions") {
    const shell = SHELLS.find((one) => one === subject);
    if (shell !== undefined && rest.length === 1) {
      const all = commands.map((command) => ({
        command,
        table: allOptions(command),
      }));
      await writeStdout(completionScript(shell, program, all));
      Deno.exit(0);
    }
    writeStderr(`${program}: completions wants one of ${SHELLS.join(", ")}\n`);
    Deno.exit(2);
  }
  if (name === "man") {
    const role = commands.find((one) => one.name === subject);
    if (role !== undefined && rest.length === 1) {
      await writeStdout(manualPage(program, role, allOptions(role), VERSION));
      Deno.exit(0);
    }
    writeStderr(`${program}: man wants one of ${names}\n`);
    Deno.exit(2);
  }
  writeStderr(
    name === undefined
      ? `${program}: a role is wanted: ${names}; --help says what they do\n`
      : `${program}: Unknown role "${name}": there are ${names}\n`,
  );
  Deno.exit(2);
}

async function commandExitCode(
  command: Command,
  args: readonly string[],
  program: string,
): Promise<number> {
  let format: "text" | "json" = asksForJson(args) ? "json" : "text";
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
    const line = error instanceof UsageError ||
        error instanceof OperationError ||
        // A permission that was not given: Deno's message names the flag.
        error instanceof Deno.errors.NotCapable
      // What a user gave may hold line ends; the message is one line.
      ? error.message.replaceAll(/\s*[\r\n]\s*/g, " ")
      : `Internal error: ${error instanceof Error ? error.stack : error}`;
    if (format === "json") new Log({ format }).error(line);
    else writeStderr(`${program}: ${line}\n`);
    return error instanceof UsageError ? 2 : 1;
  }
}

/** Whether lines are JSON, known before the arguments are: for what is wrong with them. */
function asksForJson(args: readonly string[]): boolean {
  return args.some((arg, i) =>
    `${arg} ${args[i + 1]}`.replaceAll("_", "-").match(
      /^--log-format[= ]json( |$)/,
    )
  );
}

/** Values of the common options, and of the command's own. */
type CommonValues =
  & Values<CommonOptions>
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
  await using disposals = new AsyncDisposableStack();
  // Before the start, because whoever reads "listening" may send a signal at once.
  const signals = watchSignals(log, grace);
  disposals.defer(signals.ended);
  const running = await command.start(values, {
    log,
    print,
    terminal,
    tables: given.config?.tables ?? {},
    ...given,
  });
  if (running === undefined) return 0;
  const { role, progress } = running;
  const manager = disposals.use(openServiceManager(log));
  disposals.use(role);
  signals.attach({
    ...running,
    draining: (signal) => {
      manager?.tell("STOPPING=1");
      running.draining?.(signal);
    },
  });
  let metricsAddress: Address | undefined;
  if (values.metricsAddr) {
    const server = disposals.use(
      await openMetrics(values.metricsAddr, running, log),
    );
    metricsAddress = server.address;
    log.info("metrics door is open", {
      url: `http://${formatAddress(metricsAddress)}/metrics`,
    });
  }
  running.started?.(metricsAddress);
  manager?.tell("READY=1");
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
  if (running.report) await writeStdout(await running.report());
  return running.exitCode?.() ?? 0;
}

function openMetrics(
  address: Address,
  running: RunningRole,
  log: Log,
): Promise<MetricsServer> {
  return serveMetrics({
    address,
    log,
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

/**
 * Writes all of a text to stdout; a reader that left (EPIPE) is not an error.
 * Throws what else the system refuses.
 */
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
