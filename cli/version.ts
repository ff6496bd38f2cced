import manifest from "../deno.json" with { type: "json" };

/** The version of all packages of this project. */
export const VERSION: string = manifest.version;
