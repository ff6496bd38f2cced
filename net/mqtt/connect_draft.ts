/** A CONNECT as hooks see it, with what they changed on top. */
import type { ConnectChange, ConnectRequest, UserProperty } from "./hooks.ts";
import {
  type ConnectEdit,
  type ConnectView,
  PropertyId,
} from "./packet/mod.ts";

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
    const { clientId, username, password, userProperties } = change;
    if (userProperties !== undefined && this.#view.version !== 5) {
      throw new TypeError(
        "Cannot set user properties: the client does not speak MQTT 5",
      );
    }
    if (clientId !== undefined) this.#change.clientId = clientId;
    if (username !== undefined) this.#change.username = username;
    if (password !== undefined) this.#change.password = password;
    if (userProperties !== undefined) {
      this.#change.userProperties = userProperties;
    }
  }

  /** What is to be spliced into the packet; empty where nothing is. */
  edit(): ConnectEdit {
    const { userProperties, ...rest } = this.#change;
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
