/**
 * A TLS listener whose certificate can change.
 *
 * Deno keeps the certificate of each server name for as long as a listener is
 * open, also what its resolver was asked for: another certificate is another
 * listener. Where SO_REUSEPORT can be had (`--unstable-net`), the next one is
 * opened before the last one closes; only a client that comes to the last one
 * in that very moment is reset (unless net.ipv4.tcp_migrate_req is set).
 * Elsewhere the port is closed for some milliseconds.
 */
import type { TlsTermination } from "../../tls_files.ts";

/** How long the system may take to give a port back. */
const REOPEN_TRIES = 100;
const REOPEN_PAUSE_MS = 2;

/** What `Deno.listenTls` is given beside the certificate. */
export interface TlsListenOptions {
  hostname: string;
  port: number;
  tcpBacklog: number;
}

/** Listens with the certificate of the moment. */
export class TlsListener {
  readonly addr: Deno.NetAddr;
  readonly #options: TlsListenOptions;
  #tls: TlsTermination;
  #listener: Deno.TlsListener;
  /** Resolves when the listener of {@linkcode setTls} is open; rejects where it cannot be. */
  #reopening: Promise<void> = Promise.resolve();
  /** What holds the listener open for a moment after its close. */
  #accepting: Promise<unknown> = Promise.resolve();
  #closed = false;

  /** Binds; throws what Deno throws. */
  constructor(options: TlsListenOptions, tls: TlsTermination) {
    this.#tls = tls;
    this.#options = options;
    // Two listeners of one user may share a port under SO_REUSEPORT: find out
    // first whether somebody else has it.
    if (canReusePort() && options.port !== 0) Deno.listen(options).close();
    this.#listener = this.#listen();
    this.addr = this.#listener.addr as Deno.NetAddr;
    this.#options = { ...options, port: this.addr.port };
  }

  #listen(): Deno.TlsListener {
    return Deno.listenTls({
      ...this.#options,
      ...this.#tls,
      ...(canReusePort() ? { reusePort: true } : {}),
    });
  }

  /** The next client; rejects with BadResource when closed. */
  async accept(): Promise<Deno.TlsConn> {
    for (;;) {
      const listener = this.#listener;
      try {
        const accepting = listener.accept();
        this.#accepting = accepting;
        return await accepting;
      } catch (error) {
        await this.#reopening;
        if (this.#closed || listener === this.#listener) throw error;
      }
    }
  }

  /** Certificate and key for handshakes from now on; resolves when they are served. */
  async setTls(tls: TlsTermination): Promise<void> {
    if (this.#closed) return;
    const before = this.#listener;
    this.#tls = tls;
    if (canReusePort()) {
      this.#listener = this.#listen();
      before.close();
      await this.#accepting.catch(() => {});
      return;
    }
    before.close();
    this.#reopening = this.#reopen();
    await this.#reopening;
  }

  async #reopen(): Promise<void> {
    for (let tries = 1; !this.#closed; tries++) {
      try {
        this.#listener = this.#listen();
        return;
      } catch (error) {
        if (tries === REOPEN_TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, REOPEN_PAUSE_MS));
      }
    }
  }

  close(): void {
    this.#closed = true;
    try {
      this.#listener.close();
    } catch {
      // Closed by setTls, and not open again yet.
    }
  }
}

/** `reusePort` ends the process where the flag is missing: look for its neighbour. */
function canReusePort(): boolean {
  const { listenDatagram } = Deno as { listenDatagram?: unknown };
  return listenDatagram !== undefined && Deno.build.os === "linux";
}
