/** A followed file whose path leads elsewhere for a while, as tail -F takes it. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { openFileSource } from "../../../../net/udp/sources/file.ts";
import { withFolder } from "../../../support/folder.ts";
import { testUnless } from "../../../support/skip.ts";

async function readText(source: { read: Read }): Promise<string> {
  const into = new Uint8Array(100);
  for (;;) {
    const bytes = await source.read(into);
    if (bytes) return new TextDecoder().decode(into.subarray(0, bytes));
  }
}

type Read = (
  into: Uint8Array<ArrayBuffer>,
) => Promise<number | null> | number | null;

const OBSTACLES: readonly [
  name: string,
  make: (path: string) => void,
  reason: string,
][] = [
  ["a folder", (path) => Deno.mkdirSync(path), "no regular file"],
  [
    "a link to itself",
    (path) => Deno.symlinkSync(path, path),
    "symbolic links",
  ],
];

for (const [name, make, reason] of OBSTACLES) {
  for (const first of ["before", undefined]) {
    const needsLinks = name !== "a folder" && Deno.build.os === "windows"
      ? "links need a right on Windows"
      : undefined;
    testUnless(
      needsLinks,
      `a followed file that ${
        first ? "becomes" : "begins as"
      } ${name} is waited for, and reported once`,
      async () => {
        await withFolder(async (folder) => {
          const path = join(folder, "feed.log");
          if (first) Deno.writeTextFileSync(path, first);
          const waiting = Promise.withResolvers<string>();
          const reasons: string[] = [];
          using source = await openFileSource(path, {
            follow: true,
            onWaiting: (reason) => {
              reasons.push(reason);
              waiting.resolve(reason);
            },
          });
          if (first) {
            assertEquals(await readText(source), first);
            Deno.removeSync(path);
          }
          make(path);
          const next = readText(source);
          assertStringIncludes(
            await waiting.promise,
            first || name !== "a folder" ? reason : "folder",
          );
          Deno.removeSync(path);
          Deno.writeTextFileSync(path, "after");
          assertEquals(await next, "after");
          assertEquals(reasons.length, 1);
        });
      },
    );
  }
}
