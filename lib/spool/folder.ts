/**
 * The names in a spool folder: its paths, the file of each record, and the
 * requests in `control/`. `file_spool.ts` describes the files.
 *
 * A request comes from outside the process that owns the spool. It is one empty
 * file whose name contains the whole request, so that making it is one atomic
 * step, and reading all requests costs one folder list.
 */

import type { SpoolEntry } from "./envelope.ts";
import { isSpoolId } from "./record.ts";
import type { SpoolAction, SpoolRequest } from "./spool.ts";
import type { SpoolFiles } from "./files.ts";

/** The paths of one spool. */
export interface SpoolPaths {
  /** The spool folder itself. */
  readonly root: string;
  readonly lock: string;
  readonly journal: string;
  readonly reserve: string;
  readonly messages: string;
  readonly incoming: string;
  readonly control: string;
  readonly damaged: string;
}

/** The paths of the spool in `root`. */
export function spoolPaths(root: string): SpoolPaths {
  return {
    root,
    lock: `${root}/lock`,
    journal: `${root}/journal`,
    reserve: `${root}/reserve`,
    messages: `${root}/messages`,
    incoming: `${root}/incoming`,
    control: `${root}/control`,
    damaged: `${root}/damaged`,
  };
}

/** The place of one message's record. */
export interface RecordPlace {
  /** The file in `messages/`: the message's own name, or that of a shared file. */
  readonly file: string;
  /** Offset of the record in the file; 0 in a file of its own. */
  readonly offset: number;
  /** Bytes of the record, head and content. */
  readonly size: number;
}

/** One message, from the journal and its record. */
export interface StoredMessage {
  readonly entry: SpoolEntry;
  readonly place: RecordPlace;
}

/** A message whose record has just been made durable. */
export interface KeptMessage extends StoredMessage {
  /** The content, if it is in memory. */
  readonly content: Uint8Array<ArrayBuffer> | undefined;
}

/** Whether the record is in a shared file: such a file never has the name of a message. */
export function isShared({ entry, place }: StoredMessage): boolean {
  return place.file !== entry.envelope.id;
}

/** The places of all records, and the number of messages left in each file. */
export class RecordPlaces {
  readonly #places = new Map<string, RecordPlace>();
  /** Messages left in each shared file. */
  readonly #left = new Map<string, number>();

  /** The place of the message's record. */
  get(id: string): RecordPlace | undefined {
    return this.#places.get(id);
  }

  /** Adds a message that has no place yet. */
  add({ entry, place }: StoredMessage): void {
    const { id } = entry.envelope;
    this.#places.set(id, place);
    if (place.file === id) return;
    this.#left.set(place.file, (this.#left.get(place.file) ?? 0) + 1);
  }

  /** Removes a message; returns the name of its file if no message of the file is left. */
  remove(id: string): string | undefined {
    const place = this.#places.get(id);
    if (place === undefined) return undefined;
    this.#places.delete(id);
    const { file } = place;
    const left = (this.#left.get(file) ?? 1) - 1;
    if (left === 0) this.#left.delete(file);
    else this.#left.set(file, left);
    return left === 0 ? file : undefined;
  }
}

const REQUEST_NAME =
  /^\d{15}-[0-9a-f]{8}\.(retry|hold|release|remove)\.([^.]+)$/;

/** Leaves a request for the process that owns the spool. */
export async function leaveRequest(
  files: SpoolFiles,
  folder: string,
  request: { readonly action: SpoolAction; readonly id: string },
): Promise<void> {
  const time = String(Date.now()).padStart(15, "0");
  const [random] = crypto.getRandomValues(new Uint32Array(1));
  const unique = random!.toString(16).padStart(8, "0");
  const { action, id } = request;
  const file = await files.create(
    `${folder}/${time}-${unique}.${action}.${id}`,
  );
  file.close();
}

/** The pending requests, oldest first. Ignores files with other names. */
export async function readRequests(
  files: SpoolFiles,
  folder: string,
): Promise<readonly SpoolRequest[]> {
  const requests: SpoolRequest[] = [];
  for (const name of (await files.list(folder)).sort()) {
    const match = REQUEST_NAME.exec(name);
    if (match === null || !isSpoolId(match[2]!)) continue;
    requests.push({
      action: match[1] as SpoolAction,
      id: match[2]!,
      done: () => files.remove(`${folder}/${name}`),
    });
  }
  return requests;
}
