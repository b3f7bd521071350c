/**
 * What a test puts in place of the network and the clock of a `DnsClient`. No
 * option: it travels with the options under a symbol, which copies of them keep
 * and checks of them pass over. `lib/testing/mod.ts` is the public way here.
 */

import type { NameServer } from "./name_server.ts";
import type { DnsRecordType } from "./outcome.ts";
import type { DnsQuestion, DnsVerdict } from "./verdict.ts";

/**
 * Asks for records, as `Deno.resolveDns` does: that function fits, and so does
 * a table in a test. The name comes with a final dot. To say that there are no
 * such records it throws `Deno.errors.NotFound`.
 */
export type DnsResolver = (
  name: string,
  type: DnsRecordType,
  options: Deno.ResolveDnsOptions,
) => Promise<readonly unknown[]>;

/** What {@linkcode DnsConfirm} is told beside the question. */
export interface DnsConfirmOptions {
  /** The name server to ask. */
  readonly server: NameServer;
  /** Ends the wait; the promise then rejects with the signal's reason. */
  readonly signal: AbortSignal;
}

/** Finds out why a name server had no records. Rejects if it cannot be asked. */
export type DnsConfirm = (
  question: DnsQuestion,
  options: DnsConfirmOptions,
) => Promise<DnsVerdict>;

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
