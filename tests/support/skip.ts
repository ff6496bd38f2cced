/** Tests that need something a machine may lack: skipped there, with the reason in the name. */

/** Why a test cannot run here, or undefined where it can. */
export type SkipReason = string | undefined;

/** Registers a test that runs where there is no reason against it. */
export function testUnless(
  reason: SkipReason,
  name: string,
  fn: (context: Deno.TestContext) => void | Promise<void>,
): void {
  if (reason === undefined) Deno.test(name, fn);
  else Deno.test({ name: `${name} (skipped: ${reason})`, ignore: true, fn });
}

/** Where a program is installed, or undefined. */
export function programPath(program: string): string | undefined {
  return (Deno.env.get("PATH") ?? "").split(":")
    .map((folder) => `${folder}/${program}`)
    .find((path) => {
      try {
        return Deno.statSync(path).isFile;
      } catch {
        return false;
      }
    });
}

/** A reason where a program is not installed. */
export function needsProgram(...programs: string[]): SkipReason {
  const missing = programs.find((one) => programPath(one) === undefined);
  return missing === undefined ? undefined : `${missing} is not installed`;
}

/** A reason where this is not Linux. */
export function needsLinux(): SkipReason {
  return Deno.build.os === "linux" ? undefined : "this is not Linux";
}

/** A reason where this machine has no IPv6, not even to itself. */
export function needsIpv6(): SkipReason {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return undefined;
  } catch {
    return "this machine has no IPv6";
  }
}

/** A reason where this is not Linux, or a process may not have so many files open. */
export function needsOpenFiles(count: number): SkipReason {
  const reason = needsLinux();
  if (reason) return reason;
  const limits = Deno.readTextFileSync("/proc/self/limits");
  const [, hard] = /^Max open files\s+\d+\s+(\d+|unlimited)/m.exec(limits)!;
  return hard === "unlimited" || Number(hard) >= count
    ? undefined
    : `only ${hard} files may be open`;
}

/** A reason where this process may not give a child a view of its own of the files. */
export function needsMountNamespaces(): SkipReason {
  const reason = needsLinux() ?? needsProgram("unshare", "mount");
  if (reason) return reason;
  const { success } = new Deno.Command("unshare", {
    args: ["-m", "mount", "--bind", "/etc/hosts", "/etc/hosts"],
    stderr: "null",
  }).outputSync();
  return success ? undefined : "mount namespaces are not permitted";
}

/** A reason where this process may not make network namespaces. */
export function needsNetworkNamespaces(): SkipReason {
  const reason = needsLinux() ?? needsProgram("ip");
  if (reason) return reason;
  if (Deno.uid() !== 0) return "network namespaces need root";
  const name = `mproxy-probe-${Deno.pid}`;
  const run = (...args: string[]) =>
    new Deno.Command("ip", { args, stderr: "null" }).outputSync();
  if (!run("netns", "add", name).success) {
    return "network namespaces are not permitted";
  }
  run("netns", "delete", name);
  return undefined;
}
