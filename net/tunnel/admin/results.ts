/** What commands say of tunnels: the original's lines and objects, and ours. */
import type { RemoteStats } from "../../engine/stream.ts";
import { TUNNEL_OPTIONS, type TunnelOptions } from "../spec.ts";
import type { Tunnel, TunnelConnection } from "../tunnel.ts";
import type { ReloadReport, Tunnels } from "../tunnels.ts";
import { controlFailure } from "./errors.ts";

/** A tunnel in STATUS FULL. */
export function statusLine(tunnel: Tunnel): string {
  const stats = tunnelResult(tunnel);
  return `${tunnel.label} = open conns ${stats.streams_open}, ` +
    `total conns ${stats.total_connections}, ` +
    `bytes sent ${stats.bytes_sent}, received ${stats.bytes_received}, ` +
    `total errors ${stats.errors}`;
}

/** A tunnel in DETAIL: the original's words, then all other options. */
export function detailLine(tunnel: Tunnel): string {
  const { attempts, connectTimeoutMs, errorsTillDead, strategy } =
    tunnel.options;
  const live = liveRemotes(tunnel).length;
  return `Remotes: ${live}, Dead Remotes: ${tunnel.remotes.length - live}, ` +
    `Options: strategy=${strategy},retries=${attempts},` +
    `timeout=${connectTimeoutMs / 1000}, errors=${errorsTillDead}` +
    TUNNEL_OPTIONS.filter(({ key }) => !ORIGINAL_KEYS.includes(key))
      .map(({ key, print }) => `,${key}=${print(tunnel.options) ?? ""}`)
      .join("");
}

/** Options in the original's DETAIL. */
const ORIGINAL_KEYS = ["strategy", "retries", "timeout", "errors"];

/** The remotes in DETAIL: live ones as the original shows them, then dead ones. */
export function* remoteLines(tunnel: Tunnel): Iterable<string> {
  const all = remotesOf(tunnel);
  for (const [label, stats] of all) {
    if (stats.live) yield remoteLine(label, stats);
  }
  for (const [label, stats] of all) {
    if (!stats.live) yield `${remoteLine(label, stats)}, dead`;
  }
}

function remoteLine(label: string, stats: RemoteStats): string {
  return `${label} = open conns ${stats.open}, total conns ${stats.opened}, ` +
    `bytes sent ${stats.bytesUpstream}, received ${stats.bytesDownstream}, ` +
    `recent errors ${stats.recentErrors}, total errors ${stats.errors}`;
}

/** Remotes that are chosen from, in order, by label. */
export function liveRemotes(tunnel: Tunnel): [string, RemoteStats][] {
  return remotesOf(tunnel).filter(([, { live }]) => live);
}

function remotesOf(tunnel: Tunnel): [string, RemoteStats][] {
  const { remotes } = tunnel.stats();
  return tunnel.remotes.flatMap(({ id, label }) => {
    const stats = remotes.get(id);
    return stats ? [[label, stats]] : [];
  });
}

/** `stats` of the original's tunnelInfo: its streams are clients, with a remote or without one yet. */
function tunnelResult(tunnel: Tunnel) {
  const stats = tunnel.stats();
  return {
    bytes_sent: stats.bytesUpstream,
    streams_open: stats.opening + stats.open,
    bytes_received: stats.bytesDownstream,
    total_connections: stats.accepted,
    errors: stats.dialErrors,
  };
}

const RPC_STRATEGIES = {
  "random": "Random",
  "round-robin": "RoundRobin",
  "minimum-open-connections": "MinimumOpenConnections",
} as const;

/** Result of tunnelInfo. */
export function infoResult(tunnel: Tunnel) {
  const live = liveRemotes(tunnel).length;
  const { options } = tunnel;
  return {
    stats: tunnelResult(tunnel),
    num_remotes: live,
    num_dead_remotes: tunnel.remotes.length - live,
    options: {
      lb_strategy: RPC_STRATEGIES[options.strategy],
      remote_connect_retries: options.attempts,
      options: {
        errors_till_dead: options.errorsTillDead,
        connect_timeout: float(options.connectTimeoutMs / 1000),
        dead_retry: float(options.checkIntervalMs / 1000),
        tls: options.remoteTls,
      },
    },
  };
}

/** A remote as the original shows it. */
export function remoteResult(stats: RemoteStats) {
  return {
    bytes_sent: stats.bytesUpstream,
    streams_open: stats.open,
    streams_pending: stats.pending,
    bytes_received: stats.bytesDownstream,
    total_connections: stats.opened,
    last_error_time: stats.lastErrorAtMs === 0 ? null : stats.lastErrorAtMs,
    num_errors: stats.recentErrors,
    total_errors: stats.errors,
  };
}

/** A number that is written with a point, as serde writes floats. */
function float(value: number): unknown {
  return Number.isInteger(value) ? rawJson(`${value}.0`) : value;
}

/** `JSON.rawJSON`, which the compiler's library does not know yet. */
const { rawJSON: rawJson } = JSON as unknown as {
  rawJSON(text: string): unknown;
};

/** All tunnels, with all that is known of each. */
export function statusResult({ tunnels }: { tunnels: Tunnels }) {
  return {
    tunnels: tunnels.list().map(fullTunnel),
    draining: tunnels.draining().map(fullTunnel),
  };
}

/** A tunnel in our own words, with its dead remotes and every option. */
export function fullTunnel(tunnel: Tunnel) {
  const { remotes, ...stats } = tunnel.stats();
  return {
    tunnel: tunnel.label,
    address: tunnel.address,
    engine: tunnel.engine,
    draining: tunnel.draining,
    options: optionValues(tunnel.options),
    stats,
    remotes: tunnel.remotes.map(({ id, label }) => ({
      remote: label,
      ...remotes.get(id),
    })),
  };
}

/** Options by the keys of a specification, times in seconds. */
function optionValues(options: TunnelOptions): Record<string, unknown> {
  return Object.fromEntries(TUNNEL_OPTIONS.map(({ key, field }) => {
    const value = options[field];
    return [
      key,
      field.endsWith("Ms") ? Number(value) / 1000 : value ?? null,
    ];
  }));
}

/** A connection in CONNS. */
export function connectionLine(connection: TunnelConnection): string {
  const { id, client, remote, bytesUpstream, bytesDownstream } = connection;
  return `${id} = client ${client}, remote ${remote}, ` +
    `bytes sent ${bytesUpstream}, received ${bytesDownstream}, ` +
    `age ${seconds(connection.ageMs)}, idle ${seconds(connection.idleMs)}` +
    (connection.halfClosed ? ", half-closed" : "");
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** A connection of listConnections. */
export function connectionResult(connection: TunnelConnection) {
  return {
    id: connection.id,
    client: connection.client,
    remote: connection.remote,
    bytes_sent: connection.bytesUpstream,
    bytes_received: connection.bytesDownstream,
    age_ms: Math.round(connection.ageMs),
    idle_ms: Math.round(connection.idleMs),
    half_closed: connection.halfClosed,
  };
}

/** Lines of RELOAD. */
export function reloadLines(report: ReloadReport): {
  short: string;
  details?: string[];
} {
  const { opened, closed, changed, unchanged, failed } = report;
  return {
    short: `Opened: ${opened.length}, Closed: ${closed.length}, ` +
      `Changed: ${changed.length}, Unchanged: ${unchanged.length}, ` +
      `Failed: ${failed.length}`,
    ...(failed.length > 0
      ? {
        details: failed.map(({ tunnel, error }) =>
          `${tunnel} = ${controlFailure(error).message}`
        ),
      }
      : {}),
  };
}

/** Result of reload. */
export function reloadResult(report: ReloadReport) {
  return {
    ...report,
    failed: report.failed.map(({ tunnel, error }) => ({
      tunnel,
      ...controlFailure(error),
    })),
  };
}
