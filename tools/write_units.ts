/**
 * Writes a systemd unit for each role that serves, with what it may do.
 *
 *     deno run -A tools/write_units.ts          writes packaging/systemd/
 *     deno run -A tools/write_units.ts --check  fails where they are not up to date
 */
import { commands } from "@mproxy/cli";
import { fromFileUrl } from "@std/path";
import { checkOrWrite } from "./written_file.ts";

const FOLDER = fromFileUrl(new URL("../packaging/systemd/", import.meta.url));

/** Roles that run until they are ended. */
const SERVING = commands.filter(({ name }) =>
  !["client", "loadtest"].includes(name)
);

/** Roles that write files: into /var/lib/mproxy-ROLE. */
const WRITING = ["server", "tunnel", "mqtt"];

/** Roles on whose SIGHUP the configuration or certificates are read again. */
const RELOADING = ["tunnel", "mqtt"];

function unit(role: string, summary: string, graceSeconds = 5): string {
  return `# Written by tools/write_units.ts
[Unit]
Description=mproxy ${role}: ${summary}
Documentation=man:mproxy-${role}(1)
Wants=network-online.target
After=network-online.target
# What is missing at boot may come late: no start is the last one.
StartLimitIntervalSec=0

[Service]
# Ready is when it listens.
Type=notify
ExecStart=/usr/bin/mproxy-${role} --config /etc/mproxy/${role}.toml
${
    RELOADING.includes(role)
      ? "ExecReload=/bin/kill -HUP $MAINPID\n"
      : ""
  }Restart=on-failure
RestartSec=2
RestartPreventExitStatus=2
# One second more than it gives itself to drain.
TimeoutStopSec=${graceSeconds + 1}
DynamicUser=yes
${
    WRITING.includes(role)
      ? `StateDirectory=mproxy-${role}\nWorkingDirectory=%S/mproxy-${role}\n`
      : ""
  }AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
# V8 compiles at run time, so memory is written and executed.
MemoryDenyWriteExecute=no
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
`;
}

if (import.meta.main) {
  await checkOrWrite(
    SERVING.map(({ name, summary, graceSeconds }) => ({
      path: `${FOLDER}mproxy-${name}.service`,
      text: unit(name, summary, graceSeconds),
    })),
    "deno run -A tools/write_units.ts",
  );
}
