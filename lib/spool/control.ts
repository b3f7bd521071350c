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
import { RecordReader } from "./record_reader.ts";
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
 * The content of a message in a spool folder, header and body as they were
 * accepted. The folder may be in use. Requires `allow-read` for it.
 *
 * @param folder The spool folder
 * @param id The message's name
 * @throws {SpoolError} If there is no such message, or its record is damaged
 *
 * @example Read a message that waits
 * ```ts
 * import { inspectSpool, spoolContent } from "@smtp/server/queue";
 *
 * const folder = await Deno.makeTempDir();
 * for (const id of (await inspectSpool(folder)).keys()) {
 *   for await (const chunk of spoolContent(folder, id)) {
 *     await Deno.stdout.write(chunk);
 *   }
 * }
 * ```
 */
export async function* spoolContent(
  folder: string,
  id: string,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const paths = spoolPaths(folder);
  const { messages } = await readSpool(DENO_FILES, paths, { trustSizes: true });
  const place = messages.get(id)?.place;
  if (place === undefined) {
    throw new SpoolError(
      `Cannot read message "${id}": there is no such message`,
    );
  }
  yield* new RecordReader(DENO_FILES, paths.messages).content(id, place);
}

/** Messages changed, or requests left, in parallel. */
const AT_ONCE = 500;

/**
 * Acts on one message of a spool, on several, or on all: asks the server that
 * runs on it, or acts at once if no server does. Requires `allow-read` and
 * `allow-write` for the folder.
 *
 * @param folder The spool folder
 * @param request The action, and the message's name, the names of several, or
 * `"all"`; `onProgress` is called with the number of messages done or asked for,
 * and of all
 * @returns `"done"` if no server was running on the spool; `"asked"` if the server
 * that runs on it was asked, and does it within a second; `"unknown"` if there is
 * no such message, or none of several. Of several names, those that are not
 * there are skipped.
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
  request: {
    readonly action: SpoolAction;
    readonly id: string | readonly string[];
    readonly onProgress?: (done: number, total: number) => void;
  },
): Promise<"done" | "asked" | "unknown"> {
  const { action, id, onProgress } = request;
  const isAll = id === "all";
  const entries = await inspectSpool(folder);
  const named = isAll
    ? [...entries.keys()]
    : [id].flat().filter((one) => entries.has(one));
  if (named.length === 0) return "unknown";
  await using spool = new FileSpool(folder);
  try {
    await spool.open();
  } catch (error) {
    if (!(error instanceof SpoolError && error.isInUse)) throw error;
    const { control } = spoolPaths(folder);
    await inTurns(isAll ? ["all"] : named, {
      onProgress,
      act: (one) => leaveRequest(DENO_FILES, control, { action, id: one }),
    });
    return "asked";
  }
  await inTurns(isAll ? [...spool.entries.keys()] : named, {
    onProgress,
    act: (one) => act(spool, one, { action, isAll }),
  });
  return "done";
}

/** Acts on many messages, some at a time. */
async function inTurns(
  ids: readonly string[],
  { act, onProgress }: {
    readonly act: (id: string) => Promise<void>;
    readonly onProgress: ((done: number, total: number) => void) | undefined;
  },
): Promise<void> {
  for (let at = 0; at < ids.length; at += AT_ONCE) {
    const turn = ids.slice(at, at + AT_ONCE);
    await Promise.all(turn.map(act));
    onProgress?.(at + turn.length, ids.length);
  }
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
