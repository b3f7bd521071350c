/**
 * MIME fields and encoded words of a header (RFC 2045 section 5.1, RFC 2047
 * sections 4 and 5, RFC 5322 section 2.2.3).
 */

import { assertEquals } from "@std/assert";
import { encodeField } from "../../lib/protocol/header_encoding.ts";
import { foldLongLines } from "../../lib/protocol/folding.ts";
import {
  parseMimeField,
  parseTransferEncoding,
} from "../../lib/protocol/mime_field.ts";
import { bytesOf, textOf } from "../support/bytes.ts";
import { DEADLINE_MS } from "../support/wait.ts";

const ROWS: readonly (readonly [
  text: string,
  value: string,
  parameters: Record<string, string>,
])[] = [
  ["text/plain", "text/plain", {}],
  [" (c) multipart/mixed ; boundary=b", "multipart/mixed", { boundary: "b" }],
  ["TEXT / (x) plain;\r\n\tCharset = UTF-8 (y)", "text/plain", {
    charset: "UTF-8",
  }],
  ['multipart/mixed; name="x; boundary=no"; boundary=yes', "multipart/mixed", {
    name: "x; boundary=no",
    boundary: "yes",
  }],
  ['a/b; x="a \\"q\\" \\\\"; x=second', "a/b", { x: 'a "q" \\' }],
  ["multipart/mixed boundary=b", "multipart/mixed", { boundary: "b" }],
  ["a/b; boundary=----=_Part_1/2:x", "a/b", { boundary: "----=_Part_1/2:x" }],
  ['a/b; x="without end', "a/b", { x: "without end" }],
  ["a/b; (comment without end; x=y", "a/b", {}],
  ["a/b;;; =; x; y=1", "a/b", { y: "1" }],
  ["8bit (x)", "8bit", {}],
  ["", "", {}],
  ["a/b; t*=utf-8'de'Gr%C3%BC", "a/b", { t: "Grü" }],
  ["a/b; t*0*=iso-8859-1''%FC; t*1=\" b\"; t*2*=%E4", "a/b", { t: "ü bä" }],
  ["a/b; t=plain; t*=\"utf-8''%e2%82%ac\"", "a/b", { t: "€" }],
  ["a/b; t*1=without; u*0=first; u*2=third", "a/b", { u: "first" }],
  ["a/b; t*=x-none''%41", "a/b", { t: "A" }],
];

for (const [text, value, parameters] of ROWS) {
  Deno.test(`parseMimeField() reads ${JSON.stringify(text)}`, () => {
    const field = parseMimeField(text);
    assertEquals(field.value, value);
    assertEquals(Object.fromEntries(field.parameters), parameters);
  });
}

Deno.test("parseTransferEncoding() reads what programs write", () => {
  const rows: [string | undefined, string][] = [
    [undefined, "7bit"],
    ["", "7bit"],
    [" 8BIT (x)", "8bit"],
    ["8bit;", "8bit"],
    ["8-bit", "8bit"],
    ['"base64"', "base64"],
    ["constructor", "constructor"],
  ];
  for (const [text, want] of rows) {
    assertEquals(parseTransferEncoding(text), want);
  }
});

Deno.test("parseMimeField() takes linear time", () => {
  for (const unit of ["(", '"', "a*0=", ";", "\\", "x=(", "/ "]) {
    parseMimeField(`a/b; ${unit.repeat(200_000)}`);
  }
});

/** Fields as bytes, one character a byte, and their encoded form. */
const FIELDS: readonly (readonly [field: string, want: string])[] = [
  [
    "Subject: Gr\xc3\xbc\xc3\x9fe x\r\n",
    "Subject: =?utf-8?B?R3LDvMOfZQ==?= x\r\n",
  ],
  ["Subject: Gr\xfc\xdfe\r\n", "Subject: =?iso-8859-1?B?R3L832U=?=\r\n"],
  [
    "Subject: =?utf-8?Q?a?= \xc3\xbc\r\n",
    "Subject: =?utf-8?Q?a?= =?utf-8?Q?_=C3=BC?=\r\n",
  ],
  [
    'To: "M\xc3\xbcller, J" <a@b>, x@y (\xc3\xbc), \xc3\xbc@z\r\n',
    "To: =?utf-8?Q?M=C3=BCller=2C_J?= <a@b>, x@y (=?utf-8?Q?=C3=BC?=),\r\n \xc3\xbc@z\r\n",
  ],
  [
    'Content-Disposition: attachment; filename="\xc3\xbc;.txt"; size=1\r\n',
    "Content-Disposition: attachment; filename*=utf-8''%C3%BC%3B.txt; size=1\r\n",
  ],
  [
    'Content-Type: multipart/mixed; boundary="\xc3\xbc"\r\n',
    'Content-Type: multipart/mixed; boundary="\xc3\xbc"\r\n',
  ],
  [
    "From: x <ann@b\xc3\xbccher.example>, bob@B\xc3\x9cCHER.example\r\n",
    "From: x <ann@xn--bcher-kva.example>, bob@xn--bcher-kva.example\r\n",
  ],
  ["To: ann@b\xfccher.example\r\n", "To: ann@xn--bcher-kva.example\r\n"],
  ["To: <\xc3\xbc@x>, <\xc3\xbc>\r\n", "To: <\xc3\xbc@x>, <\xc3\xbc>\r\n"],
  ["To: \xc3\xbc a@b\r\n", "To: \xc3\xbc a@b\r\n"],
  [
    'From: "\xc3\xbc@x" <a@b>, \xc3\xbc @home <c@d>\r\n',
    "From: =?utf-8?Q?=C3=BC=40x?= <a@b>, =?utf-8?Q?=C3=BC_=40home?= <c@d>\r\n",
  ],
  [
    "List-Id: \xc3\xbc list <l.example>\r\n",
    "List-Id: =?utf-8?Q?=C3=BC_list?= <l.example>\r\n",
  ],
  [
    "To: J\xc3\xb6rg<j@x.example>\r\n",
    "To: =?utf-8?Q?J=C3=B6rg?= <j@x.example>\r\n",
  ],
  ["Message-ID: <\xfc@x>\r\n", "Message-ID: <\xfc@x>\r\n"],
  ["DKIM-Signature: \xfc\r\n", "DKIM-Signature: \xfc\r\n"],
  ["no field \xfc\r\n", "no field \xfc\r\n"],
];

for (const [field, want] of FIELDS) {
  Deno.test(`encodeField() makes the best of ${JSON.stringify(field)}`, () => {
    const got = textOf(encodeField(bytesOf(field)));
    // Either of the two forms is right.
    assertEquals(normalized(got), normalized(want));
  });
}

/** Encoded words with their text in hexadecimal, so that both forms compare equal. */
function normalized(text: string): string {
  return text.replace(
    /=\?([^?]+)\?([QB])\?([^?]*)\?=/g,
    (_, charset: string, form: string, body: string) => {
      const bytes = form === "B" ? Uint8Array.fromBase64(body) : bytesOf(
        body.replaceAll("_", " ").replace(
          /=(..)/g,
          (_, hex: string) => String.fromCharCode(parseInt(hex, 16)),
        ),
      );
      return `<${charset} ${bytes.toHex()}>`;
    },
  ).replace(/\r\n(?= )/g, "");
}

Deno.test("encodeField() keeps encoded words and lines short, and characters whole", () => {
  const name = new TextEncoder().encode(`Subject: ${"ü€😀".repeat(100)}\r\n`);
  const text = textOf(encodeField(name));
  for (const line of text.split("\r\n")) assertEquals(line.length <= 78, true);
  const words = [...text.matchAll(/=\?utf-8\?B\?([^?]*)\?=/g)].map((match) => {
    const bytes = Uint8Array.fromBase64(match[1]!);
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  });
  assertEquals(words.join(""), "ü€😀".repeat(100));
});

Deno.test("encodeField() breaks a long comment of an address into lines", () => {
  const field = new TextEncoder().encode(`From: a@b (${"ü".repeat(1000)})\r\n`);
  const text = textOf(encodeField(field));
  for (const line of text.split("\r\n")) assertEquals(line.length <= 78, true);
  assertEquals(/^From: a@b\s+\(=\?[^]+\?=\)\r\n$/.test(text), true);
});

Deno.test("foldLongLines() breaks long lines and leaves the others", () => {
  const rows: [string, string][] = [
    ["A: b\r\n", "A: b\r\n"],
    ["A: bb cc\r\nB: c\r\n", "A: bb\r\n cc\r\nB: c\r\n"],
    ["A: abcdefghi\r\n", "A:\r\n abcd\r\n efghi\r\n"],
    ["A: b          \r\n", "A: b\r\n"],
    ["abcdefghij", "abcde\r\n fghij"],
  ];
  for (const [block, want] of rows) {
    assertEquals(textOf(foldLongLines(bytesOf(block), 6)), want);
  }
});

Deno.test("parseMimeField() and encodeField() take time that grows with the length alone", () => {
  const end = performance.now() + DEADLINE_MS;
  const type = `a/${" /b".repeat(700_000)}`;
  assertEquals(parseMimeField(type).value, type.replaceAll(" ", ""));
  for (const unit of ["ü ", "(ü)", '"ü" ', "ü <a@b.example>, ", "ü(", ';ü="']) {
    for (const name of ["Subject", "To", "Content-Type"]) {
      encodeField(
        new TextEncoder().encode(`${name}: ${unit.repeat(100_000)}\r\n`),
      );
    }
  }
  assertEquals(performance.now() < end, true);
});
