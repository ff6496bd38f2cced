/**
 * Writes completions and manual pages to dist/share/, as packages install them.
 *
 *     deno task share
 */
import { commands } from "@mproxy/cli";
import { allOptions, VERSION } from "@mproxy/mproxy/cli";
import { fromFileUrl } from "@std/path";
import { completionScript } from "../cli/completions.ts";
import { manualPage, programPage } from "../cli/manual.ts";
import { checkOrWrite } from "./written_file.ts";

const SHARE = fromFileUrl(new URL("../dist/share/", import.meta.url));

if (import.meta.main) {
  const all = commands.map((command) => ({
    command,
    table: allOptions(command),
  }));
  await checkOrWrite([
    {
      path: `${SHARE}bash-completion/completions/mproxy`,
      text: completionScript("bash", "mproxy", all),
    },
    {
      path: `${SHARE}zsh/site-functions/_mproxy`,
      text: completionScript("zsh", "mproxy", all),
    },
    {
      path: `${SHARE}fish/vendor_completions.d/mproxy.fish`,
      text: completionScript("fish", "mproxy", all),
    },
    {
      path: `${SHARE}man/man1/mproxy.1`,
      text: programPage("mproxy", commands, VERSION),
    },
    ...all.map(({ command, table }) => ({
      path: `${SHARE}man/man1/mproxy-${command.name}.1`,
      text: manualPage("mproxy", command, table, VERSION),
    })),
  ], "deno task share");
}
