/**
 * The store that keeps nothing: for tests, measurements, and servers whose
 * handlers or queue do all that is to be done with a message.
 */

import type { MessageStore } from "../message/message.ts";

/**
 * Takes every message and forgets it. The client is told 250 all the same, so
 * this is not for mail that anybody wants.
 *
 * @example A store that keeps nothing
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
