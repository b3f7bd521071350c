/**
 * The content behind DATA or BDAT: finds the end of data, takes out the stuffed
 * dots, and treats line ends that are none. One chunk in, at most one slice of
 * it out; nothing is copied unless a dot was removed or an LF had no CR, nothing
 * is allocated per line.
 *
 * The danger is smuggling: an end of data that another server would not see,
 * or a dot removed where the next hop would then see an end. So only CRLF "."
 * CRLF ends the data. A CR or LF alone is noted in
 * {@linkcode DataDecoder.bareNewline} and treated by the policy; reading goes on
 * to the true end in any case, so that the two sides never fall out of step.
 *
 * With the policy `"normalize"` an LF alone ends a line, so it becomes CRLF, and
 * a CR alone, which ends none, becomes a blank: made a line end, it would add
 * fields to a header. Clients that send lines with LF disagree about dots: some
 * stuff them, some do not. Of two dots behind a bare LF the first is taken for a
 * stuffed one; a single dot stays. Neither ends the data.
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
  TextScanner,
} from "./body_scanner.ts";

const CR = 13;
const LF = 10;
const DOT = 46;

/**
 * Where the bytes so far leave the reader. `bare-lf` and `bare-lf-dot` occur
 * with the policy `"normalize"` only.
 */
type Position =
  | "text"
  | "cr"
  | "line-start"
  | "dot"
  | "dot-cr"
  | "bare-lf"
  | "bare-lf-dot";

/** Bytes read the plain way where blocks of clean text were looked for in vain. */
const PLAIN_RUN = 64;

/**
 * What happens to content with a CR or LF alone: `"normalize"` makes an LF a
 * CRLF and a CR a blank, `"reject"` refuses the message with 550, `"keep"`
 * stores it as it came.
 */
export type BareNewlinePolicy = "reject" | "normalize" | "keep";

/** How the content ends: by a line with a dot, or by its length. */
export type ContentFraming = "data" | "bdat";

const SPACE = 32;
const NOTHING = new Uint8Array(0);
const CRLF = new Uint8Array([CR, LF]);
const BARE_CR = new Uint8Array([CR]);
const BLANK = new Uint8Array([SPACE]);

/** Decodes content, chunk by chunk. */
export class DataDecoder {
  /** Whether the end of data has been read. */
  done = false;
  /** Index in the last input of the first byte that is still to be decoded. */
  consumed = 0;
  /** The first line end without its partner, if there was one. */
  bareNewline: "CR" | "LF" | undefined;
  readonly #normalizes: boolean;
  /** What a CR alone becomes. */
  readonly #strayCr: Uint8Array;
  #stuffed = true;
  #position: Position = "line-start";

  /** @param policy What happens to a CR or LF alone */
  constructor(policy: BareNewlinePolicy) {
    this.#normalizes = policy === "normalize";
    this.#strayCr = this.#normalizes ? BLANK : BARE_CR;
  }

  /** Makes it ready for the next content. */
  reset(framing: ContentFraming = "data"): void {
    this.done = false;
    this.consumed = 0;
    this.bareNewline = undefined;
    this.#stuffed = framing === "data";
    this.#position = "line-start";
  }

  /**
   * Decodes `input` from `start` on, changing it in place, and returns content.
   * It may stop before `end`: unless {@linkcode DataDecoder.done}, call it again
   * from {@linkcode DataDecoder.consumed}, even where nothing was returned. The
   * result is not to be changed.
   *
   * @param end More than `start`
   */
  decode(input: Uint8Array, start: number, end: number): Uint8Array {
    if (this.#position === "cr" && this.#normalizes) {
      return this.#settleCr(input[start]!, start);
    }
    if (this.#position === "dot-cr" && input[start] !== LF) {
      this.consumed = start;
      return this.#takeStrayCr();
    }
    return this.#compact(input, start, end);
  }

  /** The rest of content that has a length: a CR as its last byte has waited for its LF. */
  end(): Uint8Array {
    if (this.#position !== "cr") return NOTHING;
    const rest = this.#takeStrayCr();
    // It was given out already where it stays a CR.
    return this.#normalizes ? rest : NOTHING;
  }

  #takeStrayCr(): Uint8Array {
    this.bareNewline ??= "CR";
    this.#position = "text";
    return this.#strayCr;
  }

  /** The chunk before ended in a CR, which was held back. */
  #settleCr(next: number, start: number): Uint8Array {
    if (next !== LF) {
      this.consumed = start;
      return this.#takeStrayCr();
    }
    this.consumed = start + 1;
    this.#position = "line-start";
    return CRLF;
  }

  /**
   * The straight way: has clean blocks done by `simd_scanner.ts`, finds line
   * ends word by word in the rest, and moves the text down where a dot went.
   * A bare LF that is to become CRLF ends it: `#insertCr` goes on.
   */
  #compact(input: Uint8Array, start: number, end: number): Uint8Array {
    let at = start; // next byte to look at
    let out = start; // where the next kept byte belongs
    let from = start; // first byte kept but not yet moved to `out`
    // First byte from which blocks are tried again.
    let skipFrom = this.#stuffed ? start : end;
    let position = this.#position;
    const normalizes = this.#normalizes;
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
            if (normalizes) {
              this.#position = position;
              this.consumed = at;
              out = move(input, from, at, out);
              return out > start
                ? input.subarray(start, out)
                : this.#insertCr(input, at, end);
            }
          }
          at++;
          break;
        case "cr":
          if (input[at] === LF) {
            position = "line-start";
            at++;
          } else {
            this.bareNewline ??= "CR";
            // The CR may have been moved already.
            if (normalizes) input[at > from ? at - 1 : out - 1] = SPACE;
            position = "text";
          }
          break;
        case "line-start":
          position = "text";
          if (input[at] === DOT && this.#stuffed) {
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
          // Not the end: the CR was a bare one and belongs to the text. It
          // came with this chunk; its place in front of `at` is free.
          this.bareNewline ??= "CR";
          from = at - 1;
          if (normalizes) input[from] = SPACE;
          position = "text";
          break;
        case "bare-lf":
          position = "text";
          if (input[at] === DOT && this.#stuffed) {
            at++;
            position = "bare-lf-dot";
          }
          break;
        case "bare-lf-dot":
          position = "text";
          if (input[at] === DOT) {
            out = move(input, from, at, out);
            from = ++at;
          }
          break;
      }
    }
    this.#position = position;
    this.consumed = end;
    out = move(input, from, end, out);
    // What a CR at the end becomes hangs on the next byte.
    return input.subarray(
      start,
      position === "cr" && normalizes ? out - 1 : out,
    );
  }

  /** The slow way, from a bare LF on: copies, with a CR in front of each bare LF. */
  #insertCr(input: Uint8Array, start: number, end: number): Uint8Array {
    // Every byte becomes two at most.
    const result = new Uint8Array(2 * (end - start));
    let used = 0;
    let position = this.#position;
    let at = start;
    while (at < end) {
      const octet = input[at]!;
      if (position === "dot-cr") {
        if (octet === LF) {
          at++;
          this.done = true;
          break;
        }
        this.bareNewline ??= "CR";
        result[used++] = SPACE;
        position = "text";
      } else if (position === "cr") {
        if (octet !== LF) this.bareNewline ??= "CR";
        position = "text";
        if (octet === LF) {
          result[used++] = CR;
          result[used++] = LF;
          position = "line-start";
          at++;
          continue;
        }
        result[used++] = SPACE;
      } else if (octet === DOT && this.#stuffed) {
        if (position === "line-start" || position === "bare-lf-dot") {
          position = position === "line-start" ? "dot" : "text";
          at++;
          continue;
        }
        if (position === "bare-lf") {
          result[used++] = DOT;
          position = "bare-lf-dot";
          at++;
          continue;
        }
      }
      at++;
      if (octet === CR) {
        position = position === "dot" ? "dot-cr" : "cr";
      } else if (octet === LF) {
        result[used++] = CR;
        result[used++] = LF;
        position = "bare-lf";
      } else {
        result[used++] = octet;
        position = "text";
      }
    }
    this.#position = position;
    this.consumed = at;
    return result.subarray(0, used);
  }
}

/** Where clean text leaves the reader. */
function positionAfter(after: number): Position {
  if (after === AFTER_LF) return "line-start";
  return after === AFTER_CR ? "cr" : "text";
}

/** Moves the bytes from `from` to `to` down to `out`; returns where they end there. */
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
