/**
 * One question to several name servers, one after the other, until one of them
 * knows.
 *
 * Never asks a server again that answered and could not tell: only silence is
 * worth a second attempt. Never starts with a server that kept silent last
 * time, so that one dead server costs its wait once and not with each message.
 */

import { Deadline } from "./deadline.ts";
import { exchange, type ExchangeTools, noAnswer } from "./exchange.ts";
import { formatNameServer, type NameServer } from "./name_server.ts";
import { type DnsFailed, failed } from "./outcome.ts";
import type { AnyOutcome } from "./records.ts";
import type { DnsQuestion } from "./verdict.ts";

/** Options of {@linkcode FailOver}. */
export interface FailOverOptions extends ExchangeTools {
  /** The name servers as they are now, at least one. */
  readonly servers: () => readonly NameServer[];
  /** How often each server is asked that does not answer. */
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

  /**
   * Takes the servers; asks nothing yet.
   *
   * @param options The servers and what asks them
   */
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
    const servers = this.#options.servers();
    const found = servers.findIndex((server) =>
      formatNameServer(server) === this.#favourite
    );
    const at = Math.max(found, 0);
    return [...servers.slice(at), ...servers.slice(0, at)];
  }
}
