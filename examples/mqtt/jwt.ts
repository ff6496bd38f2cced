/**
 * Lets clients in whose password is a JSON Web Token, signed with the secret
 * in JWT_SECRET, and lets each publish and subscribe as its claims `publish` and
 * `subscribe` (lists of filters) say, until the token is over. The broker never
 * sees the token.
 *
 * JWT_SECRET=… deno run -A jsr:@mproxy/mqtt --listen mqtt://:1884 --target mqtt://127.0.0.1:1883 --hooks examples/mqtt/jwt.ts
 */
import {
  deny,
  filterCovers,
  type MqttHooks,
  topicMatches,
} from "@mproxy/mproxy/mqtt";
import { jwtVerify } from "jose";

interface Claims {
  sub?: string;
  exp?: number;
  publish?: string[];
  subscribe?: string[];
}

/** A timer must not be set for longer (2^31 - 1 ms). */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

function makeHooks(): MqttHooks {
  const secret = new TextEncoder().encode(Deno.env.get("JWT_SECRET") ?? "");
  if (secret.length < 32) {
    throw new Error("JWT_SECRET must have 32 characters or more");
  }
  const claimsOf = (session: { state: Map<unknown, unknown> }) =>
    session.state.get("claims") as Claims;

  return {
    async authConnect(session, { password }) {
      try {
        const token = new TextDecoder().decode(password);
        const { payload } = await jwtVerify<Claims>(token, secret, {
          algorithms: ["HS256"],
          requiredClaims: ["sub", "exp"],
        });
        session.state.set("claims", payload);
        const leftMs = payload.exp! * 1000 - Date.now();
        const timer = setTimeout(
          () => session.end({ reasonCode: 0x87, reason: "the token is over" }),
          Math.min(leftMs, LONGEST_TIMER_MS),
        );
        session.state.set("timer", timer);
        return { identity: payload.sub!, username: null, password: null };
      } catch {
        return deny(0x86, "a good token is wanted as the password");
      }
    },
    // Wills too: without authWill, authPublish is asked about them.
    authPublish: (session, { topic }) =>
      claimsOf(session).publish?.some((filter) => topicMatches(filter, topic))
        ? undefined
        : deny(),
    authSubscribe: (session, { filters }) =>
      filters.map(({ filter }) =>
        claimsOf(session).subscribe?.some((own) => filterCovers(own, filter))
          ? undefined
          : deny()
      ),
    disconnect: (session) => {
      clearTimeout(session.state.get("timer") as number | undefined);
    },
  };
}

export default makeHooks;
