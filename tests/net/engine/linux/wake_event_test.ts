import { assertEquals } from "@std/assert";
import {
  createLinuxEngine,
  linuxEngineUnavailable,
} from "../../../../net/engine/linux/datagram/engine.ts";
import { WakeEvent } from "../../../../net/engine/linux/wake_event.ts";
import { FaultyLibc } from "../../../support/faulty_libc.ts";
import { testUnless } from "../../../support/skip.ts";
import { TestWorker } from "../../../support/workers.ts";

testUnless(
  linuxEngineUnavailable(),
  "WakeEvent ends the wait of a thread that nothing else can end",
  async () => {
    const engine = createLinuxEngine({ blocking: false });
    // Closed after the thread that waits on it has closed its listener.
    using event = engine.openWakeEvent();
    using worker = new TestWorker(
      import.meta.resolve("../../../support/waiting_worker.ts"),
    );
    worker.post(event.descriptor);
    for (let turn = 0; turn < 3; turn++) {
      assertEquals(await worker.next(), "waiting");
      event.wake();
    }
    assertEquals(await worker.next(), "closed");
  },
);

testUnless(
  linuxEngineUnavailable(),
  "WakeEvent can be closed twice and woken after",
  () => {
    const engine = createLinuxEngine({ blocking: false });
    const event = engine.openWakeEvent();
    event[Symbol.dispose]();
    event[Symbol.dispose]();
    event.wake();
  },
);

testUnless(
  linuxEngineUnavailable(),
  "WakeEvent closes a descriptor of its own, and no one else's",
  () => {
    using libc = new FaultyLibc();
    const closed: number[] = [];
    libc.put("close", (real, fd) => {
      closed.push(fd);
      return real(fd);
    });
    const own = new WakeEvent(libc);
    const other = new WakeEvent(libc, own.descriptor);
    other[Symbol.dispose]();
    assertEquals(closed, []);
    own[Symbol.dispose]();
    assertEquals(closed, [own.descriptor]);
  },
);
