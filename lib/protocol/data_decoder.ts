/**
 * The body behind DATA: finds the end, takes out the stuffed dots, and watches
 * for line ends that are none. One chunk in, at most one slice of it out;
 * nothing is copied unless a dot was removed, nothing is allocated per line.
 *
 * The danger is smuggling: an end of data that another server would not see,
 * or a dot removed where the next hop would then see an end. So only CRLF "."
 * CRLF ends the data, and only a dot right after CRLF is removed. A carriage
 * return or line feed alone is noted in {@linkcode DataDecoder.bareNewline} and
 * treated after the policy; reading goes on to the true end in any case, so
 * that the two sides never fall out of step.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.2 | RFC 5321 section 4.5.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-2.3.8 | RFC 5321 section 2.3.8}
 */

import {
  AFTER_CR,
  AFTER_LF,
  AFTER_TEXT,
  compactBlocks,
  type Compaction,
} from "./simd_scanner.ts";
import { TextScanner } from "./text_scanner.ts";

const CR = 13;
const LF = 10;
const DOT = 46;

/** Where the octets so far leave the reader. */
type Position = "text" | "cr" | "line-start" | "dot" | "dot-cr";

/** Octets read the plain way where blocks of clean text were looked for in vain. */
const PLAIN_RUN = 64;

/** What happens to a body with a carriage return or line feed alone. */
export type BareNewlinePolicy = "reject" | "normalize" | "keep";

const NOTHING = new Uint8Array(0);

/** Undoes the transparency procedure of DATA, chunk by chunk. */
export class DataDecoder {
  /** Whether the end of data has been read. */
  done = false;
  /** Where in the last input the octet after the end of data, or after the input, stands. */
  consumed = 0;
  /** Which line end without its partner came first, if any did. */
  bareNewline: "CR" | "LF" | undefined;
  readonly #policy: BareNewlinePolicy;
  #position: Position = "line-start";

  /** @param policy What happens to a carriage return or line feed alone */
  constructor(policy: BareNewlinePolicy) {
    this.#policy = policy;
  }

  /** Makes it ready for the next body. */
  reset(): void {
    this.done = false;
    this.consumed = 0;
    this.bareNewline = undefined;
    this.#position = "line-start";
  }

  /**
   * Decodes `input` from `start` to `end`, changing it in place, and returns
   * the body octets. With the policy `"reject"` what comes out after a bare
   * line end is of no use: the message is to be refused.
   */
  decode(input: Uint8Array, start: number, end: number): Uint8Array {
    if (this.#policy !== "reject" && this.#mayBeBare(input, start, end)) {
      return this.#rewrite(input, start, end);
    }
    return this.#compact(input, start, end);
  }

  /**
   * The straight way: has clean blocks done by `simd_scanner.ts`, finds line
   * ends word by word in the rest, and moves the text down where a dot went.
   * Bare line ends are noted and stay as they are.
   */
  #compact(input: Uint8Array, start: number, end: number): Uint8Array {
    let at = start; // next octet to look at
    let out = start; // where the next kept octet belongs
    let from = start; // first octet kept but not yet moved to `out`
    let skipFrom = start; // first octet from which blocks are tried again
    let position = this.#position;
    const scanner = new TextScanner(input);
    const blocks: Compaction = { at, out, after: AFTER_TEXT };
    while (at < end) {
      if (
        at >= skipFrom && (position === "text" || position === "line-start")
      ) {
        out = move(input, from, at, out);
        from = at;
        blocks.at = at;
        blocks.out = out;
        blocks.after = position === "text" ? AFTER_TEXT : AFTER_LF;
        compactBlocks(input, blocks, end);
        if (blocks.at > at) {
          from = at = blocks.at;
          out = blocks.out;
          position = positionAfter(blocks.after);
          continue;
        }
        skipFrom = at + PLAIN_RUN;
      }
      switch (position) {
        case "text":
          at = scanner.find(at, end);
          if (at === end) break;
          if (input[at] === CR) {
            position = "cr";
          } else if (input[at] === LF) {
            this.bareNewline ??= "LF";
          }
          at++;
          break;
        case "cr":
          if (input[at] === LF) {
            position = "line-start";
            at++;
          } else {
            this.bareNewline ??= "CR";
            position = "text";
          }
          break;
        case "line-start":
          position = "text";
          if (input[at] === DOT) {
            out = move(input, from, at, out);
            from = ++at;
            position = "dot";
          }
          break;
        case "dot":
          if (input[at] !== CR) {
            position = "text";
            // What follows the removed dot is text, be it a dot or a line feed.
            if (input[at] !== LF) at++;
          } else {
            from = ++at;
            position = "dot-cr";
          }
          break;
        case "dot-cr":
          if (input[at] === LF) {
            this.done = true;
            this.consumed = at + 1;
            return input.subarray(start, out);
          }
          // Not the end: the CR was a bare one and belongs to the text. Its
          // place in front of `at` is free, unless it came with another chunk.
          this.bareNewline ??= "CR";
          if (at > start) from = at - 1;
          position = "text";
          break;
      }
    }
    this.#position = position;
    this.consumed = end;
    return input.subarray(start, move(input, from, end, out));
  }

  /** Whether this input needs the slow way: it has, or completes, a bare line end. */
  #mayBeBare(input: Uint8Array, start: number, end: number): boolean {
    let previous = this.#position === "cr" || this.#position === "dot-cr"
      ? CR
      : 0;
    for (let at = start; at < end; at++) {
      const octet = input[at]!;
      if ((octet === LF) !== (previous === CR)) return true;
      previous = octet;
    }
    return false;
  }

  /** The slow way, for the policies that keep bodies with bare line ends. */
  #rewrite(input: Uint8Array, start: number, end: number): Uint8Array {
    // Every octet becomes two at most, and a CR may be held from before.
    const result = new Uint8Array(2 * (end - start) + 2);
    let used = 0;
    const put = (octet: number) => result[used++] = octet;
    const fix = this.#policy === "normalize";
    let position = this.#position;
    let at = start;
    for (; at < end && !this.done; at++) {
      const octet = input[at]!;
      if (position === "dot" && octet === CR) {
        position = "dot-cr";
        continue;
      }
      if (position === "dot-cr") {
        if (octet === LF) {
          this.done = true;
          continue;
        }
        put(CR);
        position = "cr";
      }
      if (position === "cr" && octet !== LF) {
        this.bareNewline ??= "CR";
        if (fix) put(LF);
        position = "text";
      }
      if (position === "line-start" && octet === DOT) {
        position = "dot";
        continue;
      }
      if (octet === LF) {
        if (position !== "cr") {
          this.bareNewline ??= "LF";
          if (fix) put(CR);
        }
        put(LF);
        position = position === "cr" ? "line-start" : "text";
      } else {
        put(octet);
        position = octet === CR ? "cr" : "text";
      }
    }
    this.#position = position;
    this.consumed = at;
    return used === 0 ? NOTHING : result.subarray(0, used);
  }
}

/** Where clean text leaves the reader. */
function positionAfter(after: number): Position {
  if (after === AFTER_LF) return "line-start";
  return after === AFTER_CR ? "cr" : "text";
}

/** Moves the octets from `from` to `to` down to `out`; returns where they end there. */
function move(
  octets: Uint8Array,
  from: number,
  to: number,
  out: number,
): number {
  if (from === out) return to;
  // A call into the engine costs more than moving a short line by hand.
  if (to - from > 48) {
    octets.copyWithin(out, from, to);
    return out + (to - from);
  }
  let target = out;
  for (let at = from; at < to; at++) octets[target++] = octets[at]!;
  return target;
}
