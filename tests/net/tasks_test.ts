import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { type Task, Tasks } from "../../net/tasks.ts";

/** A task that ends when it is told to, or when the test says so. */
class SteppedTask implements Task {
  readonly #end = Promise.withResolvers<void>();
  stops = 0;
  runs = 0;

  run(): Promise<void> {
    this.runs++;
    return this.#end.promise;
  }

  stop(): void {
    this.stops++;
    this.#end.resolve();
  }

  end(): void {
    this.#end.resolve();
  }

  fail(error: Error): void {
    this.#end.reject(error);
  }
}

/** Whether a promise is settled after all that is due now has happened. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  promise.then(() => done = true, () => done = true);
  for (let i = 0; i < 20; i++) await Promise.resolve();
  return done;
}

Deno.test("Tasks.finished waits for the last task, and for seal", async () => {
  const tasks = new Tasks();
  const [one, other] = [new SteppedTask(), new SteppedTask()];
  tasks.start(one);
  tasks.start(other);
  one.end();
  other.end();
  assertEquals(await settled(tasks.finished), false);
  tasks.seal();
  await tasks.finished;
  assertEquals([one.stops, other.stops], [0, 0]);
});

Deno.test("Tasks.seal without a task is the end", async () => {
  const tasks = new Tasks();
  tasks.seal();
  await tasks.finished;
});

Deno.test("Tasks.stop tells every task to end and starts none any more", async () => {
  const tasks = new Tasks();
  const [running, late] = [new SteppedTask(), new SteppedTask()];
  tasks.start(running);
  tasks.stop();
  tasks.start(late);
  await tasks.finished;
  assertEquals([running.stops, late.runs], [1, 0]);
});

Deno.test("Tasks ends all where one fails, and finished rejects with the first failure", async () => {
  const tasks = new Tasks();
  const [good, bad] = [new SteppedTask(), new SteppedTask()];
  tasks.start(good);
  tasks.start(bad);
  const failure = new Error("broken");
  bad.fail(failure);
  assertStrictEquals(await assertRejects(() => tasks.finished), failure);
  assertEquals(good.stops, 1);
});
