import { assertEquals } from "@std/assert";
import { errorCode, errorText, failedCall } from "../../net/errors.ts";

Deno.test("errorCode knows the errors of Deno and of node's modules", () => {
  const cases: readonly [unknown, string | undefined][] = [
    [new Deno.errors.AddrInUse("x"), "EADDRINUSE"],
    [new Deno.errors.PermissionDenied("x"), "EACCES"],
    [new Deno.errors.ConnectionReset("x"), "ECONNRESET"],
    [new Deno.errors.NotFound("x"), "ENOENT"],
    [Object.assign(new Error("x"), { code: "EHOSTUNREACH" }), "EHOSTUNREACH"],
    [new Error("x"), undefined],
    ["x", undefined],
    [null, undefined],
  ];
  for (const [error, code] of cases) assertEquals(errorCode(error), code);
});

Deno.test("errorText leaves out what Deno adds behind the system's words", () => {
  const cases: readonly [unknown, string][] = [
    [new Error("Broken pipe (os error 32)"), "Broken pipe"],
    [
      new Deno.errors.NotFound(
        "No such file or directory (os error 2): readfile '/x'",
      ),
      "No such file or directory",
    ],
    [new Error("no errno (os error)"), "no errno (os error)"],
    ["odd", "odd"],
    [undefined, "undefined"],
  ];
  for (const [error, text] of cases) assertEquals(errorText(error), text);
});

Deno.test("failedCall says in one line what failed, on what, why, and the remedy where there is one", () => {
  const inUse = failedCall(
    "listen on",
    "127.0.0.1:9920",
    new Deno.errors.AddrInUse("Address already in use (os error 98)"),
  );
  assertEquals(
    inUse.message,
    "Cannot listen on 127.0.0.1:9920: Address already in use; stop the program that holds it or choose another port",
  );
  assertEquals(inUse.code, "EADDRINUSE");
  assertEquals(
    failedCall(
      "read",
      '"/x"',
      new Deno.errors.NotFound(
        "No such file or directory (os error 2): readfile '/x'",
      ),
    ).message,
    'Cannot read "/x": No such file or directory',
  );
  assertEquals(
    failedCall("read", '"x"', "odd").message,
    'Cannot read "x": odd',
  );
});
