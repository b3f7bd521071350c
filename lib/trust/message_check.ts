/**
 * One message on its way in: asks the checks of this folder in one pass, and sums
 * them up. Knows when each is asked; knows no session and no store.
 *
 * Never delays a message beyond its time, never throws and never refuses: a check
 * that is not done in time, or that fails by a fault of its own, is a "temperror".
 * A message asks the DNS a limited number of questions, whatever its fields say.
 * Each check has its own number of them, and the policy of the author's domain its
 * own time: a sender could otherwise use them up and so escape that policy.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8601#section-5 | RFC 8601 section 5}
 */

import type {
  DnsOutcomeOf,
  DnsQuerier,
  DnsQueryOptions,
  DnsRecordType,
} from "../dns/outcome.ts";
import {
  checkOptions,
  having,
  milliseconds,
  ownName,
  required,
  type Rules,
} from "../options.ts";
import { concat } from "../protocol/bytes.ts";
import { formatField } from "../protocol/headers.ts";
import { ArcCheck } from "./arc_verify.ts";
import {
  bearsAuthservId,
  formatAuthenticationResults,
} from "./authentication_results.ts";
import { authorDomain } from "./author.ts";
import { BodyHashes } from "./body_hash.ts";
import { type RawField, rawFields, valueOf } from "./canonical_header.ts";
import { DkimCheck } from "./dkim_verify.ts";
import { checkDmarc } from "./dmarc.ts";
import { MessageSplitter, piecesOf } from "./message_splitter.ts";
import { formatReceivedSpf } from "./received_spf.ts";
import {
  type ArcResult,
  type CheckedReverse,
  type DkimResult,
  type DmarcResult,
  MessageAuthentication,
  type SpfResult,
} from "./result.ts";
import { checkSpf, checkSpfHelo, type SpfFacts, type SpfTools } from "./spf.ts";

/** Questions that one check of a message may ask. */
const MOST_QUESTIONS = 100;

/** A querier that stops asking after a number of questions. */
export class LimitedDns implements DnsQuerier {
  readonly #dns: DnsQuerier;
  #left = MOST_QUESTIONS;

  /** @param dns Asks the questions */
  constructor(dns: DnsQuerier) {
    this.#dns = dns;
  }

  query<T extends DnsRecordType>(
    type: T,
    name: string,
    options?: DnsQueryOptions,
  ): Promise<DnsOutcomeOf<T>> {
    if (this.#left > 0) {
      this.#left--;
      return this.#dns.query(type, name, options);
    }
    const outcome = {
      status: "failed",
      code: "unreachable",
      reason: `The check has asked ${MOST_QUESTIONS} questions already`,
    } as const;
    return Promise.resolve(outcome as DnsOutcomeOf<T>);
  }
}

/** The sender of one message as SPF sees it: what is asked when MAIL comes. */
export class SenderCheck {
  /** The client, its name and the reverse-path. */
  readonly facts: SpfFacts;
  /** Asks the questions of all checks. */
  readonly dns: DnsQuerier;
  /** Stops the questions about the sender, signatures and seals. */
  readonly stop: AbortController = new AbortController();
  #from: Promise<SpfResult> | undefined;
  #helo: Promise<SpfResult> | undefined;

  /**
   * @param facts The client, its name and the reverse-path
   * @param dns Asks the questions
   */
  constructor(facts: SpfFacts, dns: DnsQuerier) {
    this.facts = facts;
    this.dns = dns;
  }

  /** The result for the reverse-path; for the name in HELO if that is null. Asked once. */
  get mailFrom(): Promise<SpfResult> {
    return this.#from ??= settled(checkSpf(this.facts, this.#tools));
  }

  /** The result for the name in HELO. Asked once. */
  get helo(): Promise<SpfResult> {
    if (this.facts.from === "") return this.mailFrom;
    return this.#helo ??= settled(checkSpfHelo(this.facts, this.#tools));
  }

  get #tools(): SpfTools {
    const { signal } = this.stop;
    const dns = new LimitedDns(this.dns);
    // A handler may ask first when the checks of the message are over.
    return signal.aborted ? { dns } : { dns, signal };
  }
}

/** The settings of all checks of a server. */
export interface MessageCheckSettings {
  /** Our name in the field. */
  readonly authservId: string;
  /** Milliseconds that a complete message waits for all checks. */
  readonly timeoutMs: number;
  readonly minKeyBits: number;
  readonly maxSignatures: number;
  readonly spf: boolean;
  readonly dkim: boolean;
  readonly arc: boolean;
  /** Whether to write a Received-SPF field as well. */
  readonly receivedSpf: boolean;
  /** Takes the error of a check that failed by a fault of its own. */
  failed(check: string, error: unknown): void;
}

/** What a message proved, and the fields that say so. */
export interface CheckedMessage {
  readonly authentication: MessageAuthentication;
  /** The fields with their line ends. */
  readonly fields: string;
}

const NOT_ASKED: Omit<SpfResult, "identity"> = {
  result: "none",
  domain: "",
  reason: "SPF is not checked here",
  lookups: 0,
};
const NO_ARC: ArcResult = { result: "none", instance: 0, sealedBy: [] };

/** One check, and what it gives if it is late. */
interface Check<T> {
  readonly name: string;
  readonly result: T | Promise<T>;
  readonly late: T;
}

/** Checks one message. */
export class MessageCheck {
  readonly #settings: MessageCheckSettings;
  readonly #sender: SenderCheck;
  readonly #reverse: Promise<CheckedReverse> | undefined;
  readonly #bodies = new BodyHashes();
  #fields: readonly RawField[] = [];
  #dkim: DkimCheck | undefined;
  #arc: ArcCheck | undefined;

  /**
   * Begins with the questions about the sender, and waits for no answer yet.
   *
   * @param reverse The outcome for the client's own name, if it is asked
   */
  constructor(
    settings: MessageCheckSettings,
    sender: SenderCheck,
    reverse?: Promise<CheckedReverse>,
  ) {
    this.#settings = settings;
    this.#sender = sender;
    this.#reverse = reverse && settled(reverse);
    if (settings.spf) {
      void sender.mailFrom;
      void sender.helo;
    }
  }

  /**
   * Takes the header block as it came; begins the questions about its signatures.
   *
   * @returns The block without fields that bear our name: only we write those
   */
  header(block: Uint8Array): Uint8Array {
    try {
      this.#fields = rawFields(block);
      this.#begin();
    } catch (error) {
      this.#settings.failed("header", error);
    }
    return withoutForged(block, this.#fields, this.#settings.authservId);
  }

  #begin(): void {
    const { dkim, arc, minKeyBits, maxSignatures } = this.#settings;
    const { dns, stop } = this.#sender;
    const options = {
      ...{ bodies: this.#bodies, signal: stop.signal },
      ...{ minKeyBits, maxSignatures },
    };
    if (dkim) {
      const limited = { ...options, dns: new LimitedDns(dns) };
      this.#dkim = DkimCheck.begin(this.#fields, limited);
    }
    if (arc) {
      const limited = { ...options, dns: new LimitedDns(dns) };
      this.#arc = ArcCheck.begin(this.#fields, limited);
    }
  }

  /** Takes the next bytes of the body. */
  write(bytes: Uint8Array): void {
    if (!this.#bodies.isEmpty) this.#bodies.write(bytes);
  }

  /** Ends the message: waits for what is open, as long as its time lasts. */
  async end(): Promise<CheckedMessage> {
    const settings = this.#settings;
    const sender = this.#sender;
    this.#bodies.end();
    const { stop } = sender;
    const { timeoutMs } = settings;
    const policyMs = timeoutMs * POLICY_SHARE;
    const checks = this.#inTime([
      {
        name: "spf",
        result: settings.spf
          ? sender.mailFrom
          : { ...NOT_ASKED, identity: "mailfrom" as const },
        late: spfFailure("mailfrom"),
      },
      {
        name: "spf",
        result: settings.spf
          ? sender.helo
          : { ...NOT_ASKED, identity: "helo" as const },
        late: spfFailure("helo"),
      },
      { name: "dkim", result: this.#dkim?.end() ?? [], late: DKIM_FAILURE },
      { name: "arc", result: this.#arc?.end() ?? NO_ARC, late: ARC_FAILURE },
    ], { stop, timeMs: timeoutMs - policyMs });
    const [[spf, helo, dkim, arc], reverse] = await Promise.all([
      checks,
      this.#reverse,
    ]);
    const dmarc = await this.#dmarc(spf, dkim, policyMs);
    return this.#sum({ spf, helo, dkim, dmarc, arc, reverse });
  }

  /** Stops the questions of a message that is dropped. */
  abort(): void {
    this.#sender.stop.abort(LATE);
  }

  async #dmarc(
    spf: SpfResult,
    dkim: readonly DkimResult[],
    policyMs: number,
  ): Promise<DmarcResult> {
    const stop = new AbortController();
    const { signal } = stop;
    const author = authorDomain(this.#fields);
    const late = {
      result: "temperror",
      author: author.domain,
      reason: "The policy could not be had in time",
    } as const;
    try {
      const dns = new LimitedDns(this.#sender.dns);
      const asked = checkDmarc({ author, spf, dkim }, { dns, signal });
      const check = { name: "dmarc", result: asked, late };
      const [found] = await this.#inTime<[DmarcResult]>([check], {
        stop,
        timeMs: policyMs,
      });
      return found;
    } finally {
      stop.abort(LATE);
    }
  }

  /**
   * The results of checks, which are stopped after a time; those that take longer,
   * or fail, are late. Remembered answers take a few turns, and a timer for them
   * would cost more than the checks do.
   */
  async #inTime<T extends readonly unknown[]>(
    checks: { readonly [K in keyof T]: Check<T[K]> },
    { stop, timeMs }: { stop: AbortController; timeMs: number },
  ): Promise<T> {
    const open = new Set<() => void>();
    const results = Promise.all(
      checks.map((check) => this.#outcome(check, open)),
    ) as Promise<unknown> as Promise<T>;
    for (let left = MOST_TURNS; left > 0 && open.size > 0; left--) {
      await undefined;
    }
    if (open.size === 0) return await results;
    const { signal } = stop;
    // A check ends at the signal by itself; what it does then takes a turn.
    let grace: ReturnType<typeof setTimeout> | undefined;
    const end = () => {
      grace = setTimeout(() => open.forEach((giveUp) => giveUp()), GRACE_MS);
    };
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
    const timer = setTimeout(() => stop.abort(LATE), timeMs);
    try {
      return await results;
    } finally {
      // What is over needs no signal: to fire it costs as much as a check.
      clearTimeout(timer);
      clearTimeout(grace);
      signal.removeEventListener("abort", end);
    }
  }

  /** The result of one check, which is open until then. */
  #outcome<T>(
    { name, result, late }: Check<T>,
    open: Set<() => void>,
  ): Promise<T> {
    const { promise, resolve } = Promise.withResolvers<T>();
    const giveUp = () => resolve(late);
    const end = (value: T) => {
      open.delete(giveUp);
      resolve(value);
    };
    open.add(giveUp);
    Promise.resolve(result).then(end, (error) => {
      this.#settings.failed(name, error);
      end(late);
    });
    return promise;
  }

  #sum(
    values: ConstructorParameters<typeof MessageAuthentication>[0],
  ): CheckedMessage {
    const { authservId, receivedSpf } = this.#settings;
    const { facts } = this.#sender;
    const { from, ip } = facts;
    const text = formatAuthenticationResults(authservId, {
      ...values,
      from,
      reverse: values.reverse && { ...values.reverse, ip },
    });
    const authentication = new MessageAuthentication(values, text);
    const field = `Authentication-Results: ${text}\r\n`;
    const spf = receivedSpf
      ? formatField("Received-SPF", formatReceivedSpf(values.spf, facts), {
        utf8: true,
      })
      : "";
    return { authentication, fields: field + spf };
  }
}

/** Options of {@linkcode checkMessage}. */
export interface CheckMessageOptions {
  /** Asks the questions: a {@linkcode DnsClient}, or a table in a test. */
  readonly dns: DnsQuerier;
  /**
   * The name in the field.
   *
   * @default {"localhost"}
   */
  readonly authservId?: string | undefined;
  /**
   * Milliseconds for all checks.
   *
   * @default {20000}
   */
  readonly timeoutMs?: number | undefined;
}

const RULES: Rules<CheckMessageOptions> = {
  dns: required(having("an object with the method query", "query")),
  authservId: ownName,
  timeoutMs: milliseconds,
};

/**
 * Checks SPF, DKIM, DMARC and ARC of one message, as the server does with its option
 * `verify` (RFC 8601 section 5). Lines that end with LF are taken as lines that end
 * with CRLF.
 *
 * Holds the header block and nothing of the body. Keys of 1024 bits and 10
 * signatures count, as by default there. What is wrong with the message, and an
 * answer that does not come, are results. Name servers are asked up to 100 questions
 * for each check.
 *
 * @param message The message as it came, header and body
 * @param facts The client and the envelope
 * @param options Where questions are asked, and the name in the field
 * @returns The results; as text they are the value of the field
 * @throws {TypeError} If an option is not valid
 * @throws {RangeError} If `timeoutMs` is out of range
 * @throws {Deno.errors.NotCapable} If the permission to ask the DNS is missing
 *
 * @example What a message proves
 * ```ts
 * import { checkMessage, type CheckMessageOptions } from "@smtp/server/trust";
 * import { DnsClient } from "@smtp/server/dns";
 * import { testDns } from "@smtp/server/testing";
 *
 * // For this example every question is answered with "no such record".
 * const dns = new DnsClient(
 *   testDns(() => Promise.reject(new Deno.errors.NotFound("None"))),
 * );
 * const options: CheckMessageOptions = { dns, authservId: "mx.example.com" };
 * const found = await checkMessage(
 *   new TextEncoder().encode("From: ann@example.org\r\n\r\nHello\r\n"),
 *   {
 *     ip: "192.0.2.1",
 *     helo: "client.example",
 *     from: "ann@example.org",
 *     receiver: "mx.example.com",
 *   },
 *   options,
 * );
 * console.assert(found.dmarc.result === "none");
 * console.assert(String(found).startsWith("mx.example.com;"));
 * ```
 */
export async function checkMessage(
  message: Uint8Array | ReadableStream<Uint8Array>,
  facts: SpfFacts,
  options: CheckMessageOptions,
): Promise<MessageAuthentication> {
  checkOptions("checkMessage", options, RULES);
  const { dns, authservId = "localhost", timeoutMs = 20_000 } = options;
  let fault: { readonly error: unknown } | undefined;
  const check = new MessageCheck({
    ...{ authservId, timeoutMs, minKeyBits: 1024, maxSignatures: 10 },
    ...{ spf: true, dkim: true, arc: true, receivedSpf: false },
    failed: (_check, error) => fault ??= { error },
  }, new SenderCheck(facts, dns));
  const splitter = new MessageSplitter();
  let hasBegun = false;
  const begin = () => {
    hasBegun = true;
    check.header(splitter.header ?? new Uint8Array(0));
  };
  for await (const piece of piecesOf(message)) {
    const body = splitter.take(piece);
    if (splitter.inBody && !hasBegun) begin();
    if (hasBegun) check.write(body);
  }
  if (!hasBegun) begin();
  const { authentication } = await check.end();
  if (fault !== undefined) throw fault.error;
  return authentication;
}

/** The reason of an end by time. */
const LATE = new DOMException(
  "The time for the checks is over",
  "TimeoutError",
);
/** The share of the time that belongs to the policy of the author's domain. */
const POLICY_SHARE = 0.25;
/** Turns of the microtask queue, each of them less than a microsecond. */
const MOST_TURNS = 100;
/** Milliseconds that a check may take to end at the signal. */
const GRACE_MS = 100;

const IN_TIME = "The answers did not come in time";
const DKIM_FAILURE: readonly DkimResult[] = [{
  ...{ result: "temperror", domain: "", selector: "", identity: "" },
  ...{ algorithm: "", testing: false, reason: IN_TIME, signature: "" },
}];
const ARC_FAILURE: ArcResult = {
  ...{ result: "temperror", instance: 0, sealedBy: [], reason: IN_TIME },
};

function spfFailure(identity: SpfResult["identity"]): SpfResult {
  return {
    ...{ result: "temperror", identity, domain: "" },
    ...{ reason: IN_TIME, lookups: 0 },
  };
}

/** The promise, whose rejection counts as handled: it may be awaited later, or never. */
function settled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** The block without the Authentication-Results fields that bear our name. */
function withoutForged(
  block: Uint8Array,
  fields: readonly RawField[],
  authservId: string,
): Uint8Array {
  const isForged = (field: RawField) =>
    field.name === "authentication-results" &&
    bearsAuthservId(valueOf(field), authservId);
  if (!fields.some(isForged)) return block;
  const kept: Uint8Array[] = [];
  let from = 0;
  for (const field of fields) {
    if (!isForged(field)) continue;
    kept.push(block.subarray(from, field.at));
    from = field.at + field.text.length + 2;
  }
  kept.push(block.subarray(from));
  return concat(kept);
}
