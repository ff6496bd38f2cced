/** SIGHUP of the roles with UDP destinations: the configuration is read again, destinations change at once. */
import type { Address } from "../net/address.ts";
import { sameAddresses } from "../net/udp/sinks/live_destinations.ts";
import type { CommandContext } from "./command.ts";

/** What a role reloads. */
export interface ReloadOptions {
  /** The values that it was started with. */
  values: Readonly<Record<string, unknown>>;
  /** Log and configuration of the running command. */
  context: Pick<CommandContext, "log" | "reread">;
  /** Where to send, in the values of a configuration. */
  // deno-lint-ignore no-explicit-any
  destinationsOf: (values: any) => readonly Address[];
  /** The options that `destinationsOf` reads. */
  keys: readonly string[];
  /** Has the role send there. */
  apply: (destinations: readonly Address[]) => Promise<void>;
}

/** Makes the function that SIGHUP calls. It throws where the configuration is wrong: all stays as it was. */
export function reloader(options: ReloadOptions): () => Promise<void> {
  const { values: started, context, destinationsOf, keys, apply } = options;
  const { log, reread } = context;
  let current = destinationsOf(started);
  return async () => {
    const { values, config } = reread();
    if (config === undefined) {
      log.warn("nothing to reload: requires --config", {});
      return;
    }
    const destinations = destinationsOf(values);
    if (!sameAddresses(current, destinations)) {
      await apply(destinations);
      current = destinations;
    }
    log.info("configuration reloaded", {
      path: config.file,
      destinations: destinations.length,
    });
    const changed = Object.keys(started).filter((key) =>
      !keys.includes(key) &&
      JSON.stringify(started[key]) !== JSON.stringify(values[key])
    );
    if (changed.length > 0) {
      log.warn("some changes require a restart", {
        options: changed.map(kebabCase).join(","),
      });
    }
  };
}

function kebabCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
