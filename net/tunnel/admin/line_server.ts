/**
 * The line protocol of the control door: a command a line, answered in order.
 *
 * 1. accept and admit: a deadline until the first command, or the token,
 * 2. read up to the end of a line; one that is longer than 1024 bytes or is
 *    not UTF-8 ends the connection,
 * 3. where a token is wanted, `AUTH token` comes first,
 * 4. find the command in the table, read its arguments, run it,
 * 5. write the reply, and read on.
 */
import { Buffer } from "node:buffer";
import { type Address, isLoopback } from "../../address.ts";
import type { AdmissionStats } from "../../admission.ts";
import { type Admitted, ConnectionGate } from "../../connection_gate.ts";
import {
  listenStream,
  prepareTcp,
  type StreamConn,
} from "../../engine/portable/stream/sockets.ts";
import { AcceptLoop } from "../../accept_loop.ts";
import type { Log } from "../../observe/log.ts";
import { closeQuietly } from "../../engine/portable/stream/pipe.ts";
import type { Tunnels } from "../tunnels.ts";
import { COMMANDS, helpLines, type LineReply } from "./commands.ts";
import { controlFailure, ControlProtocolError } from "./errors.ts";
import { MAX_ANSWER_BYTES } from "./json_rpc.ts";
import { checkExposure, isToken } from "./token.ts";

/** Longest line, without its line end. */
const MAX_LINE_BYTES = 1024;

/**
 * Limits of its connections. Without a token the first command proves a client,
 * with one the token does. An idle client may stay, until another needs its
 * place or it has been idle for an hour.
 */
const LIMITS = {
  maxConnections: 512,
  proveWithinMs: 30_000,
  idleMs: 3_600_000,
};

/**
 * What is still read from a client that was cut, so that its reply is not
 * taken back by a reset (RFC 2525, 2.17), and for how long.
 */
const LINGER_BYTES = 64 * 1024;
const LINGER_MS = 500;

/** Characters of a reply that are made and written at once; the next follow when the client has taken them. */
const PIECE_CHARS = 64 * 1024;

/** How long a client may take none of a reply. */
const WRITE_TIMEOUT_MS = 30_000;

/** Options of {@linkcode openLineDoor}. */
export interface LineDoorOptions {
  /** Where to listen. */
  readonly address: Address;
  /** What is driven. */
  readonly tunnels: Tunnels;
  /** Wanted from clients; must be given where the address is not loopback. Default: nobody needs one. */
  readonly token?: string | undefined;
  /** Where rejected connections are logged. Default: nowhere. */
  readonly log?: Log | undefined;
}

/** An open control door. */
export interface ControlDoor extends AsyncDisposable {
  /** The bound address, with the real port. */
  readonly address: Address;
  /** Figures of its connections. */
  stats(): AdmissionStats;
}

/**
 * Opens the door; throws a UsageError or an OperationError. Commands and
 * answers are Plexy's, and some more.
 */
export function openLineDoor(options: LineDoorOptions): ControlDoor {
  const { address, token } = options;
  checkExposure(address, token);
  return new LineDoor(options);
}

class LineDoor implements ControlDoor {
  readonly address: Address;
  readonly #options: LineDoorOptions;
  readonly #gate: ConnectionGate;
  readonly #clients = new Set<StreamConn>();
  readonly #serving = new Set<Promise<void>>();
  readonly #accepting: AcceptLoop<StreamConn>;

  constructor(options: LineDoorOptions) {
    const { address, log } = options;
    this.#options = options;
    const listener = listenStream(address);
    this.address = listener.address;
    this.#gate = new ConnectionGate({
      ...LIMITS,
      // Whoever reaches a loopback address has it to themselves.
      ...isLoopback(address.hostname)
        ? { maxConnectionsPerSource: LIMITS.maxConnections }
        : {},
      listener: "control",
      log,
    });
    // A failed accept is tried again: somebody has to leave first.
    this.#accepting = new AcceptLoop(
      listener,
      (client) => this.#take(client),
      () => {},
    );
  }

  stats(): AdmissionStats {
    return this.#gate.stats();
  }

  #take(client: StreamConn): void {
    const peer = this.#gate.admit(client, client.remoteAddr.hostname);
    if (!peer) return;
    this.#clients.add(client);
    const served = this.#serve(client, peer).finally(() => {
      this.#serving.delete(served);
      this.#clients.delete(client);
      closeQuietly(client);
      peer.release();
    });
    this.#serving.add(served);
  }

  async #serve(client: StreamConn, peer: Admitted): Promise<void> {
    try {
      prepareTcp(client, true);
      if (await this.#converse(client, peer)) await linger(client);
    } catch {
      // The client is gone: nobody is left to answer.
    }
  }

  /** Serves lines until the client leaves; true where it was cut. */
  async #converse(client: StreamConn, peer: Admitted): Promise<boolean> {
    const session = new LineSession(this.#options);
    const buffer = new Uint8Array(MAX_LINE_BYTES + 2);
    let held = 0;
    for (;;) {
      const bytes = await client.read(buffer.subarray(held));
      if (bytes === null) {
        if (held === 0) return false;
        await write(client, "SORRY: IO error: bytes remaining on stream\n");
        return false;
      }
      held += bytes;
      let start = 0;
      for (;;) {
        const end = buffer.subarray(start, held).indexOf(LINE_FEED);
        if (end > MAX_LINE_BYTES || end < 0 && held - start > MAX_LINE_BYTES) {
          await write(client, `${LINE_ERROR}max line length exceeded\n`);
          return true;
        }
        if (end < 0) break;
        const line = decodeLine(buffer.subarray(start, start + end));
        if (line === undefined) {
          await write(client, `${LINE_ERROR}Unable to decode input as UTF8\n`);
          return true;
        }
        start += end + 1;
        await this.#reply(client, session, line, peer);
        if (session.over) return session.cut;
      }
      buffer.copyWithin(0, start, held);
      held -= start;
    }
  }

  /** Answers a line; what the client may not command does not prove it. */
  async #reply(
    client: StreamConn,
    session: LineSession,
    line: string,
    peer: Admitted,
  ): Promise<void> {
    if (session.authenticated) peer.prove();
    const reply = await session.reply(line);
    // It has a deadline to take the reply, then it is idle.
    if (session.authenticated) peer.unprove();
    for (const piece of reply) await write(client, piece);
    if (session.authenticated) peer.idle();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#accepting.stop();
    for (const client of this.#clients) closeQuietly(client);
    await Promise.all(this.#serving);
    this.#gate[Symbol.dispose]();
  }
}

const LINE_FEED = 10;
const LINE_ERROR = "SORRY: Invalid control protocol line: ";
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text of a line without its carriage return; undefined where it is not UTF-8. */
function decodeLine(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes).replace(/\r$/, "");
  } catch {
    return undefined;
  }
}

/** Writes a text; closes a client that takes none of it for a time, which throws. */
async function write(client: StreamConn, text: string): Promise<void> {
  let bytes = encoder.encode(text);
  while (bytes.length > 0) {
    const timer = setTimeout(() => closeQuietly(client), WRITE_TIMEOUT_MS);
    try {
      bytes = bytes.subarray(await client.write(bytes));
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Lets a cut client read its reply. */
async function linger(client: StreamConn): Promise<void> {
  const timer = setTimeout(() => closeQuietly(client), LINGER_MS);
  try {
    await client.closeWrite();
    const rest = new Uint8Array(4096);
    for (let read = 0; read < LINGER_BYTES;) {
      const bytes = await client.read(rest);
      if (bytes === null) return;
      read += bytes;
    }
  } finally {
    clearTimeout(timer);
  }
}

/**
 * What a browser sends first. A page may post lines of its own choice to any
 * port of this machine: behind such a head nothing is done.
 */
const HTTP_LINE = /^\S+ \S+ HTTP\/\d|^host:/i;

/** One client's conversation, without its socket. */
export class LineSession {
  /** Whether nothing more is read. */
  over = false;
  /** Whether it was ended for its own fault. */
  cut = false;
  readonly #tunnels: Tunnels;
  readonly #token: string | undefined;
  #known: boolean;

  /** Whether its client may command. */
  get authenticated(): boolean {
    return this.#known;
  }

  constructor(options: Pick<LineDoorOptions, "tunnels" | "token">) {
    this.#tunnels = options.tunnels;
    this.#token = options.token;
    this.#known = options.token === undefined;
  }

  /** The whole reply to a line, with its line end; empty where there is none. */
  async answer(line: string): Promise<string> {
    return [...await this.reply(line)].join("");
  }

  /** The reply to a line in pieces, each made when it is asked for. */
  async reply(line: string): Promise<Iterable<string>> {
    const space = line.indexOf(" ");
    const word = (space < 0 ? line : line.slice(0, space)).toUpperCase();
    const text = space < 0 ? undefined : line.slice(space + 1);
    switch (word) {
      case "EXIT":
        this.over = true;
        return [];
      case "HELP":
        return formatReply({ short: "commands", details: helpLines() });
      case "AUTH":
        return this.#authenticate(text ?? "");
    }
    if (HTTP_LINE.test(line)) {
      this.over = true;
      this.cut = true;
      return sorry(new ControlProtocolError(`Invalid command: ${word}`));
    }
    if (!this.#known) {
      return sorry(new ControlProtocolError("AUTH token is wanted first"));
    }
    if (word === "JSON") return [await this.#answerJson(text ?? "")];
    try {
      const { command, result } = await this.#run(word, text);
      return formatReply(command.lines?.(result) ?? {});
    } catch (error) {
      return sorry(error);
    }
  }

  #authenticate(token: string): Iterable<string> {
    if (this.#token === undefined || isToken(token.trim(), this.#token)) {
      this.#known = true;
      return formatReply({});
    }
    // One guess a connection.
    this.over = true;
    this.cut = true;
    return sorry(new ControlProtocolError("Wrong token"));
  }

  async #answerJson(line: string): Promise<string> {
    const space = line.indexOf(" ");
    const word = (space < 0 ? line : line.slice(0, space)).toUpperCase();
    const text = space < 0 ? undefined : line.slice(space + 1);
    try {
      if (word === "HELP") {
        return JSON.stringify({ ok: true, result: helpLines() }) + "\n";
      }
      const { command, result } = await this.#run(word, text);
      const say = command.json ?? command.rpc;
      const answer = JSON.stringify({
        ok: true,
        result: say?.(result) ?? null,
      });
      if (Buffer.byteLength(answer) > MAX_ANSWER_BYTES) {
        throw new ControlProtocolError(
          `Answer too long: the limit is ${MAX_ANSWER_BYTES} bytes`,
        );
      }
      return answer + "\n";
    } catch (error) {
      return JSON.stringify({ ok: false, error: controlFailure(error) }) + "\n";
    }
  }

  async #run(word: string, text: string | undefined) {
    const command = COMMANDS.find((one) => one.word === word);
    if (!command) throw new ControlProtocolError(`Invalid command: ${word}`);
    const parameters = command.readLine?.(text) ?? {};
    return { command, result: await command.run(this.#tunnels, parameters) };
  }
}

function* formatReply({ short, details }: LineReply): Iterable<string> {
  let piece = short === undefined ? "OK\n" : `OK: ${short}\n`;
  if (!details) return yield piece;
  let isEmpty = true;
  for (const line of details) {
    isEmpty = false;
    piece += `\t${line}\n`;
    if (piece.length < PIECE_CHARS) continue;
    yield piece;
    piece = "";
  }
  // An empty list is an empty line, as the original has it.
  yield isEmpty ? `${piece}\n` : piece;
}

/** The original's words, then ours if they say more. */
function sorry(error: unknown): Iterable<string> {
  const { message, hint } = controlFailure(error);
  return [`SORRY: ${message}${hint === undefined ? "" : ` (${hint})`}\n`];
}
