/**
 * The replaceable parts of a `DnsClient`: the resolver, the questions on the
 * wire, and the clock. Holds their types, and passes replacements of a
 * test to the client.
 *
 * They are not options: they travel with the options under a symbol, which
 * copies of the options keep and checks of the options ignore.
 * `lib/testing/mod.ts` is the public access to them.
 */

import type { NameServer } from "./name_server.ts";
import type { DnsRecordType } from "./outcome.ts";
import type { DnsMessage, DnsQuestion } from "./dns_message.ts";

/**
 * Asks for records, with the signature of `Deno.resolveDns`. The name has a
 * final dot. Throws `Deno.errors.NotFound` if there are no such records.
 */
export type DnsResolver = (
  name: string,
  type: DnsRecordType,
  options: Deno.ResolveDnsOptions,
) => Promise<readonly unknown[]>;

/** Options of {@linkcode DnsAsk}. */
export interface DnsAskOptions {
  /** The name server to ask. */
  readonly server: NameServer;
  /** Ends the wait; the promise then rejects with the signal's reason. */
  readonly signal: AbortSignal;
  /** Whether to ask with EDNS. */
  readonly edns: boolean;
}

/** Asks a question on the wire. Rejects if the server cannot be asked. */
export type DnsAsk = (
  question: DnsQuestion,
  options: DnsAskOptions,
) => Promise<DnsMessage>;

/** Replacements for the platform. */
export interface DnsSeams {
  /** Asks for records in place of `Deno.resolveDns`. */
  readonly resolver?: DnsResolver | undefined;
  /**
   * Asks on the wire. Without it, a `resolver` given here gets all questions,
   * and its "not found" is final.
   */
  readonly ask?: DnsAsk | undefined;
  /** The clock of the cache, in milliseconds. Default: `performance.now`. */
  readonly now?: (() => number) | undefined;
}

const SEAMS = Symbol("seams of a DnsClient");
const NONE: DnsSeams = Object.freeze({});

/** A copy of the options that carries `seams`. */
export function withSeams<O extends object>(options: O, seams: DnsSeams): O {
  return { ...options, [SEAMS]: seams };
}

/** The seams that the options carry; empty outside of tests. */
export function seamsOf(options: object): DnsSeams {
  return (options as { readonly [SEAMS]?: DnsSeams })[SEAMS] ?? NONE;
}
