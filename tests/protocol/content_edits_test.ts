/**
 * Edits to the header in the stream of content: fields removed, added, and
 * completed on submission (RFC 6409 section 8).
 */

import { assertEquals, assertStrictEquals } from "@std/assert";
import {
  completeAddresses,
  completeHeaders,
  type Completion,
  FieldFilter,
  fieldNames,
  HeaderEdit,
} from "../../lib/protocol/content_edits.ts";
import { MessageHeaders } from "../../lib/protocol/headers.ts";
import { waysToCut } from "../support/random.ts";
import { bytesOf, concat, textOf } from "../support/bytes.ts";

interface Edit {
  take(chunk: Uint8Array): Uint8Array;
  end(): Uint8Array;
}

function edited(make: () => Edit, input: string, want: string): void {
  for (const [way, cut] of waysToCut(bytesOf(input))) {
    const edit = make();
    const parts = cut.map((part) => edit.take(part.slice()).slice());
    assertEquals(textOf(concat([...parts, edit.end()])), want, way);
  }
}

const OPENINGS:
  readonly (readonly [name: string, input: string, want: string])[] = [
    ["a header", "Subject: x\r\n\r\nbody", "Subject: x\r\n\r\nbody"],
    ["no content", "", ""],
    ["an empty line", "\r\nbody\r\n", "\r\nbody\r\n"],
    ["a bare LF", "\nbody\n", "\nbody\n"],
    ["blanks before the colon", "Subject  : x\r\n", "Subject  : x\r\n"],
    [
      "the continuation of no field",
      " (forged); Thu, 01 Jan 1970 00:00:00 +0000\r\n\r\nx\r\n",
      "\r\n (forged); Thu, 01 Jan 1970 00:00:00 +0000\r\n\r\nx\r\n",
    ],
    ["a tab", "\tx\r\n", "\r\n\tx\r\n"],
    ["a line of blanks", "  \r\nx\r\n", "\r\n  \r\nx\r\n"],
    ["text", "hello world\r\n", "\r\nhello world\r\n"],
    ["one word", "hello\r\n", "\r\nhello\r\n"],
    ["one word without a line end", "hello", "\r\nhello"],
    ["a colon alone", ":x\r\n", "\r\n:x\r\n"],
    ["bytes above 127", "Gr\xfc\xdfe: x\r\n", "\r\nGr\xfc\xdfe: x\r\n"],
    [
      "more separator lines than a program leaves",
      ">From x\r\n".repeat(102),
      "X-Mailbox-Line: >From x\r\n".repeat(100) + "\r\n" +
      ">From x\r\n".repeat(2),
    ],
    ["a CR", "\rx\r\n", "\r\n\rx\r\n"],
    ["a CR alone", "\r", "\r\n\r"],
    [
      "a separator line",
      "From ann@b.example Mon Nov 30 10:00:00 2026\r\nSubject: x\r\n",
      "X-Mailbox-Line: From ann@b.example Mon Nov 30 10:00:00 2026\r\nSubject: x\r\n",
    ],
    [
      "quoted separator lines",
      ">From a\r\n>>From b\r\nSubject: x\r\n\r\nFrom c\r\n",
      "X-Mailbox-Line: >From a\r\nX-Mailbox-Line: >>From b\r\nSubject: x\r\n\r\nFrom c\r\n",
    ],
    [
      "text behind a separator line",
      "From a\r\n (b)\r\nSubject: x\r\n",
      "X-Mailbox-Line: From a\r\n\r\n (b)\r\nSubject: x\r\n",
    ],
    ["a field named From", "From : a@b\r\n", "From : a@b\r\n"],
    ["a word like From", "Fromage\r\n", "\r\nFromage\r\n"],
    [
      "a long line",
      `${"x".repeat(3000)}: y\r\n`,
      `${"x".repeat(3000)}: y\r\n`,
    ],
    [
      "many quotes",
      `${">".repeat(3000)}From x\r\n`,
      `X-Mailbox-Line: ${">".repeat(3000)}From x\r\n`,
    ],
    [
      "a word of 1,200 bytes",
      `${"x".repeat(1200)}\r\n`,
      `\r\n${"x".repeat(1200)}\r\n`,
    ],
    [
      "a word of 9,000 bytes",
      `${"x".repeat(9000)}: y\r\n`,
      `\r\n${"x".repeat(9000)}: y\r\n`,
    ],
    [
      "fields and then text",
      "Subject: a\r\n b\r\nthis is text\r\nTo: c@d\r\n\r\nx\r\n",
      "Subject: a\r\n b\r\n\r\nthis is text\r\nTo: c@d\r\n\r\nx\r\n",
    ],
    ["fields and a word", "A: b\r\nword", "A: b\r\n\r\nword"],
    ["fields and a colon", "A: b\r\n: c\r\n", "A: b\r\n\r\n: c\r\n"],
    [
      "a separator line behind a field",
      "A: b\r\nFrom c\r\nD: e\r\n",
      "A: b\r\n\r\nFrom c\r\nD: e\r\n",
    ],
    [
      "a line of blanks in a field",
      "A: b\r\n \r\nC: d\r\n\r\nword\r\n",
      "A: b\r\n \r\nC: d\r\n\r\nword\r\n",
    ],
    ["lines that end in LF", "A: b\nC : d\n\nword\n", "A: b\nC : d\n\nword\n"],
    ["a field without a line end", "A: b\r\nC: d", "A: b\r\nC: d"],
  ];

for (const [name, input, want] of OPENINGS) {
  Deno.test(`A message that begins with ${name} cannot join the fields in front of it`, () => {
    edited(() => new HeaderEdit(), input, want);
  });
}

const NAMES = fieldNames("Bcc", "Status", "X-Status");

const FILTERED:
  readonly (readonly [name: string, input: string, want: string])[] = [
    ["none", "A: b\r\n\r\nStatus: x\r\n", "A: b\r\n\r\nStatus: x\r\n"],
    ["the first", "Bcc: x\r\nA: b\r\n\r\n", "A: b\r\n\r\n"],
    ["the last", "A: b\r\nbcc:x\r\n\r\nBcc: y", "A: b\r\n\r\nBcc: y"],
    [
      "folded ones",
      "BCC: x,\r\n\ty,\r\n z\r\nA: b\r\n c\r\n",
      "A: b\r\n c\r\n",
    ],
    [
      "several",
      "Status: R\r\nA: b\r\nStatus: O\r\nX-Status : D\r\nC: d\r\n",
      "A: b\r\nC: d\r\n",
    ],
    ["all", "Bcc: x\r\nStatus:\r\n\r\n", "\r\n"],
    ["one cut off", "A: b\r\nStatus: R", "A: b\r\n"],
    [
      "a name that is longer",
      "Statuses: x\r\nBc: y\r\nBccc: z\r\n",
      "Statuses: x\r\nBc: y\r\nBccc: z\r\n",
    ],
    ["a name that is cut off", "A: b\r\nStat", "A: b\r\nStat"],
    [
      "text that begins so",
      "Status of it\r\nStatus : R\r\n",
      "Status of it\r\n",
    ],
    [
      "one behind a line that is no field",
      "hello\r\nStatus: R\r\n\r\n",
      "hello\r\n\r\n",
    ],
    ["blanks without end", `Bcc${" ".repeat(3000)}: x\r\nA: b\r\n`, "A: b\r\n"],
    ["lines with LF", "Bcc: x\n y\nA: b\n\nBcc: z\n", "A: b\n\nBcc: z\n"],
    ["a header without its end", "A: b\r\n\r", "A: b\r\n\r"],
  ];

for (const [name, input, want] of FILTERED) {
  Deno.test(`FieldFilter leaves out fields by name: ${name}`, () => {
    edited(() => new FieldFilter(NAMES), input, want);
  });
}

Deno.test("Edits give a chunk back where nothing in it changes", () => {
  const chunk = bytesOf("A: b\r\n\r\nbody");
  assertStrictEquals(new HeaderEdit().take(chunk).buffer, chunk.buffer);
  assertStrictEquals(new FieldFilter(NAMES).take(chunk).buffer, chunk.buffer);
});

const ADDRESSES: readonly (readonly [list: string, want: string])[] = [
  ["ann", "ann@h.example"],
  ["ann@", "ann@h.example"],
  ["ann@b.example", "ann@b.example"],
  ["Ann Smith <ann>", "Ann Smith <ann@h.example>"],
  ['"Smith, Ann" <ann@>', '"Smith, Ann" <ann@h.example>'],
  ["ann (at home), bob@b.example", "ann@h.example (at home), bob@b.example"],
  ['"a b"', '"a b"@h.example'],
  ['"a@b"', '"a@b"@h.example'],
  ["<>", "<>"],
  ["Ann Smith", "Ann Smith"],
  ["Team: ann, bob@b.example;", "Team: ann@h.example, bob@b.example;"],
  ["Nobody:;", "Nobody:;"],
  ["", ""],
  ["ann <ann@b.example> bob", "ann <ann@b.example> bob"],
];

for (const [list, want] of ADDRESSES) {
  Deno.test(`A domain is put behind the addresses without one in ${JSON.stringify(list)}`, () => {
    assertEquals(completeAddresses(list, "h.example"), want);
  });
}

Deno.test("A header that is complete stays as it is", () => {
  const block = "From: a@b\r\nDATE: x\r\nmessage-id: <y>\r\n";
  const headers = MessageHeaders.parse(bytesOf(block));
  const completion: Completion = {
    date: "now",
    messageId: "<z>",
    domain: "h.example",
  };
  completeHeaders(headers, completion);
  assertEquals(headers.changed, false);
  assertEquals(headers.toString(), block);
});
