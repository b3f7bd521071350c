/**
 * The store that keeps nothing: for tests, measurements, and servers whose
 * handlers or queue do all of the work. Stands alone as the other stores do.
 */

import type { MessageStore } from "../message/message.ts";

/**
 * Takes every message and forgets it. The client still gets 250, so the mail is
 * lost unless a handler or the queue keeps it.
 *
 * @example Make the store
 * ```ts
 * import { DiscardStore } from "@smtp/server/store";
 *
 * console.assert(new DiscardStore().kind === "discard");
 * ```
 */
export class DiscardStore implements MessageStore {
  /** `"discard"`. */
  readonly kind = "discard";

  /** Resolves at once. */
  save(): Promise<void> {
    return Promise.resolve();
  }
}
