/**
 * A message coming in: puts its header right, leaves out the fields that must
 * not go on, holds the header block back until it is complete and decided on,
 * where somebody decides or it is to be completed, and hands the rest on as it
 * comes.
 *
 * The header block is limited: it is held in memory, and a client could send
 * nothing else for ever.
 */

import type { Message } from "../message/message.ts";
import { FieldFilter, HeaderEdit } from "../protocol/content_edits.ts";
import { findHeaderEnd, MessageHeaders } from "../protocol/headers.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type { Verdict } from "../protocol/server_effects.ts";
import {
  BLIND_FIELDS,
  completeHeaders,
  type Completion,
} from "../protocol/submission_fields.ts";
import { isRefusal } from "./verdicts.ts";

/** Largest header block that `onHeaders` gets, its blank line included, in octets: 256 KiB. */
const HEADER_LIMIT = 262144;

const headerTooLarge = new SmtpReply(552, "Header exceeds 256 KiB", {
  enhanced: "5.3.4",
});

const NOTHING = new Uint8Array(0);
const BLANK_LINE = new Uint8Array([13, 10]);

/** Decides on a header block. */
export type HeaderCheck = (
  headers: MessageHeaders,
) => Verdict | Promise<Verdict>;

/** What is done with the octets of a message. */
export interface IntakeOptions {
  /** Whether anybody will want them. */
  readonly collect: boolean;
  /** Decides on the header. */
  readonly check: HeaderCheck | undefined;
  /** Whether the fields that name blind recipients are left out. */
  readonly dropBlind?: boolean | undefined;
  /** What the header is completed with; it stays as it is when not given. */
  readonly complete?: (() => Completion) | undefined;
}

/** One message coming in. */
export class Intake {
  /** The message. */
  readonly message: Message;
  readonly #collect: boolean;
  readonly #check: HeaderCheck | undefined;
  readonly #complete: (() => Completion) | undefined;
  readonly #header = new HeaderEdit();
  readonly #blind: FieldFilter | undefined;
  /** What is held back; its storage has room to grow. */
  #head: Uint8Array<ArrayBuffer> | undefined;
  /** Octets of it in use. */
  #used = 0;
  #searched = 0;

  /**
   * @param message Takes the octets
   * @param options What is done with its octets
   */
  constructor(message: Message, options: IntakeOptions) {
    this.message = message;
    this.#collect = options.collect;
    this.#check = options.check;
    this.#complete = options.complete;
    if (options.dropBlind) this.#blind = new FieldFilter(BLIND_FIELDS);
    if (this.isIdle) return;
    if (this.#check !== undefined || this.#complete !== undefined) {
      this.#head = new Uint8Array(0);
    }
  }

  /** Whether the octets go nowhere: nobody wants them. */
  get isIdle(): boolean {
    return !this.#collect && this.#check === undefined;
  }

  /**
   * Takes body octets, which are free again when the result is there: a
   * verdict that refuses the message, or nothing.
   */
  write(bytes: Uint8Array): Verdict | Promise<Verdict> {
    if (this.isIdle) return undefined;
    // Blind recipients first: a line that is no field hides none behind it.
    return this.#take(this.#header.take(this.#blind?.take(bytes) ?? bytes));
  }

  #take(bytes: Uint8Array): Verdict | Promise<Verdict> {
    if (bytes.length === 0) return undefined;
    return this.#head === undefined
      ? this.#forward(bytes)
      : this.#gather(bytes);
  }

  #forward(bytes: Uint8Array): Promise<undefined> | undefined {
    return this.message.body.write(bytes)?.then(() => undefined);
  }

  /** The content is complete. */
  end(): Verdict | Promise<Verdict> {
    const held = this.#header.take(this.#blind?.end() ?? NOTHING);
    const last = this.#header.end();
    const isPlain = held.length === 0 && last.length === 0 &&
      this.#head === undefined;
    return isPlain ? undefined : this.#finish(held, last);
  }

  async #finish(held: Uint8Array, last: Uint8Array): Promise<Verdict> {
    let verdict = await this.#take(held);
    verdict ??= await this.#take(last);
    if (isRefusal(verdict) || this.#head === undefined) return verdict;
    return await this.#decide(this.#used, { isWhole: false });
  }

  #gather(bytes: Uint8Array): Verdict | Promise<Verdict> {
    const head = this.#append(bytes);
    const end = findHeaderEnd(head, this.#searched);
    // Without an end in what is here, it can only come behind.
    if (end < 0 ? head.length >= HEADER_LIMIT : end > HEADER_LIMIT) {
      return this.#check === undefined ? this.#giveUp() : headerTooLarge;
    }
    if (end >= 0) return this.#decide(end, { isWhole: true });
    // The blank line may begin in what is here already.
    this.#searched = Math.max(0, head.length - 3);
    return undefined;
  }

  /** Adds to what is held; returns all of it. */
  #append(bytes: Uint8Array): Uint8Array {
    const before = this.#used;
    const used = before + bytes.length;
    let head = this.#head!;
    if (used > head.length) {
      // Doubled, or a header that comes in small packets would be copied with each.
      const grown = new Uint8Array(Math.max(used, 2 * head.length));
      grown.set(head.subarray(0, before));
      this.#head = head = grown;
    }
    head.set(bytes, before);
    this.#used = used;
    return head.subarray(0, used);
  }

  /** A header too large to be completed goes on as it is. */
  #giveUp(): Promise<undefined> | undefined {
    const head = this.#head!.subarray(0, this.#used);
    this.#head = undefined;
    return this.#forward(head);
  }

  /** @param options `isWhole`: whether the block ends in its blank line */
  async #decide(
    end: number,
    { isWhole }: { readonly isWhole: boolean },
  ): Promise<Verdict> {
    const head = this.#head!.subarray(0, this.#used);
    this.#head = undefined;
    const headers = MessageHeaders.parse(head.subarray(0, end), {
      utf8: this.message.parameters.smtpUtf8 === true,
    });
    if (this.#complete !== undefined) complete(headers, this.#complete());
    const verdict = await this.#check?.(headers);
    // Edits that come later would be lost.
    headers.freeze();
    if (isRefusal(verdict)) return verdict;
    const { body } = this.message;
    if (headers.changed) {
      const block = headers.encode();
      await body.write(block);
      // Text without an empty line before it has got one: none behind it.
      if (isWhole || findHeaderEnd(block, 0) < 0) await body.write(BLANK_LINE);
    } else {
      await body.write(head.subarray(0, end));
    }
    await body.write(head.subarray(end));
    return undefined;
  }
}

/** Completes a header; a field with a line that cannot be written stays as it is, and so do those behind it. */
function complete(headers: MessageHeaders, completion: Completion): void {
  try {
    completeHeaders(headers, completion);
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) {
      throw error;
    }
  }
}
