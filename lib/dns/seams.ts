/**
 * What a test puts in place of the network and the clock of a `DnsClient`. No
 * option: it travels with the options under a symbol, which copies of them keep
 * and checks of them pass over. `lib/testing/seams.ts` is the public way here.
 */

import type { DnsConfirm } from "./confirm.ts";
import type { DnsResolver } from "./exchange.ts";

/** What stands in for the platform. */
export interface DnsSeams {
  /** Asks for records in place of `Deno.resolveDns`. */
  readonly resolver?: DnsResolver | undefined;
  /** Finds out why there were no records. Without it a `resolver` given here is believed at once. */
  readonly confirm?: DnsConfirm | undefined;
  /** The clock of the cache, in milliseconds; `performance.now` when not given. */
  readonly now?: (() => number) | undefined;
}

const SEAMS = Symbol("seams of a DnsClient");
const NONE: DnsSeams = Object.freeze({});

/** The options, with `seams` under the symbol. */
export function withSeams<O extends object>(options: O, seams: DnsSeams): O {
  return { ...options, [SEAMS]: seams };
}

/** The seams in the options, none where they come from a program. */
export function seamsOf(options: object): DnsSeams {
  return (options as { readonly [SEAMS]?: DnsSeams })[SEAMS] ?? NONE;
}
