import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { MemorySpool } from "../../lib/queue/memory_spool.ts";
import { Notifier } from "../../lib/queue/notifier.ts";
import type { MailParameters } from "../../lib/protocol/parameters.ts";
import type { SpoolAddition } from "../../lib/queue/spool.ts";
import { addition, textOf } from "../support/queue_fixtures.ts";

const CONTENT = "Subject: Hello\r\nX-Last: field\r\n\r\nThe body\r\n";

async function makeFor(
  parameters: MailParameters,
  options: { readonly text?: string; readonly kind?: "failed" | "delayed" } =
    {},
): Promise<{ addition: SpoolAddition; text: string }> {
  const spool = new MemorySpool();
  const base = addition("a", { text: options.text ?? CONTENT });
  const envelope = { ...base.envelope, parameters };
  const entry = await spool.add({ envelope, content: base.content });
  const notifier = new Notifier({
    spool,
    hostname: "mx.example.com",
    from: "MAILER-DAEMON@mx.example.com",
    returnLimit: 1000,
    newId: () => "n1",
  });
  const made = await notifier.make(entry, {
    kind: options.kind ?? "failed",
    indices: [0],
    now: 5000,
    expiresAt: 9000,
  });
  return { addition: made, text: await textOf(made.content) };
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
  Deno.test(`Notifier returns ${whole ? "the message" : "the header block"}: ${name}`, async () => {
    const { text } = await makeFor(parameters);
    assertStringIncludes(text, "X-Last: field\r\n");
    assertEquals(text.includes("The body"), whole);
  });
}

Deno.test("Notifier returns the header block of what is large or only late", async () => {
  const text = `${CONTENT}${"x".repeat(2000)}\r\n`;
  assert(!(await makeFor({ ret: "FULL" }, { text })).text.includes("The body"));
  const late = await makeFor({ ret: "FULL" }, { kind: "delayed" });
  assert(!late.text.includes("The body"));
});

Deno.test("Notifier makes a message from nobody that asks for no notice", async () => {
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
  });
  assertStringIncludes(text, "Original-Envelope-Id: E 1\r\n");
});

Deno.test("Notifier reports a message that cannot be read any more", async () => {
  const spool = new MemorySpool();
  const entry = await spool.add(addition("a"));
  await spool.remove("a");
  const notifier = new Notifier({
    spool,
    hostname: "mx.example.com",
    from: "MAILER-DAEMON@mx.example.com",
    returnLimit: 1000,
    newId: () => "n1",
  });
  const made = await notifier.make(entry, {
    kind: "failed",
    indices: [0],
    now: 0,
    expiresAt: 0,
  });
  assertStringIncludes(
    await textOf(made.content),
    "Final-Recipient: rfc822; a@example.org",
  );
});

Deno.test("Notifier returns whole lines of a header block without end", async () => {
  const { text } = await makeFor({}, {
    text: "Subject: Hello\r\nX-Cut: no line e",
  });
  assertStringIncludes(text, "Subject: Hello\r\n");
  assert(!text.includes("X-Cut"));
});
