/**
 * Header fields of a message: RFC 5322 section 2.2, decoded words of RFC 2047.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { findHeaderEnd, MessageHeaders } from "../../lib/protocol/headers.ts";
import { utf8 } from "../support/bytes.ts";
import { randomText, seeded } from "../support/random.ts";

function parse(text: string): MessageHeaders {
  return MessageHeaders.parse(utf8(text));
}

/** Header blocks: name, fields, and the text kept (its length, or all of it). */
const BLOCKS: [
  name: string,
  text: string,
  fields: [string, string][],
  kept?: string,
][] = [
  ["nothing", "", []],
  ["an empty line", "\r\nA: b\r\n\r\n", [], ""],
  ["one field", "A: b\r\n", [["A", "b"]]],
  ["a body", "A: b\r\n\r\nC: d\r\n", [["A", "b"]], "A: b\r\n"],
  ["a field cut off", "A: b\r\nC: d", [["A", "b"], ["C", "d"]]],
  ["folding", "A: b\r\n\tc\r\n  d\r\n", [["A", "b\tc  d"]]],
  ["folding right behind the name", "A:\r\n b\r\n", [["A", "b"]]],
  ["a blank continuation line", "A: b\r\n \r\nC: d\r\n", [["A", "b"], [
    "C",
    "d",
  ]]],
  ["no space behind the colon", "A:b:c\r\n", [["A", "b:c"]]],
  ["blanks around", "A \t:\t b \t\r\n", [["A", "b"]]],
  ["empty values", "A:\r\nB: \r\n", [["A", ""], ["B", ""]]],
  ["same names", "A: 1\r\na: 2\r\n", [["A", "1"], ["a", "2"]]],
  ["UTF-8", "A: é😀\r\n", [["A", "é😀"]]],
  ["a name of every kind", "!#~9;: b\r\n", [["!#~9;", "b"]]],
  ["names of properties", "__proto__: a\r\nconstructor: b\r\n", [
    ["__proto__", "a"],
    ["constructor", "b"],
  ]],
  ["bare LF as line end", "A: b\nC: d\n", [["A", "b"], ["C", "d"]]],
  ["bare CR inside", "A: b\rC: d\r\n", [["A", "b\rC: d"]]],
  ["an mbox From line", "From a@b Mon\r\nA: b\r\n", [["A", "b"]]],
  ["a quoted mbox From line", ">From a@b Mon\r\nA: b\r\n", [["A", "b"]]],
  ["a From field with a space", "From : a@b\r\n", [["From", "a@b"]]],
  ["no empty line before the body", "A: b\r\nHello\r\nC: d\r\n\r\nx", [[
    "A",
    "b",
  ]], "A: b\r\nHello\r\nC: d\r\n"],
  ["continuation first", " a\r\nA: b\r\n", []],
  ["no name", ": a\r\nA: b\r\n", []],
  ["a name with a space", "A b: c\r\n", []],
  ["a name beyond ASCII", "É: c\r\n", []],
];

for (const [name, text, fields, kept = text] of BLOCKS) {
  Deno.test(`MessageHeaders.parse() reads ${name}`, () => {
    const headers = parse(text);
    assertEquals([...headers], fields);
    assertEquals(headers.count, fields.length);
    assertEquals(headers.toString(), kept);
    assertEquals(headers.changed, false);
    for (const [name] of fields) {
      assert(headers.has(name.toUpperCase()));
      assert(headers.getAll(name.toLowerCase()).length > 0);
    }
  });
}

Deno.test("MessageHeaders.parse() keeps bytes that are no UTF-8", () => {
  const block = Uint8Array.of(
    65,
    58,
    32,
    0xff,
    0x80,
    13,
    10,
    66,
    58,
    49,
    13,
    10,
  );
  const headers = MessageHeaders.parse(block);
  assertEquals(headers.get("A"), "\ufffd\ufffd");
  headers.set("B", "2");
  assertEquals(
    headers.encode(),
    Uint8Array.of(...block.subarray(0, 7), ...utf8("B: 2\r\n")),
  );
});

Deno.test("MessageHeaders.parse() copies what it keeps", () => {
  const block = utf8("A: b\r\n");
  const headers = MessageHeaders.parse(block);
  block.fill(0);
  assertEquals(headers.toString(), "A: b\r\n");
});

const START = "A: 1\r\nB: 2\r\n x\r\na: 3\r\n";

/** Edits to START. */
const EDITS: [
  name: string,
  edit: (headers: MessageHeaders) => void,
  want: string,
][] = [
  [
    "set() replaces the first and drops the others",
    (h) => h.set("a", "4"),
    "a: 4\r\nB: 2\r\n x\r\n",
  ],
  ["set() appends", (h) => h.set("C", "4"), `${START}C: 4\r\n`],
  ["add() appends", (h) => h.add("A", "4"), `${START}A: 4\r\n`],
  ["prepend() puts in front", (h) => h.prepend("C", "4"), `C: 4\r\n${START}`],
  [
    "remove() removes all",
    (h) => assertEquals(h.remove("A"), 2),
    "B: 2\r\n x\r\n",
  ],
  ["clear() removes everything", (h) => h.clear(), ""],
  ["add() trims", (h) => h.add("C", " \t4\t "), `${START}C: 4\r\n`],
  ["add() takes an empty value", (h) => h.add("C", " "), `${START}C:\r\n`],
  [
    "add() takes __proto__",
    (h) => h.add("__proto__", "4"),
    `${START}__proto__: 4\r\n`,
  ],
  ["add() takes UTF-8", (h) => h.add("C", "é"), `${START}C: é\r\n`],
  [
    "add() keeps folding",
    (h) => h.add("C", "4\r\n\t5"),
    `${START}C: 4\r\n\t5\r\n`,
  ],
];

for (const [name, edit, want] of EDITS) {
  Deno.test(`MessageHeaders.${name}`, () => {
    const headers = parse(START);
    edit(headers);
    assertEquals(headers.toString(), want);
    assertEquals(headers.changed, true);
    assertEquals([...MessageHeaders.parse(headers.encode())], [...headers]);
  });
}

Deno.test("MessageHeaders.remove() of nothing changes nothing", () => {
  const headers = parse(START);
  assertEquals(headers.remove("C"), 0);
  assertEquals(headers.changed, false);
  assertEquals(headers.get("C"), undefined);
  assertEquals(headers.getAll("C"), []);
  assertEquals(headers.get("constructor"), undefined);
});

Deno.test("MessageHeaders edits go between the From line and the body", () => {
  const headers = parse("From a\r\nA: b\r\nHello\r\n");
  headers.prepend("P", "1");
  headers.add("Z", "2");
  assertEquals(
    headers.toString(),
    "From a\r\nP: 1\r\nA: b\r\nZ: 2\r\n\r\nHello\r\n",
  );
});

Deno.test("MessageHeaders.add() behind a field cut off gives it its line end", () => {
  const headers = parse("A: b");
  headers.add("C", "d");
  assertEquals(headers.toString(), "A: b\r\nC: d\r\n");
  const mbox = parse("From a");
  mbox.add("C", "d");
  assertEquals(mbox.toString(), "From a\r\nC: d\r\n");
});

Deno.test("MessageHeaders refuses to make more fields than one", () => {
  const headers = new MessageHeaders();
  const names = ["", "a b", "a:", "a\r\nb", "é", "a\0"];
  const values = [
    "a\r\nB: c",
    "a\nb",
    "a\n b",
    "a\rb",
    "a\r\n",
    "a\r\n \r\n b",
    "a\0b",
  ];
  for (const edit of ["set", "add", "prepend"] as const) {
    for (const name of names) {
      assertThrows(() => headers[edit](name, "x"), TypeError, "header field");
    }
    for (const value of values) {
      assertThrows(() => headers[edit]("X", value), TypeError, "line end");
    }
  }
  assertEquals(headers.count, 0);
  assertEquals(headers.changed, false);
});

Deno.test("MessageHeaders.add() folds at white space", () => {
  const headers = new MessageHeaders();
  const value = `${"word ".repeat(40)}\t ${"x".repeat(120)} end`;
  headers.add("Subject", value);
  const lines = headers.toString().split("\r\n");
  assert(lines.every((line) => line.length <= 78 || line.includes("xxx")));
  assert(lines.length >= 5);
  assertEquals(headers.get("Subject"), value);
});

Deno.test("MessageHeaders.add() makes no line over 998 bytes", () => {
  const headers = new MessageHeaders();
  headers.add("A", "x".repeat(995));
  for (
    const value of [
      "x".repeat(996),
      "é".repeat(498),
      `a\r\n ${"x".repeat(998)}`,
    ]
  ) {
    assertThrows(() => headers.add("A", value), RangeError, "want at most 998");
  }
  headers.add("A", `${"x".repeat(900)} ${"y".repeat(900)}`);
  assertEquals(headers.count, 2);
});

Deno.test("MessageHeaders takes long blanks in linear time", () => {
  const blanks = " ".repeat(200_000);
  const headers = parse(`A: b${blanks}c${blanks}\r\nD${blanks}e\r\n`);
  assertEquals(headers.get("A")?.length, 200_002);
  headers.add("B", `b${blanks}`);
  assertEquals(headers.get("B"), "b");
});

const ENDS: [text: string, want: number][] = [
  ["", -1],
  ["\r", -1],
  ["\r\n", 2],
  ["\r\nA", 2],
  ["A: b\r\n", -1],
  ["A: b\r\n\r", -1],
  ["A: b\r\n\r\n", 8],
  ["A: b\r\n\r\n\r\n", 8],
  ["A: b\n\n", -1],
  ["A: b\n\r\n", -1],
  ["A: b\r\r\n\r\n", 9],
];

Deno.test("findHeaderEnd() finds the empty line, at once and byte by byte", () => {
  for (const [text, want] of ENDS) {
    const bytes = utf8(text);
    assertEquals(findHeaderEnd(bytes, 0), want, JSON.stringify(text));
    let found = -1;
    for (let seen = 0; seen < bytes.length && found < 0; seen++) {
      found = findHeaderEnd(bytes.subarray(0, seen + 1), seen);
    }
    assertEquals(found, want, JSON.stringify(text));
  }
});

Deno.test("MessageHeaders never throws on a block, and keeps its bytes", () => {
  const random = seeded(6);
  const pieces = [
    "A: b",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    "From ",
    "x",
  ]
    .concat("Subject", "__proto__:", "\0", "é", "\r\n\r\n");
  for (let round = 0; round < 10_000; round++) {
    const block = utf8(randomText(random, { pieces, length: 12 }));
    const headers = MessageHeaders.parse(block);
    const end = findHeaderEnd(block, 0);
    const kept = block.subarray(0, end < 0 ? block.length : end - 2);
    assertEquals(headers.encode(), kept.slice());
    const fields = [...headers];
    headers.add("X-Added", "1");
    const again = MessageHeaders.parse(headers.encode());
    assertEquals([...again], [...fields, ["X-Added", "1"]]);
  }
});

Deno.test("MessageHeaders in JSON are their names and values, in order", () => {
  const headers = MessageHeaders.parse(utf8("B: 2\r\nA: 1\r\n 3\r\n\r\n"));
  assertEquals(
    JSON.stringify({ headers }),
    '{"headers":[["B","2"],["A","1 3"]]}',
  );
});

Deno.test("MessageHeaders reads values in all lengths and bytes alike", () => {
  for (
    const value of ["", "x", "x\u00fc", "x".repeat(32), "x".repeat(33), "a\tb"]
  ) {
    for (const end of ["\r\n", "\n", "", " \t\r\n", "\r\n \r\n"]) {
      const block = new TextEncoder().encode(
        `${"N".repeat(33)}: ${value}${end}`,
      );
      assertEquals([...MessageHeaders.parse(block)], [["N".repeat(33), value]]);
    }
  }
});
