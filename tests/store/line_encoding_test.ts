/** Line ends and mbox quoting of stored content, in chunks of any size. */

import { assertEquals } from "@std/assert";
import { FromQuoter, LineFeedEncoder } from "../../lib/store/content.ts";
import { seededFraction } from "../support/random.ts";

/** Sizes of the chunks of a text: whole, byte by byte, then random. */
function* splits(length: number): Generator<readonly number[]> {
  yield [length];
  yield Array.from({ length }, () => 1);
  const random = seededFraction(length);
  for (let round = 0; round < 20; round++) {
    const sizes: number[] = [];
    for (let left = length; left > 0;) {
      const size = Math.min(left, 1 + Math.trunc(random() * 6));
      sizes.push(size);
      left -= size;
    }
    yield sizes;
  }
}

interface Pass {
  take(chunk: Uint8Array<ArrayBuffer>): Uint8Array;
  end(): Uint8Array;
}

function run(pass: Pass, text: string, sizes: readonly number[]): string {
  const bytes = new TextEncoder().encode(text);
  const decoder = new TextDecoder();
  let out = "";
  let at = 0;
  for (const size of sizes) {
    out += decoder.decode(pass.take(bytes.slice(at, at + size)));
    at += size;
  }
  return out + decoder.decode(pass.end());
}

Deno.test("LineFeedEncoder turns CRLF into LF and nothing else", () => {
  const rows: readonly [text: string, want: string, virtual: number][] = [
    ["", "", 0],
    ["a\r\nb\r\n", "a\nb\n", 6],
    ["\r\n\r\n", "\n\n", 4],
    ["a\rb", "a\rb", 3],
    ["a\nb", "a\nb", 4],
    ["a\r", "a\r", 2],
    ["\r\r\n", "\r\n", 2],
    ["\r\r\r\n\n\r\n", "\r\r\n\n\n", 7],
    ["\n\r\n\r", "\n\n\r", 5],
    ["abc\r\r", "abc\r\r", 5],
  ];
  for (const [text, want, virtual] of rows) {
    for (const sizes of splits(text.length)) {
      const encoder = new LineFeedEncoder();
      const pass = {
        take: (chunk: Uint8Array) => encoder.encode(chunk),
        end: () => encoder.end(),
      };
      const name = `${JSON.stringify(text)} as ${sizes}`;
      assertEquals(run(pass, text, sizes), want, name);
      assertEquals(encoder.size, want.length, name);
      assertEquals(encoder.virtualSize, virtual, name);
    }
  }
});

Deno.test("FromQuoter quotes every line that looks like a separator", () => {
  const rows: readonly [text: string, want: string][] = [
    ["", ""],
    ["From x", ">From x"],
    ["From ", ">From "],
    ["From", "From"],
    ["Fro\nFrom", "Fro\nFrom"],
    ["From\n", "From\n"],
    ["From:\n", "From:\n"],
    ["from x\n", "from x\n"],
    [" From x\n", " From x\n"],
    ["xFrom x\n", "xFrom x\n"],
    ["x\nFrom x\n", "x\n>From x\n"],
    ["x\n>From x\n", "x\n>>From x\n"],
    [">>>From x\n", ">>>>From x\n"],
    [">>> From x\n", ">>> From x\n"],
    [">>>Fro\n", ">>>Fro\n"],
    [">\nFrom \n", ">\n>From \n"],
    ["\nFrom \nFrom \n\nFrom ", "\n>From \n>From \n\n>From "],
    ["FFrom \n", "FFrom \n"],
    ["FromFrom \n", "FromFrom \n"],
    ["x\r\nFrom y\r\n", "x\r\n>From y\r\n"],
    ["x\rFrom y\n", "x\rFrom y\n"],
    ["\n>", "\n>"],
    ["\n>F", "\n>F"],
    ["Fr\nFrom a\nFrFrom \n>Fr>From ", "Fr\n>From a\nFrFrom \n>Fr>From "],
  ];
  for (const [text, want] of rows) {
    for (const sizes of splits(text.length)) {
      const quoter = new FromQuoter();
      const pass = {
        take: (chunk: Uint8Array<ArrayBuffer>) => quoter.quote(chunk),
        end: () => quoter.end(),
      };
      const name = `${JSON.stringify(text)} as ${sizes}`;
      assertEquals(run(pass, text, sizes), want, name);
    }
  }
});

Deno.test("LineFeedEncoder and FromQuoter agree with a rewriting of the whole text", () => {
  const random = seededFraction(99);
  const pieces = ["From ", ">", "\r\n", "\n", "\r", "F", "From", "x"];
  for (let round = 0; round < 1000; round++) {
    let text = "";
    for (let left = random() * 30; left > 0; left--) {
      text += pieces[Math.trunc(random() * pieces.length)];
    }
    const lines = new LineFeedEncoder();
    const quoter = new FromQuoter();
    const sizes: number[] = [];
    for (let left = text.length; left > 0;) {
      const size = Math.min(left, 1 + Math.trunc(random() * 9));
      sizes.push(size);
      left -= size;
    }
    const unix = text.replaceAll("\r\n", "\n");
    const lf = {
      take: (c: Uint8Array) => lines.encode(c),
      end: () => lines.end(),
    };
    assertEquals(run(lf, text, sizes), unix);
    const ends = unix.match(/(?<!\r)\n/g)?.length ?? 0;
    assertEquals(lines.virtualSize, unix.length + ends);
    const quote = {
      take: (c: Uint8Array<ArrayBuffer>) => quoter.quote(c),
      end: () => quoter.end(),
    };
    assertEquals(
      run(quote, text, sizes),
      text.replace(/(?<=^|\n)(>*From )/g, ">$1"),
    );
  }
});
