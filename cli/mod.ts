/**
 * What the role packages are made with: a table of options, and the runner
 * that turns it into a command with help, configuration, log, metrics door,
 * signals, progress and summary.
 *
 * @module
 */
export * from "./command.ts";
export { helpText } from "./help.ts";
export { allOptions, runCommand } from "./run.ts";
export { VERSION } from "./version.ts";
