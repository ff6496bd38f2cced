/** Help on tunnels: the grammar, and every option with its default. */
import {
  DEFAULT_TUNNEL_OPTIONS,
  TUNNEL_OPTIONS,
  type TunnelOptions,
} from "./spec.ts";

/** How a tunnel is written. */
export function tunnelHelp(
  defaults: TunnelOptions = DEFAULT_TUNNEL_OPTIONS,
): string {
  const width = Math.max(
    ...TUNNEL_OPTIONS.map(({ key, placeholder }) =>
      key.length + placeholder.length
    ),
  ) + 3;
  const options = TUNNEL_OPTIONS.map(({ key, placeholder, help, print }) => {
    const value = print(defaults);
    const text = value === undefined ? help : `${help} (default ${value})`;
    const usage = `${key}=${placeholder}`;
    return usage.length > 30
      ? `  ${usage}\n  ${" ".repeat(Math.min(width, 32))}${text}`
      : `  ${usage.padEnd(Math.min(width, 32))}${text}`;
  });
  return `A tunnel is a listening socket, its remotes, and options in brackets:

  local=remote
  local=remote,remote,...
  local=remote,remote,...[option=value,option=value,...]

A socket is a port of 127.0.0.1, or host:port with a host name, an IPv4 address
or an IPv6 address in brackets. Port 0 listens on a free port.
Connections are balanced over the remotes; names of remotes are resolved at
each connection.

Options, in any case:

${options.join("\n")}

Examples:

  3000=4000
  0.0.0.0:80=web1:8080,web2:8080[strategy=round-robin,errors=3]
  [::1]:5432=db.example.com:5432[remote-tls=true,timeout=2.5]
`;
}
