/**
 * The EHLO reply: RFC 5321 section 4.1.1.1 and the keywords of the extensions.
 */

import { assertEquals } from "@std/assert";
import {
  Capabilities,
  type ExtensionKeyword,
} from "../../lib/protocol/capabilities.ts";

const INIT = {
  ...{ hostname: "mx.test", maxSize: 1000, maxRecipients: 7 },
  canHold: true,
};
const PLAIN = { startTls: false, mechanisms: [] };
const LATEST = "2027-01-31T08:00:00Z";
const FULL = { ...PLAIN, tls: true, latestRelease: LATEST };
const ANYONE = { tls: false, mayHold: false };
const USER = { tls: true, mayHold: true };

const ALL: readonly ExtensionKeyword[] = [
  "PIPELINING",
  "SIZE",
  "8BITMIME",
  "BINARYMIME",
  "CHUNKING",
  "SMTPUTF8",
  "ENHANCEDSTATUSCODES",
  "DSN",
  "LIMITS",
  "FUTURERELEASE",
  "DELIVERBY",
  "REQUIRETLS",
  "HELP",
];

Deno.test("Capabilities.helloReply() lists every extension", () => {
  const capabilities = new Capabilities({ ...INIT, expand: true }, true);
  assertEquals(
    capabilities.helloReply({
      ...FULL,
      startTls: true,
      mechanisms: ["PLAIN", "LOGIN"],
    }).lines,
    [
      "mx.test",
      "PIPELINING",
      "SIZE 1000",
      "8BITMIME",
      "BINARYMIME",
      "CHUNKING",
      "SMTPUTF8",
      "ENHANCEDSTATUSCODES",
      "DSN",
      "LIMITS RCPTMAX=7",
      `FUTURERELEASE 2592000 ${LATEST}`,
      "DELIVERBY",
      "REQUIRETLS",
      "EXPN",
      "STARTTLS",
      "AUTH PLAIN LOGIN",
      "HELP",
    ],
  );
});

for (const keyword of ALL) {
  Deno.test(`Capabilities without ${keyword} do not list or have it`, () => {
    const capabilities = new Capabilities(
      { ...INIT, disabled: [keyword] },
      false,
    );
    assertEquals(capabilities.has(keyword), false);
    const listed = capabilities.helloReply(FULL).lines
      .map((line) => line.split(" ")[0]);
    const off = keyword === "CHUNKING" ? [keyword, "BINARYMIME"] : [keyword];
    assertEquals(listed, [
      "mx.test",
      ...ALL.filter((keyword) => !off.includes(keyword)),
    ]);
  });
}

Deno.test("Capabilities.mailRules follow the extensions", () => {
  const rules = new Capabilities(INIT, true).mailRules(USER);
  assertEquals(rules, {
    size: true,
    eightBitMime: true,
    binaryMime: true,
    smtpUtf8: true,
    dsn: true,
    auth: true,
    futureRelease: true,
    deliverBy: true,
    requireTls: true,
  });
  const none = new Capabilities({ ...INIT, disabled: ALL }, false)
    .mailRules(USER);
  assertEquals(Object.values(none), Array(9).fill(false));
  const noChunks = { ...INIT, disabled: ["CHUNKING"] as const };
  assertEquals(
    new Capabilities(noChunks, false).mailRules(USER).binaryMime,
    false,
  );
});

Deno.test("A client without TLS or login gets neither REQUIRETLS nor FUTURERELEASE", () => {
  const capabilities = new Capabilities(INIT, true);
  const { lines } = capabilities.helloReply(PLAIN);
  const { requireTls, futureRelease, deliverBy } = capabilities
    .mailRules(ANYONE);
  assertEquals([requireTls, futureRelease, deliverBy], [false, false, true]);
  assertEquals(lines.filter((line) => /RELEASE|REQUIRE/.test(line)), []);
});

Deno.test("Without a queue nothing is held", () => {
  const capabilities = new Capabilities({ ...INIT, canHold: false }, true);
  assertEquals(capabilities.has("FUTURERELEASE"), false);
  assertEquals(capabilities.mailRules(USER).futureRelease, false);
});

Deno.test("Capabilities.helloReply() is made once for each offer", () => {
  const capabilities = new Capabilities(INIT, true);
  const tls = { startTls: true, mechanisms: [] };
  assertEquals(
    capabilities.helloReply(PLAIN) === capabilities.helloReply({ ...PLAIN }),
    true,
  );
  assertEquals(
    capabilities.helloReply(PLAIN) === capabilities.helloReply(tls),
    false,
  );
});

Deno.test("Capabilities.plainHelloReply has the name only", () => {
  assertEquals(
    new Capabilities(INIT, false).plainHelloReply.wire,
    "250 mx.test\r\n",
  );
});

Deno.test("Capabilities.helloReply() has no enhanced status code", () => {
  const { wire } = new Capabilities(INIT, false).helloReply(PLAIN);
  assertEquals(/\d\.\d\.\d/.test(wire), false);
});
