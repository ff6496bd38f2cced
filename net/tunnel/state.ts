/** The state file: changes made while tunnels ran, kept over a restart. */
import { type Address, formatAddress } from "../address.ts";
import { writeFileAtomically } from "../atomic_file.ts";
import { errorText, OperationError, UsageError } from "../errors.ts";
import { inTime } from "../in_time.ts";
import { readTextFileInTime } from "../text_file.ts";
import {
  type GivenTunnelOptions,
  optionOf,
  parseSocket,
  TUNNEL_OPTIONS,
  type TunnelSpec,
} from "./spec.ts";
import { NO_CHANGES, type TunnelChanges } from "./changes.ts";

/** Of the file's form; another one is refused. */
const VERSION = 1;

/** Maximum size of a state file: thousands of tunnels. */
const MAX_BYTES = 16 << 20;

/** How long the file's entry may take to be read. */
const STAT_MS = 10_000;

interface StateText {
  version: number;
  opened: StateTunnel[];
  closed: string[];
  remotes: Record<string, { added: string[]; removed: string[] }>;
}

interface StateTunnel {
  local: string;
  remotes: string[];
  /** Texts by the keys of a specification's options. */
  options: Record<string, string>;
}

/**
 * A state file while its tunnels run. It is written only where the changes
 * differ from what is in it, so that a full disk stops no start and no reload,
 * and never over what another process has put there since.
 */
export class StateFile {
  readonly #file: string;
  /** What is in it, as this process writes it. */
  #text: string | undefined;
  /** Of the file that was read or written last; undefined accepts any. */
  #stamp: string | undefined;

  /** Opens nothing. */
  constructor(file: string) {
    this.#file = file;
  }

  /** Reads it. Throws a UsageError. */
  async read(): Promise<TunnelChanges> {
    this.#stamp = await stampOf(this.#file).catch(() => undefined);
    const changes = await readState(this.#file);
    if (changes !== NO_CHANGES) this.#text = formatState(changes);
    return changes;
  }

  /** Writes it where it differs. Throws an OperationError. */
  async save(changes: TunnelChanges): Promise<void> {
    const text = formatState(changes);
    if (text === this.#text) return;
    await this.#checkOwner();
    // A write that fails may yet be done, by a disk that hung.
    this.#stamp = undefined;
    this.#text = undefined;
    await writeFileAtomically(this.#file, text);
    this.#text = text;
    this.#stamp = await stampOf(this.#file).catch(() => undefined);
  }

  async #checkOwner(): Promise<void> {
    const before = this.#stamp;
    if (before === undefined) return;
    const now = await stampOf(this.#file).catch(() => undefined);
    if (now === undefined || now === before || now === NO_FILE) return;
    throw new OperationError(
      `Cannot save "${this.#file}": another process has changed it; give each process a file of its own, and restart`,
    );
  }
}

/** The stamp of a file that is not there. */
const NO_FILE = "none";

/** Differs for every file that is put in place. */
async function stampOf(file: string): Promise<string> {
  try {
    const { ino, mtime, size } = await inTime(Deno.stat(file), STAT_MS);
    return `${ino} ${mtime?.getTime()} ${size}`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return NO_FILE;
    throw error;
  }
}

/** Reads a state file; one that is not there yet holds no changes. Throws a UsageError. */
export async function readState(file: string): Promise<TunnelChanges> {
  let text: string;
  try {
    text = await readTextFileInTime(file, { maxBytes: MAX_BYTES });
  } catch (error) {
    const { cause } = error as Error;
    if (cause instanceof Deno.errors.NotFound) return NO_CHANGES;
    throw error;
  }
  try {
    return changesOf(JSON.parse(text));
  } catch (cause) {
    throw new UsageError(
      `Cannot use "${file}" as a state file: ${
        errorText(cause)
      }; mend it or move it away`,
      { cause },
    );
  }
}

/** Text of a state file. */
export function formatState(changes: TunnelChanges): string {
  const state: StateText = {
    version: VERSION,
    opened: changes.opened.map(({ local, remotes, options }) => ({
      local: formatAddress(local),
      remotes: remotes.map(formatAddress),
      options: optionTexts(options),
    })),
    closed: [...changes.closed],
    remotes: Object.fromEntries(
      Object.entries(changes.remotes).map(([key, { added, removed }]) => [key, {
        added: added.map(formatAddress),
        removed: removed.map(formatAddress),
      }]),
    ),
  };
  return JSON.stringify(state, null, 2) + "\n";
}

/** Options as texts by their keys. */
export function optionTexts(
  options: GivenTunnelOptions,
): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const { key, print } of TUNNEL_OPTIONS) {
    const text = print(options);
    if (text !== undefined) texts[key] = text;
  }
  return texts;
}

function changesOf(state: unknown): TunnelChanges {
  const { version, opened, closed, remotes } = record(state, "the file");
  if (version !== VERSION) {
    throw new UsageError(`its version is ${version}, but ${VERSION} is wanted`);
  }
  return {
    opened: list(opened, "opened").map(tunnelOf),
    closed: list(closed, "closed").map((key) => formatKey(key)),
    remotes: Object.fromEntries(
      Object.entries(record(remotes, "remotes")).map(([key, value]) => {
        const { added, removed } = record(value, key);
        return [formatKey(key), {
          added: list(added, "added").map(addressOf),
          removed: list(removed, "removed").map(addressOf),
        }];
      }),
    ),
  };
}

function tunnelOf(value: unknown): TunnelSpec {
  const { local, remotes, options } = record(value, "a tunnel");
  let given: GivenTunnelOptions = {};
  for (const [key, text] of Object.entries(record(options, "options"))) {
    const option = optionOf(key);
    if (!option) throw new UsageError(`the option "${key}" is unknown`);
    given = { ...given, ...option.read(String(text)) };
  }
  return {
    local: addressOf(local),
    remotes: list(remotes, "remotes").map(addressOf),
    options: given,
  };
}

function addressOf(value: unknown): Address {
  return parseSocket(String(value));
}

function formatKey(value: unknown): string {
  return formatAddress(addressOf(value)).toLowerCase();
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new UsageError(`${what} is no object`);
}

function list(value: unknown, what: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw new UsageError(`"${what}" is no list`);
}
