/**
 * Tunnels of a configuration file, in either form:
 *
 *     tunnels = ["3000=4000,4001[strategy=round-robin]"]
 *
 *     [[tunnel]]
 *     local = "127.0.0.1:3000"   # or a port
 *     remotes = ["db1:5432", "db2:5432"]
 *     strategy = "round-robin"   # and the other options of a specification
 *
 * Everything that is wrong is found in one pass, each with its place.
 */
import { type Address, formatAddress } from "../address.ts";
import { errorText, UsageError } from "../errors.ts";
import type {
  TomlEntry,
  TomlNode,
  TomlPlace,
  TomlProblem,
  TomlTable,
} from "../toml.ts";
import {
  addressKey,
  completeOptions,
  type GivenTunnelOptions,
  optionKeys,
  optionOf,
  parseSocket,
  parseTunnel,
  SpecError,
  type TunnelOptions,
  type TunnelSpec,
} from "./spec.ts";
import { readCertificate, readRoots } from "../tls_files.ts";
import { tunnelKey } from "./changes.ts";
import { checkTunnels, MAX_TUNNELS } from "./limits.ts";
import { checkRoutes } from "./routes.ts";

/** Reads the tunnels of a command line; throws a UsageError for the first that cannot be. */
export function readTunnelArguments(
  texts: readonly string[],
  defaults: TunnelOptions,
): TunnelSpec[] {
  const first = new Map<string, string>();
  return texts.map((text) => {
    const spec = parseTunnel(text);
    const key = tunnelKey(spec);
    const other = first.get(key);
    if (other !== undefined && spec.local.port !== 0) {
      throw new UsageError(
        `Cannot use "${text}" as a tunnel: "${other}" is on ${key} too`,
      );
    }
    first.set(key, text);
    try {
      completeOptions(spec.options, defaults);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      throw new UsageError(
        `Cannot use "${text}" as a tunnel: ${error.message}`,
      );
    }
    return spec;
  });
}

/** Top-level keys that are read here. */
export const TUNNEL_SECTIONS: readonly string[] = ["tunnel", "tunnels"];

/** A tunnel of a file. */
export interface ConfiguredTunnel {
  /** What it is. */
  readonly spec: TunnelSpec;
  /** Where it begins. */
  readonly place: TomlPlace;
}

/** All tunnels of a file that can be read, and all that is wrong. */
export interface TunnelConfig {
  /** Those that can be read. */
  readonly tunnels: readonly ConfiguredTunnel[];
  /** What is wrong, each with its place. */
  readonly problems: readonly TomlProblem[];
}

/** Reads the tunnels of a file; `defaults` is what holds where one says nothing. */
export function readTunnelConfig(
  root: TomlTable,
  defaults: TunnelOptions,
): TunnelConfig {
  const reader = new Reader(defaults);
  const texts = root.entries.get("tunnels");
  if (texts) reader.readTexts(texts.node);
  const tables = root.entries.get("tunnel");
  if (tables) reader.readTables(tables.node);
  reader.checkLimits();
  return reader;
}

/** What is wrong with the files that tunnels name. */
export async function checkTunnelFiles(
  tunnels: readonly ConfiguredTunnel[],
  defaults: TunnelOptions,
): Promise<TomlProblem[]> {
  const problems: TomlProblem[] = [];
  const check = async (place: TomlPlace, read: () => Promise<unknown>) => {
    try {
      await read();
    } catch (error) {
      problems.push(problem(place, error));
    }
  };
  for (const { spec, place } of tunnels) {
    const { tlsCert, tlsKey, remoteCa } = { ...defaults, ...spec.options };
    if (tlsCert !== undefined && tlsKey !== undefined) {
      await check(place, () => readCertificate(tlsCert, tlsKey));
    }
    if (remoteCa !== undefined) await check(place, () => readRoots(remoteCa));
  }
  return problems;
}

class Reader implements TunnelConfig {
  readonly tunnels: ConfiguredTunnel[] = [];
  readonly problems: TomlProblem[] = [];
  readonly #defaults: TunnelOptions;
  readonly #places = new Map<string, TomlPlace>();

  constructor(defaults: TunnelOptions) {
    this.#defaults = defaults;
  }

  readTexts(node: TomlNode): void {
    if (node.kind !== "array") {
      return this.#say(node, "tunnels wants a list of specifications");
    }
    for (const item of node.items) {
      const text = this.#text(item, "a specification");
      if (text === undefined) continue;
      this.#try(item, () => this.#add(item, parseTunnel(text)));
    }
  }

  readTables(node: TomlNode): void {
    if (node.kind === "array") {
      for (const item of node.items) {
        if (item.kind === "table") this.#readTable(item);
        else this.#say(item, "a tunnel is a table: [[tunnel]]");
      }
    } else this.#say(node, "a tunnel is one of a list of tables: [[tunnel]]");
  }

  checkLimits(): void {
    const last = this.tunnels[MAX_TUNNELS] ?? this.tunnels.at(-1);
    if (!last) return;
    const specs = this.tunnels.map(({ spec }) => spec);
    this.#try(last.place, () => {
      checkTunnels(specs);
      checkRoutes(specs);
    });
  }

  #readTable(table: TomlTable): void {
    let local: Address | undefined;
    let remotes: Address[] | undefined;
    let options: GivenTunnelOptions = {};
    for (const [key, entry] of table.entries) {
      if (key === "local") local = this.#socket(entry.node);
      else if (key === "remotes") remotes = this.#sockets(entry.node);
      else {
        const option = this.#option(key, entry);
        for (const field of Object.keys(option)) {
          if (field in options) this.#say(entry, `duplicate option "${key}"`);
        }
        options = { ...options, ...option };
      }
    }
    for (const key of ["local", "remotes"]) {
      if (!table.entries.has(key)) this.#say(table, `"${key}" is missing`);
    }
    if (local && remotes) this.#add(table, { local, remotes, options });
  }

  #add(place: TomlPlace, spec: TunnelSpec): void {
    const key = tunnelKey(spec);
    const first = this.#places.get(key);
    if (first && spec.local.port !== 0) {
      this.#say(
        place,
        `there is a tunnel on ${
          formatAddress(spec.local)
        } in line ${first.line}`,
      );
      return;
    }
    this.#places.set(key, place);
    this.#try(place, () => {
      completeOptions(spec.options, this.#defaults);
      this.tunnels.push({ spec, place });
    });
  }

  #sockets(node: TomlNode): Address[] | undefined {
    const items = node.kind === "array" ? node.items : [node];
    if (items.length === 0) this.#say(node, "at least one remote is wanted");
    const found = new Map<string, Address>();
    for (const item of items) {
      const socket = this.#socket(item);
      if (!socket) continue;
      const key = addressKey(socket);
      if (found.has(key)) this.#say(item, `duplicate remote ${key}`);
      else found.set(key, socket);
    }
    return found.size > 0 ? [...found.values()] : undefined;
  }

  #socket(node: TomlNode): Address | undefined {
    const text = this.#text(node, 'a port or "host:port"');
    if (text === undefined) return undefined;
    return this.#try(node, () => parseSocket(text));
  }

  #option(key: string, { node, ...place }: TomlEntry): GivenTunnelOptions {
    const option = optionOf(key);
    if (!option) {
      this.#say(
        place,
        `the key "${key}" is unknown: a tunnel has local, remotes, ${
          optionKeys().join(", ")
        }`,
      );
      return {};
    }
    const text = this.#text(node, option.placeholder);
    if (text === undefined) return {};
    return this.#try(node, () => option.read(text)) ?? {};
  }

  #text(
    node: TomlNode,
    wanted: string,
  ): string | undefined {
    if (node.kind === "scalar" && !(node.value instanceof Date)) {
      return String(node.value);
    }
    this.#say(node, `${wanted} is wanted`);
  }

  #try<Result>(place: TomlPlace, read: () => Result): Result | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      this.problems.push(problem(place, error));
    }
  }

  #say({ line, column }: TomlPlace, message: string): void {
    this.problems.push({ line, column, message });
  }
}

/** Points into the text of a string where the error knows where. */
function problem(place: TomlPlace, error: unknown): TomlProblem {
  const { line, column } = place;
  if (error instanceof SpecError) {
    // Behind the quote; a string with escapes is longer than its text.
    return { line, column: column + 1 + error.offset, message: error.wanted };
  }
  const message = errorText(error);
  return { line, column, message };
}
