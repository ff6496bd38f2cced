/**
 * What was changed while tunnels ran, apart from what the configuration says,
 * so that both can be put together again after a reload or a restart. Where
 * they disagree, the change wins until it is taken back. Pure.
 */
import type { Address } from "../address.ts";
import {
  addressKey,
  formatOptions,
  sameAddress,
  type TunnelSpec,
} from "./spec.ts";

/** Changes since the configuration was read; tunnels go by {@linkcode tunnelKey}. */
export interface TunnelChanges {
  /** Tunnels opened; they stand in for configured ones of the same key. */
  readonly opened: readonly TunnelSpec[];
  /** Configured tunnels that were closed. */
  readonly closed: readonly string[];
  /** Remotes of configured tunnels that were added and removed. */
  readonly remotes: Readonly<Record<string, RemoteChanges>>;
}

/** Changes to the remotes of one tunnel. */
export interface RemoteChanges {
  readonly added: readonly Address[];
  readonly removed: readonly Address[];
}

/** Nothing was changed. */
export const NO_CHANGES: TunnelChanges = {
  opened: [],
  closed: [],
  remotes: {},
};

/** What one tunnel is known by: where it listens, as it was written. */
export function tunnelKey(spec: TunnelSpec): string {
  return addressKey(spec.local);
}

/** Whether two specifications ask for the same. */
export function sameTunnel(a: TunnelSpec, b: TunnelSpec): boolean {
  return tunnelKey(a) === tunnelKey(b) &&
    a.remotes.length === b.remotes.length &&
    a.remotes.every((remote, i) => sameAddress(remote, b.remotes[i]!)) &&
    formatOptions(a.options) === formatOptions(b.options);
}

/** The tunnels that there should be: the configured ones with the changes made to them. */
export function wantedTunnels(
  configured: readonly TunnelSpec[],
  changes: TunnelChanges,
): TunnelSpec[] {
  const gone = new Set([...changes.opened.map(tunnelKey), ...changes.closed]);
  const kept = configured.filter((spec) => {
    return !gone.has(tunnelKey(spec));
  });
  return [
    ...kept.map((spec) => {
      const change = changes.remotes[tunnelKey(spec)];
      return change ? { ...spec, remotes: changedRemotes(spec, change) } : spec;
    }),
    ...changes.opened,
  ];
}

function changedRemotes(
  { remotes }: TunnelSpec,
  changes: RemoteChanges,
): readonly Address[] {
  const kept = without(remotes, changes.removed);
  return [...kept, ...without(changes.added, kept)];
}

/** A tunnel was opened. */
export function withOpened(
  changes: TunnelChanges,
  configured: readonly TunnelSpec[],
  spec: TunnelSpec,
): TunnelChanges {
  const key = tunnelKey(spec);
  const { opened, closed, remotes } = withoutTunnel(changes, key);
  const asConfigured = configured.some((one) => sameTunnel(one, spec));
  return { opened: asConfigured ? opened : [...opened, spec], closed, remotes };
}

/** A tunnel was closed. */
export function withClosed(
  changes: TunnelChanges,
  configured: readonly TunnelSpec[],
  key: string,
): TunnelChanges {
  const rest = withoutTunnel(changes, key);
  const isConfigured = configured.some((spec) => tunnelKey(spec) === key);
  return isConfigured ? { ...rest, closed: [...rest.closed, key] } : rest;
}

/** A remote was added to a tunnel. */
export function withRemoteAdded(
  changes: TunnelChanges,
  key: string,
  remote: Address,
): TunnelChanges {
  return withRemotes(changes, key, {
    opened: (remotes) => [...without(remotes, [remote]), remote],
    configured: ({ added, removed }) => ({
      // One that was removed before comes back behind the others, as here.
      added: [...without(added, [remote]), remote],
      removed,
    }),
  });
}

/** A remote was removed from a tunnel. */
export function withRemoteRemoved(
  changes: TunnelChanges,
  key: string,
  remote: Address,
): TunnelChanges {
  return withRemotes(changes, key, {
    opened: (remotes) => without(remotes, [remote]),
    configured: ({ added, removed }) => ({
      added: without(added, [remote]),
      removed: [...without(removed, [remote]), remote],
    }),
  });
}

/** Forgets changes to tunnels that are no longer configured. */
export function withoutStale(
  changes: TunnelChanges,
  configured: readonly TunnelSpec[],
): TunnelChanges {
  const keys = new Set(configured.map(tunnelKey));
  return {
    opened: changes.opened,
    closed: changes.closed.filter((key) => keys.has(key)),
    remotes: Object.fromEntries(
      Object.entries(changes.remotes).filter(([key]) => keys.has(key)),
    ),
  };
}

function withRemotes(
  changes: TunnelChanges,
  key: string,
  change: {
    opened: (remotes: readonly Address[]) => readonly Address[];
    configured: (changes: RemoteChanges) => RemoteChanges;
  },
): TunnelChanges {
  const index = changes.opened.findIndex((spec) => tunnelKey(spec) === key);
  if (index >= 0) {
    const spec = changes.opened[index]!;
    const changed = { ...spec, remotes: change.opened(spec.remotes) };
    return { ...changes, opened: changes.opened.with(index, changed) };
  }
  const before = changes.remotes[key] ?? { added: [], removed: [] };
  return {
    ...changes,
    remotes: { ...changes.remotes, [key]: change.configured(before) },
  };
}

function withoutTunnel(changes: TunnelChanges, key: string): TunnelChanges {
  const { [key]: _, ...remotes } = changes.remotes;
  return {
    opened: changes.opened.filter((spec) => tunnelKey(spec) !== key),
    closed: changes.closed.filter((closed) => closed !== key),
    remotes,
  };
}

function without(
  remotes: readonly Address[],
  gone: readonly Address[],
): Address[] {
  const keys = new Set(gone.map(addressKey));
  return remotes.filter((remote) => !keys.has(addressKey(remote)));
}
