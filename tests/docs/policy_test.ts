/** The page about policies, beside what a policy may hold. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { hashPassword } from "../../net/mqtt/policy/password.ts";
import { parsePolicy } from "../../net/mqtt/policy/policy_file.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));
const PAGE = Deno.readTextFileSync(join(ROOT, "docs/mqtt.md"));

Deno.test("every policy of the page is one that is taken", async () => {
  const hash = await hashPassword("secret");
  const policies = [...PAGE.matchAll(/^```toml\n([\s\S]*?)^```/gm)];
  assert(policies.length >= 3);
  for (const [, text] of policies) {
    parsePolicy(
      text!.replace(/\$scrypt\$[^"]*/, hash),
      "policy.toml",
      () => "",
    );
  }
});

Deno.test("every key of a policy stands on the page", async () => {
  const source = await Deno.readTextFile(
    join(ROOT, "net/mqtt/policy/policy_file.ts"),
  );
  const [schema] = /const schema = [\s\S]*?\n}\);/.exec(source)!;
  const keys = [...schema.matchAll(/^ +([a-z_]+)(?:: |,$)/gm)]
    .map(([, key]) => key!);
  assert(keys.length > 30, `${keys.length}`);
  const missing = keys.filter((key) =>
    !new RegExp(`^${key} = |[.\`\\[]${key}[.\`\\]]`, "m").test(PAGE)
  );
  assertEquals(missing, []);
});
