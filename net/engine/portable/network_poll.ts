/** Tells of changes of interfaces and addresses by asking for them every so often. */
import { interfacesText, mayListInterfaces } from "../interfaces.ts";

/** How often, in milliseconds. */
const POLL_MS = 1000;

/** Calls back after changes, until it is disposed of; never where interfaces may not be listed. */
export function watchInterfaces(onChange: () => void): AsyncDisposable {
  if (!mayListInterfaces()) return closedBy(() => {});
  let last = interfacesText();
  const timer = setInterval(() => {
    const now = interfacesText();
    if (now === last) return;
    last = now;
    onChange();
  }, POLL_MS);
  return closedBy(() => clearInterval(timer));
}

function closedBy(close: () => void): AsyncDisposable {
  return {
    [Symbol.asyncDispose]: () => {
      close();
      return Promise.resolve();
    },
  };
}
