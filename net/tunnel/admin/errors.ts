/** What the control doors say of failures: the original's texts and numbers. */
import { OperationError } from "../../errors.ts";
import { SpecError } from "../spec.ts";
import { CertificateError } from "../../tls_files.ts";
import { TunnelError, type TunnelErrorKind } from "../tunnel.ts";
import { TunnelLimitError } from "../limits.ts";
import { TunnelRouteError } from "../routes.ts";

/** A failure as the doors tell it. */
export interface ControlFailure {
  /** The original's number, from 1001. */
  readonly code: number;
  /** The original's text. */
  readonly message: string;
  /** Our own text, where it says more. */
  readonly detail?: string;
  /** Where a specification is wrong and what was expected there, for a line. */
  readonly hint?: string;
}

/** A command that cannot be understood. */
export class ControlProtocolError extends Error {
  override name = "ControlProtocolError";
}

const TUNNEL_ERRORS: Readonly<
  Record<TunnelErrorKind, readonly [code: number, message: string]>
> = {
  "tunnel-exists": [1005, "Tunnel already exists"],
  "no-tunnel": [1006, "Tunnel doesn't exist"],
  "remote-exists": [1007, "Remote already exists"],
  "no-remote": [1008, "Remote does not exists"],
  "no-connection": [1015, "Connection doesn't exist"],
};

/** What is said of an error. */
export function controlFailure(error: unknown): ControlFailure {
  const detail = error instanceof Error ? error.message : String(error);
  if (error instanceof SpecError) {
    const { kind, unparsed } = error.original;
    const hint = `column ${error.offset + 1}: ${error.wanted}`;
    if (error.what === "tunnel") {
      const message =
        `Tunnel definition parsing error: Parser: ${kind}, Unparsed: ${unparsed}`;
      return { code: 1001, message, detail, hint };
    }
    const reason = kind === ""
      ? `Extra characters after spec: ${unparsed}`
      : `Failed parser: ${kind}, unparsed: ${unparsed}`;
    return {
      code: 1002,
      message: `Socket spec parse error: ${reason}`,
      detail,
      hint,
    };
  }
  if (error instanceof TunnelError) {
    const [code, message] = TUNNEL_ERRORS[error.kind];
    return { code, message, detail };
  }
  if (error instanceof ControlProtocolError) {
    return { code: 1010, message: `Control protocol error: ${detail}` };
  }
  if (error instanceof CertificateError) {
    return { code: 1014, message: `Certificate error: ${detail}` };
  }
  if (error instanceof TunnelLimitError) {
    return { code: 1016, message: `Limit exceeded: ${detail}` };
  }
  if (error instanceof RangeError || error instanceof TunnelRouteError) {
    return {
      code: 1001,
      message: `Tunnel definition parsing error: ${detail}`,
    };
  }
  const cause = error instanceof OperationError ? systemText(error) : detail;
  return { code: 1004, message: `IO error: ${cause}`, detail };
}

/** The system's own words, as the original passes them on. */
function systemText(error: OperationError): string {
  if (error.code === "ENOTFOUND" || error.code === "EAI_AGAIN") {
    return "failed to lookup address information: Name or service not known";
  }
  const { cause } = error;
  if (cause instanceof OperationError && "errno" in cause) {
    const words = cause.message.replace(/ \([^()]*\)$/, "");
    return `${words} (os error ${cause.errno})`;
  }
  return error.code !== undefined && cause instanceof Error
    ? cause.message
    : error.message;
}
