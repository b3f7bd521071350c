/** Channel bindings: tls-server-end-point (RFC 5929 section 4). */

import { assertEquals } from "@std/assert";
import { decodeBase64Strict } from "../../lib/sasl/encoding.ts";
import { tlsServerEndPoint } from "../../lib/sasl/channel_binding.ts";
import { BINDING_ROWS } from "../support/sasl_certificates.ts";
import { seededFraction } from "../support/random.ts";

for (const { name, certificate, want } of BINDING_ROWS) {
  const der = decodeBase64Strict(certificate) ?? new Uint8Array(0);

  Deno.test(`tlsServerEndPoint() chooses the digest for ${name}`, async () => {
    assertEquals(der.length > 0, true);
    assertEquals(
      tlsServerEndPoint(der),
      want === undefined
        ? undefined
        : new Uint8Array(await crypto.subtle.digest(want, der)),
    );
  });

  Deno.test(`tlsServerEndPoint() takes ${name} cut off or changed`, () => {
    for (let end = 0; end < der.length; end++) {
      assertEquals(tlsServerEndPoint(der.subarray(0, end)), undefined);
    }
    const random = seededFraction(4);
    for (let round = 0; round < 300; round++) {
      const changed = der.slice();
      changed[Math.floor(random() * der.length)] = random() * 256;
      tlsServerEndPoint(changed);
    }
  });
}
