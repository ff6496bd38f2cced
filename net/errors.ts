/**
 * The two kinds of failure that a caller tells apart. Every message says what
 * failed, the value, what was wanted and what to do about it, in one line.
 */

/** Options of a {@linkcode UsageError}. */
export interface UsageErrorOptions extends ErrorOptions {
  /**
   * Options of the failed call that the message names, in backquotes. A command
   * shows its flags in their place. Default: none.
   */
  option?: string | readonly string[];
}

/** What was asked for cannot be right: nothing was opened. Commands exit with 2. */
export class UsageError extends RangeError {
  /** Always `UsageError`. */
  override name = "UsageError";
  /** Options that the message names, in backquotes. */
  readonly options: readonly string[];

  /** One line: what failed, the value, what was expected, how to fix it. */
  constructor(message?: string, options: UsageErrorOptions = {}) {
    super(message, options);
    const { option = [] } = options;
    this.options = typeof option === "string" ? [option] : option;
  }
}

/** What a failed operation knows beside its message. */
export interface OperationErrorOptions extends ErrorOptions {
  /** The system's name of the error, such as `EADDRINUSE`. None where no system call failed. */
  code?: string | undefined;
}

/** The system refused or broke off what was asked for. Commands exit with 1. */
export class OperationError extends Error {
  /** Always `OperationError`. */
  override name = "OperationError";
  /** The system's name of the error, such as `EADDRINUSE`. */
  readonly code: string | undefined;

  /** One line: what failed, the value, what was wanted, what to do. */
  constructor(message: string, options: OperationErrorOptions = {}) {
    super(message, options);
    this.code = options.code;
  }
}

/** What to do about an errno, where that is known. */
const REMEDIES: Readonly<Record<string, string>> = {
  EADDRINUSE: "stop the program that holds it or choose another port",
  EACCES: "choose a port above 1023 or grant CAP_NET_BIND_SERVICE",
  EADDRNOTAVAIL: "use an address of this machine",
  EMFILE: "raise the limit of open files (ulimit -n)",
  ENFILE: "raise fs.file-max",
  ENODEV: "use an interface that can do multicast",
  ENETUNREACH: "add a route or name an interface",
};

/** One line for a failed call on an address, with the remedy where one is known. */
export function failedCall(
  action: string,
  subject: string,
  cause: unknown,
): OperationError {
  const code = errorCode(cause);
  const remedy = code === undefined ? undefined : REMEDIES[code];
  const text = errorText(cause);
  return new OperationError(
    `Cannot ${action} ${subject}: ${text}${remedy ? `; ${remedy}` : ""}`,
    { cause, code },
  );
}

/**
 * What an error says in words. Deno adds the errno behind the system's words, and
 * behind that its own call and the file again: they are left out.
 */
export function errorText(error: unknown): string {
  if (error instanceof Deno.errors.NotCapable) return missingPermission(error);
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/ \(os error \d+\).*$/s, "");
}

/**
 * A permission that was not given. Deno's own message tells the user of a
 * program to compile it again.
 */
function missingPermission(error: Error): string {
  const [, kind, subject] =
    /^Requires (\w+) access(?: to (.+?))?, (?:run|specify)/s.exec(
      error.message,
    ) ?? [];
  if (kind === undefined) return error.message;
  const what = subject === undefined ? kind : `${kind} access to ${subject}`;
  return `missing permission: ${what}; ${
    Deno.build.standalone
      ? "this program was built without it, deno run -A has it"
      : `add --allow-${kind}`
  }`;
}

/** The errno's name of an error of Deno, of node's modules or of the linux engine. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const { code } = error as { code?: unknown };
  if (typeof code === "string") return code;
  const { name } = error as { name?: unknown };
  return typeof name === "string" ? DENO_ERROR_CODES[name] : undefined;
}

/** Deno's error classes carry the errno's name in `code` only where no class fits. */
const DENO_ERROR_CODES: Readonly<Record<string, string>> = {
  AddrInUse: "EADDRINUSE",
  AddrNotAvailable: "EADDRNOTAVAIL",
  PermissionDenied: "EACCES",
  ConnectionRefused: "ECONNREFUSED",
  ConnectionReset: "ECONNRESET",
  ConnectionAborted: "ECONNABORTED",
  NetworkUnreachable: "ENETUNREACH",
  NotFound: "ENOENT",
  TimedOut: "ETIMEDOUT",
  BrokenPipe: "EPIPE",
};
