/**
 * `Certificate`: parsing, names, dates, chains, self-signing (RFC 5280,
 * RFC 6125).
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { inspect } from "node:util";
import { Certificate } from "../../lib/tls/certificate.ts";
import { CertificateError } from "../../lib/tls/material.ts";
import { tlsServerEndPoint } from "../../lib/sasl/channel_binding.ts";
import { TestFolder } from "../support/folder.ts";

const one = await Certificate.selfSigned({
  names: ["Mail.Example", "*.example.org", "192.0.2.1", "[2001:DB8::1]"],
});
const two = await Certificate.selfSigned({
  names: ["two.example"],
  algorithm: "ed25519",
});
const DAY = 86_400_000;

Deno.test("Certificate.selfSigned() says what it was asked for", () => {
  assertEquals(one.subject, "CN=mail.example");
  assertEquals(one.issuer, one.subject);
  assertEquals(one.names, [
    "mail.example",
    "*.example.org",
    "192.0.2.1",
    "2001:db8::1",
  ]);
  assertEquals(one.algorithm, "ecdsa-p256");
  assert(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/.test(one.fingerprint));
  assert(/^[4-7][0-9A-F]{31}$/.test(one.serialNumber));
  assert(one.serialNumber !== two.serialNumber);
  const now = Date.now();
  assert(one.validFrom.getTime() < now - 60_000);
  assert(Math.abs(one.validTo.getTime() - now - 365 * DAY) < DAY);
  assertEquals(one.verify({ host: "mx.example.org" }), []);
});

Deno.test("Certificate.selfSigned() takes days, common name and algorithm", async () => {
  const certificate = await Certificate.selfSigned({
    names: ["mail.example"],
    days: 36_500,
    commonName: "Poststelle Süd, Ö",
    algorithm: "rsa-2048",
    keyUsage: ["digitalSignature"],
  });
  assertEquals(certificate.algorithm, "rsa-2048");
  assertEquals(certificate.subject, "CN=Poststelle Süd\\, Ö");
  assert(certificate.validTo.getUTCFullYear() > 2100);
  assert(certificate.matches("mail.example"));
});

Deno.test("Certificate.selfSigned() finds a common name that fits", async () => {
  const long = `${"a".repeat(63)}.example`;
  const rows: [string[], string][] = [
    [["192.0.2.1", "mail.example"], "CN=mail.example"],
    [["192.0.2.1"], "CN=192.0.2.1"],
    [[long, "mail.example"], "CN=mail.example"],
    [[long], "CN=SMTP server"],
  ];
  for (const [names, want] of rows) {
    const certificate = await Certificate.selfSigned({ names });
    assertEquals(certificate.subject, want);
  }
});

Deno.test("Certificate.selfSigned() rejects what cannot be", async () => {
  const names = ["mail.example"];
  const rows = [
    [{ names: [] }, TypeError, "without names"],
    [{ names: ["a b"] }, TypeError, 'for the name "a b": want a host name'],
    [{ names, days: 0 }, RangeError, 'for "0" days'],
    [{ names, days: NaN }, RangeError, 'for "NaN" days'],
    [{ names, days: 1e7 }, RangeError, 'for "10000000" days'],
    [{ names, commonName: "" }, RangeError, "of 0 characters"],
    [{ names, commonName: "a".repeat(65) }, RangeError, "of 65 characters"],
    [{ names, commonName: "a\nb" }, RangeError, "control character"],
    [{ names, algorithm: "dsa" as "ed25519" }, TypeError, '"dsa"'],
  ] as const;
  for (const [options, type, text] of rows) {
    await assertRejects(() => Certificate.selfSigned(options), type, text);
  }
});

Deno.test("Certificate.parse() reads what toPem() and keyPem() give", () => {
  for (const made of [one, two]) {
    const text = `# a comment\r\n${made.toPem()}junk\n${made.keyPem()}`;
    for (const pem of [text, text.replaceAll("\n", "\r\n")]) {
      const read = Certificate.parse(pem);
      assertEquals(read.toJSON(), made.toJSON());
      assertEquals(read.der, made.der);
      assertEquals(read.keyPem(), made.keyPem());
    }
  }
  const read = Certificate.parse(one.toPem(), { key: one.keyPem() });
  assertEquals(read.fingerprint, one.fingerprint);
});

Deno.test("Certificate.parse() says what is wrong in one line", () => {
  const damaged = one.toPem().replace(/\n.{64}\n/, "\nAAAA\n");
  const badKey = one.keyPem().replace(/\n.{64}\n/, "\nAAAA\n");
  const rows: [string, string | undefined, string][] = [
    ["hello", undefined, "not PEM, want a BEGIN CERTIFICATE line"],
    ["", undefined, "not PEM, want a BEGIN CERTIFICATE line"],
    [one.keyPem(), undefined, "no certificate in it, only a private key"],
    [
      one.toPem().replaceAll("CERTIFICATE", "X509 CRL"),
      undefined,
      'no certificate in it, only "X509 CRL"',
    ],
    [one.toPem(), undefined, "no private key beside it"],
    [one.toPem(), one.toPem(), "no private key in the text given for it"],
    [damaged, one.keyPem(), "certificate 1 in it is damaged"],
    [
      one.toPem(),
      badKey,
      "the private key is damaged or of a kind not supported",
    ],
    [
      one.toPem(),
      two.keyPem(),
      "the private key belongs to another certificate",
    ],
    [
      two.toPem() + one.toPem(),
      one.keyPem(),
      "the private key belongs to certificate 2 of the chain, which must come first",
    ],
  ];
  for (const [pem, key, want] of rows) {
    const error = assertThrows(
      () => Certificate.parse(pem, { key }),
      CertificateError,
    ) as Error;
    assertEquals(error.message, `Cannot parse the certificate: ${want}`);
  }
});

Deno.test("Certificate.parse() does without a key where that is allowed", () => {
  const read = Certificate.parse(one.toPem(), { keyOptional: true });
  assertEquals(read.hasKey, false);
  assertEquals(read.fingerprint, one.fingerprint);
  assertThrows(
    () => read.keyPem(),
    CertificateError,
    'Cannot give the private key of "CN=mail.example": there is none',
  );
});

Deno.test("Certificate.fromDer() reads a peer's certificates", () => {
  const read = Certificate.fromDer([one.der, two.der]);
  assertEquals(read.fingerprint, one.fingerprint);
  assertEquals(read.toPem(), one.toPem() + two.toPem());
  assertEquals(Certificate.fromDer(one.der).names, one.names);
  assertThrows(() => Certificate.fromDer([]), CertificateError, "none given");
  for (const bad of [new Uint8Array(), new Uint8Array(10), one.der.slice(9)]) {
    assertThrows(() => Certificate.fromDer(bad), CertificateError, "damaged");
  }
});

Deno.test("Certificate.load() reads files", async () => {
  await using folder = await TestFolder.create();
  const certificateFile = await folder.write("mail.pem", one.toPem());
  const keyFile = await folder.write("mail.key", one.keyPem());
  const both = await folder.write("both.pem", one.keyPem() + one.toPem());
  const missing = `${folder.path}/missing.pem`;
  for (
    const options of [{ certificateFile, keyFile }, { certificateFile: both }]
  ) {
    const { fingerprint } = await Certificate.load(options);
    assertEquals(fingerprint, one.fingerprint);
  }
  await assertRejects(
    () => Certificate.load({ certificateFile: missing }),
    CertificateError,
    `Cannot load the certificate "${missing}": no such file`,
  );
  await assertRejects(
    () => Certificate.load({ certificateFile, keyFile: missing }),
    CertificateError,
    `Cannot load the private key "${missing}": no such file`,
  );
  await assertRejects(
    () => Certificate.load({ certificateFile }),
    CertificateError,
    `Cannot load the certificate "${certificateFile}": no private key beside it`,
  );
  // A problem of the key names the key's file.
  const damaged = one.keyPem().replace(/\n[^-\n]{8}/, "\nAAAAAAAA");
  for (
    const [text, want] of [
      ["", "not PEM, want a BEGIN PRIVATE KEY line"],
      ["garbage", "not PEM, want a BEGIN PRIVATE KEY line"],
      [one.toPem(), 'no private key in it, only "CERTIFICATE"'],
      [damaged, "the private key is damaged or of a kind not supported"],
    ] as const
  ) {
    const wrong = `${keyFile}.wrong`;
    await Deno.writeTextFile(wrong, text);
    await assertRejects(
      () => Certificate.load({ certificateFile, keyFile: wrong }),
      CertificateError,
      `Cannot load the private key "${wrong}": ${want}`,
    );
    // A problem of the certificate names the certificate's file.
    await assertRejects(
      () => Certificate.load({ certificateFile: wrong, keyFile: wrong }),
      CertificateError,
      `Cannot load the ${
        text === one.toPem() ? "private key" : "certificate"
      } "${wrong}": `,
    );
  }
});

Deno.test("Certificate.verify() tells of dates, chain and host", () => {
  const codes = (...args: Parameters<Certificate["verify"]>) =>
    one.verify(...args).map((problem) => problem.code);
  assertEquals(codes(), []);
  assertEquals(codes({ host: "other.example" }), ["host"]);
  assertEquals(codes({ host: "192.0.2.1" }), []);
  assertEquals(codes({ at: new Date(Date.now() + 366 * DAY) }), ["expired"]);
  assertEquals(codes({ at: new Date(0), host: "x" }), [
    "not-yet-valid",
    "host",
  ]);
  const [problem, ...rest] = Certificate.fromDer([one.der, two.der]).verify();
  assertEquals(problem, {
    code: "chain",
    message: "Certificate 2 of the chain did not sign certificate 1",
  });
  assertEquals(rest, []);
});

Deno.test("Certificate.isExpired() looks at the end alone", () => {
  assertEquals(one.isExpired(), false);
  assertEquals(one.isExpired(new Date(0)), false);
  assertEquals(one.isExpired(one.validTo), false);
  assertEquals(one.isExpired(new Date(one.validTo.getTime() + 1)), true);
});

Deno.test("Certificate keeps its key out of every text", async () => {
  const request = await Certificate.createRequest({ names: ["a.example"] });
  const texts = [one, two, request].flatMap((
    each,
  ) => [Deno.inspect(each), inspect(each), JSON.stringify(each), `${each}`]);
  const secrets = [one, two, request].map((each) =>
    each.keyPem().split("\n")[1]!
  );
  for (const text of texts) {
    assert(!/PRIVATE/i.test(text));
    for (const secret of secrets) assert(!text.includes(secret));
  }
  assert(String(one).startsWith("CN=mail.example (ecdsa-p256, valid to "));
});

Deno.test("Certificate.createRequest() takes a key", async () => {
  const made = await Certificate.createRequest({
    names: ["mail.example"],
    key: one.keyPem(),
  });
  assertEquals(made.keyPem(), one.keyPem());
  assertEquals(made.algorithm, "ecdsa-p256");
  await assertRejects(
    () => Certificate.createRequest({ names: ["a.example"], key: "nonsense" }),
    CertificateError,
    "Cannot make a certificate request: no private key",
  );
});

Deno.test("tlsServerEndPoint() hashes the certificate with its signature's digest", async () => {
  const want = new Uint8Array(
    await crypto.subtle.digest("SHA-256", one.der),
  );
  assertEquals(tlsServerEndPoint(one.der), want);
  assertEquals(tlsServerEndPoint(two.der), undefined);
  assertEquals(tlsServerEndPoint(new Uint8Array(3)), undefined);
});

Deno.test("a certificate can be shown whatever a stranger wrote into its names", async (t) => {
  const { der } = await Certificate.selfSigned({ names: ["localhost.test"] });
  const name = new TextEncoder().encode("localhost.test");
  const rows: [written: string, shown: string][] = [
    ["loc\xff\xfe\x80\x9b", "CN=loc\ufffd\ufffd\ufffd\ufffd"],
    ["local\x00host", "CN=local?host"],
    ["loc\x1b[31m\x07", "CN=loc?[31m?"],
    ["loc\r\nCN=bank", "CN=loc??CN=bank"],
    ["loc, O=bank", "CN=loc\\, O=bank"],
    ["a\xe2\x80\xaeb", "CN=a?b"],
  ];
  for (const [written, shown] of rows) {
    await t.step(shown, () => {
      const text = written.padEnd(name.length, "x");
      const changed = der.slice();
      for (let at = 0; at < der.length; at++) {
        if (!name.every((byte, index) => der[at + index] === byte)) continue;
        for (let index = 0; index < name.length; index++) {
          changed[at + index] = text.charCodeAt(index);
        }
      }
      const certificate = Certificate.fromDer(changed);
      const { subject } = JSON.parse(JSON.stringify(certificate));
      assert(subject.startsWith(shown), subject);
      assert(/^CN=[^\n]*x*$/.test(subject), subject);
      assertEquals(certificate.issuer, subject);
      assert(String(certificate).startsWith(subject));
    });
  }
});
