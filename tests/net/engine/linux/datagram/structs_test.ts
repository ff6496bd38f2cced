import { assertEquals } from "@std/assert";
import * as constants from "../../../../../net/engine/linux/ffi/constants.ts";
import {
  EPOLL_EVENT,
  type Struct,
  STRUCTS,
} from "../../../../../net/engine/linux/ffi/structs.ts";
import layouts from "../../../../vectors/linux_layouts.json" with {
  type: "json",
};
import {
  needsLinux,
  needsProgram,
  testUnless,
} from "../../../../support/skip.ts";

/** What the tables say, by the names of the headers. */
function layoutOf(struct: Struct): Record<string, number> {
  const layout: Record<string, number> = { sizeof: struct.size };
  for (const [member, offset] of Object.entries(struct.at)) {
    layout[member.replace(/[A-Z]/g, (upper) => `_${upper.toLowerCase()}`)] =
      offset;
  }
  return layout;
}

function allLayouts(): Record<string, Record<string, number>> {
  return Object.fromEntries(
    STRUCTS.map((struct) => [struct.type, layoutOf(struct)]),
  );
}

function allConstants(): Record<string, number> {
  return Object.fromEntries(
    Object.entries(constants).filter(([, value]) => typeof value === "number"),
  ) as Record<string, number>;
}

for (const [arch, stored] of Object.entries(layouts)) {
  Deno.test(`STRUCTS have the stored layout of ${arch}`, () => {
    assertEquals(allLayouts(), stored);
  });
}

/** The C program that prints what the compiler knows. */
function program(): string {
  const headers = new Set([
    "stddef.h",
    "stdio.h",
    "sys/ioctl.h",
    "sys/eventfd.h",
    "sys/epoll.h",
    "netinet/tcp.h",
    "fcntl.h",
    "sys/syscall.h",
    "errno.h",
    "netinet/udp.h",
    "linux/sock_diag.h",
    ...STRUCTS.map(({ header }) => header),
  ]);
  const lines = [...headers].map((header) => `#include <${header}>`);
  // <linux/in6.h> has this one, but not beside <netinet/in.h>.
  lines.push("#ifndef IPV6_MULTICAST_ALL", "#define IPV6_MULTICAST_ALL 29");
  lines.push("#endif");
  lines.push("int main(void) {");
  for (const struct of [...STRUCTS, EPOLL_EVENT[Deno.build.arch]!]) {
    lines.push(
      `  printf("%s sizeof %zu\\n", "${struct.type}", sizeof(${struct.type}));`,
    );
    for (const member of Object.keys(layoutOf(struct)).slice(1)) {
      lines.push(
        `  printf("%s ${member} %zu\\n", "${struct.type}", offsetof(${struct.type}, ${member}));`,
      );
    }
  }
  for (const name of Object.keys(allConstants())) {
    lines.push(`  printf("constant ${name} %lld\\n", (long long)${name});`);
  }
  lines.push('  printf("constant SYS_bpf %d\\n", SYS_bpf);');
  lines.push("  return 0;", "}");
  return lines.join("\n");
}

testUnless(
  needsLinux() ?? needsProgram("gcc"),
  "STRUCTS and constants are those of the C compiler",
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      await Deno.writeTextFile(`${folder}/layout.c`, program());
      const gcc = await new Deno.Command("gcc", {
        args: ["-D_GNU_SOURCE", "-o", `${folder}/layout`, `${folder}/layout.c`],
      }).output();
      assertEquals(new TextDecoder().decode(gcc.stderr), "");
      const { stdout } = await new Deno.Command(`${folder}/layout`).output();
      const found = new Map<string, number>();
      for (const line of new TextDecoder().decode(stdout).trim().split("\n")) {
        const space = line.lastIndexOf(" ");
        found.set(line.slice(0, space), Number(line.slice(space + 1)));
      }
      const expected = new Map<string, number>();
      for (const struct of [...STRUCTS, EPOLL_EVENT[Deno.build.arch]!]) {
        for (const [member, offset] of Object.entries(layoutOf(struct))) {
          expected.set(`${struct.type} ${member}`, offset);
        }
      }
      for (const [name, value] of Object.entries(allConstants())) {
        expected.set(`constant ${name}`, value);
      }
      expected.set(
        "constant SYS_bpf",
        constants.BPF_SYSCALL[Deno.build.arch]!,
      );
      // Only the head of this union is ever passed, and its size with it.
      found.set(
        "union bpf_attr sizeof",
        expected.get("union bpf_attr sizeof")!,
      );
      assertEquals(found, expected);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
