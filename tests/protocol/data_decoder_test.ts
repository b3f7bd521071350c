/**
 * DATA content: transparency, the end of data and bare line ends, for every cut
 * into reads (RFC 5321 sections 2.3.8, 4.1.1.4 and 4.5.2).
 */

import { assert, assertEquals } from "@std/assert";
import {
  type BareNewlinePolicy,
  DataDecoder,
} from "../../lib/protocol/data_decoder.ts";
import { arenaBuffers } from "../../lib/protocol/body_scanner.ts";
import { pieces, rounds, seeded, waysToCut } from "../support/random.ts";
import { bytesOf, concat, textOf } from "../support/bytes.ts";

const POLICIES: readonly BareNewlinePolicy[] = ["reject", "normalize", "keep"];

interface Decoded {
  /** The body; not compared for "reject" with a bare line end. */
  readonly body: string;
  readonly done: boolean;
  /** Bytes read, the end of data included. */
  readonly consumed: number;
  readonly bare: "CR" | "LF" | undefined;
}

/** Applies the rules to the whole string at once, with string functions only. */
function oracle(input: string, policy: BareNewlinePolicy): Decoded {
  const framed = `\r\n${input}`;
  const end = framed.indexOf("\r\n.\r\n");
  const done = end >= 0;
  // Without an end, a trailing CR and an incomplete dot line are undecided.
  const raw = done ? framed.slice(0, end + 2) : framed;
  const marked = raw.replace(/\r\n\.?/g, "\n\0").slice(2);
  const bare = /\r|(?<!^)\n(?!\0)|^\n(?!\0)/.exec(marked)?.[0];
  // After a bare LF only the first of two dots is a stuffed dot.
  const fixed = policy === "normalize"
    ? marked.replace(
      /\n\0|\r|\n(\.(?=\.))?/g,
      (newline) =>
        newline === "\n\0" ? newline : newline === "\r" ? " " : "\n\0",
    )
    : marked;
  return {
    body: fixed.replace(/\n\0/g, "\r\n"),
    done,
    consumed: done ? end + 3 : input.length,
    bare: bare === undefined ? undefined : bare === "\r" ? "CR" : "LF",
  };
}

/** A read buffer of a session, in which the decoder skips clean text by blocks. */
const arena = arenaBuffers()[0] ?? new Uint8Array(65536);

/** Copies of the pieces at odd offsets of the arena. */
function inArena(parts: readonly Uint8Array[]): Uint8Array[] {
  let at = 3;
  return parts.map((part) => {
    const place = arena.subarray(at, at + part.length);
    place.set(part);
    at += part.length + 5;
    return place;
  });
}

function decode(
  parts: readonly Uint8Array[],
  policy: BareNewlinePolicy,
): Decoded {
  const decoder = new DataDecoder(policy);
  const out: Uint8Array[] = [];
  let consumed = 0;
  for (const part of parts) {
    if (decoder.done) break;
    let at = 0;
    while (at < part.length && !decoder.done) {
      out.push(decoder.decode(part, at, part.length).slice());
      at = decoder.consumed;
    }
    consumed += at;
  }
  const body = textOf(concat(out));
  return { body, done: decoder.done, consumed, bare: decoder.bareNewline };
}

/** Whether two results are the same, in the parts that are defined. */
function isSame(got: Decoded, want: Decoded, policy: BareNewlinePolicy) {
  if (got.done !== want.done || got.consumed !== want.consumed) return false;
  // Content that is cut off may be undecided: compares only content with an
  // end.
  if (!want.done) return true;
  return got.bare === want.bare &&
    (got.body === want.body ||
      (policy === "reject" && want.bare !== undefined));
}

/** Rows: name, input, body, first bare line end. Bodies are those of "keep". */
const ROWS: [
  name: string,
  input: string,
  body: string,
  bare: Decoded["bare"],
  normalized: string,
][] = [
  ["an empty message", ".\r\n", "", undefined, ""],
  ["one line", "a\r\n.\r\n", "a\r\n", undefined, "a\r\n"],
  ["no CRLF of its own", "\r\n.\r\n", "\r\n", undefined, "\r\n"],
  ["a stuffed dot", "..\r\n.\r\n", ".\r\n", undefined, ".\r\n"],
  [".x becomes x", ".x\r\n.\r\n", "x\r\n", undefined, "x\r\n"],
  ["dots inside", "a.b..\r\n.\r\n", "a.b..\r\n", undefined, "a.b..\r\n"],
  ["CR CR LF", "a\r\r\n.\r\n", "a\r\r\n", "CR", "a \r\n"],
  [". CR X", ".\rX\r\n.\r\n", "\rX\r\n", "CR", " X\r\n"],
  [". CR CR LF", ".\r\r\n.\r\n", "\r\r\n", "CR", " \r\n"],
  [". LF", ".\nx\r\n.\r\n", "\nx\r\n", "LF", "\r\nx\r\n"],
  ["LF . CR LF", "a\n.\r\n.\r\n", "a\n.\r\n", "LF", "a\r\n.\r\n"],
  ["CR LF . LF", "a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", "LF", "a\r\n\r\nb\r\n"],
  ["LF . LF", "a\n.\nb\r\n.\r\n", "a\n.\nb\r\n", "LF", "a\r\n.\r\nb\r\n"],
  ["CR . CR", "a\r.\rb\r\n.\r\n", "a\r.\rb\r\n", "CR", "a . b\r\n"],
  [
    "CR . CR LF",
    "a\r.\r\nb\r\n.\r\n",
    "a\r.\r\nb\r\n",
    "CR",
    "a .\r\nb\r\n",
  ],
  ["CR LF . CR", "a\r\n.\rb\r\n.\r\n", "a\r\n\rb\r\n", "CR", "a\r\n b\r\n"],
  [
    "CR LF NUL . CR LF",
    "\r\n\0.\r\n.\r\n",
    "\r\n\0.\r\n",
    undefined,
    "\r\n\0.\r\n",
  ],
  [
    "two dots after LF",
    "a\n..\r\n.\r\n",
    "a\n..\r\n",
    "LF",
    "a\r\n.\r\n",
  ],
  ["LF . x", "a\n.x\r\n.\r\n", "a\n.x\r\n", "LF", "a\r\n.x\r\n"],
  ["LF ... x", "a\n...x\r\n.\r\n", "a\n...x\r\n", "LF", "a\r\n..x\r\n"],
  [
    "no un-stuffing after CR",
    "a\r..\r\n.\r\n",
    "a\r..\r\n",
    "CR",
    "a ..\r\n",
  ],
  ["LF first", "\n\r\n.\r\n", "\n\r\n", "LF", "\r\n\r\n"],
  [
    "the first of two",
    "\r\n\na\rb\r\n.\r\n",
    "\r\n\na\rb\r\n",
    "LF",
    "\r\n\r\na b\r\n",
  ],
  [
    "a long line of dots",
    `${".".repeat(5000)}\r\n.\r\n`,
    `${".".repeat(4999)}\r\n`,
    undefined,
    `${".".repeat(4999)}\r\n`,
  ],
  [
    "many stuffed lines",
    `${"..\r\n".repeat(400)}.\r\n`,
    ".\r\n".repeat(400),
    undefined,
    ".\r\n".repeat(400),
  ],
  [
    "tabs and other controls",
    "\t\v\f\b\r\n.\r\n",
    "\t\v\f\b\r\n",
    undefined,
    "\t\v\f\b\r\n",
  ],
  [
    "bytes above 127",
    "\xff\x80\r\n.\r\n",
    "\xff\x80\r\n",
    undefined,
    "\xff\x80\r\n",
  ],
];

const TAIL = "MAIL FROM:<x@y>\r\n.\r\n";

for (const [name, input, body, bare, normalized] of ROWS) {
  Deno.test(`DataDecoder decodes ${name}`, () => {
    for (const policy of POLICIES) {
      for (const [way, cut] of waysToCut(bytesOf(input + TAIL))) {
        const message = `${policy}, ${way}`;
        const placed = cut.length < 1000 ? decode(inArena(cut), policy) : null;
        const got = decode(cut, policy);
        assert(placed === null || isSame(placed, got, policy), message);
        assertEquals(got.done, true, message);
        assertEquals(got.consumed, input.length, message);
        assertEquals(got.bare, bare, message);
        if (policy === "reject" && bare !== undefined) continue;
        assertEquals(
          got.body,
          policy === "normalize" ? normalized : body,
          message,
        );
      }
    }
  });
}

const UNENDED = [
  "",
  ".",
  ".\r",
  "..\r\n",
  "a\r\n.",
  "a\r\n.\r",
  "\n.\n",
  "\r.\r",
  "a\n.\r\n",
  "a\r\n.\n",
  "a\r\n.\r\r\n",
  "a\r\n.\0\r\n",
  "a\r\n..\r\n",
  "a\r\n. \r\n",
  "a\r\r\n\n.\r\n",
];

for (const input of UNENDED) {
  Deno.test(`DataDecoder sees no end of data in ${JSON.stringify(input)}`, () => {
    for (const policy of POLICIES) {
      for (const [way, cut] of waysToCut(bytesOf(input))) {
        assertEquals(decode(cut, policy).done, false, `${policy}, ${way}`);
      }
    }
  });
}

function assertAgrees(seed: number, input: string, longest: number): void {
  const cut = pieces(bytesOf(input), { seed, longest });
  for (const policy of POLICIES) {
    const want = oracle(input, policy);
    for (const placed of [cut.map((part) => part.slice()), inArena(cut)]) {
      const got = decode(placed, policy);
      if (isSame(got, want, policy)) continue;
      const shown = cut.map((part) => JSON.stringify(textOf(part))).join(" ");
      assertEquals(got, want, `seed ${seed}, ${policy}: ${shown}`);
    }
  }
}

Deno.test("DataDecoder agrees with a whole-string oracle on random texts", () => {
  const alphabet = ["\r", "\n", ".", "a", "\r\n", "\r\n."];
  for (let seed = 0; seed < rounds(5000); seed++) {
    const random = seeded(seed);
    let input = "";
    for (let left = 1 + random(14); left > 0; left--) {
      input += alphabet[random(alphabet.length)];
    }
    if (random(2) === 0) input += "\r\n.\r\n";
    assertAgrees(seed, input, 1 + random(6));
  }
});

Deno.test("DataDecoder agrees with the oracle on random lines of any length", () => {
  const ends = ["\r\n", "\r\n", "\r\n", "\r\n", "\r\n.", "\r\n..", "\n", "\r"];
  for (let seed = 0; seed < rounds(2000); seed++) {
    const random = seeded(seed);
    // One text in three has no bare line end, and is skipped by blocks.
    const kinds = random(3) === 0 ? 6 : ends.length;
    let input = "";
    for (let left = 1 + random(12); left > 0; left--) {
      input += "a.b\t".repeat(random(12)).slice(random(4)) +
        ends[random(kinds)];
    }
    if (random(2) === 0) input += "\r\n.\r\nNOOP\r\n";
    assertAgrees(seed, input, 1 + random(200));
  }
});

Deno.test("DataDecoder.decode() reads only its range of the input", () => {
  for (const policy of POLICIES) {
    const input = bytesOf("\r\n.\r\nab\n.\r\n.\r\n\r\n");
    const decoder = new DataDecoder(policy);
    assertEquals(textOf(decoder.decode(input, 5, 7)), "ab");
    assertEquals(decoder.consumed, 7);
    assertEquals(decoder.bareNewline, undefined);
    assertEquals(textOf(input.subarray(0, 5)), "\r\n.\r\n");
    assertEquals(textOf(input.subarray(7)), "\n.\r\n.\r\n\r\n");
  }
});

Deno.test("DataDecoder.decode() ends on short chunks behind a line end", () => {
  for (let length = 0; length < 9; length++) {
    for (const head of ["\r\n", "\n", "\r", "..\r\n", "\t"]) {
      const input = bytesOf(head + "a".repeat(length));
      const decoder = new DataDecoder("reject");
      decoder.decode(input, 0, input.length);
      assertEquals(decoder.consumed, input.length);
    }
  }
});

Deno.test("DataDecoder.decode() allocates nothing for text without bare line ends", () => {
  for (const policy of POLICIES) {
    const input = bytesOf("line\r\n..dot\r\n.x\r\n");
    const body = new DataDecoder(policy).decode(input, 0, input.length);
    assert(body.buffer === input.buffer);
    assertEquals(textOf(body), "line\r\n.dot\r\nx\r\n");
  }
});

Deno.test("DataDecoder.reset() forgets the last body", () => {
  for (const policy of POLICIES) {
    for (const before of ["a\n.\r\n.\r\n", "a\r", "\r\n.", "\r\n.\r"]) {
      const decoder = new DataDecoder(policy);
      decoder.decode(bytesOf(before), 0, before.length);
      decoder.reset();
      assertEquals(decoder.done, false);
      assertEquals(decoder.consumed, 0);
      assertEquals(decoder.bareNewline, undefined);
      decoder.decode(bytesOf(".\r\n"), 0, 3);
      assertEquals(decoder.done, true);
    }
  }
});
