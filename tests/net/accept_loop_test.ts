/** The accept loop over listeners whose accepts fail. */
import { assertEquals } from "@std/assert";
import { AcceptLoop } from "../../net/accept_loop.ts";
import { soon } from "../support/deadline.ts";

/** A listener that fails so often, then has one client, then none. */
function failing(times: number, failure: () => Error) {
  const { promise: never, reject } = Promise.withResolvers<string>();
  let left = times;
  return {
    accept(): Promise<string> {
      if (left-- > 0) return Promise.reject(failure());
      return left === -1 ? Promise.resolve("client") : never;
    },
    close: () => reject(new Deno.errors.BadResource()),
  };
}

async function run(times: number, failure: () => Error) {
  const errors: unknown[] = [];
  let gone = 0;
  const { promise, resolve } = Promise.withResolvers<string>();
  const begun = performance.now();
  const loop = new AcceptLoop(
    failing(times, failure),
    resolve,
    (error) => errors.push(error),
    () => gone++,
  );
  assertEquals(await soon(promise, "the client behind the failures"), "client");
  const elapsedMs = performance.now() - begun;
  await loop.stop();
  return { errors: errors.length, gone, elapsedMs };
}

Deno.test("clients that were reset while they waited hold up nobody", async () => {
  // With a pause for each, the last of 200 came after 109 s.
  const failure = () =>
    Object.assign(new Deno.errors.NotConnected(), { code: "ENOTCONN" });
  const { errors, gone, elapsedMs } = await run(200, failure);
  assertEquals([errors, gone, elapsedMs < 10_000], [0, 200, true]);
});

Deno.test("a shortage of descriptors is waited for, and reported", async () => {
  const failure = () => Object.assign(new Error("EMFILE"), { code: "EMFILE" });
  const { errors, gone, elapsedMs } = await run(3, failure);
  // 10, 20 and 40 ms; timers may be a little early.
  assertEquals([errors, gone, elapsedMs > 60], [3, 0, true]);
});
