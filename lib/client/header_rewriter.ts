/**
 * One header block on its way to a server, piece by piece: fields that the
 * conversion of the body makes untrue are replaced, bytes above 127 are
 * encoded, long lines are folded. All other fields stay byte for byte. It
 * stands alone because it has a state of its own: a field may be longer than
 * any piece. Pure.
 */

import { concat } from "../protocol/bytes.ts";
import { encodeField } from "../protocol/header_encoding.ts";
import { foldLongLines } from "../protocol/folding.ts";
import { type HeaderChange, isAscii, MAX_LINE } from "./mime_scanner.ts";
import type { TransferEncoder } from "./body_conversion.ts";

const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
/** Bytes of a field that is changed; a longer one goes as it is. */
const MAX_FIELD = 32_768;
const encoder = new TextEncoder();
const NOTHING = new Uint8Array(0);

/** Changes one header block. */
export class HeaderRewriter implements TransferEncoder {
  readonly #change: HeaderChange;
  /** The field under way. */
  #field: Uint8Array[] = [];
  #size = 0;
  /** What becomes of a field that is too long to be held. */
  #long: "copy" | "drop" | undefined;
  #carry: Uint8Array = NOTHING;
  #blank: Uint8Array = NOTHING;
  /** Whether the line under way has begun in what is behind. */
  #isInLine = false;

  /** @param change What changes */
  constructor(change: HeaderChange) {
    this.#change = change;
  }

  /** As {@linkcode TransferEncoder.encode}. */
  encode(chunk: Uint8Array): Uint8Array<ArrayBuffer> {
    const data = this.#carry.length === 0
      ? chunk
      : concat([this.#carry, chunk]);
    const out: Uint8Array[] = [];
    const mayPass = !this.#change.folds && isAscii(data);
    let at = 0;
    /** Where fields begin that stay as they are. */
    let passed = 0;
    for (;;) {
      const feed = data.indexOf(LF, at);
      if (feed < 0) break;
      const next = feed + 1;
      if (!mayPass || !this.#passes(data, at, next)) {
        if (passed < at) out.push(data.slice(passed, at));
        this.#line(data.subarray(at, next), out);
        passed = next;
      } else if (passed === at) {
        this.#flush(out);
      }
      at = next;
    }
    if (passed < at) out.push(data.slice(passed, at));
    this.#carry = data.slice(at);
    if (this.#carry.length > MAX_FIELD) {
      this.#line(this.#carry, out);
      this.#carry = NOTHING;
      this.#isInLine = true;
    }
    return concat(out);
  }

  /** As {@linkcode TransferEncoder.finish}: what is added, and the blank line. */
  finish(): Uint8Array<ArrayBuffer> {
    const out: Uint8Array[] = [];
    if (this.#carry.length > 0) this.#line(this.#carry, out);
    this.#flush(out);
    const { encoding, retype, needsVersion, needsBlank } = this.#change;
    let text = "";
    if (needsVersion && encoding !== undefined) text += "MIME-Version: 1.0\r\n";
    if (retype) text += "Content-Type: text/plain; charset=unknown-8bit\r\n";
    if (encoding !== undefined) {
      text += `Content-Transfer-Encoding: ${encoding}\r\n`;
    }
    if (needsBlank && text !== "") text += "\r\n";
    out.push(encoder.encode(text), this.#blank);
    return concat(out);
  }

  /** Whether a line of ASCII is a field of its own that stays as it is. */
  #passes(data: Uint8Array, from: number, next: number): boolean {
    const first = data[from]!;
    // A name has no byte below 33; the next line must be known.
    return !this.#isInLine && first > SPACE && (first | 0x20) !== 0x63 &&
      next < data.length && data[next] !== SPACE && data[next] !== TAB;
  }

  #line(line: Uint8Array, out: Uint8Array[]): void {
    const first = line[0];
    const continues = this.#isInLine || first === SPACE || first === TAB;
    this.#isInLine = false;
    if (!continues) {
      this.#flush(out);
      if (first === LF || (line.length === 2 && first === 13)) {
        this.#blank = line.slice();
        return;
      }
    }
    if (this.#long !== undefined) {
      if (this.#long === "copy") out.push(line);
      return;
    }
    this.#field.push(line.slice());
    this.#size += line.length;
    if (this.#size <= MAX_FIELD) return;
    const isDropped = this.#isDropped(this.#field[0]!);
    if (!isDropped) out.push(...this.#field);
    this.#long = isDropped ? "drop" : "copy";
    this.#field = [];
  }

  #flush(out: Uint8Array[]): void {
    this.#long = undefined;
    this.#size = 0;
    if (this.#field.length === 0) return;
    const field = this.#field.length === 1
      ? this.#field[0]!
      : concat(this.#field);
    this.#field = [];
    if (this.#isDropped(field)) return;
    const encoded = this.#change.encodesFields && !isAscii(field)
      ? encodeField(field)
      : field;
    const folds = this.#change.folds && encoded.length > MAX_LINE + 2;
    out.push(folds ? foldLongLines(encoded, MAX_LINE) : encoded);
  }

  /** Whether the field is replaced. */
  #isDropped(field: Uint8Array): boolean {
    const first = field[0]! | 0x20;
    if (first !== 0x63) return false;
    const { encoding, retype } = this.#change;
    const start = new TextDecoder().decode(field.subarray(0, 40));
    return (encoding !== undefined &&
      /^content-transfer-encoding[ \t]*:/i.test(start)) ||
      (retype && /^content-type[ \t]*:/i.test(start));
  }
}
