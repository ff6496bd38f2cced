/**
 * Checks of what is given as hooks. A hook whose name is misspelt, or that is
 * no function, would never be asked, and everything would pass.
 */
import { HOOK_NAMES, isHookName } from "./hook_chain.ts";

/** Names that only a hook could be meant by, in any spelling. */
const LIKE_A_HOOK = new RegExp(`^(auth.*|${HOOK_NAMES.join("|")})$`, "i");

/**
 * Throws a TypeError where a hook is no function, or where a name looks like
 * that of a hook and is none.
 */
export function checkHooks(hooks: object): void {
  for (const name of HOOK_NAMES) {
    const value = (hooks as Record<string, unknown>)[name];
    if (value !== undefined && typeof value !== "function") {
      throw new TypeError(`"${name}" must be a function`);
    }
  }
  for (const name of namesOf(hooks)) {
    if (LIKE_A_HOOK.test(name) && !isHookName(name)) {
      throw new TypeError(noHook(name));
    }
  }
}

/** The same for the default export of a file, which is hooks and nothing else. */
export function checkHookFile(
  exported: object,
  module: Readonly<Record<string, unknown>>,
): void {
  checkHooks(exported);
  for (const [name, value] of Object.entries(exported)) {
    if (typeof value === "function" && !isHookName(name)) {
      throw new TypeError(noHook(name));
    }
  }
  for (const [name, value] of Object.entries(module)) {
    if (typeof value === "function" && isHookName(name)) {
      throw new TypeError(
        `"${name}" is exported by its name; hooks are methods of the default export`,
      );
    }
  }
  const hooks = exported as Record<string, unknown>;
  if (!HOOK_NAMES.some((name) => hooks[name] !== undefined)) {
    throw new TypeError(
      `its default export has none of the hooks ${HOOK_NAMES.join(", ")}`,
    );
  }
}

function noHook(name: string): string {
  return `"${name}" is none of the hooks ${HOOK_NAMES.join(", ")}`;
}

/** Its own names and those of its classes. */
function namesOf(hooks: object): Set<string> {
  const names = new Set<string>();
  for (
    let from: object | null = hooks;
    from !== null && from !== Object.prototype;
    from = Object.getPrototypeOf(from)
  ) {
    for (const name of Object.getOwnPropertyNames(from)) names.add(name);
  }
  return names;
}
