/** Deadlines of a connection, by what it waits for. */
import { assertEquals } from "@std/assert";
import {
  ConnectionTable,
  Side,
  State,
} from "../../../../../net/engine/linux/stream/connection_table.ts";
import {
  nextDeadlineMs,
  Passed,
  passedDeadline,
} from "../../../../../net/engine/linux/stream/deadlines.ts";
import { Service } from "../../../../../net/engine/linux/stream/service.ts";
import type { Deadlines } from "../../../../../net/engine/stream.ts";
import { createPolicy } from "../../../../../net/engine/balancing/policies.ts";
import { openOrder } from "../../../../support/reactor_orders.ts";

const DEADLINES: Partial<Deadlines> = {
  connectTimeoutMs: 1000,
  idleTimeoutMs: 5000,
  halfCloseTimeoutMs: 2000,
  lifetimeMs: 10_000,
};

const NONE: Partial<Deadlines> = {
  connectTimeoutMs: 0,
  idleTimeoutMs: 0,
  halfCloseTimeoutMs: 0,
  lifetimeMs: 0,
};

interface Case {
  title: string;
  /** Makes the connection what it is, from one that was accepted at 50 ms. */
  set: (table: ConnectionTable, c: number) => void;
  /** When its next deadline passes, and which it is. */
  at: number;
  passed: number;
  /** The same where all deadlines are off. */
  atWithout?: number;
}

function taken(deadlines: Partial<Deadlines>): [ConnectionTable, number] {
  const table = new ConnectionTable(() => {});
  const order = openOrder({ plan: { deadlines } });
  const service = new Service(order, createPolicy(order.plan.policy), 0, 1);
  return [table, table.take(service, 50)];
}

const cases: readonly Case[] = [
  {
    title: "a client before its first attempt has none",
    set: () => {},
    at: Infinity,
    passed: Passed.none,
  },
  {
    title: "the pause before the next attempt",
    set: (table, c) => table.dialOf(c).retryAtMs = 300,
    at: 300,
    passed: Passed.pause,
    atWithout: 300,
  },
  {
    title: "a connect",
    set: (table, c) => {
      table.state[c] = State.connecting;
      table.attemptMs[c] = 100;
    },
    at: 1100,
    passed: Passed.connectTimeout,
  },
  {
    title: "a name that is being resolved",
    set: (table, c) => {
      table.state[c] = State.resolving;
      table.attemptMs[c] = 100;
      table.dialOf(c).lookup = 1;
    },
    at: 1100,
    passed: Passed.connectTimeout,
  },
  {
    title: "a race that another address may join",
    set: (table, c) => {
      table.state[c] = State.racing;
      table.attemptMs[c] = 100;
      table.dialOf(c).raceAtMs = 350;
    },
    at: 350,
    passed: Passed.headStart,
    atWithout: 350,
  },
  {
    title: "a race whose time is over before another address may join",
    set: (table, c) => {
      table.state[c] = State.racing;
      table.attemptMs[c] = 100;
      table.dialOf(c).raceAtMs = 1200;
    },
    at: 1100,
    passed: Passed.connectTimeout,
    atWithout: 1200,
  },
  {
    title: "a racer has none: the connection that it dials for keeps it",
    set: (table, c) => {
      table.state[c] = State.connecting;
      table.dialOf(c).parent = 7;
    },
    at: Infinity,
    passed: Passed.none,
  },
  {
    title: "a pipe in which nothing moves",
    set: (table, c) => {
      table.state[c] = State.piped;
      table.movedMs[c] = 100;
    },
    at: 5100,
    passed: Passed.idleTimeout,
  },
  {
    title: "a pipe of which one side has ended",
    set: (table, c) => {
      table.state[c] = State.piped;
      table.movedMs[c] = 100;
      table.bits[2 * c + 1] = Side.ended | Side.drain;
    },
    at: 2100,
    passed: Passed.halfCloseTimeout,
  },
  {
    title: "a pipe in which bytes move",
    set: (table, c) => {
      table.state[c] = State.piped;
      table.movedMs[c] = 9000;
    },
    at: 10_050,
    passed: Passed.lifetime,
  },
];

for (const { title, set, at, passed, atWithout = Infinity } of cases) {
  Deno.test(`deadlines: ${title}`, () => {
    const [table, c] = taken(DEADLINES);
    set(table, c);
    assertEquals(nextDeadlineMs(table, c), at);
    if (at !== Infinity) {
      assertEquals(passedDeadline(table, c, at - 1), Passed.none);
      assertEquals(passedDeadline(table, c, at), passed);
    } else assertEquals(passedDeadline(table, c, 1e9), Passed.none);

    const [without, d] = taken(NONE);
    set(without, d);
    assertEquals(nextDeadlineMs(without, d), atWithout);
  });
}
