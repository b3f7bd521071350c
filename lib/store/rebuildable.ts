/**
 * Remembers the options of stores that every thread can have for itself. The
 * store registers its options as data; {@link ./thread_store.ts} makes a copy
 * of it on another thread. A store that holds a function, a stream or memory
 * stays on its thread. Stands alone: stores write here, and `thread_store.ts`,
 * which imports the stores, reads.
 */

import type { MessageStore } from "../message/message.ts";

const origins = new WeakMap<MessageStore, object>();

/**
 * Remembers a store's options, if all are plain data. For constructors.
 *
 * @param options The store's options, with absolute paths
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
