/** The linux engine for streams with its reactor in the test's own thread, so that its libc can have faults. */
import { assertEquals } from "@std/assert";
import {
  EAGAIN,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
} from "../../net/engine/linux/ffi/constants.ts";
import { linuxStreamEngine } from "../../net/engine/linux/stream/engine.ts";
import type { ReactorOrder } from "../../net/engine/linux/stream/orders.ts";
import { Reactor } from "../../net/engine/linux/stream/reactor.ts";
import type { StartReactor } from "../../net/engine/linux/stream/reactor_link.ts";
import type { StreamEngine } from "../../net/engine/stream.ts";
import { createPolicy } from "../../net/engine/balancing/policies.ts";
import type { FaultyLibc } from "./faulty_libc.ts";

/** An engine of one reactor that never blocks; its end checks that no descriptor is left and frees libc. */
export function inThreadEngine(libc: FaultyLibc): StreamEngine {
  const engine = linuxStreamEngine({ libc, startReactor: inThread(libc) });
  return {
    name: engine.name,
    description: engine.description,
    features: engine.features,
    forward: (plan, onEvents) => engine.forward(plan, onEvents),
    async [Symbol.asyncDispose]() {
      await engine[Symbol.asyncDispose]();
      assertEquals(libc.calls.get("close") ?? 0, libc.opened, "descriptors");
      libc[Symbol.dispose]();
    },
  };
}

function inThread(libc: FaultyLibc): StartReactor {
  return (start, onReport) => {
    const inbox: ReactorOrder[] = [];
    const reactor = new Reactor({
      ...start,
      libc,
      createPolicy,
      report: (report) => queueMicrotask(() => onReport(report)),
      clock: () => performance.now(),
      ordersWait: () => inbox.length > 0,
    });
    const step = () => {
      for (const order of inbox.splice(0)) {
        if (reactor.obey(order)) continue;
        reactor[Symbol.dispose]();
        onReport({ kind: "ended" });
        return;
      }
      reactor.turn(0);
      timer = setTimeout(step, 0);
    };
    let timer = setTimeout(step, 0);
    return {
      post: (order) => inbox.push(order),
      terminate: () => clearTimeout(timer),
    };
  };
}

/**
 * Every second call that moves bytes or accepts gives EAGAIN, and the others
 * move little. The kernel would tell with an edge when there is more to do; so
 * does this, by arming the descriptor again.
 */
export function fallShort(libc: FaultyLibc): FaultyLibc {
  const armed = new Map<number, [epoll: number, event: Int32Array]>();
  let arm: FaultyLibc["symbols"]["epoll_ctl"];
  libc.put("epoll_ctl", (real, epoll, operation, fd, event) => {
    arm = real;
    if (operation === EPOLL_CTL_DEL) armed.delete(fd);
    else armed.set(fd, [epoll, (event as Int32Array).slice()]);
    return real(epoll, operation, fd, event);
  });
  const armAgain = (fd: number) => {
    const [epoll, event] = armed.get(fd) ?? [];
    if (epoll === undefined) return;
    arm(epoll, EPOLL_CTL_MOD, fd, event as Int32Array<ArrayBuffer>);
  };
  let calls = 0;
  const fails = () => ++calls % 2 === 0;
  const least = (bytes: bigint, most: bigint) => bytes < most ? bytes : most;
  return libc
    .put(
      "accept4",
      (real, ...args) => fails() ? libc.fail(EAGAIN) : real(...args),
    )
    .put("recvPart", (real, fd, buffer, bytes, flags) => {
      // One in a few is whole, so that bulk is seen.
      const most = calls % 3 === 0 ? bytes : least(bytes, 20_011n);
      const result = fails()
        ? libc.fail(EAGAIN)
        : real(fd, buffer, most, flags);
      armAgain(fd);
      return result;
    })
    .put("sendPart", (real, fd, buffer, bytes, flags) => {
      const result = fails()
        ? libc.fail(EAGAIN)
        : real(fd, buffer, least(bytes, 9_973n), flags);
      armAgain(fd);
      return result;
    })
    .put("splice", (real, from, fromAt, to, toAt, bytes, flags) => {
      const result = fails()
        ? libc.fail(EAGAIN)
        : real(from, fromAt, to, toAt, least(bytes, 30_011n), flags);
      armAgain(armed.has(from) ? from : to);
      return result;
    });
}
