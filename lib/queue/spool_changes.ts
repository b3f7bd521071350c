/**
 * What an action means for a message, as steps of progress. Pure; the running
 * queue and the command line beside a stopped one both go by it.
 */

import type { SpoolAction } from "./spool.ts";
import type { SpoolChange, SpoolEntry } from "./stored_envelope.ts";

/**
 * The steps of progress that an action means for a message. A retry lifts the
 * hold of a message that is named, but not of all: `retry all` is no release.
 */
export function changesFor(
  entry: SpoolEntry,
  action: Exclude<SpoolAction, "remove">,
  circumstances: { readonly now: number; readonly isAll: boolean },
): readonly SpoolChange[] {
  const { held } = entry.progress;
  if (action === "hold") return held ? [] : [{ kind: "hold", held: true }];
  const release: readonly SpoolChange[] = held
    ? [{ kind: "hold", held: false }]
    : [];
  if (action === "release") return release;
  if (held && circumstances.isAll) return [];
  return [...release, { kind: "retry", at: circumstances.now }];
}
