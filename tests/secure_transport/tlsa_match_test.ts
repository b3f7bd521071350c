/**
 * TLSA records against real chains: which certificate they name, and why another
 * is refused. The certificates were made by OpenSSL for these tests.
 */

import { assertEquals } from "@std/assert";
import { createHash, X509Certificate } from "node:crypto";
import type { TlsaRecord } from "../../lib/dns/outcome.ts";
import {
  tlsaFailure,
  usableRecords,
} from "../../lib/secure_transport/tlsa_match.ts";
import data from "./data/certificates.json" with { type: "json" };

type Name = Exclude<keyof typeof data, `${string}Key`>;

const NOW = Date.UTC(2030, 0, 1);

function x509(name: Name): X509Certificate {
  return new X509Certificate(data[name]);
}

function chain(...names: readonly Name[]): readonly Uint8Array[] {
  return names.map((name) => new Uint8Array(x509(name).raw));
}

/** The record `USAGE SELECTOR MATCHING` for a certificate. */
function record(numbers: string, name: Name): TlsaRecord {
  const [usage, selector, matching] = numbers.split(" ").map(Number);
  const certificate = x509(name);
  const bytes = selector === 0
    ? certificate.raw
    : certificate.publicKey.export({ type: "spki", format: "der" });
  const digest = matching === 0
    ? bytes.toString("hex")
    : createHash(matching === 1 ? "sha256" : "sha512").update(bytes)
      .digest("hex");
  return {
    usage: usage!,
    selector: selector!,
    matching: matching!,
    data: digest,
  };
}

function failure(
  sent: readonly Uint8Array[],
  records: readonly TlsaRecord[],
  names: readonly string[] = ["mx.dane.test"],
): string | undefined {
  return tlsaFailure(sent, { records, names, now: NOW })?.type;
}

Deno.test("Usage 3 names the certificate, whatever its names and dates", () => {
  for (const selector of [0, 1]) {
    for (const matching of [0, 1, 2]) {
      const numbers = `3 ${selector} ${matching}`;
      const sent = chain("leaf", "mid");
      assertEquals(failure(sent, [record(numbers, "leaf")]), undefined);
      assertEquals(
        failure(chain("expired"), [record(numbers, "expired")], ["other.test"]),
        undefined,
      );
      assertEquals(
        failure(sent, [record(numbers, "mid")]),
        "validation-failure",
      );
    }
  }
});

Deno.test("Usage 2 names an authority of the chain; names and dates count", () => {
  for (const selector of [0, 1]) {
    for (const matching of [0, 1, 2]) {
      const numbers = `2 ${selector} ${matching}`;
      for (const anchor of ["mid", "root"] as const) {
        const records = [record(numbers, anchor)];
        const sent = chain("leaf", "mid", "root");
        assertEquals(failure(sent, records), undefined);
        assertEquals(
          failure(sent, records, ["other.test"]),
          "certificate-host-mismatch",
        );
        assertEquals(
          failure(chain("expired", "mid", "root"), records),
          "certificate-expired",
        );
      }
      const stray = [record(numbers, "stray")];
      const sent = chain("leaf", "mid", "stray");
      assertEquals(failure(sent, stray), "validation-failure");
    }
  }
});

Deno.test("An authority need not be sent if it stands whole in the record", () => {
  for (const numbers of ["2 0 0", "2 1 0"]) {
    const records = [record(numbers, "mid")];
    assertEquals(failure(chain("leaf"), records), undefined);
    assertEquals(failure(chain("leaf", "mid"), records), undefined);
    assertEquals(failure(chain("stray"), records), "validation-failure");
  }
  const hashed = [record("2 0 1", "mid")];
  assertEquals(failure(chain("leaf"), hashed), "validation-failure");
});

Deno.test("Of several ways to an authority one is enough", () => {
  const sent = chain("leaf", "mid", "cross", "otherRoot", "root");
  for (const anchor of ["root", "otherRoot"] as const) {
    const records = [record("2 0 1", anchor)];
    assertEquals(failure(sent, records), undefined);
    // In whatever order, and with a way that has expired.
    const others = chain("leaf", "oldCross", "cross", "mid", "root");
    assertEquals(
      failure([...others, ...chain("otherRoot")], records),
      undefined,
    );
  }
  assertEquals(
    failure(chain("leaf", "oldCross", "otherRoot"), [
      record("2 0 1", "otherRoot"),
    ]),
    "certificate-expired",
  );
});

Deno.test("An authority in its record must be one, and be valid", () => {
  const sent = chain("leaf");
  assertEquals(
    failure(sent, [record("2 0 0", "oldCross")]),
    "certificate-expired",
  );
  // It has the name and the key of the issuer.
  assertEquals(
    failure(sent, [record("2 0 0", "noAuthority")]),
    "validation-failure",
  );
});

Deno.test("Of two digests for one usage and selector the stronger counts", () => {
  const right = record("3 1 1", "leaf");
  const wrong = record("3 1 2", "stray");
  const sent = chain("leaf");
  assertEquals(failure(sent, [right, wrong]), "validation-failure");
  assertEquals(
    failure(sent, [record("3 1 2", "leaf"), record("3 1 1", "stray")]),
    undefined,
  );
  // Another selector, another usage and a whole value do not weaken it.
  for (const other of ["3 0 2", "2 1 2"]) {
    assertEquals(failure(sent, [right, record(other, "stray")]), undefined);
  }
  assertEquals(failure(sent, [record("3 1 0", "leaf"), wrong]), undefined);
});

Deno.test("A certificate that is no authority vouches for nothing", () => {
  const records = [record("2 0 1", "leaf")];
  assertEquals(failure(chain("leaf", "mid"), records), "validation-failure");
});

Deno.test("Of several records one has to fit, and usages 0 and 1 do not count", () => {
  const wrong = record("3 1 1", "stray");
  const right = record("3 1 1", "leaf");
  assertEquals(failure(chain("leaf"), [wrong, right]), undefined);
  const unusable: TlsaRecord[] = [
    record("0 0 1", "root"),
    record("1 0 1", "leaf"),
    { ...right, selector: 2 },
    { ...right, matching: 3 },
    { ...right, data: right.data.slice(2) },
    { ...right, matching: 0, data: "" },
  ];
  assertEquals(usableRecords(unusable), []);
  assertEquals(usableRecords([...unusable, right]), [right]);
  assertEquals(failure(chain("leaf"), unusable), "validation-failure");
});

Deno.test("Bytes that are no certificate are refused", () => {
  const records = [record("3 1 1", "leaf")];
  assertEquals(failure([], records), "validation-failure");
  assertEquals(failure([new Uint8Array(10)], records), "validation-failure");
});

/** What is wrong with a certificate that its own record of usage 2 names, for a host. */
function failureAs(name: string, der: Uint8Array): string | undefined {
  const data = createHash("sha256").update(der).digest("hex");
  const records = [{ usage: 2, selector: 0, matching: 1, data }];
  const now = Date.parse(new X509Certificate(der).validFrom);
  return tlsaFailure([der], { records, names: [name], now })?.type;
}

Deno.test("A name of another kind in a certificate is no host name", () => {
  // For evil.test, with the URI http://x/DNS:victim.test.
  const der = Uint8Array.fromBase64(
    "MIIBpTCCAUqgAwIBAgIUeKgmpftdLDyfp/+B4Rzjn31zo+kwCgYIKoZIzj0E" +
      "AwIwIDESMBAGA1UEAwwJZXZpbC50ZXN0MQowCAYDVQQKDAF4MB4XDTI2MTIw" +
      "MTAxMjAwNloXDTI2MTIwNjAxMjAwNlowIDESMBAGA1UEAwwJZXZpbC50ZXN0" +
      "MQowCAYDVQQKDAF4MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEImmdodx" +
      "XlR/O1eqlOtg/YyxfqxGtv3/9lNezUD7Jt5mEmbxtFCKQODV4IsbpIlYewWQ" +
      "/d+tBrOtqq2ok295mqNiMGAwLgYDVR0RBCcwJYIJZXZpbC50ZXN0hhhodHRw" +
      "Oi8veC9ETlM6dmljdGltLnRlc3QwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4E" +
      "FgQU663Yv93AcqVJDN5fbDLPX7eH5Y4wCgYIKoZIzj0EAwIDSQAwRgIhAMPW" +
      "bppSDb61jnL0ZtBPCoKRZwv1QohqBGUeuZG6+tpjAiEAo1NhRVvvj18Oyzrb" +
      "wmbcC/EE39tHkRmovWAkKBHTurs=",
  );
  const typeFor = (name: string) => failureAs(name, der);
  assertEquals(typeFor("evil.test"), undefined);
  assertEquals(typeFor("victim.test"), "certificate-host-mismatch");
});

Deno.test("Without alternative names the common name counts, and no other part of the subject", () => {
  // O=x{line end}CN=victim.test, OU=x\\, CN=victim.test, CN=first.test, CN=own.test
  const der = Uint8Array.fromBase64(
    "MIICEzCCAbmgAwIBAgIUUkDNSj4HFLMUj537v4lbyvVaAPcwCgYIKoZIzj0E" +
      "AwIwXzEZMBcGA1UECgwQeApDTj12aWN0aW0udGVzdDEaMBgGA1UECwwReCwg" +
      "Q049dmljdGltLnRlc3QxEzARBgNVBAMMCmZpcnN0LnRlc3QxETAPBgNVBAMM" +
      "CG93bi50ZXN0MB4XDTI2MTIwMTAzMjcxN1oXDTI2MTIwNjAzMjcxN1owXzEZ" +
      "MBcGA1UECgwQeApDTj12aWN0aW0udGVzdDEaMBgGA1UECwwReCwgQ049dmlj" +
      "dGltLnRlc3QxEzARBgNVBAMMCmZpcnN0LnRlc3QxETAPBgNVBAMMCG93bi50" +
      "ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEWW8co5Eif4mwQuEqrvbg" +
      "QolA0VVEuvXavl0xPOrN4WlVRzZXs5Z8ss03+nq4PMqb4nqLZzPcO56u0kmS" +
      "pJiB2qNTMFEwHQYDVR0OBBYEFH3r1qKgnpIaOvDVbCaO5UFge6ERMB8GA1Ud" +
      "IwQYMBaAFH3r1qKgnpIaOvDVbCaO5UFge6ERMA8GA1UdEwEB/wQFMAMBAf8w" +
      "CgYIKoZIzj0EAwIDSAAwRQIhAM+xPM3SflpYO50RhkDrdwoJe6rEVda+p0fR" +
      "G0coC773AiAIAqoKLxFP6i4ec/azT4skRqPu/T52pQcocz2Cpies3g==",
  );
  assertEquals(failureAs("own.test", der), undefined);
  for (const name of ["victim.test", "first.test", "x"]) {
    assertEquals(failureAs(name, der), "certificate-host-mismatch");
  }
  // O=x, OU=a + CN=own.test
  const joined = Uint8Array.fromBase64(
    "MIIBpzCCAU2gAwIBAgIUMDeuy3t3ITTBin6yCzA5qYAz4MgwCgYIKoZIzj0E" +
      "AwIwKTEKMAgGA1UECgwBeDEbMAgGA1UECwwBYTAPBgNVBAMMCG93bi50ZXN0" +
      "MB4XDTI2MTIwMTAzMjcxOFoXDTI2MTIwNjAzMjcxOFowKTEKMAgGA1UECgwB" +
      "eDEbMAgGA1UECwwBYTAPBgNVBAMMCG93bi50ZXN0MFkwEwYHKoZIzj0CAQYI" +
      "KoZIzj0DAQcDQgAEWW8co5Eif4mwQuEqrvbgQolA0VVEuvXavl0xPOrN4WlV" +
      "RzZXs5Z8ss03+nq4PMqb4nqLZzPcO56u0kmSpJiB2qNTMFEwHQYDVR0OBBYE" +
      "FH3r1qKgnpIaOvDVbCaO5UFge6ERMB8GA1UdIwQYMBaAFH3r1qKgnpIaOvDV" +
      "bCaO5UFge6ERMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIh" +
      "APVrD6q6YK9U5qJwI0bMG+dOoNlFxJm7skS1dPTq6ZEeAiBm8dQQUinTTS/O" +
      "48GG2ewA08zvNiz1toMdklH03SnhsQ==",
  );
  assertEquals(failureAs("own.test", joined), undefined);
  assertEquals(failureAs("a", joined), "certificate-host-mismatch");
});
