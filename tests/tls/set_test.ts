/**
 * The choice of a certificate by server name, and the replacement of
 * certificates (RFC 6066 section 3).
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Certificate } from "../../lib/tls/certificate.ts";
import { CertificateSet, CertificateSource } from "../../lib/tls/set.ts";
import { secureContext } from "../../lib/tls/context.ts";

const make = (...names: string[]) => Certificate.selfSigned({ names });
const exact = await make("mail.example.com", "192.0.2.1");
const wild = await make("*.example.com");
const late = await make("late.test");

Deno.test("CertificateSet.select() takes exact name, wildcard, choice, fallback", async () => {
  const asked: string[] = [];
  const set = new CertificateSet([wild, exact], {
    fallback: exact,
    choose(name) {
      asked.push(name);
      if (name === "late.test") return late;
      return name === "later.test" ? Promise.resolve(late) : undefined;
    },
  });
  const rows: [string | undefined, Certificate][] = [
    ["mail.example.com", exact],
    ["MAIL.example.com", exact],
    ["www.example.com", wild],
    ["example.com", exact],
    ["late.test", late],
    ["later.test", late],
    ["192.0.2.1", exact],
    ["../late.test", exact],
    ["*.example.com", exact],
    ["", exact],
    [undefined, exact],
  ];
  for (const [name, want] of rows) {
    assert(await set.select(name) === want, String(name));
  }
  assertEquals(asked, ["example.com", "late.test", "later.test"]);
});

Deno.test("CertificateSet.select() is synchronous where it can be", () => {
  const set = new CertificateSet([exact, wild], { fallback: null });
  assert(set.select("www.example.com") === wild);
  assertEquals(set.select("other.test"), undefined);
  assertEquals(set.dependsOnName, true);
  assertEquals(new CertificateSet([exact]).dependsOnName, false);
});

Deno.test("CertificateSet refuses certificates without a key", async () => {
  const bare = Certificate.fromDer(exact.der);
  const text = 'Cannot serve with the certificate of "CN=mail.example.com"';
  assertThrows(() => new CertificateSet([bare]), TypeError, text);
  assertThrows(
    () => new CertificateSet([exact], { fallback: bare }),
    TypeError,
    text,
  );
  assertThrows(() => new CertificateSet([]), TypeError, "empty");
  for (const chosen of [bare, Promise.resolve(bare)]) {
    const set = new CertificateSet([], { choose: () => chosen });
    await assertRejects(
      async () => await set.select("a.test"),
      TypeError,
      text,
    );
  }
});

Deno.test("CertificateSource.replace() leaves snapshots alone", () => {
  const source = new CertificateSource(exact);
  const before = source.current;
  source.replace(new CertificateSet([wild]));
  assert(before.select(undefined) === exact);
  assert(source.current.select(undefined) === wild);
  assertThrows(() => source.replace(Certificate.fromDer(exact.der)), TypeError);
  assert(source.current.select(undefined) === wild);
});

Deno.test("secureContext() makes one context for certificate and policy", () => {
  const trusted = [wild];
  const context = secureContext(exact);
  assert(secureContext(exact, { minVersion: "TLSv1.2" }) === context);
  assert(secureContext(wild) !== context);
  assert(secureContext(exact, { minVersion: "TLSv1.3" }) !== context);
  const strict = secureContext(exact, { trusted });
  assert(strict !== context);
  assert(secureContext(exact, { trusted }) === strict);
  assertThrows(() => secureContext(Certificate.fromDer(exact.der)));
});
