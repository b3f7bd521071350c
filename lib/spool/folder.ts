/**
 * Where things lie in a spool folder.
 *
 * ```text
 * lock        held by the process that owns the spool
 * journal     one line a message and a step of progress
 * reserve     room kept for the journal
 * messages/   the records, one or several a file
 * incoming/   records being written; not accepted yet
 * control/    requests from outside, one empty file each
 * damaged/    what was not whole, set aside
 * ```
 *
 * Touches no file.
 *
 * Requests from outside the process that owns a spool: one empty file each,
 * whose name says everything, so that making it is one atomic step. Reading
 * them costs one folder list.
 */

import type { SpoolEntry } from "./envelope.ts";
import { isSpoolId } from "./record.ts";
import type { SpoolAction, SpoolRequest } from "./spool.ts";
import type { SpoolFiles } from "./files.ts";

/** The paths of one spool. */
export interface SpoolPaths {
  /** The spool folder itself. */
  readonly root: string;
  /** The lock file. */
  readonly lock: string;
  /** The journal. */
  readonly journal: string;
  /** The room kept for the journal. */
  readonly reserve: string;
  /** Folder of the records. */
  readonly messages: string;
  /** Folder of the records being written. */
  readonly incoming: string;
  /** Folder of the requests. */
  readonly control: string;
  /** Folder of what was set aside. */
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

/** A file with the records of several messages. One object a file. */
export interface SharedFile {
  /** Its name. */
  readonly name: string;
  /** Messages in it that have not left; the file goes with the last of them. */
  left: number;
}

/** Where a record is in a file with others. */
export interface RecordPlace {
  /** The file. */
  readonly file: SharedFile;
  /** Where the record begins in it. */
  readonly offset: number;
}

/** One message as the journal and its record say. */
export interface StoredEntry extends SpoolEntry {
  /** Bytes of the record. */
  readonly fileSize: number;
  /** Where the record is; `undefined`: in a file of its own. */
  readonly place: RecordPlace | undefined;
}

/** The name of the file that has the message's record. */
export function recordFile(entry: StoredEntry): string {
  return entry.place?.file.name ?? entry.envelope.id;
}

const NAME = /^\d{15}-[0-9a-f]{8}\.(retry|hold|release|remove)\.([^.]+)$/;

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

/** The requests that wait, oldest first. What is no request is passed over. */
export async function takeRequests(
  files: SpoolFiles,
  folder: string,
): Promise<readonly SpoolRequest[]> {
  const requests: SpoolRequest[] = [];
  for (const name of (await files.list(folder)).sort()) {
    const match = NAME.exec(name);
    if (match === null || !isSpoolId(match[2]!)) continue;
    requests.push({
      action: match[1] as SpoolAction,
      id: match[2]!,
      done: () => files.remove(`${folder}/${name}`),
    });
  }
  return requests;
}
