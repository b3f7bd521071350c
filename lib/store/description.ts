/**
 * Stores that every thread can have for itself: described as data on one
 * thread, made again on another. What holds a function, a stream or memory
 * stays where it is.
 */

import { DiscardStore } from "./discard_store.ts";
import { FileStore, type FileStoreOptions } from "./file_store.ts";
import { MaildirStore, type MaildirStoreOptions } from "./maildir_store.ts";
import { originOf } from "./origin.ts";
import type { MessageStore } from "./store.ts";

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
