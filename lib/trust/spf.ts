/**
 * SPF: whether the domain of a sender allows the client to send in its name.
 *
 * Never throws because of a record, a name or the DNS, and asks a limited number
 * of questions: ten terms may ask, two answers may be void, and ten names of an
 * MX or PTR are looked at. Void answers are counted once, across `include` and
 * `redirect`. An end by the signal is a "temperror".
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7208#section-4 | RFC 7208 section 4}
 */

import type { DnsOutcome, DnsQuerier, MxOutcome } from "../dns/outcome.ts";
import { isAscii } from "../protocol/bytes.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { formatIp, type IpBytes, parseUnmapped } from "../protocol/ip.ts";
import type { AuthResult, SpfResult } from "./result.ts";
import {
  expandMacros,
  expandName,
  type MacroFacts,
  needsValidated,
} from "./spf_macro.ts";
import {
  isSpfRecord,
  parseSpfRecord,
  type SpfMechanism,
  type SpfRecord,
} from "./spf_record.ts";

/** The facts that SPF judges. */
export interface SpfFacts {
  /** The client's IP address. */
  readonly ip: string;
  /** The client's name in HELO or EHLO. */
  readonly helo: string;
  /** The reverse-path without brackets; `""` for the null path. */
  readonly from: string;
  /** The name of this host, for explanations. */
  readonly receiver: string;
}

/** What SPF asks with. */
export interface SpfTools {
  /** Asks the questions. */
  readonly dns: DnsQuerier;
  /** Ends the check with "temperror". Default: none. */
  readonly signal?: AbortSignal | undefined;
}

/** Names no name server: the reason goes into a field of the message. */
const NO_ANSWER = "The DNS gave no answer";
/** Terms that ask the DNS, at most (RFC 7208 section 4.6.4). */
const MOST_TERMS = 10;
/** Answers without records, at most. */
const MOST_VOID = 2;
/** Names of an MX or PTR that are looked at, at most. */
const MOST_NAMES = 10;
/** Longest explanation that is kept, in characters. */
const LONGEST_EXPLANATION = 500;

/**
 * Checks the sender of MAIL FROM; for a null sender the name in HELO (RFC 7208
 * section 2.4).
 *
 * What is wrong with the record, and an answer that does not come, are results:
 * "permerror" and "temperror". A record beyond 10 terms that ask, or 2 answers
 * without records, is a "permerror" (section 4.6.4).
 *
 * @param facts The client and the sender
 * @param tools Where questions are asked
 * @throws {Deno.errors.NotCapable} If the permission to ask the DNS is missing
 *
 * @example A domain that allows one address
 * ```ts
 * import { checkSpf } from "@smtp/server/trust";
 * import { DnsClient } from "@smtp/server/dns";
 * import { testDns } from "@smtp/server/testing";
 *
 * const dns = new DnsClient(
 *   testDns(() => Promise.resolve([["v=spf1 ip4:192.0.2.1 -all"]])),
 * );
 * const { result } = await checkSpf({
 *   ip: "192.0.2.1",
 *   helo: "client.example",
 *   from: "ann@example.org",
 *   receiver: "mx.example.com",
 * }, { dns });
 * console.assert(result === "pass");
 * ```
 */
export function checkSpf(
  facts: SpfFacts,
  tools: SpfTools,
): Promise<SpfResult> {
  if (facts.from === "") return checkSpfHelo(facts, tools);
  const at = facts.from.lastIndexOf("@");
  const local = facts.from.slice(0, Math.max(at, 0));
  const domain = asciiDomain(facts.from.slice(at + 1));
  const sender = `${local === "" ? "postmaster" : local}@${domain}`;
  return new Evaluation(facts, tools, { identity: "mailfrom", sender, domain })
    .run();
}

/**
 * Checks the name in HELO alone (RFC 7208 section 2.3); else as
 * {@linkcode checkSpf}.
 *
 * @param facts The client; `from` has no effect
 * @param tools Where questions are asked
 * @throws {Deno.errors.NotCapable} If the permission to ask the DNS is missing
 *
 * @example An address in HELO has no record
 * ```ts
 * import { checkSpfHelo } from "@smtp/server/trust";
 * import { DnsClient } from "@smtp/server/dns";
 *
 * const facts = { ip: "192.0.2.1", helo: "[192.0.2.1]", from: "" };
 * const { result, identity } = await checkSpfHelo(
 *   { ...facts, receiver: "mx.example.com" },
 *   { dns: new DnsClient() },
 * );
 * console.assert(result === "none" && identity === "helo");
 * ```
 */
export function checkSpfHelo(
  facts: SpfFacts,
  tools: SpfTools,
): Promise<SpfResult> {
  const domain = asciiDomain(facts.helo);
  const sender = `postmaster@${domain}`;
  return new Evaluation(facts, tools, { identity: "helo", sender, domain })
    .run();
}

/** The identity that is checked. */
interface Identity {
  readonly identity: SpfResult["identity"];
  readonly sender: string;
  readonly domain: string;
}

/** The result of one record. */
interface Decision {
  readonly result: AuthResult;
  readonly mechanism?: string | undefined;
  readonly reason?: string | undefined;
  /** The record that decided, and its domain: it has the explanation. */
  readonly by?: { readonly record: SpfRecord; readonly domain: string };
}

/** An end of the whole evaluation. */
class SpfEnd extends Error {
  readonly result: "temperror" | "permerror";

  constructor(result: SpfEnd["result"], reason: string) {
    super(reason);
    this.result = result;
  }
}

/** One evaluation of check_host(). */
class Evaluation {
  readonly #facts: SpfFacts;
  readonly #tools: SpfTools;
  readonly #identity: Identity;
  readonly #client: IpBytes | undefined;
  readonly #ip: string;
  #terms = 0;
  #void = 0;
  readonly #validated = new Map<string, string>();

  constructor(facts: SpfFacts, tools: SpfTools, identity: Identity) {
    this.#facts = facts;
    this.#tools = tools;
    this.#identity = identity;
    this.#client = parseUnmapped(facts.ip);
    this.#ip = this.#client === undefined ? "" : formatIp(this.#client);
  }

  async run(): Promise<SpfResult> {
    const { identity, domain } = this.#identity;
    const decision = await this.#decide();
    const { result, mechanism, reason, by } = decision;
    const explanation = result === "fail" && by !== undefined
      ? await this.#explain(by.record, by.domain)
      : undefined;
    const lookups = Math.min(this.#terms, MOST_TERMS);
    return {
      ...{ result, identity, domain, mechanism, explanation, reason, lookups },
    };
  }

  async #decide(): Promise<Decision> {
    const { domain } = this.#identity;
    if (this.#client === undefined) {
      return { result: "none", reason: "The client has no IP address" };
    }
    if (!isCheckable(domain)) {
      return { result: "none", reason: "The sender has no domain name" };
    }
    try {
      return await this.#checkHost(domain);
    } catch (error) {
      if (error instanceof SpfEnd) {
        return { result: error.result, reason: error.message };
      }
      if (this.#tools.signal?.aborted) {
        return { result: "temperror", reason: "The answers came too late" };
      }
      throw error;
    }
  }

  /** Evaluates the record of a domain (RFC 7208 section 4). */
  async #checkHost(domain: string): Promise<Decision> {
    const record = await this.#record(domain);
    if (record === undefined) {
      return { result: "none", reason: `"${domain}" has no SPF record` };
    }
    for (const mechanism of record.mechanisms) {
      if (!await this.#matches(mechanism, domain)) continue;
      const { qualifier, text } = mechanism;
      return { result: qualifier, mechanism: text, by: { record, domain } };
    }
    if (record.redirect === undefined) return { result: "neutral" };
    this.#countTerm();
    const target = await this.#expand(record.redirect, domain);
    const redirected = isCheckable(target)
      ? await this.#checkHost(target)
      : { result: "none" as const };
    if (redirected.result !== "none") return redirected;
    throw new SpfEnd(
      "permerror",
      `redirect= of "${domain}" leads to a domain without an SPF record`,
    );
  }

  /** The record of a domain; `undefined` without one. */
  async #record(domain: string): Promise<SpfRecord | undefined> {
    const outcome = await this.#ask("TXT", domain);
    if (outcome.status === "failed") {
      throw new SpfEnd("temperror", NO_ANSWER);
    }
    const texts = outcome.status === "found"
      ? outcome.records.filter(isSpfRecord)
      : [];
    if (texts.length === 0) return undefined;
    if (texts.length > 1) {
      throw new SpfEnd("permerror", `"${domain}" has several SPF records`);
    }
    const record = parseSpfRecord(texts[0]!);
    if (record.fault === undefined) return record;
    throw new SpfEnd("permerror", `${record.fault} in "${domain}"`);
  }

  async #matches(mechanism: SpfMechanism, domain: string): Promise<boolean> {
    const client = this.#client!;
    switch (mechanism.name) {
      case "all":
        return true;
      case "ip4":
        return client.length === 4 &&
          isWithin(client, mechanism.address!, mechanism.prefix4);
      case "ip6":
        return client.length === 16 &&
          isWithin(client, mechanism.address!, mechanism.prefix6);
    }
    this.#countTerm();
    const target = mechanism.domain === undefined
      ? domain
      : await this.#expand(mechanism.domain, domain);
    // Local parts beyond ASCII match nothing (RFC 8616 section 4).
    if (!isAscii(target)) return false;
    switch (mechanism.name) {
      case "include":
        return await this.#includes(target);
      case "a":
        return await this.#hasAddress(target, mechanism, { counts: true });
      case "mx":
        return await this.#hasExchanger(target, mechanism);
      case "ptr":
        return await this.#isNamed(target);
      case "exists":
        return await this.#exists(target);
    }
  }

  async #exists(target: string): Promise<boolean> {
    const outcome = this.#counted(await this.#ask("A", target));
    if (outcome.status !== "failed") return outcome.status === "found";
    throw new SpfEnd("temperror", NO_ANSWER);
  }

  /** Whether the record of another domain lets the client pass (RFC 7208 section 5.2). */
  async #includes(target: string): Promise<boolean> {
    const { result } = isCheckable(target)
      ? await this.#checkHost(target)
      : { result: "none" };
    if (result !== "none") return result === "pass";
    throw new SpfEnd(
      "permerror",
      `include: leads to a domain without an SPF record`,
    );
  }

  async #hasAddress(
    host: string,
    { prefix4, prefix6 }: SpfMechanism,
    options: { readonly counts: boolean },
  ): Promise<boolean> {
    const client = this.#client!;
    const isV4 = client.length === 4;
    const asked = await this.#ask(isV4 ? "A" : "AAAA", host);
    const outcome = options.counts ? this.#counted(asked) : asked;
    if (outcome.status === "failed") {
      throw new SpfEnd("temperror", NO_ANSWER);
    }
    if (outcome.status !== "found") return false;
    return outcome.records.some((text) => {
      const address = parseUnmapped(text);
      return address?.length === client.length &&
        isWithin(client, address, isV4 ? prefix4 : prefix6);
    });
  }

  async #hasExchanger(
    target: string,
    mechanism: SpfMechanism,
  ): Promise<boolean> {
    const outcome = this.#counted(await this.#ask("MX", target));
    if (outcome.status === "failed") {
      throw new SpfEnd("temperror", NO_ANSWER);
    }
    if (outcome.status !== "found") return false;
    if (outcome.records.length > MOST_NAMES) {
      throw new SpfEnd(
        "permerror",
        `"${target}" has over ${MOST_NAMES} mail exchangers`,
      );
    }
    for (const { exchange } of outcome.records) {
      const options = { counts: false };
      if (await this.#hasAddress(exchange, mechanism, options)) return true;
    }
    return false;
  }

  /** Whether a name of the client that leads back to it is in a domain (RFC 7208 section 5.5). */
  async #isNamed(target: string): Promise<boolean> {
    const end = asciiDomain(target);
    for await (const name of this.#validNames({ counts: true })) {
      if (name === end || name.endsWith(`.${end}`)) return true;
    }
    return false;
  }

  /** The names of the client that lead back to it. A failure ends them: `ptr` then does not match. */
  async *#validNames(
    options: { readonly counts: boolean },
  ): AsyncGenerator<string> {
    const client = this.#client!;
    const asked = await this.#ask("PTR", this.#ip);
    const outcome = options.counts ? this.#counted(asked) : asked;
    if (outcome.status !== "found") return;
    for (const name of outcome.records.slice(0, MOST_NAMES)) {
      const type = client.length === 4 ? "A" : "AAAA";
      const addresses = await this.#ask(type, name);
      if (addresses.status !== "found") continue;
      const leadsBack = addresses.records.some((text) => {
        const address = parseUnmapped(text);
        return address !== undefined && formatIp(address) === this.#ip;
      });
      if (leadsBack) yield name.toLowerCase();
    }
  }

  // Macros.

  async #expand(text: string, domain: string): Promise<string> {
    return expandName(text, await this.#macros(text, domain));
  }

  async #macros(text: string, domain: string): Promise<MacroFacts> {
    const { receiver } = this.#facts;
    const { sender } = this.#identity;
    // A name beyond ASCII has its A-labels (RFC 8616 section 4).
    const { helo: said } = this.#facts;
    const helo = isAscii(said) ? said : asciiDomain(said);
    const validated = needsValidated(text)
      ? await this.#validatedName(domain)
      : "unknown";
    const now = Date.now();
    return { ip: this.#ip, sender, domain, helo, receiver, now, validated };
  }

  /** The value of `%{p}`: the domain itself if it is a name of the client, else a name below it, else any. */
  async #validatedName(domain: string): Promise<string> {
    const known = this.#validated.get(domain);
    if (known !== undefined) return known;
    const names: string[] = [];
    for await (const name of this.#validNames({ counts: false })) {
      names.push(name);
    }
    const name = names.find((one) => one === domain) ??
      names.find((one) => one.endsWith(`.${domain}`)) ?? names[0] ?? "unknown";
    this.#validated.set(domain, name);
    return name;
  }

  /** The domain's words about a fail (RFC 7208 section 6.2); anything wrong with them drops them. */
  async #explain(
    { explanation }: SpfRecord,
    domain: string,
  ): Promise<string | undefined> {
    if (explanation === undefined) return undefined;
    try {
      const name = await this.#expand(explanation, domain);
      if (!isCheckable(name)) return undefined;
      const outcome = await this.#ask("TXT", name);
      if (outcome.status !== "found") return undefined;
      const [text, ...more] = outcome.records;
      if (more.length > 0 || !/^[ -~]*$/.test(text!)) return undefined;
      const words = expandMacros(text!, await this.#macros(text!, domain));
      return words !== undefined && /^[ -~]+$/.test(words)
        ? words.slice(0, LONGEST_EXPLANATION)
        : undefined;
    } catch (error) {
      if (error instanceof SpfEnd || this.#tools.signal?.aborted) {
        return undefined;
      }
      throw error;
    }
  }

  // Questions and limits.

  #countTerm(): void {
    if (++this.#terms <= MOST_TERMS) return;
    throw new SpfEnd("permerror", `Over ${MOST_TERMS} terms ask the DNS`);
  }

  /** Counts an answer without records. */
  #counted<T extends DnsOutcome<unknown> | MxOutcome>(outcome: T): T {
    const isVoid = outcome.status === "none" && outcome.why !== "not-a-name";
    if (isVoid && ++this.#void > MOST_VOID) {
      throw new SpfEnd("permerror", `Over ${MOST_VOID} answers are void`);
    }
    return outcome;
  }

  #ask<T extends "TXT" | "A" | "AAAA" | "MX" | "PTR">(type: T, name: string) {
    const { dns, signal } = this.#tools;
    // Macros make names of the sender's local part.
    const anyLabel = true;
    return dns.query(type, name, signal ? { signal, anyLabel } : { anyLabel });
  }
}

/** Whether SPF is defined for a domain: a name of at least two labels (RFC 7208 section 4.3). */
function isCheckable(domain: string): boolean {
  const labels = domain.replace(/\.$/, "").split(".");
  return labels.length >= 2 && domain.length <= 254 &&
    labels.every((label) => label.length >= 1 && label.length <= 63) &&
    !/[\[\]\s]/.test(domain);
}

/** Whether the first bits of two addresses of one family are equal. */
function isWithin(
  address: readonly number[],
  network: readonly number[],
  bits: number,
): boolean {
  for (let at = 0; 8 * at < bits; at++) {
    const left = bits - 8 * at;
    const mask = left >= 8 ? 0xff : (0xff << (8 - left)) & 0xff;
    if ((address[at]! & mask) !== (network[at]! & mask)) return false;
  }
  return true;
}
