/** What wrong usage gets: one line on stderr and exit code 2, before anything is opened. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Receiver } from "../support/datagram_peer.ts";
import { ENGINES } from "../support/engines.ts";
import { TestFolder } from "../support/folder.ts";
import { startPeer, startRole } from "../support/process.ts";
import { needsLinux, needsProgram, testUnless } from "../support/skip.ts";

/** Arguments and what the line must say. */
type Case = readonly [args: readonly string[], wanted: string];

/** Runs cases, two at a time, each as a process of its own; tells all that went wrong. */
async function refuses(role: string, cases: readonly Case[]): Promise<void> {
  const rest = [...cases];
  const wrong: string[] = [];
  const worker = async () => {
    for (let next = rest.shift(); next; next = rest.shift()) {
      const [args, wanted] = next;
      const { code, stdout, stderr } = await startRole(role, args).end;
      const right = code === 2 && stdout.length === 0 &&
        stderr.startsWith(`mproxy-${role}: `) && stderr.includes(wanted) &&
        !stderr.includes("\n");
      if (!right) {
        wrong.push(`${args.join(" ")}: not ${wanted}, but ${code} ${stderr}`);
      }
    }
  };
  await Promise.all([worker(), worker()]);
  assertEquals(wrong, []);
}

const SOCKET_OPTIONS: readonly Case[] = [
  [["--interface=no/name"], 'Unknown interface "no/name"'],
  [["--ttl=256"], '--ttl: "256" is not a whole number from 0 to 255'],
  [["--ttl=-1"], '--ttl: "-1"'],
  [["--engine=windows"], '"windows" is none of auto, linux, portable'],
  [["--datagram-size=65508"], "the most that a UDP datagram carries"],
  [["--datagram-size=0"], "not a size from 1 to 65507"],
  [["--datagram_size", "big"], '"big" is not a number with a unit'],
  [["--log-level=loud"], '"loud" is none of debug, info, warn, error'],
  [["--log-format=xml"], '"xml" is none of text, json'],
  [["--stats=often"], '"often" is not a number of seconds'],
  [["--grace=-1"], '--grace: "-1" is not a number of seconds'],
  [["--metrics-addr=1.2.3.4:99999"], "--metrics-addr: "],
  [["--nothing=1"], "Unknown option --nothing"],
  [["--engin", "auto"], "did you mean --engine?"],
  [["--ttl=1", "--ttl=2"], '--ttl can be given once, but got "1" and "2"'],
  [["--ttl"], "--ttl wants a value"],
  [["extra"], 'Unknown argument "extra"'],
];

testUnless(
  needsLinux() ?? needsProgram("mkfifo"),
  "client refuses what cannot be right before it opens anything",
  async () => {
    await using files = await TestFolder.create();
    // A named pipe without a writer: whoever opens it hangs.
    const pipe = `${files.path}/pipe`;
    await new Deno.Command("mkfifo", { args: [pipe] }).output();
    const path = `--path=${pipe}`;
    const to = "--server-addr=127.0.0.1:9";
    const file = await files.file("file", "x");
    await refuses("client", [
      [[], "--path FILE|- is missing"],
      [[to], "--path FILE|- is missing"],
      [[path], "No destination: pass --server-addr or --tee"],
      [[path, to, "--path=b"], "--path can be given once"],
      [[path, "--server-addr=127.0.0.1:0"], "port 0 cannot be sent to"],
      [[path, "--server-addr=127.0.0.1:65536"], "at most 65535"],
      [[path, "--server-addr=127.0.0.1"], "--server-addr: "],
      [[path, "--server-addr=::1:9"], "must stand in brackets"],
      [
        [path, "--server-addr=[ff02::1%no/name]:9"],
        'Unknown interface "no/name"',
      ],
      [
        [path, "--server-addr=10.0.0.1@232.1.1.1:9"],
        "a source before @ is for listening",
      ],
      [[path, to, "--rate=fast"], '--rate: "fast"'],
      [[path, to, "--rate=10"], "--rate: "],
      [[to, `--path=${files.path}/none`], "there is no such file"],
      [[to, `--path=${files.path}`], "it is a folder"],
      [[to, "--path=-", "--follow"], "Cannot follow stdin"],
      [[to, path, "--baud=9601"], "cannot use baud 9601: expected one of"],
      [
        [to, `--path=${file}`, `--config=${file}`],
        `Cannot use "${file}:1:`,
      ],
      [
        [to, path, `--config=${files.path}/none`],
        `Cannot read "${files.path}/none": there is no such file`,
      ],
      ...SOCKET_OPTIONS.map(([args, wanted]) =>
        [[path, to, ...args], wanted] as const
      ),
    ]);
  },
);

testUnless(
  needsLinux(),
  "client names the key and the file of a wrong configuration",
  async () => {
    await using files = await TestFolder.create();
    const cases: readonly [source: string, wanted: string][] = [
      ['path = "-"\ntee = true\npth = "x"', 'the key "pth" is unknown'],
      ['path = "-"\ntee = "yes"', '"tee" wants true or false'],
      [
        'path = "-"\nserver-addr = ["127.0.0.1:0"]',
        '2.toml:2:16": "server-addr": ',
      ],
      ['path = "-"\ntee = true\nttl = 300', '3.toml:3:7": "ttl": "300"'],
      ["path = \n", '4.toml:2:1": '],
    ];
    const rest: Case[] = [];
    for (const [i, [source, wanted]] of cases.entries()) {
      rest.push([["--config", await files.file(`${i}.toml`, source)], wanted]);
    }
    await refuses("client", rest);
  },
);

testUnless(
  needsLinux() ?? needsProgram("setpriv"),
  "client refuses a file that it may not read",
  async () => {
    await using files = await TestFolder.create();
    const path = await files.file("secret", "x");
    await Deno.chmod(path, 0o000);
    const args = ["--path", path, "--server-addr", "127.0.0.1:9"];
    const { code, stderr } = await startWithout(
      "dac_override,-dac_read_search",
      "client",
      args,
    ).end;
    assertEquals(code, 2, stderr);
    assertStringIncludes(
      stderr,
      `Cannot read "${path}": it may not be read by this user`,
    );
  },
);

/** A role without a right of root's; a user who is not root never had it. */
function startWithout(right: string, role: string, args: readonly string[]) {
  const main = new URL(`../../cli/${role}/main.ts`, import.meta.url).pathname;
  const command = [Deno.execPath(), "run", "-A", main, ...args];
  return Deno.uid() === 0
    ? startPeer("setpriv", [`--bounding-set=-${right}`, ...command])
    : startPeer(command[0]!, command.slice(1));
}

testUnless(
  needsLinux(),
  "proxy refuses what cannot be right before it takes a port",
  async () => {
    await using files = await TestFolder.create();
    // A port that is held: whoever would open it first would end with 1.
    await using held = await Receiver.open();
    const from = `--udp-listen-addr=${held.text}`;
    const to = "--udp-downstream-addr=127.0.0.1:9";
    const tls = "--tcp-connect-addr=tls://127.0.0.1:9";
    const pem = await files.file("text.pem", "no certificate");
    await refuses("proxy", [
      [[], "No source: pass --udp-listen-addr or --tcp-connect-addr"],
      [[to], "No source: "],
      [[from], "No destination: pass --udp-downstream-addr or --tee"],
      [["--tcp-connect-addr=127.0.0.1:9"], "No destination: "],
      [[from, "--udp-downstream-addr=127.0.0.1:0"], "port 0"],
      [[from, "--downstream_addr=127.0.0.1:70000"], "at most 65535"],
      [[from, to, "--tcp-connect-addr=127.0.0.1:0"], "port 0"],
      [
        [from, to, "--tcp-connect-addr=http://127.0.0.1:9"],
        "--tcp-connect-addr: ",
      ],
      [
        [from, "--udp-downstream-addr=[fe80::1%no/name]:9"],
        'Unknown interface "no/name"',
      ],
      [
        [from, to, "--udp-listen-addr=[ff02::1%no/name]:9"],
        'Unknown interface "no/name"',
      ],
      [
        [from, to, "--tcp-connect-addr=[fe80::1%no/name]:9"],
        'Unknown interface "no/name"',
      ],
      [
        [from, "--udp-downstream-addr=10.0.0.1@232.1.1.1:9"],
        "a source before @",
      ],
      [
        [from, to, `--udp-downstream-addr=${held.text}`],
        `Cannot send to "${held.text}" and listen on "${held.text}": what is sent would come back without end; use another port or address`,
      ],
      [
        [
          "--listen_addr=0.0.0.0:9920",
          "--downstream_addr=localhost:9920",
        ],
        'Cannot send to "localhost:9920" and listen on "0.0.0.0:9920"',
      ],
      [
        [
          "--udp-listen-addr=239.1.2.3:9920",
          "--udp-downstream-addr=239.1.2.3:9920",
        ],
        "use another group or port, or --no-loop",
      ],
      [
        [from, to, "--udp-listen-addr=10.0.0.1@10.0.0.2:9"],
        "wants a multicast group",
      ],
      [[from, to, "--workers=0"], "--workers: "],
      [[from, to, "--workers=2", "--engine=portable"], "cannot do --workers"],
      [[from, to, "--rcvbuf=0"], "--rcvbuf: "],
      [[from, to, "--rcvbuf=8M", "--engine=portable"], "cannot do --rcvbuf"],
      [
        [
          from,
          "--udp-listen-addr=10.0.0.1@232.1.1.1:9",
          to,
          "--engine=portable",
        ],
        "cannot do a source before @",
      ],
      [[from, to, "--ttl=3", "--engine=portable"], "cannot do --ttl"],
      [
        [
          from,
          "--udp-listen-addr=239.1.2.3:9",
          to,
          "--workers=2",
          "--engine=linux",
        ],
        "listeners that share a port each get a copy",
      ],
      [[from, to, "--ttl=0", "--engine=linux"], "1 to 255 is wanted"],
      [[from, to, tls, `--tls-cert=${pem}`], "--tls-cert wants --tls-key too"],
      [[from, to, tls, `--tls-key=${pem}`], "--tls-key wants --tls-cert too"],
      [
        [from, to, tls, `--tls-ca=${files.path}/none`],
        `--tls-ca: Cannot read "${files.path}/none": there is no such file`,
      ],
      [
        [from, to, tls, `--tls-ca=${pem}`],
        "holds no PEM block of a certificate",
      ],
      ...SOCKET_OPTIONS.map(([args, wanted]) =>
        [[from, to, ...args], wanted] as const
      ),
    ]);
  },
);

testUnless(
  needsLinux(),
  "reverseproxy refuses what cannot be right before it takes a port",
  async () => {
    await using held = await Receiver.open();
    using tcp = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const from = `--udp-listen-addr=${held.text}`;
    const out = `--tcp-output-addr=127.0.0.1:${tcp.addr.port}`;
    await refuses("reverseproxy", [
      [
        [],
        "Nothing to do: pass a source (--udp-listen-addr, --tcp-listen-addr) or",
      ],
      [
        ["--multicast-addr=239.1.2.3:9"],
        "Nothing to do: pass a source (--udp-listen-addr, --tcp-listen-addr) or",
      ],
      [[from, "--multicast-addr=10.1.2.3:9"], '"10.1.2.3:9" as a group'],
      [[from, "--multicast-addr=[fe80::1]:9"], "as a group"],
      [[from, "--multicast-addr=localhost:9"], "as a group"],
      [[from, "--multicast-addr=239.1.2.3:0"], "port 0"],
      [
        [from, "--multicast-addr=[ff02::1%no/name]:9"],
        'Unknown interface "no/name"',
      ],
      [
        [from, "--multicast-addr=239.1.2.3:9", "--multicast-addr=239.1.2.4:9"],
        "can be given once",
      ],
      [
        [from, "--multicast-addr=10.0.0.1@232.1.2.3:9"],
        "a source before @ is for listening",
      ],
      [
        [out, "--udp-listen-addr=[fe80::1%no/name]:0"],
        'Unknown interface "no/name"',
      ],
      [
        [out, "--tcp-listen-addr=[fe80::1%no/name]:0"],
        'Unknown interface "no/name"',
      ],
      [
        [from, "--tcp-output-addr=[fe80::1%no/name]:0"],
        'Unknown interface "no/name"',
      ],
      [
        [out, "--udp-output-addr=[fe80::1%no/name]:9"],
        'Unknown interface "no/name"',
      ],
      [[out, "--udp-output-addr=127.0.0.1:0"], "port 0"],
      [
        [out, "--udp-output-addr=10.0.0.1@232.1.2.3:9"],
        "a source before @ is for listening",
      ],
      [
        [out, from, `--udp-output-addr=${held.text}`],
        `Cannot send to "${held.text}" and listen on "${held.text}"`,
      ],
      [
        [out, "--udp-listen-addr=[ff02::1]:9918"],
        'Cannot send to "[ff02::1]:9918" and listen on "[ff02::1]:9918"',
      ],
      [
        ["--multicast-addr=239.1.2.3:9", "--udp-output-addr=239.1.2.3:9"],
        'Cannot send to "239.1.2.3:9" and listen on "239.1.2.3:9"',
      ],
      [[out, "--queue=100"], "--queue: "],
      [[out, "--slow-subscriber=wait"], "drop-oldest, drop-newest, disconnect"],
      [
        [out, "--rcvbuf=8M", "--engine=portable", "--interface=lo"],
        "cannot do --rcvbuf",
      ],
      [
        [
          from,
          "--tcp-output-addr=127.0.0.1:0",
          "--multicast-addr=[ff02::1]:9918",
          "--ttl=3",
          "--engine=portable",
        ],
        "cannot do --ttl of anything but an IPv4 group",
      ],
      ...SOCKET_OPTIONS.map(([args, wanted]) =>
        [[from, out, ...args], wanted] as const
      ),
    ]);
  },
);

testUnless(
  needsLinux(),
  "server refuses what cannot be right before it takes a port or makes a file",
  async () => {
    await using files = await TestFolder.create();
    await using held = await Receiver.open();
    const path = `${files.path}/feed.log`;
    const from = `--listen-addr=${held.text}`;
    const to = `--path=${path}`;
    // A server sends nothing and cuts nothing.
    const own = /^--(ttl|datagram.size)/;
    await refuses("server", [
      [[to, from, "--ttl=1"], "Unknown option --ttl"],
      [
        [to, from, "--listen-addr=10.0.0.1@10.0.0.2:9"],
        "wants a multicast group",
      ],
      [
        [to, from, "--listen-addr=10.0.0.1@232.1.1.1:9", "--engine=portable"],
        "cannot do a source before @",
      ],
      [[to, from, "--rcvbuf=0"], "--rcvbuf: "],
      [[to, from, "--rcvbuf=8M", "--engine=portable"], "cannot do --rcvbuf"],
      [[to, from, "--workers=0"], "--workers: "],
      ...SOCKET_OPTIONS.filter(([[option]]) => !own.test(option!)).map((
        [args, wanted],
      ) => [[to, from, ...args], wanted] as const),
    ]);
    assertEquals([...Deno.readDirSync(files.path)], []);
  },
);

testUnless(
  needsLinux() ?? needsProgram("setpriv"),
  "server refuses a folder and a file that it may not write to",
  async () => {
    await using files = await TestFolder.create();
    const folder = `${files.path}/closed`;
    await Deno.mkdir(folder, { mode: 0o555 });
    const file = await files.file("closed.log", "x");
    await Deno.chmod(file, 0o444);
    for (const path of [`${folder}/feed.log`, file]) {
      const { code, stdout, stderr } = await startWithout(
        "dac_override,-dac_read_search",
        "server",
        ["--path", path, "--listen-addr", "127.0.0.1:0"],
      ).end;
      assertEquals([code, stdout.length], [2, 0], stderr);
      assertMatch(
        stderr,
        /^mproxy-server: Cannot log to ".*: Permission denied[^\n]*$/,
      );
    }
    assertEquals(await Deno.readTextFile(file), "x");
  },
);

Deno.test("a role says in JSON what is wrong where its lines are JSON, and in one line where a value has several", async () => {
  const { code, stderr } = await startRole("proxy", [
    ...["--log_format", "json", "--udp-listen-addr", "a\nb:1"],
  ]).end;
  assertEquals(code, 2);
  const { level, message } = JSON.parse(stderr);
  assertEquals(level, "error");
  assertStringIncludes(message, 'Cannot use "a b:1" as an address');
});

for (const { engine, reason } of ENGINES) {
  testUnless(
    reason ?? needsLinux(),
    `proxy and reverseproxy name the address and the remedy where a port is in use [${engine}]`,
    async () => {
      await using udp = await Receiver.open();
      using tcp = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const tcpText = `127.0.0.1:${tcp.addr.port}`;
      const group = ["--multicast-addr=239.255.9.9:9", "--interface=lo"];
      const cases: readonly [role: string, args: string[], subject: string][] =
        [
          [
            "proxy",
            ["--tee", "--udp-listen-addr", udp.text],
            `listen on ${udp.text}`,
          ],
          [
            "reverseproxy",
            [...group, "--udp-listen-addr", udp.text],
            `listen on ${udp.text}`,
          ],
          [
            "reverseproxy",
            [...group, "--tcp-listen-addr", tcpText],
            `listen on ${tcpText}`,
          ],
          [
            "reverseproxy",
            [...group, "--tcp-output-addr", tcpText],
            `listen on ${tcpText}`,
          ],
          [
            "proxy",
            [
              "--tee",
              "--udp-listen-addr=127.0.0.1:0",
              "--quiet",
              `--metrics-addr=${tcpText}`,
            ],
            `serve metrics on ${tcpText}`,
          ],
        ];
      for (const [role, args, subject] of cases) {
        const { code, stderr } = await startRole(role, [
          ...args,
          "--engine",
          engine,
        ]).end;
        assertEquals(code, 1, stderr);
        const last = stderr.split("\n").at(-1)!;
        assertStringIncludes(
          last,
          `mproxy-${role}: Cannot ${subject}: Address already in use`,
        );
        assertStringIncludes(
          last,
          "; stop the program that holds it or choose another port",
        );
      }
    },
  );

  testUnless(
    reason ?? needsLinux() ?? needsProgram("setpriv") ??
      privilegedPortsAreFree(),
    `proxy and reverseproxy name the address and the remedy where a port is privileged [${engine}]`,
    async () => {
      const cases: readonly [role: string, args: string[]][] = [
        ["proxy", ["--tee", "--udp-listen-addr", "127.0.0.1:1"]],
        ["reverseproxy", [
          "--multicast-addr=239.255.9.9:9",
          "--interface=lo",
          "--tcp-listen-addr=127.0.0.1:1",
        ]],
      ];
      for (const [role, args] of cases) {
        const { code, stderr } = await startWithout("net_bind_service", role, [
          ...args,
          ...["--engine", engine],
        ]).end;
        assertEquals(code, 1, stderr);
        const last = stderr.split("\n").at(-1)!;
        assertStringIncludes(
          last,
          `mproxy-${role}: Cannot listen on 127.0.0.1:1: Permission denied`,
        );
        assertStringIncludes(
          last,
          "; choose a port above 1023 or grant CAP_NET_BIND_SERVICE",
        );
      }
    },
  );
}

function privilegedPortsAreFree(): string | undefined {
  const path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
  try {
    return Number(Deno.readTextFileSync(path)) <= 1
      ? "no port is privileged here"
      : undefined;
  } catch {
    return undefined;
  }
}

Deno.test("client names a host that cannot be found and ends with 1, proxy waits for it", async () => {
  for (const { engine, reason } of ENGINES) {
    if (reason !== undefined) continue;
    const flags = ["--engine", engine];
    const client = await startRole("client", [
      ...["--path=-", "--server-addr=no-such-host.invalid:9", ...flags],
    ]).end;
    assertEquals(client.code, 1, client.stderr);
    assertStringIncludes(
      client.stderr,
      'Cannot resolve "no-such-host.invalid"',
    );
    await using proxy = startRole("proxy", [
      "--udp-listen-addr=127.0.0.1:0",
      "--udp-downstream-addr=no-such-host.invalid:9",
      ...flags,
    ]);
    await proxy.line(
      /warn destination lost, trying again .*Cannot resolve .*no-such-host/,
    );
    await proxy.line(/ listening /);
    const { code, stderr } = await proxy.stop();
    assertEquals(code, 0, stderr);
  }
});

testUnless(
  needsLinux(),
  "a role without --allow-ffi says why it cannot use the linux engine",
  async () => {
    const main = new URL("../../cli/proxy/main.ts", import.meta.url).pathname;
    const { code, stderr } = await startPeer(Deno.execPath(), [
      ...["run", "--allow-net", "--allow-read", "--allow-env", "--allow-sys"],
      ...["--no-prompt", main, "--engine=linux"],
      ...["--udp-listen-addr=127.0.0.1:0", "--udp-downstream-addr=127.0.0.1:9"],
    ]).end;
    assertEquals(code, 2, stderr);
    assertStringIncludes(
      stderr,
      "Cannot use the linux engine: it calls libc, which is not permitted: give --allow-ffi",
    );
  },
);
