/**
 * Requests from outside the process that owns a spool: one empty file each,
 * whose name says everything, so that making it is one atomic step. Reading
 * them costs one folder list.
 */

import { isSpoolId } from "./record.ts";
import type { SpoolAction, SpoolRequest } from "./spool.ts";
import type { SpoolFiles } from "./spool_files.ts";

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
