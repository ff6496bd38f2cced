/** A TLS listener of `node:net` and `node:tls`, whose certificate can change. */
import { createServer, type Server, type Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { checkCertificate, type TlsTermination } from "../../../tls_files.ts";
import type { SocketControl } from "../../socket_control.ts";
import { TlsConn } from "./tls_conn.ts";

/** How a {@linkcode TlsListener} is opened. */
export interface TlsListenOptions {
  readonly hostname: string;
  readonly port: number;
  readonly tcpBacklog: number;
  /** TCP keepalive. */
  readonly keepAlive: boolean;
  readonly control?: SocketControl | undefined;
}

/** Listens with the certificate of the moment. */
export class TlsListener {
  readonly addr: Deno.NetAddr;
  readonly #server: Server;
  readonly #options: TlsListenOptions;
  #context: SecureContext;
  /** Clients that nobody has taken yet. */
  readonly #clients: TlsConn[] = [];
  #waiting: PromiseWithResolvers<TlsConn> | undefined;
  #failure: Error | undefined;
  #closed = false;

  /** Binds; rejects with what `node:net` says. */
  static async open(
    options: TlsListenOptions,
    tls: TlsTermination,
  ): Promise<TlsListener> {
    const context = contextOf(tls);
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    const { hostname, port, tcpBacklog } = options;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(
        { host: hostname, port, backlog: tcpBacklog },
        () => {
          server.off("error", reject);
          resolve();
        },
      );
    });
    return new TlsListener(server, options, context);
  }

  private constructor(
    server: Server,
    options: TlsListenOptions,
    context: SecureContext,
  ) {
    const { address, port } = server.address() as {
      address: string;
      port: number;
    };
    this.addr = { transport: "tcp", hostname: address, port };
    this.#server = server;
    this.#options = options;
    this.#context = context;
    server.on("connection", (socket: Socket) => this.#onClient(socket));
    server.on("error", (error: Error) => this.#onError(error));
  }

  #onClient(socket: Socket): void {
    // One that left while it waited has no address any more.
    if (this.#closed || socket.remotePort === undefined) {
      socket.on("error", () => {});
      socket.destroy();
      return;
    }
    const { keepAlive, control } = this.#options;
    const client = new TlsConn(socket, {
      secure: (raw) =>
        new TLSSocket(
          raw,
          {
            isServer: true,
            secureContext: this.#context,
            allowHalfOpen: true,
          } as ConstructorParameters<typeof TLSSocket>[1],
        ),
      readyEvent: "secure",
      keepAlive,
      control,
    });
    if (!this.#waiting) {
      this.#clients.push(client);
      return;
    }
    this.#waiting.resolve(client);
    this.#waiting = undefined;
  }

  #onError(error: Error): void {
    this.#failure = error;
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }

  /** The next client, before its handshake; rejects with BadResource when closed. */
  accept(): Promise<TlsConn> {
    const client = this.#clients.shift();
    if (client) return Promise.resolve(client);
    if (this.#closed) return Promise.reject(closed());
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) return Promise.reject(failure);
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  /** Certificate and key for handshakes from now on; throws where they do not fit. */
  setTls(tls: TlsTermination): void {
    this.#context = contextOf(tls);
  }

  /** Frees the port; clients that were accepted go on. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#server.close();
    for (const client of this.#clients.splice(0)) client.reset();
    const waiting = this.#waiting;
    // The handle is closed at the end of this turn.
    if (waiting) setTimeout(() => waiting.reject(closed()));
  }
}

function contextOf({ cert, key }: TlsTermination): SecureContext {
  checkCertificate(cert, key, "cert", "key");
  return createSecureContext({ cert, key });
}

function closed(): Error {
  return new Deno.errors.BadResource("the listener is closed");
}
