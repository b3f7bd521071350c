/**
 * Describes a store as data for another thread, and makes the store from that
 * data there. Stands alone: it imports all stores that can be described.
 *
 * Never describes a class derived from one of these stores: it may behave
 * differently. Nor stores that append to one file: appends from one thread share
 * a lock and a sync, those from several threads wait for each other.
 */

import type { MessageStore } from "../message/message.ts";
import { DiscardStore } from "./discard_store.ts";
import { FileStore, type FileStoreOptions } from "./file_store.ts";
import { MaildirStore, type MaildirStoreOptions } from "./maildir_store.ts";
import { optionsOf } from "./rebuildable.ts";

/** A store as data. */
export type StoreDescription =
  | { readonly kind: "discard" }
  | { readonly kind: "maildir"; readonly options: MaildirStoreOptions }
  | { readonly kind: "file"; readonly options: FileStoreOptions };

/** The store as data; `undefined` if it must stay on its thread. */
export function describeStore(
  store: MessageStore,
): StoreDescription | undefined {
  if (store.constructor === DiscardStore) return { kind: "discard" };
  const options = optionsOf(store);
  if (options === undefined) return undefined;
  if (store.constructor === MaildirStore) {
    return { kind: "maildir", options: options as MaildirStoreOptions };
  }
  if (store.constructor !== FileStore) return undefined;
  const file = options as FileStoreOptions;
  return file.append ? undefined : { kind: "file", options: file };
}

/** Makes a store from its description. */
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
