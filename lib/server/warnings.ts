/** What a program is warned of when its server starts. Decides from the options alone. */

import { localTest } from "./contexts.ts";
import type { SettledOptions } from "./options.ts";

/** The warnings that a server's options deserve. */
export function warningsOf(options: SettledOptions): readonly string[] {
  const warnings: string[] = [];
  if (discards(options)) {
    warnings.push(
      "Mail is accepted and discarded: no store is set and no handler keeps it",
    );
  }
  return warnings;
}

function discards(options: SettledOptions): boolean {
  const { store, handlers, domains } = options;
  if (store !== undefined) return false;
  // All mail is for others: there is nothing to store.
  if (domains === undefined && localTest(options)) return false;
  return (handlers?.onMessageStart ?? handlers?.onMessage) === undefined;
}
