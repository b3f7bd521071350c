/**
 * The recipients that a DSN reports, and its address: NOTIFY, RET, ENVID, ORCPT
 * (RFC 3461 sections 4 and 6).
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { MemorySpool } from "../../lib/spool/memory_spool.ts";
import { DsnSender } from "../../lib/dsn/sender.ts";
import type { MailParameters } from "../../lib/protocol/parameters.ts";
import type { SpoolAddition } from "../../lib/spool/spool.ts";
import { addition } from "../support/queue/fixtures.ts";
import { readText } from "../support/bytes.ts";

const CONTENT = "Subject: Hello\r\nX-Last: field\r\n\r\nThe body\r\n";

async function makeFor(
  parameters: MailParameters,
  options: {
    readonly text?: string;
    readonly kind?: "failed" | "delayed";
    readonly from?: string;
    readonly to?: string;
  } = {},
): Promise<{ addition: SpoolAddition; text: string }> {
  const spool = new MemorySpool();
  const base = addition("a", {
    text: options.text ?? CONTENT,
    to: [options.to ?? "a@example.org"],
  });
  const { from = base.envelope.from } = options;
  const envelope = { ...base.envelope, from, parameters };
  const entry = await spool.add({ envelope, content: base.content });
  const sender = new DsnSender({
    spool,
    hostname: "mx.example.com",
    from: "MAILER-DAEMON@mx.example.com",
    returnLimit: 100_000,
    newId: () => "n1",
  });
  const made = await sender.make(entry, {
    kind: options.kind ?? "failed",
    indices: [0],
    now: 5000,
    expiresAt: 9000,
  });
  return { addition: made, text: await readText(made.content) };
}

const ROWS = [
  { name: "no RET", parameters: {}, whole: false },
  { name: "RET=HDRS", parameters: { ret: "HDRS" }, whole: false },
  { name: "RET=FULL", parameters: { ret: "FULL" }, whole: true },
  {
    name: "RET=FULL of a binary message",
    parameters: { ret: "FULL", body: "BINARYMIME" },
    whole: false,
  },
] as const;

for (const { name, parameters, whole } of ROWS) {
  Deno.test(`DsnSender returns ${whole ? "the message" : "the header block"}: ${name}`, async () => {
    const { text } = await makeFor(parameters);
    assertStringIncludes(text, "X-Last: field\r\n");
    assertEquals(text.includes("The body"), whole);
  });
}

Deno.test("DsnSender returns the header block of what is large or only late", async () => {
  const text = `${CONTENT}${"x\r\n".repeat(40_000)}`;
  assert(!(await makeFor({ ret: "FULL" }, { text })).text.includes("The body"));
  const late = await makeFor({ ret: "FULL" }, { kind: "delayed" });
  assert(!late.text.includes("The body"));
});

Deno.test("DsnSender makes a message with the null reverse-path that asks for no DSN", async () => {
  const { addition: made, text } = await makeFor({ envid: "E 1" });
  assertEquals(made.envelope, {
    id: "n1",
    from: "",
    parameters: {},
    recipients: [{
      address: "sender@example.com",
      parameters: { notify: ["NEVER"] },
    }],
    size: text.length,
    acceptedAt: 5000,
    options: {},
    origin: { about: "a" },
  });
  assertStringIncludes(text, "Original-Envelope-Id: E 1\r\n");
});

Deno.test("DsnSender reports a message that cannot be read any more", async () => {
  const spool = new MemorySpool();
  const entry = await spool.add(addition("a"));
  await spool.remove("a");
  const sender = new DsnSender({
    spool,
    hostname: "mx.example.com",
    from: "MAILER-DAEMON@mx.example.com",
    returnLimit: 1000,
    newId: () => "n1",
  });
  const made = await sender.make(entry, {
    kind: "failed",
    indices: [0],
    now: 0,
    expiresAt: 0,
  });
  assertStringIncludes(
    await readText(made.content),
    "Final-Recipient: rfc822; a@example.org",
  );
});

Deno.test("DsnSender returns whole lines of a header block without end", async () => {
  const { text } = await makeFor({}, {
    text: "Subject: Hello\r\nX-Cut: no line e",
  });
  assertStringIncludes(text, "Subject: Hello\r\n");
  assert(!text.includes("X-Cut"));
});

Deno.test("DsnSender writes A-labels wherever the local part is ASCII", async () => {
  const { addition: made, text } = await makeFor({ smtpUtf8: true }, {
    from: "ann@münchen.test",
    to: "bob@bücher.test",
  });
  assertEquals(made.envelope.recipients[0]!.address, "ann@xn--mnchen-3ya.test");
  assertEquals(made.envelope.parameters, {});
  assertStringIncludes(text, "To: <ann@xn--mnchen-3ya.test>\r\n");
  assertStringIncludes(
    text,
    "Final-Recipient: rfc822; bob@xn--bcher-kva.test\r\n",
  );
  assert(!/[^\0-\x7f]/.test(text));
});

Deno.test("DsnSender asks for SMTPUTF8 where the local part needs it", async () => {
  const { addition: made } = await makeFor({ smtpUtf8: true }, {
    from: "grün@münchen.test",
  });
  assertEquals(made.envelope.recipients[0]!.address, "grün@münchen.test");
  assertEquals(made.envelope.parameters.smtpUtf8, true);
});

Deno.test("DsnSender folds or cuts long lines of the header, and leaves a body with such lines out", async () => {
  const header = `X-Long: ${"word ".repeat(1200)}end\r\nX-Solid: ${
    "x".repeat(6000)
  }\r\nSubject: Hello\r\n\r\n`;
  for (const body of ["short\r\n", `${"y".repeat(1500)}\r\n`]) {
    const { text } = await makeFor({ ret: "FULL" }, { text: header + body });
    for (const line of text.split("\r\n")) assert(line.length <= 998);
    assertStringIncludes(text, "Subject: Hello\r\n");
    assertEquals(text.includes("short\r\n"), body === "short\r\n");
    assert(!text.includes("yyy"));
  }
});
