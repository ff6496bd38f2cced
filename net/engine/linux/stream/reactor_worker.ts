/** A reactor in a thread of its own: it blocks in its waits, and reads orders when it is woken. */
/// <reference lib="deno.worker" />
import { errorText } from "../../../errors.ts";
import { createPolicy } from "../../balancing/policies.ts";
import { openLibc } from "../ffi/libc.ts";
import type { ReactorOrder, ReactorReport, ReactorStart } from "./orders.ts";
import { Reactor } from "./reactor.ts";

const inbox: ReactorOrder[] = [];
let arrived: (() => void) | undefined;

function report(message: ReactorReport): void {
  self.postMessage(message);
}

async function run(start: ReactorStart): Promise<void> {
  using libc = openLibc();
  const posted = new Int32Array(start.posted);
  let taken = 0;
  using reactor = new Reactor({
    ...start,
    libc,
    createPolicy,
    report,
    clock: () => performance.now(),
    ordersWait: () => taken !== Atomics.load(posted, 0),
  });
  for (;;) {
    while (taken < Atomics.load(posted, 0)) {
      // An order is counted before its message is here.
      while (inbox.length === 0) {
        await new Promise<void>((resolve) => arrived = resolve);
      }
      taken++;
      if (!reactor.obey(inbox.shift()!)) return;
    }
    while (!reactor.turn(-1));
  }
}

self.onmessage = async ({ data: start }: MessageEvent<ReactorStart>) => {
  self.onmessage = ({ data }: MessageEvent<ReactorOrder>) => {
    inbox.push(data);
    arrived?.();
  };
  try {
    await run(start);
    report({ kind: "ended" });
  } catch (error) {
    report({
      kind: "failed",
      message: errorText(error),
    });
  }
  self.close();
};
