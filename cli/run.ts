/**
 * Runs a command: arguments to values, help, configuration, log, metrics door,
 * signals, progress, summary, exit code.
 */
import type { Address } from "../net/address.ts";
import { formatAddress } from "../net/address.ts";
import { errorText, OperationError, UsageError } from "../net/errors.ts";
import { stderrLines } from "../net/line_sinks.ts";
import {
  Log,
  LOG_LEVELS,
  type LogFormat,
  type LogLevel,
} from "../net/observe/log.ts";
import type { Metric } from "../net/observe/metrics.ts";
import {
  type MetricsServer,
  serveMetrics,
} from "../net/observe/metrics_server.ts";
import { warnIfPublic } from "../net/text_file.ts";
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
import { counted } from "./dispatch_report.ts";
import { catchUncaught, exitProcess } from "./ending.ts";
import { commandsHelpText, helpText } from "./help.ts";
import { manualPage } from "./manual.ts";
import { readValues, splitArguments } from "./parse.ts";
import { openServiceManager } from "./service_manager.ts";
import { watchSignals } from "./signals.ts";
import { VERSION } from "./version.ts";

/** How often the progress line of a terminal is written again. */
const PROGRESS_MS = 250;

/** Exit code where the end of the grace period cut something off. */
const CUT_SHORT = 1;

/** Exit code where a signal came before the role had started, and it hangs: 128 + SIGINT. */
const NOT_STARTED = 130;

/** How long a process in which something hangs waits for stderr. */
const STUCK_MS = 300;

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

/** Runs a command to its end and exits: 0 done, 1 failed or cut short, 2 wrong usage. */
export async function runCommand(
  command: Command,
  args: readonly string[] = Deno.args,
  program = `mproxy-${command.name}`,
): Promise<never> {
  const state: RunState = { log: undefined, running: undefined };
  using uncaught = catchUncaught(
    () => state.log ?? new Log(),
    () => state.running !== undefined,
  );
  state.uncaught = () => uncaught.count;
  const format = asksForJson(args) ? "json" : "text";
  const code = await exitCode(
    program,
    format,
    () => commandExitCode(command, args, program, state),
  );
  return await exitProcess(code);
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
  return await exitProcess(
    await exitCode(program, "text", async () => {
      await writeStdout(aboutCommands(commands, args, program));
      return 0;
    }),
  );
}

/** What is printed where no role is run; throws a UsageError for what is not understood. */
function aboutCommands(
  commands: readonly Command[],
  [name, subject, ...more]: readonly string[],
  program: string,
): string {
  if (name === "-V" || name === "--version") return `${program} ${VERSION}\n`;
  if (name === "-h" || name === "--help") {
    return commandsHelpText(program, commands);
  }
  const names = commands.map((one) => one.name).join(", ");
  if (name === "completions") {
    const shell = SHELLS.find((one) => one === subject);
    if (shell !== undefined && more.length === 0) {
      const all = commands.map((command) => ({
        command,
        table: allOptions(command),
      }));
      return completionScript(shell, program, all);
    }
    throw new UsageError(`completions requires one of ${SHELLS.join(", ")}`);
  }
  if (name === "man") {
    const role = commands.find((one) => one.name === subject);
    if (role !== undefined && more.length === 0) {
      return manualPage(program, role, allOptions(role), VERSION);
    }
    throw new UsageError(`man requires one of ${names}`);
  }
  throw new UsageError(
    name === undefined
      ? `missing role; expected one of ${names} (see --help)`
      : `Unknown role "${name}": there are ${names}`,
  );
}

/** The exit code of a run; what it throws is one line on stderr. */
async function exitCode(
  program: string,
  format: LogFormat,
  run: () => Promise<number>,
): Promise<number> {
  try {
    return await run();
  } catch (error) {
    const line = failureLine(error);
    if (format === "json") new Log({ format }).error(line);
    else stderrLines().write(`${program}: ${line}`);
    return error instanceof UsageError ? 2 : 1;
  }
}

function failureLine(error: unknown): string {
  if (error instanceof Deno.errors.NotCapable) return errorText(error);
  if (error instanceof UsageError || error instanceof OperationError) {
    // What a user gave may hold line ends; the message is one line.
    return error.message.replaceAll(/\s*[\r\n]\s*/g, " ");
  }
  return `Internal error: ${error instanceof Error ? error.stack : error}`;
}

/** What is known of a run where something fails that nobody awaits. */
interface RunState {
  log: Log | undefined;
  running: RunningRole | undefined;
  /** Errors that nobody caught. */
  uncaught?: () => number;
}

async function commandExitCode(
  command: Command,
  args: readonly string[],
  program: string,
  state: RunState,
): Promise<number> {
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
  const reread = () => readAll(command, table, texts);
  const { values, config } = reread();
  const secretFiles = secretFilesOf(table, texts, config);
  return await exitCode(
    program,
    values.logFormat,
    () =>
      runRole(command, values, { positionals, config, reread }, {
        state,
        secretFiles,
      }),
  );
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

/** Files with keys and tokens that the options name. */
function secretFilesOf(
  table: OptionTable,
  texts: ReadonlyMap<string, readonly string[]>,
  config: ConfigFile | undefined,
): string[] {
  return Object.entries(table).filter(([, { secretFile }]) => secretFile)
    .flatMap(([key]) => texts.get(key) ?? config?.texts.get(key) ?? []);
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
  for (const line of problemLines(path, problems)) stderrLines().write(line);
  return 2;
}

async function runRole(
  command: Command,
  values: CommonValues,
  given: Pick<CommandContext, "positionals" | "config" | "reread">,
  { state, secretFiles }: {
    readonly state: RunState;
    readonly secretFiles: readonly string[];
  },
): Promise<number> {
  const { quiet, logFormat, logLevel, grace, stats } = values;
  const terminal = !quiet && logFormat === "text" && Deno.stderr.isTerminal();
  const progressLine = new ProgressLine();
  const log = new Log({
    level: quiet ? "error" : logLevel,
    format: logFormat,
    write: (line) => progressLine.above(line),
  });
  stderrLines().lostLine = (lost) => log.lostLine(lost);
  state.log = log;
  const print = (line: string) => {
    if (quiet) return;
    if (logFormat === "text") progressLine.above(line);
    // Rules and empty lines are for eyes only.
    else if (/\w/.test(line)) log.info(line.trim());
  };
  await using disposals = new AsyncDisposableStack();
  // Before the start, because whoever reads "listening" may send a signal at once.
  const signals = watchSignals({
    log,
    graceSeconds: grace,
    onStuck: () => void endStuck(state, quiet, logFormat),
  });
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
  state.running = running;
  for (const file of secretFiles) void warnIfPublic(file, log);
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
      await openMetrics(values.metricsAddr, state, running, log),
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

  const ending = await endOf(role, signals.graceIsOver);
  const cut = ending === "cut" ? inFlightText(running) : undefined;
  await disposals.disposeAsync();
  progressLine.clear();
  if (!quiet) summarize(running, log, logFormat, cut);
  if (typeof ending === "object") throw ending.error;
  if (running.report) await writeStdout(await running.report());
  return cut === undefined ? running.exitCode?.() ?? 0 : CUT_SHORT;
}

/** How a role ended: by itself or drained, cut at the end of the grace period, or failed. */
async function endOf(
  role: RunningRole["role"],
  graceIsOver: Promise<void>,
): Promise<"done" | "cut" | { error: unknown }> {
  try {
    return await Promise.race([
      role.finished.then(() => "done" as const),
      graceIsOver.then(() => "cut" as const),
    ]);
  } catch (error) {
    return { error };
  }
}

/** The end of a process in which something hangs, one second after the grace period at the latest. */
async function endStuck(
  { running, log }: RunState,
  quiet: boolean,
  format: LogFormat,
): Promise<void> {
  if (running === undefined) return await exitProcess(NOT_STARTED, STUCK_MS);
  const cut = inFlightText(running);
  if (!quiet && log) summarize(running, log, format, cut);
  await exitProcess(CUT_SHORT, STUCK_MS);
}

/** `3 connections`. */
function inFlightText({ inFlight }: RunningRole): string {
  const { count, noun } = inFlight?.() ?? { count: 0, noun: "" };
  return count === 0 ? "work" : counted(count, noun);
}

function openMetrics(
  address: Address,
  state: RunState,
  running: RunningRole,
  log: Log,
): Promise<MetricsServer> {
  return serveMetrics({
    address,
    log,
    metrics: () => [...running.metrics(), ...processMetrics(state)],
    ...(running.ready ? { ready: running.ready } : {}),
    ...(running.json ? { json: running.json } : {}),
  });
}

/** What every process counts beside its role. */
function processMetrics({ uncaught }: RunState): Metric[] {
  return [{
    name: "mproxy_log_dropped_lines_total",
    help: "Log lines that stderr did not take",
    type: "counter",
    samples: [{ value: stderrLines().stats.droppedLines }],
  }, {
    name: "mproxy_internal_errors_total",
    help: "Errors that no session and no role caught",
    type: "counter",
    samples: [{ value: uncaught?.() ?? 0 }],
  }];
}

function summarize(
  running: RunningRole,
  log: Log,
  format: LogFormat,
  cut: string | undefined,
): void {
  const lines = [...running.summary()];
  if (cut !== undefined) {
    lines.push(`cut        ${cut} when the grace period was over`);
  }
  if (format === "json") {
    log.info("summary", { lines: lines.join("\n"), cut });
    return;
  }
  for (const line of lines) stderrLines().write(line);
}

/**
 * Writes all of a text to stdout; a reader that left (EPIPE) is not an error.
 * Throws an OperationError for what else the system refuses.
 */
export async function writeStdout(text: string): Promise<void> {
  let bytes = new TextEncoder().encode(text);
  try {
    while (bytes.length > 0) {
      bytes = bytes.subarray(await Deno.stdout.write(bytes));
    }
  } catch (cause) {
    if (cause instanceof Deno.errors.BrokenPipe) return;
    throw new OperationError(
      `Cannot write to stdout: ${errorText(cause)}`,
      { cause },
    );
  }
}
