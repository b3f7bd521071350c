/**
 * Decodes the content of DATA or BDAT: finds the end of data, removes stuffed
 * dots, and treats bare line ends. Each call takes one chunk and returns at
 * most one slice of it. Copies nothing unless a dot was removed or an LF had no
 * CR, and allocates nothing per line.
 *
 * The danger is smuggling: an end of data that another server would not see, or
 * a dot removed where the next hop would then see an end. So only CRLF "." CRLF
 * ends the data. A CR or LF alone is noted in
 * {@linkcode DataDecoder.bareNewline} and treated by the policy; reading goes on
 * to the true end in any case, so that the two sides never fall out of step.
 *
 * With the policy `"normalize"` a bare LF ends a line, so it becomes CRLF. A
 * bare CR ends no line, so it becomes a space: as a line end it would add
 * fields to a header. Some clients that end lines with LF stuff dots, some do
 * not. So of two dots after a bare LF the first counts as a stuffed dot; a
 * single dot stays. Neither ends the data.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.2 | RFC 5321 section 4.5.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-2.3.8 | RFC 5321 section 2.3.8}
 */

import { NOTHING } from "./bytes.ts";
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
 * State of the reader after the bytes so far. `bare-lf` and `bare-lf-dot` occur
 * only with the policy `"normalize"`.
 */
type Position =
  | "text"
  | "cr"
  | "line-start"
  | "dot"
  | "dot-cr"
  | "bare-lf"
  | "bare-lf-dot";

/** Bytes read the plain way after a failed search for blocks of clean text. */
const PLAIN_RUN = 64;

/**
 * The treatment of content with a bare CR or LF: `"normalize"` turns LF into
 * CRLF and CR into a space, `"reject"` rejects the message with 550, `"keep"`
 * stores it unchanged.
 */
export type BareNewlinePolicy = "reject" | "normalize" | "keep";

/** How the content ends: by a line with a dot (`"data"`), or by its length (`"bdat"`). */
export type ContentFraming = "data" | "bdat";

const SPACE = 32;
const CRLF = new Uint8Array([CR, LF]);
const BARE_CR = new Uint8Array([CR]);
const BLANK = new Uint8Array([SPACE]);

/** Decodes content, one chunk at a time. */
export class DataDecoder {
  /** Whether the end of data has been read. */
  done = false;
  /** Index in the last input of the first byte not yet decoded. */
  consumed = 0;
  /** The first bare line end found, if any. */
  bareNewline: "CR" | "LF" | undefined;
  readonly #normalizes: boolean;
  /** The replacement of a bare CR. */
  readonly #strayCr: Uint8Array;
  #stuffed = true;
  #position: Position = "line-start";

  /** @param policy The treatment of a bare CR or LF */
  constructor(policy: BareNewlinePolicy) {
    this.#normalizes = policy === "normalize";
    this.#strayCr = this.#normalizes ? BLANK : BARE_CR;
  }

  /** Prepares for the next content. */
  reset(framing: ContentFraming = "data"): void {
    this.done = false;
    this.consumed = 0;
    this.bareNewline = undefined;
    this.#stuffed = framing === "data";
    this.#position = "line-start";
  }

  /**
   * Decodes `input` from `start` on, in place, and returns content. It may stop
   * before `end`: unless {@linkcode DataDecoder.done}, call it again from
   * {@linkcode DataDecoder.consumed}, even if it returned nothing. Do not
   * change the result.
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

  /** Ends content that has a length; returns a CR that was held back as its last byte. */
  end(): Uint8Array {
    if (this.#position !== "cr") return NOTHING;
    const rest = this.#takeStrayCr();
    // Under the other policies the CR has already been returned.
    return this.#normalizes ? rest : NOTHING;
  }

  #takeStrayCr(): Uint8Array {
    this.bareNewline ??= "CR";
    this.#position = "text";
    return this.#strayCr;
  }

  /** Decides on the CR held back at the end of the previous chunk. */
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
   * The fast path: {@linkcode compactBlocks} handles clean blocks. For the rest
   * it finds line ends one word at a time, and moves the text down after a
   * removed dot. A bare LF that must become CRLF ends it: `#insertCr`
   * continues.
   */
  #compact(input: Uint8Array, start: number, end: number): Uint8Array {
    let at = start; // index of the next byte to read
    let out = start; // index to which the next kept byte moves
    let from = start; // index of the first kept byte not yet moved to `out`
    // Index of the first byte at which to try blocks again.
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
            // The CR may already have moved.
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
            // The byte after the removed dot is text, even a dot or a line
            // feed.
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
          // Not the end: the CR is a bare one and part of the text. It came
          // with this chunk, so its place before `at` is free.
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
    // The next byte decides on a CR at the end.
    return input.subarray(
      start,
      position === "cr" && normalizes ? out - 1 : out,
    );
  }

  /** The slow path, from a bare LF on: copies, and inserts a CR before each bare LF. */
  #insertCr(input: Uint8Array, start: number, end: number): Uint8Array {
    // Each byte becomes two at most.
    const result = new Uint8Array(2 * (end - start));
    let used = 0;
    let position = this.#position;
    let at = start;
    while (at < end) {
      const byte = input[at]!;
      if (position === "dot-cr") {
        if (byte === LF) {
          at++;
          this.done = true;
          break;
        }
        this.bareNewline ??= "CR";
        result[used++] = SPACE;
        position = "text";
      } else if (position === "cr") {
        if (byte !== LF) this.bareNewline ??= "CR";
        position = "text";
        if (byte === LF) {
          result[used++] = CR;
          result[used++] = LF;
          position = "line-start";
          at++;
          continue;
        }
        result[used++] = SPACE;
      } else if (byte === DOT && this.#stuffed) {
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
      if (byte === CR) {
        position = position === "dot" ? "dot-cr" : "cr";
      } else if (byte === LF) {
        result[used++] = CR;
        result[used++] = LF;
        position = "bare-lf";
      } else {
        result[used++] = byte;
        position = "text";
      }
    }
    this.#position = position;
    this.consumed = at;
    return result.subarray(0, used);
  }
}

/** The state of the reader after clean text. */
function positionAfter(after: number): Position {
  if (after === AFTER_LF) return "line-start";
  return after === AFTER_CR ? "cr" : "text";
}

/** Moves the bytes from `from` to `to` down to `out`; returns their new end. */
function move(
  bytes: Uint8Array,
  from: number,
  to: number,
  out: number,
): number {
  if (from === out) return to;
  // A call into the engine costs more than a loop over a short line.
  if (to - from > 48) {
    bytes.copyWithin(out, from, to);
    return out + (to - from);
  }
  let target = out;
  for (let at = from; at < to; at++) bytes[target++] = bytes[at]!;
  return target;
}
