/**
 * Access to a spool from outside: inspect it and act on it, whether or not a
 * server is running on it. The work of the command line's `queue`, without its
 * output.
 *
 * Never writes into a spool that another process owns, except for requests.
 */

import type { SpoolEntry } from "./envelope.ts";
import { FileSpool } from "./file_spool.ts";
import {
  changesFor,
  type Spool,
  type SpoolAction,
  SpoolError,
} from "./spool.ts";
import { DENO_FILES } from "./files.ts";
import { leaveRequest, spoolPaths } from "./folder.ts";
import { readSpool } from "./recovery.ts";

/**
 * The messages in a spool folder, oldest first. No entry holds a secret. The
 * folder may be in use. Requires `allow-read` for it.
 *
 * @param folder The spool folder
 * @returns The messages by name; an empty map if the folder is not a spool yet
 *
 * @example Count the held messages
 * ```ts
 * import { inspectSpool } from "@smtp/server/queue";
 *
 * const folder = await Deno.makeTempDir();
 * const entries = await inspectSpool(folder);
 * const held = [...entries.values()].filter(({ progress }) => progress.held);
 * console.assert(held.length === 0);
 * ```
 */
export async function inspectSpool(
  folder: string,
): Promise<ReadonlyMap<string, SpoolEntry>> {
  try {
    const paths = spoolPaths(folder);
    const { messages } = await readSpool(DENO_FILES, paths, {
      trustSizes: true,
    });
    return new Map([...messages].map(([id, { entry }]) => [id, entry]));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return new Map();
    throw error;
  }
}

/**
 * Acts on one message of a spool, or on all: asks the server that runs on it,
 * or acts at once if no server does. Requires `allow-read` and `allow-write`
 * for the folder.
 *
 * @param folder The spool folder
 * @param request The action, and the message's name or `"all"`
 * @returns `"done"` if no server was running on the spool; `"asked"` if the server
 * that runs on it was asked, and does it within a second; `"unknown"` if there is
 * no such message
 * @throws {SpoolError} If the spool cannot be read or changed
 *
 * @example Hold a message that is not there
 * ```ts
 * import { controlSpool } from "@smtp/server/queue";
 *
 * const folder = await Deno.makeTempDir();
 * const outcome = await controlSpool(folder, { action: "hold", id: "a1" });
 * console.assert(outcome === "unknown");
 * ```
 */
export async function controlSpool(
  folder: string,
  request: { readonly action: SpoolAction; readonly id: string },
): Promise<"done" | "asked" | "unknown"> {
  const { action, id } = request;
  const entries = await inspectSpool(folder);
  if (id === "all" ? entries.size === 0 : !entries.has(id)) return "unknown";
  await using spool = new FileSpool(folder);
  try {
    await spool.open();
  } catch (error) {
    if (!(error instanceof SpoolError && error.isInUse)) throw error;
    await leaveRequest(DENO_FILES, spoolPaths(folder).control, request);
    return "asked";
  }
  const ids = id === "all" ? [...spool.entries.keys()] : [id];
  const work = ids.map((one) =>
    act(spool, one, { action, isAll: id === "all" })
  );
  await Promise.all(work);
  return "done";
}

async function act(
  spool: Spool,
  id: string,
  request: { readonly action: SpoolAction; readonly isAll: boolean },
): Promise<void> {
  const { action, isAll } = request;
  if (action === "remove") return await spool.remove(id);
  const entry = spool.entries.get(id);
  if (entry === undefined) return;
  for (const change of changesFor(entry, action, { now: Date.now(), isAll })) {
    await spool.change(id, change);
  }
}
