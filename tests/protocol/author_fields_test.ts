/**
 * From and Sender, read to find the responsible mailbox: one beyond doubt, or
 * no mailbox.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-3.6.2 | RFC 5322 section 3.6.2}
 */

import { assertEquals } from "@std/assert";
import {
  parseMailboxes,
  responsibleMailbox,
} from "../../lib/protocol/author_fields.ts";
import { MessageHeaders } from "../../lib/protocol/headers.ts";

const ANN = "ann@own.example";

/** Values of From that name one mailbox. */
const ONE: readonly string[] = [
  ANN,
  `<${ANN}>`,
  `Ann <${ANN}>`,
  `"Boss, of corp" <${ANN}>`,
  `"boss@corp.example" <${ANN}>`,
  `"a \\" <boss@corp.example>" <${ANN}>`,
  `=?utf-8?B?Ym9zc0Bjb3JwLmV4YW1wbGU=?= <${ANN}>`,
  `John Q. Public <${ANN}>`,
  `Jörg \ufffd <${ANN}>`,
  `(boss@corp.example, \\) (nested)) ${ANN} (end)`,
  `Ann (of Sales) <${ANN}>`,
  `\t ${ANN} `,
];

/** Values of From that some reader could take for another mailbox, or that have no mailbox. */
const NONE: readonly string[] = [
  "",
  "Ann",
  "<>",
  "ann",
  "undisclosed:;",
  `Friends: ${ANN}, boss@corp.example;`,
  `boss@corp.example <${ANN}>`,
  `<boss@corp.example> <${ANN}>`,
  `<${ANN}> <boss@corp.example>`,
  `<${ANN}> boss`,
  `${ANN} boss@corp.example`,
  `ann @own.example`,
  `ann@ own.example`,
  `ann(comment)@own.example`,
  `ann@own.example(`,
  `<@corp.example:${ANN}>`,
  `< ${ANN}>`,
  `<ann@own.example`,
  `<ann@own.example\0>`,
  `<ann@own.example@corp.example>`,
  // Some readers decode it: boss@corp.example.
  `=?utf-8?B?Ym9zc0Bjb3JwLmV4YW1wbGU=?=@own.example`,
  `Ann <=?utf-8?Q?boss=40corp.example?=@own.example>`,
  `"Ann <${ANN}>`,
  `Ann, of Sales <${ANN}>`,
  `,${ANN}`,
  `${ANN},`,
  `${ANN};`,
  `a\\@b <${ANN}>`,
  `[x] <${ANN}>`,
  `ann@own.example\r boss`,
];

Deno.test("parseMailboxes() reads one mailbox with any display name", () => {
  for (const value of ONE) {
    assertEquals(parseMailboxes(value)?.map(String), [ANN], value);
  }
});

Deno.test("parseMailboxes() reads nothing that two readers take for two mailboxes", () => {
  for (const value of NONE) {
    assertEquals(parseMailboxes(value), undefined, JSON.stringify(value));
  }
});

Deno.test("parseMailboxes() takes time in proportion to the length", () => {
  const long = 100_000;
  for (
    const value of [
      "(".repeat(long),
      `${"a ".repeat(long)}<${ANN}>`,
      `"${"\\".repeat(long)}`,
      `${"a@b.example,".repeat(long)}`,
      "<".repeat(long),
      '"a"'.repeat(long),
    ]
  ) parseMailboxes(value);
});

/** The mailbox that a header makes responsible. */
function responsible(...lines: string[]): string | undefined {
  const block = new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
  return responsibleMailbox(MessageHeaders.parse(block))?.toString();
}

Deno.test("responsibleMailbox() is that of Sender, or the only one of From", () => {
  const boss = "From: boss@corp.example";
  assertEquals(responsible(`From: ${ANN}`), ANN);
  assertEquals(responsible("from :\r\n ann@own.example"), ANN);
  assertEquals(responsible(boss, `Sender: ${ANN}`), ANN);
  assertEquals(
    responsible(`From: ${ANN}`, "Sender: boss@corp.example"),
    "boss@corp.example",
  );
  assertEquals(
    responsible(`From: ${ANN}, b@own.example`, `Sender: ${ANN}`),
    ANN,
  );
  for (
    const lines of [
      ["Subject: x"],
      [`From: ${ANN}`, `From: ${ANN}`],
      [`From: ${ANN}`, `FROM : boss@corp.example`],
      [`From: ${ANN}, b@own.example`],
      [`Sender: ${ANN}`],
      [`From: garbage`, `Sender: ${ANN}`],
      [boss, `Sender: ${ANN}`, `Sender: ${ANN}`],
      [boss, `Sender: ${ANN}, b@own.example`],
      [boss, "Sender:"],
      ["Subject: x", "no field", `From: ${ANN}`],
    ]
  ) assertEquals(responsible(...lines), undefined, lines.join(" | "));
});
