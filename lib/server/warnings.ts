/** What a program is warned of when its server starts. Decides from the options alone. */

import { platformShares } from "../net/shared_port.ts";
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
  // The other listener there is never recovers from a shortage.
  if ((options.threads ?? 0) > 0 && !platformShares()) {
    warnings.push(
      "Threads without --unstable-net: one that runs out of file descriptors accepts nobody any more",
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
