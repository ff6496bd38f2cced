/**
 * What the role packages are made with: a table of options, and the runner
 * that turns it into a command with help, configuration, log, metrics door,
 * signals, progress and summary.
 *
 * @module
 */
export * from "./command.ts";
export * from "./dispatch_options.ts";
export * from "./dispatch_report.ts";
export { configError } from "./config.ts";
export type {
  TomlArray,
  TomlEntry,
  TomlNode,
  TomlPlace,
  TomlProblem,
  TomlScalar,
  TomlTable,
} from "../net/toml.ts";
export { commandsHelpText, helpText, optionHelp, optionUsage } from "./help.ts";
export {
  allOptions,
  type CommonOptions,
  commonOptions,
  runCommand,
  runCommands,
  writeStdout,
} from "./run.ts";
export { readTlsOptions, tlsAddress, type TlsFlags } from "./tls_options.ts";
export { VERSION } from "./version.ts";
export * from "../net/dispatch/metrics.ts";
export { mergeMetrics } from "../net/observe/metrics.ts";
export type {
  Metric,
  MetricLabels,
  MetricSample,
} from "../net/observe/metrics.ts";
export { bar } from "../net/observe/terminal.ts";
export * from "../net/observe/units.ts";
