/**
 * Errors that no code awaits: a promise that a hook, or the gateway itself, has
 * dropped. The runtime would end the process for them; here they end the
 * session in whose context they arose.
 */
import { AsyncLocalStorage } from "node:async_hooks";

/** Whom an error is charged to. */
export interface ErrorOwner {
  /** Ends it by an error; never throws. */
  fail(error: unknown): void;
}

/** The owner of what runs now, across all that it awaits. */
const owners = new AsyncLocalStorage<ErrorOwner>();

let watchers = 0;

/** Runs a call, and all that it starts, in the context of an owner. */
export function runAs<Result>(owner: ErrorOwner, call: () => Result): Result {
  return owners.run(owner, call);
}

/**
 * Charges unhandled rejections to their owners until it is disposed of. One
 * that has no owner is left to the program.
 */
export function watchStrayErrors(): Disposable {
  if (watchers++ === 0) {
    globalThis.addEventListener("unhandledrejection", charge);
  }
  return {
    [Symbol.dispose]() {
      if (--watchers > 0) return;
      globalThis.removeEventListener("unhandledrejection", charge);
    },
  };
}

/**
 * Keeps the process alive through errors that have no owner, such as those of a
 * timer that a hook has set, and reports them. For a program whose process is
 * the gateway's alone.
 */
export function watchProcessErrors(
  report: (error: unknown) => void,
): Disposable {
  const onRejection = (event: PromiseRejectionEvent) => {
    if (event.defaultPrevented || owners.getStore()) return;
    event.preventDefault();
    report(event.reason);
  };
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    const owner = owners.getStore();
    if (owner) owner.fail(event.error);
    else report(event.error);
  };
  globalThis.addEventListener("unhandledrejection", onRejection);
  globalThis.addEventListener("error", onError);
  return {
    [Symbol.dispose]() {
      globalThis.removeEventListener("unhandledrejection", onRejection);
      globalThis.removeEventListener("error", onError);
    },
  };
}

function charge(event: PromiseRejectionEvent): void {
  const owner = owners.getStore();
  if (!owner) return;
  event.preventDefault();
  owner.fail(event.reason);
}
