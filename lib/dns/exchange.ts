/**
 * Asks one question: of several name servers in turn, until one of them knows
 * the answer; and of one server: by the platform's resolver, or on the wire.
 *
 * The platform does not report why an answer had no records: `Deno.resolveDns`
 * throws "not found" for a name that does not exist, for a name without such
 * records, and for a server that failed or refused. A relay that returned mail
 * on "not found" would return it whenever a name server has a temporary failure.
 * So after "not found" this package asks itself. It also asks itself what the
 * platform cannot say: whether an answer is validated, TLSA records, names that
 * the platform refuses (`mx_1.example.com`, but such hosts accept mail), and all
 * questions to a server that does not know EDNS.
 *
 * Never repeats a question to a server that answered with a failure: only a
 * timeout is worth a second attempt. Starts with the server that answered last,
 * so a dead server costs its time once and not for each message. Never calls an
 * answer secure that has come from another machine, unless the user says that
 * the way is safe. Never asks such a server whether an answer is validated if
 * there is one that can be believed.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1035#section-4 | RFC 1035 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc6698#appendix-A.3 | RFC 6698 appendix A.3} (which answers to believe)
 */

import { errorMessage } from "../log.ts";
import { isLoopback } from "../protocol/ip.ts";
import { askServer } from "./datagram.ts";
import { type DnsMessage, type DnsQuestion, verdictOf } from "./dns_message.ts";
import { EdnsMemory } from "./edns.ts";
import { normalizeName } from "./name.ts";
import {
  formatNameServer,
  type NameServer,
  systemNameServers,
} from "./name_server.ts";
import { type DnsFailed, failed } from "./outcome.ts";
import { type AnyOutcome, readAnswer } from "./records.ts";
import type { DnsResolver, DnsSeams } from "./seams.ts";
import { Deadline } from "./single_flight.ts";
import { ValidationWatch } from "./validation.ts";

/** Options of {@linkcode FailOver}. */
export interface FailOverOptions {
  /** The name servers, at least one. Default: the system's. */
  readonly servers: readonly NameServer[] | undefined;
  /** Number of times that a silent server is asked. */
  readonly attempts: number;
  /** Whether to believe servers on other machines that an answer is validated. */
  readonly trustAd: boolean;
  /** The clock, in milliseconds. */
  readonly now: () => number;
  /** Gets a warning about a name server. */
  readonly onWarning: ((message: string) => void) | undefined;
  /** Replacements for the platform. */
  readonly seams: DnsSeams;
}

/** Options of {@linkcode FailOver.ask}. */
export interface FailOverAskOptions {
  /** Time limit for all servers and attempts together, in milliseconds. */
  readonly timeoutMs: number;
  /** Ends the work; the promise then rejects with the signal's reason. */
  readonly signal: AbortSignal;
  /** Whether to find out if the answer is validated. */
  readonly secure: boolean;
}

/** An outcome, and how long its records may be kept. */
export interface Answered {
  readonly outcome: AnyOutcome;
  /** Time to live of the records in milliseconds; unset if it is not known. */
  readonly ttlMs?: number | undefined;
}

/** One attempt at one server. */
interface Attempt {
  readonly server: NameServer;
  readonly secure: boolean;
  /** Whether the platform has kept silent on this question before. */
  readonly again: boolean;
  /** Time of the attempt in milliseconds, at whose end the signal fires. */
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

/** Several name servers behind one method. */
export class FailOver {
  readonly #options: FailOverOptions;
  readonly #resolver: DnsResolver;
  /** Asks on the wire; unset if a test answers every question in place of the platform. */
  readonly #edns: EdnsMemory | undefined;
  /** Unset where warnings are not wanted. */
  readonly #watch: ValidationWatch | undefined;
  /** The server that answered last; it is asked first. */
  #favourite: string | undefined;

  constructor(options: FailOverOptions) {
    this.#options = options;
    const { now, onWarning } = options;
    const { resolver, ask } = options.seams;
    this.#resolver = resolver ??
      ((name, type, how) => Deno.resolveDns(name, type as "A", how));
    const asker = ask ?? (resolver === undefined ? askServer : undefined);
    this.#edns = asker && new EdnsMemory({ ask: asker, now, onWarning });
    this.#watch = asker && onWarning &&
      new ValidationWatch({ ask: asker, onWarning });
  }

  /** Whether one of the servers is believed that an answer is validated. */
  get canValidate(): boolean {
    return this.#inLine(true).some((server) => this.#isBelieved(server));
  }

  /**
   * Asks until a server knows the answer.
   *
   * @throws The signal's reason if the signal fired first
   */
  async ask(
    question: DnsQuestion,
    options: FailOverAskOptions,
  ): Promise<Answered> {
    const { timeoutMs, signal, secure } = options;
    let servers = this.#inLine(secure);
    // All servers fit into the time limit, or all attempts at a single one.
    const waitMs = timeoutMs / Math.max(servers.length, this.#options.attempts);
    let last: DnsFailed = failed("unreachable", "No name server is known");
    for (let count = 0; count < this.#options.attempts; count++) {
      const silent: NameServer[] = [];
      const again = count > 0;
      for (const server of servers) {
        const attempt = { server, secure, again, waitMs, signal };
        const answered = await this.#askOne(question, attempt);
        const { outcome } = answered;
        if (outcome.status !== "failed") return answered;
        if (outcome.code === "timeout") silent.push(server);
        last = outcome;
      }
      servers = silent;
    }
    return { outcome: last };
  }

  async #askOne(question: DnsQuestion, attempt: Attempt): Promise<Answered> {
    const { server } = attempt;
    using turn = new Deadline(attempt.waitMs, attempt.signal);
    const now = { ...attempt, signal: turn.signal };
    try {
      const answered = await this.#exchange(question, now);
      if (answered.outcome.status !== "failed") {
        this.#favourite = formatNameServer(server);
      }
      return answered;
    } catch (error) {
      if (turn.expired) {
        this.#edns?.keptSilent(server);
        return { outcome: noAnswer(question, server) };
      }
      return { outcome: explain(error, question, now) };
    }
  }

  /**
   * Asks one name server once.
   *
   * @throws The signal's reason if the signal fired first, or the error of the
   * server
   */
  async #exchange(question: DnsQuestion, attempt: Attempt): Promise<Answered> {
    const { server, secure } = attempt;
    const edns = this.#edns;
    if (edns === undefined) {
      const outcome = await this.#resolve(question, attempt) ??
        { status: "none", why: "unknown" } as const;
      return {
        outcome: secure ? secured(outcome, { secure: false }) : outcome,
      };
    }
    const isOurs = secure || attempt.again || question.type === "TLSA" ||
      isRefused(question.name) || edns.isPlain(server);
    const known = isOurs ? undefined : await this.#resolve(question, attempt);
    if (known !== undefined) {
      edns.answered(server);
      return { outcome: known };
    }
    const began = this.#options.now();
    const answer = await edns.ask(question, attempt);
    const { message } = answer;
    const outcome = outcomeOf(question, message, server);
    const ttlMs = message.ttl * 1000;
    if (!secure) return { outcome, ttlMs };
    const isBelieved = this.#isBelieved(server);
    // A server without EDNS has its own warning.
    if (answer.edns && isBelieved && outcome.status !== "failed") {
      const leftMs = attempt.waitMs - (this.#options.now() - began);
      const where = { server, leftMs, signal: attempt.signal };
      await this.#watch?.answered(message.authentic, where);
    }
    return {
      outcome: secured(outcome, {
        secure: answer.edns && message.authentic && isBelieved,
        canonicalName: normalizeName(message.canonicalName) ?? question.name,
      }),
      ttlMs,
    };
  }

  /** The outcome of the platform's resolver, `undefined` for "not found". */
  async #resolve(
    question: DnsQuestion,
    { server, signal }: Attempt,
  ): Promise<AnyOutcome | undefined> {
    try {
      // The final dot excludes the system's search list.
      const raw = await this.#resolver(`${question.name}.`, question.type, {
        nameServer: { ipAddr: server.address, port: server.port },
        signal,
      });
      return readAnswer(question, raw);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  #isBelieved({ address }: NameServer): boolean {
    return this.#options.trustAd || isLoopback(address);
  }

  /** The servers in order, beginning with the one that answered last. */
  #inLine(secure: boolean): readonly NameServer[] {
    const all = this.#options.servers ?? systemNameServers();
    const believed = secure
      ? all.filter((server) => this.#isBelieved(server))
      : [];
    const servers = believed.length > 0 ? believed : all;
    const found = servers.findIndex((server) =>
      formatNameServer(server) === this.#favourite
    );
    const at = Math.max(found, 0);
    return [...servers.slice(at), ...servers.slice(0, at)];
  }
}

/** Whether the platform refuses a name: an underscore stands inside a label that does not begin with one, or it is no host name. */
function isRefused(name: string): boolean {
  return /(?:^|\.)[^_.][^.]*_/.test(name) ||
    normalizeName(name) === undefined;
}

/** The outcome of an answer on the wire. */
function outcomeOf(
  question: DnsQuestion,
  message: DnsMessage,
  server: NameServer,
): AnyOutcome {
  const verdict = verdictOf(message);
  if (verdict.kind === "server-failure") {
    const what = `answers with ${verdict.code} to`;
    return failure("server-failure", question, { server, what });
  }
  if (verdict.kind !== "records") return { status: "none", why: verdict.kind };
  if (!message.truncated) return readAnswer(question, message.records);
  const what = "cuts off its answer by TCP to";
  return failure("malformed", question, { server, what });
}

/** The outcome with what is known of its validation. */
function secured(
  outcome: AnyOutcome,
  facts: { readonly secure: boolean; readonly canonicalName?: string },
): AnyOutcome {
  const { secure } = facts;
  if (outcome.status === "found") {
    return Object.freeze({ ...outcome, ...facts }) as AnyOutcome;
  }
  return outcome.status === "none" ? { ...outcome, secure } : outcome;
}

/** Turns an error of the name server into a failure, and throws all other errors. */
function explain(
  error: unknown,
  question: DnsQuestion,
  { server, signal }: Attempt,
): DnsFailed {
  if (signal.aborted) throw signal.reason;
  if (error instanceof Deno.errors.NotCapable) throw error;
  if (error instanceof Deno.errors.TimedOut) {
    return noAnswer(question, server);
  }
  const what = "cannot be asked for";
  const { reason, ...rest } = failure("unreachable", question, {
    server,
    what,
  });
  return { ...rest, reason: `${reason}: ${errorMessage(error)}` };
}

/** The failure of a name server that does not answer. */
function noAnswer(question: DnsQuestion, server: NameServer): DnsFailed {
  return failure("timeout", question, { server, what: "does not answer to" });
}

function failure(
  code: DnsFailed["code"],
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
