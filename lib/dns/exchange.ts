/**
 * Asks one question: of several name servers in turn, until one of them knows
 * the answer; and of one server: calls the resolver, checks its answer and
 * classifies its errors.
 *
 * Never accepts "not found" without a confirmation, if one is possible: see
 * {@link ./verdict.ts}. Never repeats a question to a server that answered with
 * a failure: only a timeout is worth a second attempt. Starts with the server
 * that answered last, so a dead server costs its time once and not for each
 * message.
 */

import {
  formatNameServer,
  type NameServer,
  systemNameServers,
} from "./name_server.ts";
import { type DnsFailed, type DnsFailureCode, failed } from "./outcome.ts";
import { type AnyOutcome, readAnswer } from "./records.ts";
import type { DnsConfirm, DnsConfirmOptions, DnsResolver } from "./seams.ts";
import { Deadline } from "./single_flight.ts";
import type { DnsQuestion } from "./verdict.ts";

/** The functions that send questions. */
export interface ExchangeTools {
  /** Asks for the records. */
  readonly resolver: DnsResolver;
  /** Finds out why there were no records; without it "not found" is final. */
  readonly confirm: DnsConfirm | undefined;
}

/** Options of {@linkcode FailOver}. */
export interface FailOverOptions extends ExchangeTools {
  /** The name servers, at least one. Default: the system's. */
  readonly servers: readonly NameServer[] | undefined;
  /** Number of times that a silent server is asked. */
  readonly attempts: number;
}

/** Options of {@linkcode FailOver.ask}. */
export interface FailOverAskOptions {
  /** Time limit for all servers and attempts together, in milliseconds. */
  readonly timeoutMs: number;
  /** Ends the work; the promise then rejects with the signal's reason. */
  readonly signal: AbortSignal;
}

/** Several name servers behind one method. */
export class FailOver {
  readonly #options: FailOverOptions;
  /** The server that answered last; it is asked first. */
  #favourite: string | undefined;

  constructor(options: FailOverOptions) {
    this.#options = options;
  }

  /**
   * Asks until a server knows the answer.
   *
   * @throws The signal's reason if the signal fired first
   */
  async ask(
    question: DnsQuestion,
    options: FailOverAskOptions,
  ): Promise<AnyOutcome> {
    const { timeoutMs, signal } = options;
    let servers = this.#inLine();
    // All servers fit into the time limit, or all attempts at a single one.
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

  /** The servers in order, beginning with the one that answered last. */
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
  // First "not found", then records: a server that failed while it was still
  // fetching the records may have them now.
  return await resolve(question, options) ??
    failure("server-failure", question, {
      server: options.server,
      what: "contradicts itself on",
    });
}

/** The outcome of the resolver, `undefined` for "not found". */
async function resolve(
  question: DnsQuestion,
  options: DnsConfirmOptions & ExchangeTools,
): Promise<AnyOutcome | undefined> {
  const { resolver, server, signal } = options;
  try {
    // The final dot excludes the system's search list.
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

/** The outcome of the confirmation, `undefined` if it says that there are records. */
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

/** Turns an error of the name server into a failure, and throws all other errors. */
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
