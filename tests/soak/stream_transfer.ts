// deno-lint-ignore-file no-console
/**
 * Bulk through a relay on the linux engine, byte for byte, while the sender
 * and then the receiver are stopped in the middle of it (SIGSTOP).
 *
 *     deno run -A tests/soak/stream_transfer.ts [GIGABYTES [STOP_SECONDS]]
 */
import { formatAddress } from "../../net/address.ts";
import { TcpRelay } from "../../net/relay/relay.ts";

const gigabytes = Number(Deno.args[0] ?? 1);
const stopSeconds = Number(Deno.args[1] ?? 1);
const total = Math.floor(gigabytes * 1e9);

/** Peers hash a stream of words that count up, so that no two places are alike. */
const PEER = `
  import { createHash } from "node:crypto";
  const [role, port, total] = [Deno.args[0], +Deno.args[1], +Deno.args[2]];
  const hash = createHash("sha256");
  const say = (text) => Deno.stdout.writeSync(new TextEncoder().encode(text + "\\n"));
  if (role === "receive") {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    say(listener.addr.port);
    const conn = await listener.accept();
    const buffer = new Uint8Array(1 << 18);
    let count = 0;
    for (let n; (n = await conn.read(buffer)) !== null; count += n) hash.update(buffer.subarray(0, n));
    say(count + " " + hash.digest("hex"));
    conn.close();
  } else {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    const words = new Uint32Array(1 << 16);
    let word = 0, count = 0;
    while (count < total) {
      for (let i = 0; i < words.length; i++) words[i] = word++;
      const bytes = new Uint8Array(words.buffer, 0, Math.min(words.byteLength, total - count));
      hash.update(bytes);
      for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
      count += bytes.length;
    }
    await conn.closeWrite();
    say(count + " " + hash.digest("hex"));
    while (await conn.read(new Uint8Array(1)) !== null);
    conn.close();
  }
`;

function peer(...args: string[]) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", PEER, ...args],
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  return {
    child,
    async line(): Promise<string> {
      let text = "";
      while (!text.includes("\n")) {
        const { value, done } = await reader.read();
        if (done) throw new Error("A peer ended early");
        text += value;
      }
      return text.trim();
    },
  };
}

const receiver = peer("receive", "0", "0");
const port = Number(await receiver.line());
await using relay = await TcpRelay.bind(
  "127.0.0.1:0",
  formatAddress({ hostname: "127.0.0.1", port }),
  { engine: "linux" },
);
const sender = peer("send", String(relay.address.port), String(total));

async function moved(bytes: number): Promise<void> {
  while (relay.stats().bytesUpstream < bytes) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

for (const [part, { child }] of [[0.3, sender], [0.6, receiver]] as const) {
  await moved(total * part);
  child.kill("SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, stopSeconds * 1000));
  child.kill("SIGCONT");
}
const [sent, received] = await Promise.all([sender.line(), receiver.line()]);
await Promise.all([sender.child.status, receiver.child.status]);
console.log(JSON.stringify({ sent, received, stats: relay.snapshot() }));
if (sent !== received) {
  throw new Error("What was received is not what was sent");
}
