/** The canonical forms of header fields (RFC 6376 sections 3.4.1, 3.4.2, 3.4.5 and 5.4.2). */

import { assertEquals } from "@std/assert";
import {
  canonicalField,
  rawFields,
  signedText,
  withoutSignature,
} from "../../lib/trust/canonical_header.ts";
import { bytesOf } from "../support/bytes.ts";

const fieldsOf = (block: string) => rawFields(bytesOf(block));

Deno.test("The example of RFC 6376 section 3.4.5", () => {
  const fields = fieldsOf("A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\n");
  const text = (form: "simple" | "relaxed") =>
    fields.map((field) => canonicalField(field, form));
  assertEquals(text("simple"), ["A: X", "B : Y\t\r\n\tZ  "]);
  assertEquals(text("relaxed"), ["a:X", "b:Y Z"]);
});

Deno.test("Fields are taken as they stand, and lines that are no fields left out", () => {
  const block =
    "From ann Mon Nov 30 12:00:00\r\n folded\r\n: empty\r\nno field\r\n" +
    "a\xa0: b\r\nTwo words: c\r\nX-A:\r\nx-b \t:\r\n \r\n\td\r\nY: \xe9 e\r\n";
  const names = ["x-a", "x-b", "y"];
  for (const end of ["", "\r\n", "\r\nZ: body\r\n"]) {
    const fields = fieldsOf(block + end);
    assertEquals(fields.map(({ name }) => name), names);
    const relaxed = fields.map((field) => canonicalField(field, "relaxed"));
    assertEquals(relaxed, ["x-a:", "x-b:d", "y:\xe9 e"]);
  }
  assertEquals(fieldsOf("A: b")[0]!.text, "A: b");
  assertEquals(fieldsOf("\r\nA: b\r\n"), []);
});

Deno.test("Only space, tab and folding are blank", () => {
  const [field] = fieldsOf("A:\f b\v\xa0\r\n\r\n");
  assertEquals(canonicalField(field!, "relaxed"), "a:\f b\v\xa0");
});

Deno.test("Names take fields from the bottom, missing ones give nothing", () => {
  const fields = fieldsOf("A: 1\r\nB: 2\r\na: 3\r\nOwn: b=x\r\n");
  const own = fields[3]!;
  const names = ["A", "none", "B", "a", "A", "own", "__proto__"];
  assertEquals(
    signedText(fields, { names, form: "simple", own }),
    "a: 3\r\nB: 2\r\nA: 1\r\nOwn: b=",
  );
});

Deno.test("Only the value of b= is taken out, with the white space around it", () => {
  const rows = [
    ["X: b=abc", "X: b="],
    ["X: a=1; b = a\r\n bc ; bh=b=", "X: a=1; b =; bh=b="],
    ["X: a=1;\r\n\tb=\r\n abc;", "X: a=1;\r\n\tb=;"],
    ["X: bh=1; bb=2; c=b=3;b=4", "X: bh=1; bb=2; c=b=3;b="],
    ["X: bh=1", "X: bh=1"],
  ] as const;
  for (const [text, want] of rows) {
    assertEquals(withoutSignature({ name: "x", text, at: 0 }).text, want);
  }
});
