/**
 * One question to several name servers, one after the other, until one of them
 * knows; and to one of them: the platform's resolver is asked, its answer
 * checked, its errors told apart.
 *
 * Never takes "not found" at its word when it can be confirmed: see
 * {@link ./verdict.ts}. Never asks a server again that answered and could not
 * tell: only silence is worth a second attempt. Never starts with a server that
 * kept silent last time, so that one dead server costs its wait once and not
 * with each message.
 */

import { Deadline } from "./single_flight.ts";
import type { DnsConfirm, DnsConfirmOptions, DnsResolver } from "./seams.ts";
import {
  formatNameServer,
  type NameServer,
  systemNameServers,
} from "./name_server.ts";
import { type DnsFailed, type DnsFailureCode, failed } from "./outcome.ts";
import { type AnyOutcome, readAnswer } from "./records.ts";
import type { DnsQuestion } from "./verdict.ts";

/** What carries an exchange. */
export interface ExchangeTools {
  /** Asks for the records. */
  readonly resolver: DnsResolver;
  /** Finds out why there were none; without it "not found" is believed. */
  readonly confirm: DnsConfirm | undefined;
}

/** Options of {@linkcode FailOver}. */
export interface FailOverOptions extends ExchangeTools {
  /** The name servers, at least one; the system's when not given. */
  readonly servers: readonly NameServer[] | undefined;
  /** How often a server that does not answer is asked. */
  readonly attempts: number;
}

/** What {@linkcode FailOver.ask} is told beside the question. */
export interface FailOverAskOptions {
  /** The time for all servers and attempts together, in milliseconds. */
  readonly timeoutMs: number;
  /** Ends the work; the promise then rejects with the signal's reason. */
  readonly signal: AbortSignal;
}

/** Several name servers, asked as one. */
export class FailOver {
  readonly #options: FailOverOptions;
  /** The server that answered last, first in line. */
  #favourite: string | undefined;

  constructor(options: FailOverOptions) {
    this.#options = options;
  }

  /**
   * Asks until a server knows.
   *
   * @throws The signal's reason if the signal fired first
   */
  async ask(
    question: DnsQuestion,
    options: FailOverAskOptions,
  ): Promise<AnyOutcome> {
    const { timeoutMs, signal } = options;
    let servers = this.#inLine();
    // Every server gets its turn within the time, and a single one two.
    const waitMs = timeoutMs / Math.max(servers.length, this.#options.attempts);
    let last: DnsFailed = failed("unreachable", "No name server is known");
    for (let attempt = 0; attempt < this.#options.attempts; attempt++) {
      const silent: NameServer[] = [];
      for (const server of servers) {
        const outcome = await this.#askOne(question, {
          server,
          waitMs,
          signal,
        });
        if (outcome.status !== "failed") return outcome;
        if (outcome.code === "timeout") silent.push(server);
        last = outcome;
      }
      servers = silent;
    }
    return last;
  }

  async #askOne(
    question: DnsQuestion,
    options: { server: NameServer; waitMs: number; signal: AbortSignal },
  ): Promise<AnyOutcome> {
    const { server, waitMs, signal } = options;
    const { resolver, confirm } = this.#options;
    using turn = new Deadline(waitMs, signal);
    try {
      const outcome = await exchange(question, {
        server,
        resolver,
        confirm,
        signal: turn.signal,
      });
      if (outcome.status !== "failed") {
        this.#favourite = formatNameServer(server);
      }
      return outcome;
    } catch (error) {
      if (turn.expired) return noAnswer(question, server);
      throw error;
    }
  }

  /** The servers, the one that answered last in front. */
  #inLine(): readonly NameServer[] {
    const servers = this.#options.servers ?? systemNameServers();
    const found = servers.findIndex((server) =>
      formatNameServer(server) === this.#favourite
    );
    const at = Math.max(found, 0);
    return [...servers.slice(at), ...servers.slice(0, at)];
  }
}

/**
 * Asks one name server once.
 *
 * @throws The signal's reason if the signal fired first
 * @throws {Deno.errors.NotCapable} If the permission to ask is missing
 */
async function exchange(
  question: DnsQuestion,
  options: DnsConfirmOptions & ExchangeTools,
): Promise<AnyOutcome> {
  const first = await resolve(question, options);
  if (first !== undefined) return first;
  if (options.confirm === undefined) return { status: "none", why: "unknown" };
  const second = await confirm(question, options);
  if (second !== undefined) return second;
  // "Not found" first, records on being asked again: a server that failed
  // while it was still fetching them has them now.
  return await resolve(question, options) ??
    failure("server-failure", question, {
      server: options.server,
      what: "contradicts itself on",
    });
}

/** The outcome by the resolver, `undefined` for "not found". */
async function resolve(
  question: DnsQuestion,
  options: DnsConfirmOptions & ExchangeTools,
): Promise<AnyOutcome | undefined> {
  const { resolver, server, signal } = options;
  try {
    // The final dot keeps the system's search list out.
    const raw = await resolver(`${question.name}.`, question.type, {
      nameServer: { ipAddr: server.address, port: server.port },
      signal,
    });
    return readAnswer(question, raw);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    return explain(error, question, options);
  }
}

/** The outcome by a second question, `undefined` if it says that there are records. */
async function confirm(
  question: DnsQuestion,
  options: DnsConfirmOptions & ExchangeTools,
): Promise<AnyOutcome | undefined> {
  const { server, signal } = options;
  try {
    const verdict = await options.confirm?.(question, { server, signal });
    if (verdict === undefined || verdict.kind === "records") return undefined;
    if (verdict.kind !== "server-failure") {
      return { status: "none", why: verdict.kind };
    }
    return failure("server-failure", question, {
      server,
      what: `answers with ${verdict.code} to`,
    });
  } catch (error) {
    return explain(error, question, options);
  }
}

/** Turns an error into a failure, unless it is none of the name server's doing. */
function explain(
  error: unknown,
  question: DnsQuestion,
  options: DnsConfirmOptions,
): DnsFailed {
  const { server, signal } = options;
  if (signal.aborted) throw signal.reason;
  if (error instanceof Deno.errors.NotCapable) throw error;
  if (error instanceof Deno.errors.TimedOut) {
    return noAnswer(question, server);
  }
  const detail = error instanceof Error ? error.message : String(error);
  const what = "cannot be asked for";
  const { reason, ...rest } = failure("unreachable", question, {
    server,
    what,
  });
  return { ...rest, reason: `${reason}: ${detail}` };
}

/** The failure of a name server that does not answer. */
function noAnswer(question: DnsQuestion, server: NameServer): DnsFailed {
  return failure("timeout", question, { server, what: "does not answer to" });
}

function failure(
  code: DnsFailureCode,
  question: DnsQuestion,
  options: { server: NameServer; what: string },
): DnsFailed {
  const { server, what } = options;
  const asked = `${question.type} "${question.name}"`;
  return failed(
    code,
    `Name server ${formatNameServer(server)} ${what} ${asked}`,
  );
}
