/** Network namespaces of a test's own, taken down when its scope ends. Needs root. */
import { type ProcessOptions, TestProcess } from "./process.ts";

/** One namespace. */
export class NetworkNamespace implements AsyncDisposable {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  /** A new one, with its loopback up. */
  static async create(): Promise<NetworkNamespace> {
    const name = `mproxy-${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;
    await ip("netns", "add", name);
    const namespace = new NetworkNamespace(name);
    await namespace.ip("link", "set", "lo", "up");
    return namespace;
  }

  /** Runs `ip` inside. */
  async ip(...args: string[]): Promise<void> {
    await ip("-n", this.name, ...args);
  }

  /** Runs a program inside to its end; throws where it fails. */
  async run(program: string, ...args: string[]): Promise<string> {
    await using process = this.start(program, args);
    const { code, stderr, stdout } = await process.end;
    if (code !== 0) {
      throw new Error(
        `${program} ${args.join(" ")} ended with ${code}:\n${stderr}`,
      );
    }
    return new TextDecoder().decode(stdout);
  }

  /** Starts a program inside. */
  start(
    program: string,
    args: readonly string[],
    options?: ProcessOptions,
  ): TestProcess {
    return new TestProcess(
      "ip",
      ["netns", "exec", this.name, program, ...args],
      options,
    );
  }

  /** A cable to another namespace: an interface in each. */
  async connect(
    to: NetworkNamespace,
    here: { name: string; addresses: readonly string[] },
    there: { name: string; addresses: readonly string[] },
  ): Promise<void> {
    const peer = ["peer", "name", there.name, "netns", to.name];
    await this.ip("link", "add", here.name, "type", "veth", ...peer);
    for (const [namespace, end] of [[this, here], [to, there]] as const) {
      for (const address of end.addresses) {
        // An IPv6 address is of no use before the machine has probed for doubles.
        const probe = address.includes(":") ? ["nodad"] : [];
        await namespace.ip("addr", "add", address, "dev", end.name, ...probe);
      }
      // No link-local address but those that were asked for.
      await namespace.ip("link", "set", end.name, "addrgenmode", "none");
      await namespace.ip("link", "set", end.name, "up");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await ip("netns", "delete", this.name);
  }
}

async function ip(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("ip", { args }).output();
  if (!success) {
    throw new Error(
      `ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`,
    );
  }
}
