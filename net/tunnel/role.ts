/**
 * The tunnel role: tunnels, the doors that drive them, the metrics door and
 * the access log, opened in an order in which nothing is lost and closed in
 * the other.
 */
import { type Address, formatAddress } from "../address.ts";
import { admissionMetrics } from "../admission_metrics.ts";
import { OperationError, UsageError } from "../errors.ts";
import { Log } from "../observe/log.ts";
import type { Metric } from "../observe/metrics.ts";
import { serveMetrics } from "../observe/metrics_server.ts";
import { formatBytes, formatCount } from "../observe/units.ts";
import { AccessLog, type AccessLogFormat } from "./access_log.ts";
import { tunnelMetrics } from "./metrics.ts";
import { Tunnels, type TunnelsOptions } from "./tunnels.ts";
import { openHttpDoor } from "./admin/http_server.ts";
import { openLineDoor } from "./admin/line_server.ts";
import { statusResult } from "./admin/results.ts";
import { checkExposure } from "./admin/token.ts";

/** Options of {@linkcode startTunnelRole}. */
export interface TunnelRoleOptions extends Omit<TunnelsOptions, "accessLog"> {
  /** File for a line per client, or `-` for stdout. Default: none. */
  readonly accessLog?: string | undefined;
  /**
   * How its lines look.
   * @default {"text"}
   */
  readonly accessLogFormat?: AccessLogFormat;
  /** Where line commands are taken. Default: nowhere. */
  readonly controlSocket?: Address | undefined;
  /** Where JSON-RPC is taken. Default: nowhere. */
  readonly rpcSocket?: Address | undefined;
  /** Wanted at both doors; must be given where they are not on loopback. Default: nobody needs one. */
  readonly controlToken?: string | undefined;
  /** Where metrics are shown. Default: nowhere. */
  readonly prometheusSocket?: Address | undefined;
  /** Also shows metrics under the names of another tool. Default: none. */
  readonly metricsCompat?: "plexy" | undefined;
}

/** A running tunnel role. */
export interface TunnelRole extends AsyncDisposable {
  /** The tunnels. */
  readonly tunnels: Tunnels;
  /** Where line commands are taken, with the real port. */
  readonly controlAddress: Address | undefined;
  /** Where JSON-RPC is taken, with the real port. */
  readonly rpcAddress: Address | undefined;
  /** Where metrics are shown, with the real port. */
  readonly prometheusAddress: Address | undefined;
  /** Resolves when the tunnels have ended. */
  readonly finished: Promise<void>;
  /** Takes no more clients, and ends when the connections have. */
  drain(): Promise<void>;
  /** Reads the configuration again, and logs what has become of it. */
  reload(): Promise<void>;
  /** Figures now. */
  metrics(): Metric[];
  /** All that is known of each tunnel. */
  json(): unknown;
  /** One line about now. */
  progress(): string;
  /** Lines for the end. */
  summary(): string[];
}

/**
 * Starts the role; throws a UsageError or an OperationError, and nothing is
 * open then. All that Plexy's program does.
 */
export async function startTunnelRole(
  options: TunnelRoleOptions,
): Promise<TunnelRole> {
  const { controlSocket, rpcSocket, prometheusSocket, controlToken } = options;
  const { accessLog: accessLogPath, accessLogFormat, ...rest } = options;
  const log = options.log ?? new Log();
  for (const address of [controlSocket, rpcSocket]) {
    if (address) checkExposure(address, controlToken);
  }
  await using opened = new AsyncDisposableStack();
  const accessLog = accessLogPath === undefined ? undefined : opened.use(
    await AccessLog.open({
      path: accessLogPath,
      format: accessLogFormat ?? "text",
      onDrop: (reason) =>
        log.limited(
          "access log",
          `Lines of the access log are lost: ${reason}`,
          {},
          "error",
        ),
      onRecovered: ({ lines }) =>
        log.limited("access log again", "access log lines were lost", {
          lines,
        }),
    }),
  );
  const tunnels = opened.use(await Tunnels.start({ ...rest, log, accessLog }));
  const doorOptions = { tunnels, token: controlToken, log };
  const control = controlSocket &&
    opened.use(openLineDoor({ ...doorOptions, address: controlSocket }));
  if (control) tell(log, "control door is open", control.address);
  const rpc = rpcSocket &&
    opened.use(await openHttpDoor({ ...doorOptions, address: rpcSocket }));
  if (rpc) tell(log, "JSON-RPC door is open", rpc.address);
  const admissions = [
    ...control ? [{ listener: "control", door: control }] : [],
    ...rpc ? [{ listener: "json-rpc", door: rpc }] : [],
  ];
  const metrics = () => [
    ...tunnelMetrics(tunnels, options.metricsCompat),
    ...admissionMetrics(
      admissions.map(({ listener, door }) => ({
        listener,
        stats: door.stats(),
      })),
    ),
  ];
  const json = () => statusResult({ tunnels });
  const prometheus = prometheusSocket && opened.use(
    await serveMetrics({
      address: prometheusSocket,
      log,
      metrics,
      json,
      ready: () => tunnels.ready(),
    }),
  );
  if (prometheus) tell(log, "prometheus door is open", prometheus.address);
  if (!control && !rpc && tunnels.list().length === 0) {
    const ready = tunnels.ready();
    if (ready !== true) throw new OperationError(`No tunnel is open: ${ready}`);
    throw new UsageError(
      "No tunnel and no way to open one: pass a tunnel, such as 3000=4000, or `controlSocket` or `rpcSocket`",
      { option: ["controlSocket", "rpcSocket"] },
    );
  }
  const all = opened.move();
  return {
    tunnels,
    controlAddress: control?.address,
    rpcAddress: rpc?.address,
    prometheusAddress: prometheus?.address,
    finished: tunnels.finished,
    drain: () => tunnels.drain(),
    reload: () => reload(tunnels, log),
    metrics,
    json,
    progress: () => progressOf(tunnels),
    summary: () => summaryOf(tunnels),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function tell(log: Log, message: string, address: Address): void {
  log.info(message, { address: formatAddress(address) });
}

async function reload(tunnels: Tunnels, log: Log): Promise<void> {
  const report = await tunnels.reload();
  log.info(
    "reloaded",
    Object.fromEntries(
      Object.entries(report).map(([what, some]) => [what, some.length]),
    ),
  );
}

function progressOf(tunnels: Tunnels): string {
  const { open, bytesUpstream, bytesDownstream } = tunnels.totals();
  return `${tunnels.list().length} tunnels, ${formatCount(open)} open, ${
    formatBytes(bytesUpstream)
  } up, ${formatBytes(bytesDownstream)} down`;
}

function summaryOf(tunnels: Tunnels): string[] {
  const totals = tunnels.totals();
  return [
    `clients    ${formatCount(totals.accepted)} (${
      formatCount(totals.rejected)
    } let go without a remote)`,
    `upstream   ${formatBytes(totals.bytesUpstream)}`,
    `downstream ${formatBytes(totals.bytesDownstream)}`,
    `connects   ${formatCount(totals.dialErrors)} failed`,
  ];
}
