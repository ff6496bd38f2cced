/**
 * What the role packages are made with: a table of options, and the runner
 * that turns it into a command with help, configuration, log, metrics door,
 * signals, progress and summary.
 *
 * @example A role of your own, with everything that the others have
 * ```ts
 * import * as cli from "@mproxy/mproxy/cli";
 * import { parseAddress, startProxy } from "@mproxy/mproxy";
 * import { assert } from "@std/assert";
 *
 * const command = cli.defineCommand({
 *   name: "mirror",
 *   summary: "Send what comes in to two hosts",
 *   examples: ["--listen 127.0.0.1:9920"],
 *   options: {
 *     listen: cli.list("Where to listen", "HOST:PORT", cli.address()),
 *   },
 *   async start({ listen }) {
 *     const proxy = await startProxy({
 *       listen,
 *       destinations: [parseAddress("10.0.0.7:1"), parseAddress("10.0.0.8:1")],
 *     });
 *     return {
 *       role: proxy,
 *       metrics: () => cli.listenerMetrics(proxy.stats().listeners),
 *       summary: () => [],
 *     };
 *   },
 * });
 *
 * assert(cli.helpText("mirror", command).includes("--listen"));
 * if (import.meta.main) await cli.runCommand(command);
 * ```
 *
 * @module
 */
export { bannerPrinter, isShown } from "./banner.ts";
export * from "./command.ts";
export * from "./dispatch_endpoints.ts";
export * from "./dispatch_options.ts";
export * from "./dispatch_reload.ts";
export * from "./dispatch_report.ts";
export { configError } from "./config.ts";
export type { RenamedOptions } from "./flag_names.ts";
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
export {
  readTlsOptions,
  refuseUnusedTls,
  tlsAddress,
  type TlsFlags,
} from "./tls_options.ts";
export type { Log } from "../net/observe/log.ts";
export { VERSION } from "./version.ts";
export * from "../net/udp/metrics.ts";
export {
  admissionMetrics,
  type ListenerAdmission,
} from "../net/admission_metrics.ts";
export { mergeMetrics } from "../net/observe/metrics.ts";
export type {
  Metric,
  MetricLabels,
  MetricSample,
} from "../net/observe/metrics.ts";
export { bar } from "../net/observe/terminal.ts";
export * from "../net/observe/units.ts";
