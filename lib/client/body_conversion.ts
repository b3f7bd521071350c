/**
 * Converts content for a server that does not take it as it is: makes it 7-bit
 * for a server without 8BITMIME, or encodes its long lines. Text becomes
 * quoted-printable, everything else base64, part by part.
 *
 * Reads content twice, once to plan and once to convert, and never holds it:
 * memory does not grow with its size. Works in small pieces, so that sessions get
 * the event loop in between.
 *
 * Never changes signed or encrypted parts, or fragments: the change would break
 * them, and in practice servers that do not offer 8BITMIME pass 8-bit bytes on.
 * A part that cannot be parsed counts as text, or stays as it is. So no message
 * is returned for its form.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6152#section-3 | RFC 6152 section 3},
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-6 | RFC 2045 section 6},
 * {@link https://www.rfc-editor.org/rfc/rfc1847 | RFC 1847},
 * {@link https://www.rfc-editor.org/rfc/rfc1428 | RFC 1428}
 */

import { setImmediate } from "node:timers";
import { concat } from "../protocol/bytes.ts";
import {
  type ConversionOptions,
  ConversionPlan,
  type Place,
} from "./conversion_plan.ts";
import {
  Base64Encoder,
  HeaderRewriter,
  QuotedPrintableEncoder,
  type TransferEncoder,
} from "./transfer_encoders.ts";

/** Bytes of one piece of work. */
const PIECE = 8192;
/** Milliseconds of each turn of the event loop for all pieces together. */
const SHARE_MS = 5;
const NOTHING = new Uint8Array(0);

/** Opens the same content, from its beginning, at each call. */
export type Reopen = () => AsyncIterable<Uint8Array>;

/**
 * Plans the conversion of a message. Resolves with a function that opens the
 * converted content.
 *
 * @param open Opens the whole content, header first; called once for the plan
 * and once for each reading of the converted content
 * @param options The conversion
 *
 * @example
 * ```ts ignore
 * const message = new TextEncoder().encode(
 *   "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" +
 *     "Content-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n",
 * );
 * const converted = await convertContent(() => ReadableStream.from([message]), {
 *   to7Bit: true,
 *   shortLines: false,
 *   touchesSigned: false,
 * });
 * ```
 */
export async function convertContent(
  open: Reopen,
  options: ConversionOptions,
): Promise<Reopen> {
  const plan = new ConversionPlan(options);
  for await (const piece of inPieces(open())) {
    await loopShare.run(() => plan.push(piece));
  }
  const places = await loopShare.run(() => plan.end());
  return () => changed(open(), places);
}

/** Cuts content into pieces of `PIECE` bytes at most. */
async function* inPieces(
  content: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of content) {
    for (let at = 0; at < chunk.length; at += PIECE) {
      yield chunk.subarray(at, at + PIECE);
    }
  }
}

async function* changed(
  content: AsyncIterable<Uint8Array>,
  places: readonly Place[],
): AsyncGenerator<Uint8Array> {
  const walk = new PlaceWalk(places);
  for await (const piece of inPieces(content)) {
    const bytes = await loopShare.run(() => walk.take(piece));
    if (bytes.length > 0) yield bytes;
  }
  const rest = walk.end();
  if (rest.length > 0) yield rest;
}

/** Converts content chunk by chunk, place by place. */
class PlaceWalk {
  readonly #places: readonly Place[];
  #index = 0;
  #at = 0;
  #encoder: TransferEncoder | undefined;

  constructor(places: readonly Place[]) {
    this.#places = places;
  }

  /** Converts the next piece. */
  take(piece: Uint8Array): Uint8Array {
    const out: Uint8Array[] = [];
    for (let at = 0; at < piece.length;) {
      this.#skipEmpty(out);
      const place = this.#places[this.#index];
      // The content is longer than at the first reading: drop the rest.
      if (place === undefined) break;
      const size = Math.min(piece.length - at, place.to - this.#at);
      out.push(this.#change(place, piece.subarray(at, at + size)));
      at += size;
      this.#at += size;
      if (this.#at === place.to) this.#leave(out);
    }
    return joined(out);
  }

  end(): Uint8Array {
    const out: Uint8Array[] = [];
    this.#skipEmpty(out);
    return joined(out);
  }

  /** Passes over empty places. The header of a message without one consists of the added fields. */
  #skipEmpty(out: Uint8Array[]): void {
    for (;;) {
      const place = this.#places[this.#index];
      if (place === undefined || place.to > this.#at) return;
      this.#encoder = encoderOf(place);
      this.#leave(out);
    }
  }

  #change(place: Place, bytes: Uint8Array): Uint8Array {
    switch (place.kind) {
      case "copy":
        return bytes;
      case "mask":
        return bytes.map((byte) => byte > 127 ? 0x3f : byte);
      case "escape":
        return escaped(bytes);
      default:
        this.#encoder ??= encoderOf(place)!;
        return this.#encoder.encode(bytes);
    }
  }

  #leave(out: Uint8Array[]): void {
    if (this.#encoder !== undefined) out.push(this.#encoder.finish());
    this.#encoder = undefined;
    this.#index++;
  }
}

function encoderOf({ kind, change }: Place): TransferEncoder | undefined {
  switch (kind) {
    case "header":
      return new HeaderRewriter(change!);
    case "quoted-printable":
      return new QuotedPrintableEncoder();
    case "base64":
      return new Base64Encoder();
    default:
      return undefined;
  }
}

/** Encodes the bytes above 127 of a quoted-printable text. */
function escaped(bytes: Uint8Array): Uint8Array {
  const out: number[] = [];
  for (const byte of bytes) {
    if (byte < 128) out.push(byte);
    else {
      const hex = byte.toString(16).toUpperCase();
      out.push(0x3d, hex.charCodeAt(0), hex.charCodeAt(1));
    }
  }
  return Uint8Array.from(out);
}

/** All pieces as one array; a single piece is not copied. */
function joined(pieces: readonly Uint8Array[]): Uint8Array {
  if (pieces.length === 0) return NOTHING;
  if (pieces.length === 1) return pieces[0]!;
  return concat(pieces);
}

/**
 * Runs long computations in small pieces. All of them together get `SHARE_MS` of
 * each turn of the event loop, and sessions get the rest. All computations of a
 * thread use the same share.
 */
class LoopShare {
  #spentMs = 0;
  #isTurning = false;
  readonly #waiting: (() => void)[] = [];

  /**
   * Runs a piece of work: at once if the share of this turn has time left, else
   * in a later turn, in the order of the calls. A piece should take a millisecond
   * or two.
   */
  async run<T>(work: () => T): Promise<T> {
    if (this.#waiting.length > 0 || this.#spentMs >= SHARE_MS) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    const start = performance.now();
    try {
      return work();
    } finally {
      this.#spentMs += performance.now() - start;
      // The next piece gets the rest of the share.
      if (this.#spentMs < SHARE_MS) this.#waiting.shift()?.();
      this.#turn();
    }
  }

  #turn(): void {
    if (this.#isTurning) return;
    this.#isTurning = true;
    setImmediate(() => this.#next());
  }

  #next(): void {
    this.#isTurning = false;
    this.#spentMs = 0;
    // Only the first: `run()` starts the next one if any of the share is left.
    const next = this.#waiting.shift();
    if (next === undefined) return;
    next();
    if (this.#waiting.length > 0) this.#turn();
  }
}

/** The share of this thread's event loop. */
export const loopShare: Pick<LoopShare, "run"> = new LoopShare();
