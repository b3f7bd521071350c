/**
 * What a store was made of, so that another thread can make the same one. Kept
 * beside the stores: it is nobody's business but the server's.
 *
 * Stores that every thread can have for itself: described as data on one
 * thread, made again on another. What holds a function, a stream or memory
 * stays where it is.
 */

import type { MessageStore } from "../message/store.ts";
import { DiscardStore } from "./discard_store.ts";
import { FileStore, type FileStoreOptions } from "./file_store.ts";
import { MaildirStore, type MaildirStoreOptions } from "./maildir_store.ts";

const origins = new WeakMap<MessageStore, object>();

/** Notes what a store was made of, its paths complete. */
export function noteOrigin(store: MessageStore, options: object): void {
  origins.set(store, options);
}

/** What a store was made of; `undefined` where nobody noted it. */
function originOf(store: MessageStore): object | undefined {
  return origins.get(store);
}

/** A store as data. */
export type StoreDescription =
  | { readonly kind: "discard" }
  | { readonly kind: "maildir"; readonly options: MaildirStoreOptions }
  | { readonly kind: "file"; readonly options: FileStoreOptions };

/**
 * The store as data, `undefined` where it has to stay on its thread. Stores
 * that append to one file do: appends from one thread share a lock and a sync,
 * those of several wait for each other.
 */
export function describeStore(
  store: MessageStore,
): StoreDescription | undefined {
  const options = originOf(store);
  // A class derived from one of ours may do anything.
  switch (store.constructor) {
    case DiscardStore:
      return { kind: "discard" };
    case MaildirStore:
      return isData(options)
        ? { kind: "maildir", options: options as MaildirStoreOptions }
        : undefined;
    case FileStore:
      return isData(options) && !("append" in options && options.append)
        ? { kind: "file", options: options as FileStoreOptions }
        : undefined;
  }
}

function isData(options: object | undefined): options is object {
  return options !== undefined &&
    Object.values(options).every((value) => typeof value !== "function");
}

/** Makes a store of its description. */
export function makeStore(description: StoreDescription): MessageStore {
  switch (description.kind) {
    case "discard":
      return new DiscardStore();
    case "maildir":
      return new MaildirStore(description.options);
    case "file":
      return new FileStore(description.options);
  }
}
