import { assertEquals } from "@std/assert";
import { proxyHeader } from "../../../../net/mqtt/transport/proxy_header.ts";

const SIGNATURE = "0d0a0d0a000d0a515549540a";

Deno.test("proxyHeader() writes IPv4 addresses as the protocol's section 2.2 has them", () => {
  assertEquals(
    proxyHeader({
      source: { hostname: "192.0.2.1", port: 0x1234 },
      destination: { hostname: "198.51.100.2", port: 1883 },
      secure: false,
    }).toHex(),
    `${SIGNATURE}2111000cc0000201c63364021234075b`,
  );
});

Deno.test("proxyHeader() writes IPv6 addresses, and IPv4 beside them as mapped ones", () => {
  const header = proxyHeader({
    source: { hostname: "2001:db8::1", port: 1 },
    destination: { hostname: "192.0.2.1", port: 2 },
    secure: false,
  }).toHex();
  assertEquals(
    header,
    `${SIGNATURE}21210024` + "20010db8000000000000000000000001" +
      "00000000000000000000ffffc0000201" + "00010002",
  );
});

Deno.test("proxyHeader() tells TLS and the common name of a verified certificate", () => {
  const header = (commonName?: string) =>
    proxyHeader({
      source: { hostname: "192.0.2.1", port: 1 },
      destination: { hostname: "192.0.2.2", port: 2 },
      secure: true,
      commonName,
    }).toHex().slice(SIGNATURE.length + 8 + 24);
  assertEquals(header(), "200005" + "01" + "00000001");
  assertEquals(header("dev"), "20000b" + "07" + "00000000" + "220003646576");
});
