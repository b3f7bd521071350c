/**
 * What a store is: the one interface behind which messages are kept.
 */

import type { Message, Recipient } from "./message.ts";

/** How a message is to be kept. */
export interface SaveOptions {
  /**
   * Whether some recipients may get the message when others cannot (LMTP).
   * Where not, a store that fails for one recipient leaves no copy behind if it can help it.
   */
  readonly partial: boolean;
}

/**
 * Keeps messages. `save` resolves when the message is safe: written, synced,
 * renamed and the folder synced; only then is the client told 250.
 */
export interface MessageStore {
  /** What it is, for logs: `"maildir"`. */
  readonly kind: string;
  /**
   * Keeps the message for all its recipients.
   *
   * @throws {StoreError} If some recipients' copies could not be kept
   */
  save(message: Message, options: SaveOptions): Promise<void>;
  /** Waits for what is under way and gives back what is held open. */
  close?(): Promise<void>;
}

/**
 * A store kept the message for some recipients only, or for none.
 *
 * @example A store with a full mailbox
 * ```ts
 * import {
 *   type MessageStore,
 *   type Recipient,
 *   SmtpError,
 *   StoreError,
 * } from "@smtp/server";
 *
 * const full = new SmtpError(452, "Mailbox full", { enhanced: "4.2.2" });
 * const store: MessageStore = {
 *   kind: "example",
 *   save(message) {
 *     const failures = new Map<Recipient, unknown>();
 *     for (const recipient of message.recipients) {
 *       if (recipient.address.localPart === "full") failures.set(recipient, full);
 *     }
 *     if (failures.size === 0) return Promise.resolve();
 *     return Promise.reject(new StoreError("Cannot keep it for all", failures));
 *   },
 * };
 * console.assert(store.kind === "example");
 * ```
 */
export class StoreError extends Error {
  /** `"StoreError"`. */
  override readonly name: string = "StoreError";
  /** The recipients without a copy, and why. */
  readonly failures: ReadonlyMap<Recipient, unknown>;

  /**
   * Makes an error that names the recipients without a copy.
   *
   * @param failures The recipients without a copy, and why
   */
  constructor(
    message: string,
    failures: ReadonlyMap<Recipient, unknown>,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.failures = failures;
  }
}
