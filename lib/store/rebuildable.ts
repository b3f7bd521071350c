/**
 * Stores that every thread can have for itself: noted as data by the store that
 * was made on one thread, made again from that on another by
 * {@link ./thread_store.ts}. What holds a function, a stream or memory stays on
 * its thread.
 */

import type { MessageStore } from "../message/message.ts";

const origins = new WeakMap<MessageStore, object>();

/**
 * Notes what a store was made of. For constructors.
 *
 * @param store The store
 * @param options Its options, the paths in them complete
 */
export function rebuildable(store: MessageStore, options: object): void {
  const isData = Object.values(options).every((value) =>
    typeof value !== "function"
  );
  if (isData) origins.set(store, options);
}

/** The options of a store that can be made again; `undefined` for any other. */
export function optionsOf(store: MessageStore): object | undefined {
  return origins.get(store);
}
