/**
 * Which name servers know EDNS, and how one is asked that does not: with an
 * error, or with silence, to every question that has it. Stands alone: it is the
 * memory of servers, and knows nothing of records.
 *
 * Never lets such a server cost the whole time limit of each question: it is
 * asked without EDNS within the same limit, and then for a quarter of an hour at
 * once. Never takes a slow answer for silence, because the answer without EDNS
 * does not count as validated: a server that has answered without EDNS is asked
 * with it once more, when it has the answer at hand.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6891#section-7 | RFC 6891 section 7}
 */

import { type DnsMessage, type DnsQuestion, RCODE } from "./dns_message.ts";
import { formatNameServer, type NameServer } from "./name_server.ts";
import type { DnsAsk } from "./seams.ts";
import { Deadline } from "./single_flight.ts";

/** Time that a server without EDNS is asked without it, in milliseconds. */
const PLAIN_MS = 15 * 60_000;
/** Part of the wait after which a silent server is asked without EDNS, too. */
const PATIENCE = 0.4;
/** Part of the wait for a second answer with EDNS, after one without. */
const GRACE = 0.2;
/** Questions without an answer in a row after which nothing is known of a server. */
const MOST_SILENCES = 3;

/** What is known of a name server. */
interface Known {
  /** Whether it has answered a question with EDNS. */
  hasEdns: boolean;
  /** Until when it is asked without EDNS, in milliseconds of the clock. */
  plainUntil: number;
  /** Questions without an answer since the last one with an answer. */
  silences: number;
}

/** An answer, and whether it is to a question with EDNS. */
export interface EdnsAnswer {
  readonly message: DnsMessage;
  readonly edns: boolean;
}

/** Options of {@linkcode EdnsMemory}. */
export interface EdnsMemoryOptions {
  /** Asks one question once. */
  readonly ask: DnsAsk;
  /** The clock, in milliseconds. */
  readonly now: () => number;
  /** Gets one warning for each server without EDNS. */
  readonly onWarning: ((message: string) => void) | undefined;
}

/** Asks name servers with EDNS, and without it those that do not know it. */
export class EdnsMemory {
  readonly #options: EdnsMemoryOptions;
  readonly #known = new Map<string, Known>();
  readonly #warned = new Set<string>();

  constructor(options: EdnsMemoryOptions) {
    this.#options = options;
  }

  /** Whether a server is known to have no EDNS. */
  isPlain(server: NameServer): boolean {
    return this.#of(server).plainUntil > this.#options.now();
  }

  /** A server has answered a question with EDNS. */
  answered(server: NameServer): void {
    const known = this.#of(server);
    known.hasEdns = true;
    known.silences = 0;
  }

  /** A server has not answered in time. */
  keptSilent(server: NameServer): void {
    const known = this.#of(server);
    if (++known.silences >= MOST_SILENCES) known.hasEdns = false;
  }

  /**
   * Asks one server.
   *
   * @param options The time that the server has for it, and the signal that
   * fires at its end
   * @throws The signal's reason if the signal fired first
   */
  async ask(
    question: DnsQuestion,
    options: { server: NameServer; waitMs: number; signal: AbortSignal },
  ): Promise<EdnsAnswer> {
    const { server } = options;
    // Ends what is still asked when there is an answer.
    const controller = new AbortController();
    const signal = AbortSignal.any([options.signal, controller.signal]);
    try {
      if (this.isPlain(server)) {
        return await this.#send(question, { server, signal, edns: false });
      }
      const answer = this.#of(server).hasEdns
        ? await this.#send(question, { server, signal, edns: true })
        : await this.#tryBoth(question, { ...options, signal });
      if (!answer.edns) return answer;
      if (!isRefusal(answer.message)) {
        this.answered(server);
        return answer;
      }
      const plain = await this.#send(question, { server, signal, edns: false });
      if (!isRefusal(plain.message)) this.#lacksEdns(server);
      return plain;
    } finally {
      controller.abort();
    }
  }

  /** Asks with EDNS, and after a while without it, too. */
  async #tryBoth(
    question: DnsQuestion,
    options: { server: NameServer; waitMs: number; signal: AbortSignal },
  ): Promise<EdnsAnswer> {
    const { server, waitMs, signal } = options;
    const send = (edns: boolean, until = signal) =>
      this.#send(question, { server, signal: until, edns });
    const first = send(true);
    const early = await within(first, waitMs * PATIENCE, signal);
    if (early !== undefined) return early;
    const answer = await Promise.race([first, send(false)]);
    if (answer.edns) return answer;
    // It may be slow, not silent: now it has the answer at hand.
    const late = await within(
      Promise.race([first, send(true)]),
      waitMs * GRACE,
      signal,
    );
    if (late !== undefined) return late;
    this.#lacksEdns(server);
    return answer;
  }

  async #send(
    question: DnsQuestion,
    options: { server: NameServer; signal: AbortSignal; edns: boolean },
  ): Promise<EdnsAnswer> {
    const message = await this.#options.ask(question, options);
    return { message, edns: options.edns };
  }

  #lacksEdns(server: NameServer): void {
    const known = this.#of(server);
    known.plainUntil = this.#options.now() + PLAIN_MS;
    const name = formatNameServer(server);
    if (this.#warned.has(name)) return;
    this.#warned.add(name);
    this.#options.onWarning?.(
      `Name server ${name} does not know EDNS: it is asked without, and its answers count as not validated, so mail is delivered without DANE`,
    );
  }

  #of(server: NameServer): Known {
    const name = formatNameServer(server);
    let known = this.#known.get(name);
    if (known === undefined) {
      known = { hasEdns: false, plainUntil: -Infinity, silences: 0 };
      this.#known.set(name, known);
    }
    return known;
  }
}

/** Whether an answer may mean that the server does not know EDNS. */
function isRefusal({ rcode }: DnsMessage): boolean {
  return rcode === RCODE.formatError || rcode === RCODE.notImplemented ||
    rcode === RCODE.badVersion;
}

/** The value of a promise, `undefined` if it takes longer than `ms`. */
async function within<T>(
  promise: Promise<T>,
  ms: number,
  signal: AbortSignal,
): Promise<T | undefined> {
  using deadline = new Deadline(ms, signal);
  const { promise: end, resolve } = Promise.withResolvers<undefined>();
  const stop = () => resolve(undefined);
  deadline.signal.addEventListener("abort", stop, { once: true });
  // When the race is over, a later failure must not go unhandled.
  promise.catch(() => {});
  const value = await Promise.race([promise, end]);
  if (value === undefined) signal.throwIfAborted();
  return value;
}
