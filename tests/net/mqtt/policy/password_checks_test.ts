import { assertEquals } from "@std/assert";
import {
  type PasswordCheckOptions,
  PasswordChecks,
  type PasswordVerdict,
} from "../../../../net/mqtt/policy/password_checks.ts";
import type { PolicyUser } from "../../../../net/mqtt/policy/policy_file.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);

/** Users whose hash is their password with a `#`. */
function users(...names: string[]): ReadonlyMap<string, PolicyUser> {
  return new Map(
    names.map((name) => [
      name,
      { name, password: `#${name}-password`, clientIds: undefined },
    ]),
  );
}

const memory = { allowMs: 1000, denyMs: 100, maxEntries: 100 };

/** Checks whose hashes are computed when the test says so. */
function open(options: Partial<PasswordCheckOptions> = {}) {
  const asked: string[] = [];
  const running: { hash: string; finish: () => void }[] = [];
  const clock = { now: 0 };
  const checks = new PasswordChecks(() => clock.now, {
    concurrency: 2,
    verify: async (password, hash) => {
      const text = new TextDecoder().decode(password);
      asked.push(text);
      const { promise, resolve } = Promise.withResolvers<void>();
      running.push({ hash, finish: resolve });
      await promise;
      return hash === `#${text}`;
    },
    ...options,
  });
  checks.replace(users("alice", "bob"), memory);
  const ask = (username: string, password: string, hostname = "192.0.2.1") =>
    checks.check({ client: {}, hostname, username, password: utf8(password) });
  /** Lets everything that runs, and what starts by it, come to its end. */
  const finish = async () => {
    while (running.length > 0) {
      running.shift()!.finish();
      for (let i = 0; i < 5; i++) await null;
    }
  };
  return { checks, ask, asked, running, finish, clock };
}

Deno.test("PasswordChecks computes as many hashes at once as it may, and no more", async () => {
  const { ask, running, finish, checks } = open();
  const verdicts = Array.from(
    { length: 10 },
    (_, i) => ask("alice", `guess ${i}`),
  );
  assertEquals([running.length, checks.waiting], [2, 10]);
  await finish();
  assertEquals(await Promise.all(verdicts), new Array(10).fill("wrong"));
  assertEquals(checks.waiting, 0);
});

Deno.test("PasswordChecks does for an unknown user what it does for a known one", async () => {
  const { ask, asked, running, finish } = open();
  const unknown = ask("mallory", "guess");
  assertEquals([asked, running.length], [["guess"], 1]);
  assertEquals(running[0]!.hash.startsWith("#"), true);
  await finish();
  assertEquals(await unknown, "wrong");
  // Not even the password of the user whose hash stood in for one.
  for (const password of ["alice-password", "bob-password"]) {
    const verdict = ask("mallory", password);
    await finish();
    assertEquals(await verdict, "wrong");
  }
  // And it is remembered as long as that of a known one.
  assertEquals(ask("mallory", "guess"), "wrong");
});

Deno.test("PasswordChecks remembers by user and password for a short time, and forgets at a reload", async () => {
  const { ask, asked, finish, clock, checks } = open();
  const login = async (username: string, password: string) => {
    const verdict = ask(username, password);
    await finish();
    return await verdict;
  };
  assertEquals(await login("alice", "alice-password"), "right");
  assertEquals(await login("alice", "alice-password"), "right");
  assertEquals(asked.length, 1);
  assertEquals(await login("bob", "alice-password"), "wrong");
  assertEquals(await login("bob", "alice-password"), "wrong");
  assertEquals(asked.length, 2);
  clock.now = 100;
  await login("bob", "alice-password");
  assertEquals(asked.length, 3);
  clock.now = 999;
  await login("alice", "alice-password");
  assertEquals(asked.length, 3);
  checks.replace(users("bob"), memory);
  assertEquals(await login("alice", "alice-password"), "wrong");
  assertEquals(asked.length, 4);
});

Deno.test("PasswordChecks keeps no verdict on users that were replaced meanwhile", async () => {
  const { ask, asked, finish, checks } = open();
  const before = ask("alice", "alice-password");
  checks.replace(users("alice"), memory);
  await finish();
  await before;
  const after = ask("alice", "alice-password");
  await finish();
  assertEquals([await after, asked.length], ["right", 2]);
});

Deno.test("PasswordChecks asks once for many clients with the same credentials, though one of them leaves", async () => {
  const { checks, asked, finish } = open({ concurrency: 1 });
  const clients = [{}, {}, {}];
  const verdicts = clients.map((client) =>
    checks.check({
      client,
      hostname: "192.0.2.1",
      username: "alice",
      password: utf8("alice-password"),
    })
  );
  checks.leave(clients[0]!);
  await finish();
  assertEquals(await Promise.all(verdicts), ["wrong", "right", "right"]);
  assertEquals(asked.length, 1);
});

Deno.test("PasswordChecks drops the questions of clients that are gone", async () => {
  const { checks, ask, asked, finish } = open({ concurrency: 1 });
  const first = ask("alice", "alice-password");
  const gone = Array.from({ length: 50 }, () => ({}));
  const dropped = gone.map((client, i) =>
    checks.check({
      client,
      hostname: "192.0.2.9",
      username: "bob",
      password: utf8(`guess ${i}`),
    })
  );
  for (const client of gone) checks.leave(client);
  await Promise.all(dropped);
  assertEquals(checks.waiting, 1);
  await finish();
  assertEquals([await first, asked], ["right", ["alice-password"]]);
});

Deno.test("PasswordChecks bounds each address and all of them, and says to try later", async () => {
  const { ask, finish, checks } = open({
    maxWaiting: 5,
    maxWaitingPerAddress: 3,
  });
  const from = (hostname: string, count: number) =>
    Array.from(
      { length: count },
      (_, i) => ask("alice", `${hostname} ${i}`, hostname),
    );
  // Two run, three wait.
  const verdicts = [
    ...from("192.0.2.1", 6),
    // One host's addresses of IPv6 are one.
    ...from("2001:db8::1", 1),
    ...from("2001:db8::2", 1),
    ...from("192.0.2.2", 1),
  ];
  await finish();
  const wrong = "wrong" as PasswordVerdict;
  assertEquals(
    await Promise.all(verdicts),
    [wrong, wrong, wrong, wrong, wrong, "busy", wrong, wrong, "busy"],
  );
  assertEquals(checks.refused, 2);
});

Deno.test("PasswordChecks says to try later where a turn does not come in time", async () => {
  const { ask, finish } = open({ concurrency: 1, maxWaitMs: 1 });
  const running = ask("alice", "alice-password");
  const waiting = ask("bob", "bob-password");
  assertEquals(await waiting, "busy");
  assertEquals(await running, "busy");
  await finish();
});

Deno.test("PasswordChecks puts an address that guesses behind one that does not", async () => {
  const { ask, asked, running } = open({ concurrency: 1 });
  for (let i = 0; i < 20; i++) ask("alice", `guess ${i}`, "192.0.2.66");
  for (let i = 0; i < 10; i++) ask("bob", `other ${i}`, `192.0.2.${i}`);
  for (let i = 0; i < 12; i++) {
    running.shift()!.finish();
    for (let turn = 0; turn < 5; turn++) await null;
  }
  const others = asked.slice(0, 12).filter((text) => text.startsWith("other"));
  assertEquals(others.length, 10);
  while (running.length > 0) {
    running.shift()!.finish();
    for (let turn = 0; turn < 5; turn++) await null;
  }
});

Deno.test("PasswordChecks says to try later where a hash could not be computed", async () => {
  const { checks } = open({
    verify: () => Promise.reject(new Error("out of memory")),
  });
  const verdict = checks.check({
    client: {},
    hostname: "192.0.2.1",
    username: "alice",
    password: utf8("alice-password"),
  });
  assertEquals(await verdict, "busy");
});
