import { assertEquals } from "@std/assert";
import {
  keepAliveAction,
  type KeepAliveState,
} from "../../../../net/mqtt/session/keep_alive.ts";

const state = (changes: Partial<KeepAliveState> = {}): KeepAliveState => ({
  keepAliveSeconds: 10,
  heardMs: 0,
  isReading: true,
  toldBrokerMs: 0,
  pingedMs: undefined,
  isReadingBroker: true,
  ...changes,
});

Deno.test("keepAliveAction() does nothing where there is no keep-alive", () => {
  assertEquals(keepAliveAction(state({ keepAliveSeconds: 0 }), 1e9), "nothing");
});

Deno.test("keepAliveAction() ends a client after 1.5 times its interval, but not while it is not read", () => {
  assertEquals(
    keepAliveAction(state({ toldBrokerMs: 15_000 }), 15_000),
    "nothing",
  );
  assertEquals(
    keepAliveAction(state({ toldBrokerMs: 15_000 }), 15_001),
    "client_is_silent",
  );
  assertEquals(
    keepAliveAction(state({ toldBrokerMs: 99_000, isReading: false }), 99_000),
    "nothing",
  );
});

Deno.test("keepAliveAction() pings a broker that hears nothing, later than a client would and before the broker gives up", () => {
  const heard = { heardMs: 12_000 };
  assertEquals(keepAliveAction(state(heard), 11_999), "nothing");
  assertEquals(keepAliveAction(state(heard), 12_000), "ping_broker");
});

Deno.test("keepAliveAction() pings on where the answer waits behind messages that nobody takes", () => {
  const stuck = {
    heardMs: 60_000,
    pingedMs: 12_000,
    toldBrokerMs: 48_000,
    isReadingBroker: false,
  };
  assertEquals(keepAliveAction(state(stuck), 60_000), "ping_broker");
});

Deno.test("keepAliveAction() gives a broker up that is read and does not answer", () => {
  const asked = { heardMs: 40_000, pingedMs: 20_000, toldBrokerMs: 40_000 };
  assertEquals(keepAliveAction(state(asked), 35_000), "nothing");
  assertEquals(keepAliveAction(state(asked), 35_001), "broker_is_silent");
  // However short the interval, a broker has ten seconds.
  const short = { ...asked, keepAliveSeconds: 1, heardMs: 29_900 };
  assertEquals(
    keepAliveAction(state({ ...short, toldBrokerMs: 29_900 }), 30_000),
    "nothing",
  );
});
