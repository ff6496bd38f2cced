/** Failures of files, in one line each. */
import { errorCode, errorText, OperationError } from "../../errors.ts";

/** What to do about a file's error, where that is known. */
const FILE_REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: "free space on its disk",
  EDQUOT: "free space in the user's quota",
  EACCES: "grant the right to write there",
  EROFS: "choose a folder that can be written to",
  EMFILE: "raise the limit of open files (ulimit -n)",
  ENOENT: "make its folder",
  EISDIR: "name a file in it",
};

/** One line for a failed call on a file. */
export function fileError(
  action: string,
  path: string,
  cause: unknown,
): OperationError {
  if (cause instanceof OperationError) return cause;
  const code = errorCode(cause);
  const remedy = code === undefined ? undefined : FILE_REMEDIES[code];
  const text = errorText(cause);
  return new OperationError(
    `Cannot ${action} "${path}": ${text}${remedy ? `; ${remedy}` : ""}`,
    { cause, code },
  );
}
