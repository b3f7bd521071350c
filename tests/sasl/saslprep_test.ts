/** SASLprep (RFC 4013, RFC 3454). */

import { assertEquals } from "@std/assert";
import { saslPrep } from "../../lib/sasl/saslprep.ts";
import { python } from "../support/sasl_dialogue.ts";
import { seededFraction } from "../support/random.ts";

const ROWS: readonly { name: string; input: string; want?: string }[] = [
  { name: "RFC 4013: soft hyphen vanishes", input: "I\u00adX", want: "IX" },
  { name: "RFC 4013: no change", input: "user", want: "user" },
  { name: "RFC 4013: case is kept", input: "USER", want: "USER" },
  { name: "RFC 4013: NFKC of ª", input: "\u00aa", want: "a" },
  { name: "RFC 4013: NFKC of Ⅸ", input: "\u2168", want: "IX" },
  { name: "RFC 4013: a control character", input: "\u0007" },
  { name: "RFC 4013: a digit after Arabic", input: "\u0627\u0031" },
  {
    name: "Arabic around a digit",
    input: "\u06271\u0628",
    want: "\u06271\u0628",
  },
  { name: "Hebrew and Latin mixed", input: "\u05d0a\u05d0" },
  { name: "a digit before Hebrew", input: "1\u05d0" },
  { name: "nothing", input: "", want: "" },
  { name: "all of it vanishes", input: "\u00ad\u2060", want: "" },
  { name: "no-break space", input: "a\u00a0b", want: "a b" },
  { name: "decomposed e acute", input: "e\u0301", want: "\u00e9" },
  { name: "NUL", input: "a\0" },
  { name: "DEL", input: "a\x7f" },
  { name: "private use", input: "\ue000" },
  { name: "private use, plane 16", input: "\u{10fffd}" },
  { name: "non-character", input: "\ufdd0" },
  { name: "lone surrogate", input: "a\ud800" },
  { name: "replacement character", input: "\ufffd" },
  { name: "left-to-right mark", input: "a\u200e" },
  { name: "language tag", input: "\u{e0001}" },
  { name: "emoji newer than the tables", input: "a😀", want: "a😀" },
];

for (const { name, input, want } of ROWS) {
  Deno.test(`saslPrep() prepares: ${name}`, () => {
    assertEquals(saslPrep(input), want);
  });
}

const PROGRAM = `
import stringprep as s, unicodedata
u = unicodedata.ucd_3_2_0
bad = [s.in_table_c12, s.in_table_c21_c22, s.in_table_c3, s.in_table_c4,
    s.in_table_c5, s.in_table_c6, s.in_table_c7, s.in_table_c8, s.in_table_c9]
def prep(codes):
    text = ''.join(map(chr, codes))
    text = ''.join(' ' if s.in_table_c12(c) else c for c in text)
    text = ''.join(c for c in text if not s.in_table_b1(c))
    text = u.normalize('NFKC', text)
    if any(f(c) for c in text for f in bad): return None
    if any(map(s.in_table_d1, text)):
        if any(map(s.in_table_d2, text)): return None
        if not (s.in_table_d1(text[0]) and s.in_table_d1(text[-1])): return None
    return [ord(c) for c in text]
known = lambda codes: not any(s.in_table_a1(chr(c)) for c in codes)
print(json.dumps([prep(r) if known(r) else 'new' for r in rows]))
`;

Deno.test("saslPrep() agrees with Python's stringprep tables", async () => {
  const random = seededFraction(3);
  const ranges = [0x100, 0x700, 0x2100, 0x3100, 0xfff0, 0x1d200, 0xe0080];
  const rows = Array.from({ length: 4000 }, (_, index) => {
    const range = ranges[index % ranges.length] ?? 0;
    const from = index % 2 === 0 ? 0 : Math.max(0, range - 0x200);
    return Array.from(
      { length: 1 + index % 3 },
      () => from + Math.floor(random() * (range - from)),
    ).map((code) => code >= 0xd800 && code < 0xe000 ? 0x5d0 : code);
  });
  const wants = await python(PROGRAM, rows) as (number[] | null | "new")[];
  let compared = 0;
  for (const [index, want] of wants.entries()) {
    // Characters assigned after Unicode 3.2 are accepted on purpose.
    if (want === "new") continue;
    compared++;
    const codes = rows[index] ?? [];
    const got = saslPrep(String.fromCodePoint(...codes));
    const gotCodes = got === undefined
      ? null
      : Array.from(got, (char) => char.codePointAt(0));
    assertEquals(gotCodes, want, `code points ${codes}`);
  }
  assertEquals(compared > 1000, true);
});

Deno.test("saslPrep() is quick with a long text", () => {
  assertEquals(saslPrep("\u05d0".repeat(200_000))?.length, 200_000);
  assertEquals(saslPrep("é".repeat(200_000) + "\u05d0"), undefined);
});
