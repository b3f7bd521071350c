/**
 * What a store was made of, so that another thread can make the same one. Kept
 * beside the stores: it is nobody's business but the server's.
 */

import type { MessageStore } from "./store.ts";

const origins = new WeakMap<MessageStore, object>();

/** Notes what a store was made of, its paths complete. */
export function noteOrigin(store: MessageStore, options: object): void {
  origins.set(store, options);
}

/** What a store was made of; `undefined` where nobody noted it. */
export function originOf(store: MessageStore): object | undefined {
  return origins.get(store);
}
