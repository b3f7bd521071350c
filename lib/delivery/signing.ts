/**
 * Signatures of content that is converted for a host: the server's own, and its
 * seal, are made again, those of others are left, and the log says that they no longer hold.
 * Stands alone: a delivery knows conversions, and no signature.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-5.3 | RFC 6376 section 5.3}
 */

import type { Logger } from "../log.ts";
import type { MailForwarder } from "../message/forwarder.ts";
import { type MailSigner, withoutTop, withTop } from "../message/signer.ts";
import { MessageHeaders } from "../protocol/headers.ts";
import type { DeliveryJob } from "../queue/job.ts";

/** Opens content from its beginning. */
type Open = () => AsyncIterable<Uint8Array>;

const encoder = new TextEncoder();

/** What signs and seals. */
export interface ContentSigners {
  readonly signer?: MailSigner | undefined;
  readonly forwarder?: MailForwarder | undefined;
}

export class ContentSigning {
  readonly #by: ContentSigners;
  readonly #log: Logger;

  constructor(by: ContentSigners, log: Logger) {
    this.#by = by;
    this.#log = log;
  }

  /**
   * The content that goes out in place of a converted one.
   *
   * @param content `head`: the beginning before the conversion; `open`: opens the converted content
   */
  async renew(
    job: DeliveryJob,
    content: { readonly head: Uint8Array; readonly open: Open },
  ): Promise<Open> {
    const { head, open } = content;
    const { signed = 0, sealed = 0 } = job;
    const own = signed + sealed;
    this.#logForeign(job, head.subarray(own));
    if (own === 0) return open;
    // A conversion keeps the fields on top: they are ASCII in short lines.
    const rest = () => withoutTop(open(), own);
    const fields = sealed > 0
      ? await this.#sealAgain(head.subarray(0, sealed), rest())
      : await this.#sign(rest());
    if (fields === "") return rest;
    const top = encoder.encode(fields);
    return () => withTop<Uint8Array>(top, rest());
  }

  async #sign(content: AsyncIterable<Uint8Array>): Promise<string> {
    const { signer } = this.#by;
    return signer?.isActive === true
      ? await signer.sign(content, { isBinary: false })
      : "";
  }

  async #sealAgain(
    seal: Uint8Array,
    content: AsyncIterable<Uint8Array>,
  ): Promise<string> {
    const { forwarder } = this.#by;
    return forwarder?.isActive === true
      ? await forwarder.sealAgain(seal, content)
      : "";
  }

  #logForeign({ id, destination }: DeliveryJob, head: Uint8Array): void {
    const count = MessageHeaders.parse(head).getAll("DKIM-Signature").length;
    if (count === 0) return;
    this.#log({
      level: "warn",
      event: "warning",
      message: `Converted for ${destination}: ${
        count === 1 ? "a signature" : `${count} signatures`
      } of others no longer hold${count === 1 ? "s" : ""}`,
      fields: { relay: id },
    });
  }
}
