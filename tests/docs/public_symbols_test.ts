/** What the documentation of every public symbol says: units, defaults, errors. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, relative } from "@std/path";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

interface Documented {
  name: string;
  jsDoc?: {
    doc?: string;
    tags?: { kind: string; doc?: string; value?: string }[];
  };
  location: { filename: string; line: number; byteIndex: number };
  tsType?: { repr: string };
  optional?: boolean;
}

interface Declaration extends Omit<Documented, "name"> {
  kind: string;
  declarationKind: string;
  def?: {
    properties?: Documented[];
    methods?: (Documented & { kind?: string })[];
  };
}

interface DocumentedModules {
  nodes: Record<
    string,
    { symbols: { name: string; declarations: Declaration[] }[] }
  >;
}

/** All that a package's doors export, once. */
async function publicSymbols(): Promise<[name: string, one: Declaration][]> {
  const { stdout, success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", "mod.ts", "net/mqtt/mod.ts", "cli/mod.ts"],
    cwd: ROOT,
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  const { nodes } = JSON.parse(
    new TextDecoder().decode(stdout),
  ) as DocumentedModules;
  const found = new Map<string, [string, Declaration]>();
  for (const { symbols } of Object.values(nodes)) {
    for (const { name, declarations } of symbols) {
      for (const one of declarations) {
        if (one.declarationKind !== "export") continue;
        found.set(`${one.location.filename} ${one.location.byteIndex}`, [
          name,
          one,
        ]);
      }
    }
  }
  return [...found.values()];
}

/** All that is said of something, tags too. */
function said({ jsDoc }: Pick<Documented, "jsDoc">): string {
  const tags = jsDoc?.tags?.map(({ kind, doc, value }) =>
    `@${kind} ${value ?? ""} ${doc ?? ""}`
  );
  return [jsDoc?.doc ?? "", ...tags ?? []].join("\n");
}

function place(owner: string, { name, location }: Documented): string {
  const file = relative(ROOT, fromFileUrl(location.filename));
  return `${file.replaceAll("\\", "/")}: ${owner}.${name}`;
}

const symbols = await publicSymbols();
const properties = symbols.flatMap(([owner, { def }]) =>
  (def?.properties ?? []).map((one) => ({ owner, one }))
);

Deno.test("deno doc tells of as many public symbols as there are", () => {
  assert(symbols.length >= 300, `${symbols.length}`);
  assert(properties.length >= 500, `${properties.length}`);
});

Deno.test("every property that may be left out says what holds then", () => {
  const silent = properties.filter(({ one }) =>
    one.optional === true &&
    !/default|without|\bnone\b|where .*(given|set|left)|\bonly\b/i.test(
      said(one),
    )
  ).map(({ owner, one }) => place(owner, one));
  assertEquals(silent, []);
});

Deno.test("every number among the options says in what it counts", () => {
  const units =
    /(Ms|Us|Bytes|Seconds|PerSecond|Bits|Mode|At|Port|Qos|ttl|Count|Index|Id|port)$/;
  const words =
    /byte|second|bit|how many|number|connect|datagram|hop|packet|worker|thread|request|file|event|message|time|verdict|reason code|QoS|from (0|1)|0 to|1 to|share|value|index|line|column|error|client|Probe|piece/i;
  const silent = properties.filter(({ one }) =>
    one.tsType?.repr === "number" && !units.test(one.name) &&
    !words.test(`${one.name} ${said(one)}`)
  ).map(({ owner, one }) => place(owner, one));
  assertEquals(silent, []);
});

Deno.test("every exported function that throws by itself says what and when", () => {
  const silent = symbols.filter(([, one]) => {
    if (one.kind !== "function") return false;
    const source = Deno.readTextFileSync(fromFileUrl(one.location.filename));
    const bytes = new TextEncoder().encode(source);
    const rest = new TextDecoder().decode(
      bytes.subarray(one.location.byteIndex),
    );
    // To the brace in the first column that closes it.
    const body = rest.slice(0, rest.indexOf("\n}\n") + 1);
    return /\bthrow (new )?[A-Za-z]/.test(body) &&
      !/throws|rejects/i.test(said(one));
  }).map(([name, one]) => place("", { ...one, name }));
  assertEquals(silent, []);
});

/** Where behaviour comes from, by symbol. */
const SOURCES: Readonly<Record<string, RegExp>> = {
  startClient: /MPROXY/,
  startProxy: /MPROXY/,
  startReverseProxy: /MPROXY/,
  startServer: /MPROXY/,
  DispatchOptions: /ip\(7\)[\s\S]*socket\(7\)|socket\(7\)[\s\S]*ip\(7\)/,
  TcpRelay: /Monkey D\. TCP[\s\S]*RFC 9293/,
  relayMetrics: /Monkey D\. TCP/,
  relayJson: /Monkey D\. TCP/,
  LoadTest: /Monkey D\. TCP/,
  EchoServer: /RFC 862/,
  Tunnels: /Plexy/,
  TunnelOptions: /Plexy/,
  parseTunnel: /Plexy/,
  parseSocket: /Plexy/,
  openLineDoor: /Plexy/,
  openHttpDoor: /JSON-RPC 2\.0[\s\S]*Plexy[\s\S]*RFC 6455/,
  startTunnelRole: /Plexy/,
  startMqttGateway: /MQTT 3\.1, 3\.1\.1 and 5\.0[\s\S]*mProxy/,
  deny: /MQTT 5 \(2\.4\)/,
  topicMatches: /4\.7/,
  filterCovers: /4\.8\.2/,
  InterceptedPacket: /2\.1\.2/,
  JwtOptions: /RFC 7517/,
  JWT_ALGORITHMS: /RFC 7518/,
  hashPassword: /RFC 7914/,
  verifyPassword: /RFC 7914[\s\S]*RFC 8018/,
  parseAddress: /RFC 4291[\s\S]*RFC 4007/,
  formatAddress: /RFC 5952/,
  TlsClientOptions: /RFC 6066/,
  Metric: /Prometheus/,
};

Deno.test("what comes from elsewhere says from where: an RFC, a man page, an original", () => {
  const silent = Object.entries(SOURCES).filter(([wanted, source]) =>
    !symbols.some(([name, { jsDoc, def }]) =>
      name === wanted && source.test(
        [{ jsDoc: jsDoc ?? {} }, ...def?.properties ?? []].map(said)
          .join("\n").replaceAll(/\s+/g, " "),
      )
    )
  ).map(([name]) => name);
  assertEquals(silent, []);
});
