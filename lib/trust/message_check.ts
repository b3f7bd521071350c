/**
 * One message on its way in: asks the checks of this folder in one pass, and sums
 * them up. Knows when each is asked; knows no session and no store.
 *
 * Never delays a message beyond its time, never throws and never refuses: a check
 * that is not done in time, or that fails by a fault of its own, is a "temperror".
 * A message asks the DNS a limited number of questions, whatever its fields say.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8601#section-5 | RFC 8601 section 5}
 */

import type {
  DnsOutcomeOf,
  DnsQuerier,
  DnsQueryOptions,
  DnsRecordType,
} from "../dns/outcome.ts";
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
import { formatReceivedSpf } from "./received_spf.ts";
import {
  type ArcResult,
  type CheckedReverse,
  type DkimResult,
  type DmarcResult,
  MessageAuthentication,
  type SpfResult,
} from "./result.ts";
import { checkSpf, checkSpfHelo, type SpfFacts } from "./spf.ts";

/** Questions that one message may ask. */
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
      reason: `The message has asked ${MOST_QUESTIONS} questions already`,
    } as const;
    return Promise.resolve(outcome as DnsOutcomeOf<T>);
  }
}

/** The sender of one message as SPF sees it: what is asked when MAIL comes. */
export class SenderCheck {
  /** The client, its name and the reverse-path. */
  readonly facts: SpfFacts;
  /** Asks for this message. */
  readonly dns: DnsQuerier;
  /** Stops all questions of the message. */
  readonly stop: AbortController = new AbortController();
  #from: Promise<SpfResult> | undefined;
  #helo: Promise<SpfResult> | undefined;

  /**
   * @param facts The client, its name and the reverse-path
   * @param dns Asks the questions
   */
  constructor(facts: SpfFacts, dns: DnsQuerier) {
    this.facts = facts;
    this.dns = new LimitedDns(dns);
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

  get #tools(): { readonly dns: DnsQuerier; readonly signal: AbortSignal } {
    return { dns: this.dns, signal: this.stop.signal };
  }
}

/** The settings of all checks of a server. */
export interface MessageCheckSettings {
  /** Our name in the field. */
  readonly authservId: string;
  /** Milliseconds from MAIL to the end of all checks. */
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

/** Checks one message. */
export class MessageCheck {
  readonly #settings: MessageCheckSettings;
  readonly #sender: SenderCheck;
  readonly #reverse: Promise<CheckedReverse> | undefined;
  readonly #bodies = new BodyHashes();
  readonly #began = performance.now();
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
      ...{ bodies: this.#bodies, dns, signal: stop.signal },
      ...{ minKeyBits, maxSignatures },
    };
    if (dkim) this.#dkim = DkimCheck.begin(this.#fields, options);
    if (arc) this.#arc = ArcCheck.begin(this.#fields, options);
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
    const left = this.#began + settings.timeoutMs - performance.now();
    const timer = setTimeout(() => stop.abort(LATE), Math.max(0, left));
    try {
      const [spf, helo, dkim, arc, reverse] = await Promise.all([
        settings.spf
          ? this.#bounded("spf", sender.mailFrom, spfFailure("mailfrom"))
          : { ...NOT_ASKED, identity: "mailfrom" as const },
        settings.spf
          ? this.#bounded("spf", sender.helo, spfFailure("helo"))
          : { ...NOT_ASKED, identity: "helo" as const },
        this.#dkim ? this.#bounded("dkim", this.#dkim.end(), DKIM_FAILURE) : [],
        this.#arc ? this.#bounded("arc", this.#arc.end(), ARC_FAILURE) : NO_ARC,
        this.#reverse,
      ]);
      const dmarc = await this.#dmarc(spf, dkim);
      const values = { spf, helo, dkim, dmarc, arc, reverse };
      return this.#sum(values);
    } finally {
      // What is over needs no signal: to fire it costs as much as a check.
      clearTimeout(timer);
    }
  }

  /** Stops the questions of a message that is dropped. */
  abort(): void {
    this.#sender.stop.abort(LATE);
  }

  #dmarc(spf: SpfResult, dkim: readonly DkimResult[]): Promise<DmarcResult> {
    const { dns, stop } = this.#sender;
    const author = authorDomain(this.#fields);
    const asked = checkDmarc({ author, spf, dkim }, {
      ...{ dns, signal: stop.signal },
    });
    return this.#bounded("dmarc", asked, {
      result: "temperror",
      author: author.domain,
      reason: "The policy could not be had in time",
    });
  }

  /** The result of a check; `late` if it takes too long or fails. */
  async #bounded<T>(name: string, check: Promise<T>, late: T): Promise<T> {
    const { signal } = this.#sender.stop;
    const { promise, resolve } = Promise.withResolvers<T>();
    // A check ends at the signal by itself; what it does then takes a turn.
    let timer: ReturnType<typeof setTimeout> | undefined;
    const end = () => {
      timer = setTimeout(() => resolve(late), GRACE_MS);
    };
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
    check.then(resolve, (error) => {
      this.#settings.failed(name, error);
      resolve(late);
    });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
    }
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

/** The reason of an end by time. */
const LATE = new DOMException(
  "The time for the checks is over",
  "TimeoutError",
);
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
