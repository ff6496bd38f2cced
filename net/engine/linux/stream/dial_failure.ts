/** What the errno of a connect means. */
import type { DialFailure } from "../../stream.ts";
import {
  EACCES,
  EADDRNOTAVAIL,
  ECONNABORTED,
  ECONNREFUSED,
  ECONNRESET,
  EHOSTDOWN,
  EHOSTUNREACH,
  EMFILE,
  ENETDOWN,
  ENETUNREACH,
  ENFILE,
  ENOBUFS,
  ENOMEM,
  EPERM,
  ETIMEDOUT,
} from "../ffi/constants.ts";

/** The one word of an errno. */
export function dialFailure(errno: number): DialFailure {
  switch (errno) {
    case ECONNREFUSED:
      return "refused";
    case ETIMEDOUT:
      return "timeout";
    case ECONNRESET:
    case ECONNABORTED:
      return "reset";
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case EACCES:
    case EPERM:
      return "unreachable";
    // Every port of this machine towards that address is in use.
    case EADDRNOTAVAIL:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return "resources";
  }
  return "other";
}
