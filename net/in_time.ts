/** Waits with a deadline, for system calls that a dead file server never answers. */

/**
 * The promise's value, or an error after the deadline. A value that comes later
 * goes to `late`, which closes it.
 */
export async function inTime<Value>(
  promise: Promise<Value>,
  deadlineMs: number,
  late: (value: Value) => void = () => {},
): Promise<Value> {
  const { promise: expired, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`no answer within ${deadlineMs / 1000} s`)),
    deadlineMs,
  );
  let isLate = false;
  promise.then((value) => isLate && late(value), () => {});
  try {
    return await Promise.race([promise, expired]);
  } catch (error) {
    isLate = true;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
