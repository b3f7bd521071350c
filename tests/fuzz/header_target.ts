/**
 * Fuzz of the readers of header fields: texts, lists of addresses and dates, from
 * any bytes. None throws, nothing decoded has a control character, and where the
 * strict reader of authors takes a list, the reader for people finds the same
 * addresses in it.
 */

import { Address } from "../../lib/protocol/address.ts";
import {
  parseMailboxes,
  responsibleMailbox,
} from "../../lib/protocol/author_fields.ts";
import { MessageHeaders } from "../../lib/protocol/headers.ts";
import { bytesOf } from "../support/bytes.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";

/** Texts, addresses, dates and authors of a header. */
export const headerTarget: FuzzTarget = {
  name: "header",
  check(random) {
    const block = headerBlock(random);
    const headers = MessageHeaders.parse(bytesOf(block));
    checkTexts(headers, block);
    checkAuthors(headers, block);
  },
};

const MAILBOXES = [
  ...["ann@a.test", "<ann@a.test>", "Ann <ann@a.test>", '"A, B" <a@a.test>'],
  ...["=?utf-8?q?=C3=A9?= <e@a.test>", "ann@a.test (Ann (of) Sales)", "Ann"],
  ...['"a b"@a.test', "<@b.test:ann@a.test>", "(c) J. Doe <j@[192.0.2.1]>"],
  ...["<\xc3\xa9@b\xc3\xbccher.test>", "a@b@c.test", "<>", "ann @ a.test"],
  ...["ann@a.test <bob@b.test>", "team: ann@a.test, bob@b.test;", ":;"],
];
const WORDS = [
  ...["Hello", "=?utf-8?q?Gr=C3?=", "=?utf-8?Q?=BC=C3=9Fe?=", "=?x?b?AAAA?="],
  ...[
    "=?utf-8?b?DQpCY2M6IHg=?=",
    "=?iso-2022-jp?b?GyRC?=",
    "=?utf-16?b?2AA=?=",
  ],
  ...["=?utf-8*en?q?a?=", "=?", "?=", "\xff\xfe", "=?utf-8?q?=0D=0AX:_y?="],
];
const DATES = [
  ...["Mon, 30 Nov 2026 12:11:57 +0100", "30 Nov 26 12:11 EST", "1 Jan 1970"],
  ...["Sun, 31 Feb 2026 25:61:61 +9999", "30-Nov-2026 12:11:57 (a (b)) Z"],
  ...["29 Feb 2024 23:59:60 -0000", "1 Jan 0000 00:00 +0000"],
];
const FIELDS: readonly (readonly [
  names: readonly string[],
  parts: readonly string[],
  glue: readonly string[],
])[] = [
  [["From", "Sender", "To", "from"], MAILBOXES, [
    ", ",
    ",",
    ",\r\n ",
    " ",
    ";",
  ]],
  [["Subject", "From"], WORDS, [" ", "\r\n\t", ""]],
  [["Date"], DATES, [" "]],
];

function headerBlock(random: Random): string {
  let block = "";
  for (let left = 1 + random(4); left > 0; left--) {
    const [names, parts, glue] = pick(random, FIELDS);
    let value = pick(random, parts);
    for (let more = random(4); more > 0; more--) {
      value += pick(random, glue) + pick(random, parts);
    }
    if (!chance(random, 3)) value = mutate(random, value);
    // What is long must not take longer than its length.
    if (chance(random, 300)) value = value.repeat(1000);
    block += `${pick(random, names)}: ${value}\r\n`;
  }
  return `${block}\r\n`;
}

function checkTexts(headers: MessageHeaders, block: string): void {
  for (const [name] of headers) {
    const texts = [headers.text(name)!];
    for (const one of headers.addresses(name)) {
      texts.push(one.name, one.address);
    }
    for (const text of texts) {
      if (typeof text === "string" && !/\p{Cc}/u.test(text)) continue;
      throw new Error(`Read ${JSON.stringify(text)}: ${JSON.stringify(block)}`);
    }
    const time = headers.date(name)?.getTime();
    if (time === undefined || Number.isSafeInteger(time)) continue;
    throw new Error(`Read the time ${time}: ${JSON.stringify(block)}`);
  }
}

function checkAuthors(headers: MessageHeaders, block: string): void {
  const responsible = responsibleMailbox(headers);
  if (responsible !== undefined) {
    const isOne = headers.getAll("From").length === 1 &&
      headers.getAll("Sender").length <= 1 && !responsible.isNull;
    if (!isOne) throw new Error(`Took an author: ${JSON.stringify(block)}`);
  }
  for (const name of ["From", "Sender", "To"]) {
    for (const value of headers.getAll(name)) {
      const strict = parseMailboxes(value);
      if (strict === undefined) continue;
      const field = new TextEncoder().encode(`To: ${value}\r\n\r\n`);
      const one = MessageHeaders.parse(field);
      const shown = one.addresses("To").map(({ address }) =>
        String(Address.parse(address))
      );
      if (shown.join() === strict.map(String).join()) continue;
      throw new Error(
        `Took ${strict.join()}, shown as ${shown.join()}: ${
          JSON.stringify(value)
        }`,
      );
    }
  }
}
