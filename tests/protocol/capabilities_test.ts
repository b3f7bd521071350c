/**
 * The EHLO reply: RFC 5321 section 4.1.1.1 and the keywords of the extensions.
 */

import { assertEquals } from "@std/assert";
import {
  Capabilities,
  type ExtensionKeyword,
} from "../../lib/protocol/capabilities.ts";

const INIT = { hostname: "mx.test", maxSize: 1000, maxRecipients: 7 };
const PLAIN = { startTls: false, mechanisms: [] };

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
  "HELP",
];

Deno.test("Capabilities.helloReply() lists every extension", () => {
  const capabilities = new Capabilities({ ...INIT, expand: true }, true);
  assertEquals(
    capabilities.helloReply({
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
    const listed = capabilities.helloReply(PLAIN).lines
      .map((line) => line.split(" ")[0]);
    const off = keyword === "CHUNKING" ? [keyword, "BINARYMIME"] : [keyword];
    assertEquals(listed, [
      "mx.test",
      ...ALL.filter((keyword) => !off.includes(keyword)),
    ]);
  });
}

Deno.test("Capabilities.mailRules follow the extensions", () => {
  const rules = new Capabilities(INIT, true).mailRules;
  assertEquals(rules, {
    size: true,
    eightBitMime: true,
    binaryMime: true,
    smtpUtf8: true,
    dsn: true,
    auth: true,
  });
  const none = new Capabilities({ ...INIT, disabled: ALL }, false).mailRules;
  assertEquals(Object.values(none), Array(6).fill(false));
  const noChunks = { ...INIT, disabled: ["CHUNKING"] as const };
  assertEquals(new Capabilities(noChunks, false).mailRules.binaryMime, false);
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
