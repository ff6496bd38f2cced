/** Waits that end with a word about what never came, and not with a hanging suite. */

/** How long a test waits for what must come: only broken code lets it pass. */
const DEADLINE_MS = 60_000;

/** The promise's value, or an error that says what never came. */
export async function soon<T>(
  promise: Promise<T>,
  what: string | (() => string),
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new Error(`Never came: ${typeof what === "string" ? what : what()}`),
        ),
      DEADLINE_MS,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
