/**
 * The server's keys for DKIM: their rules, their loading, and the signing of mail
 * on its way into the queue. The code that signs is loaded with the first keys.
 */

import { describeError, type Logger } from "../log.ts";
import type { MailSigner } from "../message/signer.ts";
import { KEY_RULE } from "../delivery/forwarding_options.ts";
import { either, list, type Rule } from "../options.ts";
import type { DkimKey, DkimSigner } from "../trust/dkim_sign.ts";

/** The option `dkim`. */
export type DkimOption = DkimKey | readonly DkimKey[] | undefined;

/** The rule for the option `dkim`. */
export const DKIM_RULE: Rule = either(
  { object: KEY_RULE, list: list(KEY_RULE) },
  "a key, as { domain, selector, key }, or an array of them",
);

/** Most domains and reasons that are remembered as said. */
const MOST_TOLD = 1000;

export class Signing implements MailSigner {
  readonly #log: Logger;
  readonly #told = new Set<string>();
  #signer: DkimSigner | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  get isActive(): boolean {
    return this.#signer !== undefined;
  }

  /**
   * Loads keys, and returns what signs with them.
   *
   * @throws {TypeError} If an option cannot be used
   * @throws {SyntaxError} If a key cannot be read
   */
  static async load(keys: DkimOption): Promise<DkimSigner | undefined> {
    if (keys === undefined) return undefined;
    if (Array.isArray(keys) && keys.length === 0) return undefined;
    const { DkimSigner } = await import("../trust/dkim_sign.ts");
    return await DkimSigner.load(keys);
  }

  /** Signs with these keys from now on. */
  use(signer: DkimSigner | undefined): void {
    this.#signer = signer;
    this.#told.clear();
  }

  async sign(
    content: AsyncIterable<Uint8Array>,
    { isBinary }: { readonly isBinary: boolean },
  ): Promise<string> {
    const signer = this.#signer;
    if (signer === undefined) return "";
    const source = new Watched(content);
    try {
      const signed = await signer.sign({ content: source, isBinary });
      if ("reason" in signed) {
        this.#tell(`Mail is not signed: ${signed.reason}`);
      } else if (signed.fields === "") {
        this.#tell(
          `Mail of authors in ${signed.domain} is not signed: no key of dkim is for it`,
        );
      }
      return signed.fields;
    } catch (error) {
      if (source.hasFailed) throw error;
      // Mail must not be lost for want of a signature.
      this.#log({
        level: "error",
        event: "error",
        message: "Cannot sign a message: it goes without a signature",
        error: describeError(error),
      });
      return "";
    }
  }

  /** Warns, once for each text. */
  #tell(message: string): void {
    if (this.#told.has(message) || this.#told.size >= MOST_TOLD) return;
    this.#told.add(message);
    this.#log({ level: "warn", event: "warning", message });
  }
}

/** A content that remembers whether it has failed. */
export class Watched implements AsyncIterable<Uint8Array> {
  readonly #content: AsyncIterable<Uint8Array>;
  hasFailed = false;

  constructor(content: AsyncIterable<Uint8Array>) {
    this.#content = content;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      yield* this.#content;
    } catch (error) {
      this.hasFailed = true;
      throw error;
    }
  }
}
