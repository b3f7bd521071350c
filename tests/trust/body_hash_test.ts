/**
 * The canonical forms of bodies (RFC 6376 sections 3.4.3 to 3.4.5) against a slow
 * reading of the RFC: every split of every body gives the same digest.
 */

import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { BodyHashes } from "../../lib/trust/body_hash.ts";
import type { Canonicalization } from "../../lib/trust/canonical_header.ts";
import { bytesOf } from "../support/bytes.ts";
import { pieces, randomText, rounds, seeded } from "../support/random.ts";

/** The canonical body as the RFC says it, one rule after the other. */
function slowly(body: string, form: Canonicalization): string {
  let text = body;
  if (form === "relaxed") {
    // A body without a line end at its end has blanks at the end of a line, too.
    text = text.split("\r\n")
      .map((line) => line.replace(/[ \t]+/g, " ").replace(/ $/, ""))
      .join("\r\n");
    if (text === "") return "";
  }
  if (!text.endsWith("\r\n")) text += "\r\n";
  text = text.replace(/(?:\r\n)+$/, "\r\n");
  return form === "relaxed" && text === "\r\n" ? "" : text;
}

function digestsOf(
  cut: readonly Uint8Array[],
  form: Canonicalization,
  limit?: number,
): [digest: string, size: number] {
  const bodies = new BodyHashes();
  const hash = bodies.add({ form, limit });
  for (const piece of cut) {
    bodies.write(piece);
    // The caller may use its buffer again.
    piece.fill(0);
  }
  bodies.end();
  return [hash.digest.toHex(), hash.size];
}

function want(
  body: string,
  form: Canonicalization,
  limit?: number,
): [digest: string, size: number] {
  const text = slowly(body, form);
  const signed = bytesOf(text.slice(0, limit));
  return [createHash("sha256").update(signed).digest("hex"), text.length];
}

const FORMS = ["simple", "relaxed"] as const;
const BODIES = [
  "",
  "\r\n",
  "\r\n\r\n\r\n",
  " ",
  " \t \r\n",
  "\r",
  "\n",
  "\r\r\n",
  "\r\n\r",
  "a",
  "a\r\n",
  "a\r\n\r\n",
  "a \r\n \r\n",
  " C \r\nD \t E\r\n\r\n\r\n",
  "a\nb\n\n",
  "a\rb \r \n\r\n",
  "\f a\f \r\n\v\r\n",
  "\r\n\r\na\r\n\r\nb",
  "a  b\t\tc \r\n\r\n  d\r\n",
  "\0 \0\r\n",
  "\xa0 \xff\r\n",
  "a\r\n.\r\n..\r\n",
];

Deno.test("Every split of a body in two and three gives the same digest", () => {
  for (const body of BODIES) {
    for (const form of FORMS) {
      for (let one = 0; one <= body.length; one++) {
        for (let two = one; two <= body.length; two++) {
          const cut = [
            body.slice(0, one),
            body.slice(one, two),
            body.slice(two),
          ].map(bytesOf);
          assertEquals(
            digestsOf(cut, form),
            want(body, form),
            JSON.stringify([body, form, one, two]),
          );
        }
      }
    }
  }
});

Deno.test("Random bodies in random pieces, with every kind of limit", () => {
  const random = seeded(6376);
  const long = "word ".repeat(700);
  const PIECES = [
    ...["a", "word", " ", " ", "  ", "\t", "\r\n", "\r\n", "\r", "\n", "\f"],
    ...["a b c", "\r\n\r\n", " \r\n", "\0", "\xe9", "x".repeat(40), long],
  ];
  for (let left = rounds(1500); left > 0; left--) {
    const body = randomText(random, { pieces: PIECES, length: 30 });
    const form = FORMS[random(2)]!;
    const limit = random(3) === 0 ? random(body.length + 5) : undefined;
    const longest = [1, 3, 50, 5000][random(4)]!;
    const cut = pieces(bytesOf(body), { seed: left, longest });
    assertEquals(
      digestsOf(cut, form, limit),
      want(body, form, limit),
      JSON.stringify([body, form, limit]),
    );
  }
});

Deno.test("The empty body has the digests of the RFC", () => {
  const digest = (form: Canonicalization) => {
    const bodies = new BodyHashes();
    const hash = bodies.add({ form });
    bodies.end();
    return hash.digest.toBase64();
  };
  // RFC 6376 sections 3.4.3 and 3.4.4.
  assertEquals(
    digest("simple"),
    "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=",
  );
  assertEquals(
    digest("relaxed"),
    "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
  );
});

Deno.test("Millions of empty lines are a number, and several wishes share a pass", () => {
  const bodies = new BodyHashes();
  const whole = bodies.add({ form: "simple" });
  assertEquals(bodies.add({ form: "simple" }), whole);
  const part = bodies.add({ form: "simple", limit: 3 });
  const relaxed = bodies.add({ form: "relaxed" });
  bodies.write(bytesOf("a\r\n"));
  const lines = bytesOf("\r\n".repeat(32_768));
  for (let left = 100; left > 0; left--) bodies.write(lines);
  bodies.end();
  bodies.end();
  const a = createHash("sha256").update("a\r\n").digest("hex");
  for (const hash of [whole, part, relaxed]) {
    assertEquals([hash.digest.toHex(), hash.size], [a, 3]);
  }
});
