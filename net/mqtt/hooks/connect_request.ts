/** A CONNECT as hooks see it, with what they changed on top. */
import type { ConnectChange, ConnectRequest, UserProperty } from "./hooks.ts";
import {
  type ConnectEdit,
  type ConnectView,
  PropertyId,
} from "../packet/mod.ts";

const encoder = new TextEncoder();

/** A CONNECT on its way. */
export class ConnectDraft implements ConnectRequest {
  readonly #view: ConnectView;
  readonly #change: ConnectChange = {};

  constructor(view: ConnectView) {
    this.#view = view;
  }

  get clientId(): string {
    return this.#change.clientId ?? this.#view.clientId;
  }

  get username(): string | undefined {
    const { username } = this.#change;
    return username === undefined ? this.#view.username : username ?? undefined;
  }

  get password(): Uint8Array | undefined {
    const { password } = this.#change;
    if (password === undefined) return this.#view.password;
    return typeof password === "string"
      ? encoder.encode(password)
      : password ?? undefined;
  }

  /** The name that the session has from then on. */
  get identity(): string | undefined {
    const { identity } = this.#change;
    return identity === undefined ? this.username : identity ?? undefined;
  }

  /** Highest QoS of the client's messages. */
  get maximumQos(): 0 | 1 | 2 {
    return this.#change.maximumQos ?? 2;
  }

  /** Whether the client may have messages retained. */
  get retainAvailable(): boolean {
    return this.#change.retainAvailable ?? true;
  }

  get cleanStart(): boolean {
    return this.#view.cleanStart;
  }

  get keepAliveSeconds(): number {
    return this.#view.keepAliveSeconds;
  }

  get userProperties(): readonly UserProperty[] {
    return this.#change.userProperties ??
      this.#view.properties.userProperties();
  }

  get authenticationMethod(): string | undefined {
    return this.#view.properties.text(PropertyId.AUTHENTICATION_METHOD);
  }

  get authenticationData(): Uint8Array | undefined {
    return this.#view.properties.binary(PropertyId.AUTHENTICATION_DATA);
  }

  get hasWill(): boolean {
    return this.#view.hasWill;
  }

  /** Puts a hook's change on top; throws a TypeError where it cannot be done. */
  apply(change: ConnectChange): void {
    const { userProperties } = change;
    if (userProperties !== undefined && this.#view.version !== 5) {
      throw new TypeError(
        "Cannot set user properties: the client does not speak MQTT 5",
      );
    }
    for (const [key, value] of Object.entries(change)) {
      if (value !== undefined) Object.assign(this.#change, { [key]: value });
    }
  }

  /** What is to be spliced into the packet; empty where nothing is. */
  edit(): ConnectEdit {
    const { clientId, username, password, userProperties } = this.#change;
    const rest: ConnectEdit = {
      ...(clientId === undefined ? {} : { clientId }),
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
    };
    if (this.#view.version !== 5 && this.username === undefined) {
      // [MQTT-3.1.2-22] of 3.1.1: no password without a username.
      if (this.password !== undefined) rest.password = null;
    }
    if (userProperties === undefined) return rest;
    return {
      ...rest,
      properties: {
        remove: [PropertyId.USER_PROPERTY],
        append: userProperties.map((value) => ({
          id: PropertyId.USER_PROPERTY,
          value,
        })),
      },
    };
  }
}
