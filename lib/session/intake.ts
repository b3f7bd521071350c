/**
 * A message coming in: gathers its octets, holds the header block back until
 * it is complete and decided on, and hands the rest on as it comes.
 *
 * The header block is limited: it is held in memory, and a client could send
 * nothing else for ever.
 */

import type { Message } from "../message/message.ts";
import { findHeaderEnd, MessageHeaders } from "../protocol/headers.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type { Verdict } from "../protocol/server_effects.ts";
import { isRefusal } from "./verdicts.ts";

/** Largest header block that `onHeaders` gets, its blank line included, in octets: 256 KiB. */
const HEADER_LIMIT = 262144;

const headerTooLarge = new SmtpReply(552, "Header exceeds 256 KiB", {
  enhanced: "5.3.4",
});

const BLANK_LINE = new Uint8Array([13, 10]);

/** Decides on a header block. */
export type HeaderCheck = (
  headers: MessageHeaders,
) => Verdict | Promise<Verdict>;

/** One message coming in. */
export class Intake {
  /** The message. */
  readonly message: Message;
  readonly #collect: boolean;
  readonly #check: HeaderCheck | undefined;
  /** What is held back; its storage has room to grow. */
  #head: Uint8Array<ArrayBuffer> | undefined;
  /** Octets of it in use. */
  #used = 0;
  #searched = 0;

  /**
   * @param message Takes the octets
   * @param options `collect`: whether anybody will want the octets; `check`: decides on the header
   */
  constructor(
    message: Message,
    options: {
      readonly collect: boolean;
      readonly check: HeaderCheck | undefined;
    },
  ) {
    this.message = message;
    this.#collect = options.collect;
    this.#check = options.check;
    if (this.#check !== undefined) this.#head = new Uint8Array(0);
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
    if (this.#head !== undefined) return this.#gather(bytes);
    return this.#collect ? this.#forward(bytes) : undefined;
  }

  #forward(bytes: Uint8Array): Promise<undefined> | undefined {
    return this.message.body.write(bytes)?.then(() => undefined);
  }

  /** The content is complete. */
  end(): Verdict | Promise<Verdict> {
    return this.#head === undefined ? undefined : this.#decide(this.#used);
  }

  #gather(bytes: Uint8Array): Verdict | Promise<Verdict> {
    const head = this.#append(bytes);
    const end = findHeaderEnd(head, this.#searched);
    // Without an end in what is here, it can only come behind.
    if (end < 0 ? head.length >= HEADER_LIMIT : end > HEADER_LIMIT) {
      return headerTooLarge;
    }
    if (end >= 0) return this.#decide(end);
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

  async #decide(end: number): Promise<Verdict> {
    const head = this.#head!.subarray(0, this.#used);
    this.#head = undefined;
    const headers = MessageHeaders.parse(head.subarray(0, end), {
      utf8: this.message.parameters.smtpUtf8 === true,
    });
    const verdict = await this.#check!(headers);
    // Edits that come later would be lost.
    headers.freeze();
    if (isRefusal(verdict)) return verdict;
    const { body } = this.message;
    if (headers.changed) {
      await body.write(headers.encode());
      await body.write(BLANK_LINE);
    } else {
      await body.write(head.subarray(0, end));
    }
    await body.write(head.subarray(end));
    return undefined;
  }
}
