/**
 * The MTA-STS policies of the domains that mail goes to: fetched when they are
 * needed, and kept for as long as they say, over restarts too.
 *
 * A policy that was fetched once holds to its end: neither a name server nor a web
 * server that is silent, or that an attacker holds back, takes it away. A delivery
 * waits for a fetch no longer than its limit, and as long again where many fetches
 * are under way; for a refresh not at all.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8461#section-5.1 | RFC 8461 section 5.1},
 * {@link https://www.rfc-editor.org/rfc/rfc8461#section-10.2 | section 10.2}
 */

import { normalizeName } from "../dns/name.ts";
import type { DnsQuerier } from "../dns/outcome.ts";
import { Deadline, SingleFlight } from "../dns/single_flight.ts";
import { describeError, type Logger } from "../log.ts";
import type { Certificate } from "../tls/certificate.ts";
import { HttpsError, type HttpsOptions, requestHttps } from "./https.ts";
import { Slots } from "./slots.ts";
import { parseStsPolicy, stsId, type StsPolicy } from "./sts_policy.ts";
import type { TlsFailureType } from "./tls_result.ts";

/** What is known of a domain's policy. */
export type StsOutcome =
  /** It has one, which holds. */
  | { readonly status: "found"; readonly policy: StsPolicy }
  /** It has none. */
  | { readonly status: "none" }
  /** It says that it has one, which cannot be had: mail goes as without one. */
  | {
    readonly status: "failed";
    readonly reason: string;
    readonly type: TlsFailureType;
  };

/** Finds policies. */
export interface StsPolicies {
  /** The policy of a domain. Never rejects, but for the signal. */
  policyFor(
    domain: string,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<StsOutcome>;
}

/** Options of {@linkcode StsStore}. */
export interface StsStoreOptions {
  readonly dns: DnsQuerier;
  readonly log: Logger;
  /** The folder that keeps policies; without one they are lost at the end. */
  readonly folder?: string | undefined;
  /** The trusted authorities. Default: the platform's. */
  readonly trusted?: readonly Certificate[] | undefined;
  /** The port of web servers. Default: 443. */
  readonly port?: number | undefined;
  /** Whether web servers may be on this machine. Default: no. */
  readonly allowLoopback?: boolean | undefined;
  /** Milliseconds for a fetch, and for the wait before it where many are under way. Default: 20,000. */
  readonly timeoutMs?: number | undefined;
  /** The time of day, in milliseconds since 1970. */
  readonly now?: (() => number) | undefined;
  /** A random number from 0 to below 1. */
  readonly random?: (() => number) | undefined;
}

/** A policy that was fetched. */
interface Kept {
  readonly policy: StsPolicy;
  readonly fetchedAt: number;
  /** When it is fetched again, at a random time in the second half of its life. */
  readonly refreshAt: number;
}

/** Policies in memory; more are read from the folder again. */
const MOST_KEPT = 1000;
/** Milliseconds for which a failed fetch is not tried again. */
const PAUSE_MS = 300_000;
/** Policies in the folder, at most. */
const MOST_FILES = 10_000;
/** Longest time that any policy holds, in milliseconds. */
const LONGEST_MS = 31_557_600_000;
/** Fetches at a time. */
const MOST_FETCHES = 10;
/** Milliseconds for one fetch. */
const FETCH_MS = 20_000;
/** Milliseconds between two warnings about one domain. */
const QUIET_MS = 3_600_000;

/** Keeps policies. */
export class StsStore implements StsPolicies {
  readonly #options: StsStoreOptions;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #kept = new Map<string, Kept | undefined>();
  /** When a domain whose fetch failed is asked again, and why it failed. */
  readonly #failed = new Map<
    string,
    { readonly until: number; readonly outcome: StsOutcome }
  >();
  readonly #fetching = new SingleFlight<StsOutcome>();
  readonly #slots = new Slots(MOST_FETCHES);
  /** When a domain was warned of last. */
  readonly #warned = new Map<string, number>();
  /** Whether the folder was cleared of what is old. */
  #isSwept = false;

  /** Makes one that knows no policy yet. */
  constructor(options: StsStoreOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#random = options.random ?? Math.random;
  }

  async policyFor(
    domain: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<StsOutcome> {
    const name = normalizeName(domain);
    if (name === undefined) return { status: "none" };
    const kept = await this.#keptFor(name);
    const id = await this.#idOf(name, options.signal);
    if (id === undefined || (id === kept?.policy.id && !this.#isDue(kept))) {
      return kept === undefined ? { status: "none" } : foundIn(kept);
    }
    if (id === kept?.policy.id) {
      // It holds meanwhile: no delivery waits for the new one.
      void this.#fetch(name, id);
      return foundIn(kept);
    }
    const outcome = await this.#fetch(name, id, options.signal);
    return outcome.status === "failed" && kept !== undefined
      ? foundIn(kept)
      : outcome;
  }

  #isDue({ refreshAt }: Kept): boolean {
    return this.#now() >= refreshAt;
  }

  /** The id of the domain's record; `undefined` without one, or if it is not known. */
  async #idOf(
    domain: string,
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    const { dns } = this.#options;
    const name = `_mta-sts.${domain}`;
    if (name.length > 253) return undefined;
    const outcome = await dns.query("TXT", name, signal ? { signal } : {});
    return outcome.status === "found" ? stsId(outcome.records) : undefined;
  }

  /** The policy that was fetched and still holds. */
  async #keptFor(domain: string): Promise<Kept | undefined> {
    const known = this.#kept.has(domain)
      ? this.#kept.get(domain)
      : await this.#load(domain);
    if (known === undefined) return undefined;
    if (this.#now() < known.fetchedAt + known.policy.maxAgeMs) return known;
    this.#kept.set(domain, undefined);
    return undefined;
  }

  /** Fetches a policy, once at a time for a domain. Never rejects, but for the signal. */
  async #fetch(
    domain: string,
    id: string,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<StsOutcome> {
    const before = this.#failed.get(domain);
    if (before !== undefined && this.#now() < before.until) {
      return before.outcome;
    }
    return await this.#fetching.run(domain, {
      start: (unwanted) => this.#fetchInTurn(domain, id, unwanted),
      signal,
    });
  }

  /** Fetches a policy when few others are fetched. Rejects if no delivery waits any more. */
  async #fetchInTurn(
    domain: string,
    id: string,
    unwanted: AbortSignal,
  ): Promise<StsOutcome> {
    using slot = await this.#slot(unwanted);
    if (slot !== undefined) return await this.#fetchNow(domain, id, unwanted);
    const reason =
      `The policy of "${domain}" cannot be asked for: too many others are fetched`;
    this.#warn(domain, reason);
    return { status: "failed", type: "sts-policy-fetch-error", reason };
  }

  /** The permission to fetch; `undefined` if it is not to be had within the time of a fetch. */
  async #slot(unwanted: AbortSignal): Promise<Disposable | undefined> {
    using turn = new Deadline(this.#options.timeoutMs ?? FETCH_MS, unwanted);
    try {
      return await this.#slots.take(turn.signal);
    } catch (error) {
      if (turn.expired) return undefined;
      throw error;
    }
  }

  async #fetchNow(
    domain: string,
    id: string,
    signal: AbortSignal,
  ): Promise<StsOutcome> {
    const { timeoutMs = FETCH_MS } = this.#options;
    const options = { ...this.#options, timeoutMs, signal };
    const fetched = await fetchStsPolicy(domain, id, options);
    // What was broken off here says nothing about the domain.
    signal.throwIfAborted();
    if ("status" in fetched) {
      const until = this.#now() + PAUSE_MS;
      put(this.#failed, domain, { until, outcome: fetched });
      this.#warn(domain, fetched.reason);
      return fetched;
    }
    this.#failed.delete(domain);
    const kept = this.#keptSince(fetched, this.#now());
    put(this.#kept, domain, kept);
    await this.#save(domain, kept);
    return foundIn(kept);
  }

  /** Warns that a policy in force cannot be refreshed; seldom enough for a log. */
  #warn(domain: string, reason: string): void {
    const now = this.#now();
    const kept = this.#kept.get(domain);
    if (kept === undefined || kept.policy.mode === "none") return;
    if (now < (this.#warned.get(domain) ?? -Infinity) + QUIET_MS) return;
    put(this.#warned, domain, now);
    const end = new Date(kept.fetchedAt + kept.policy.maxAgeMs).toISOString();
    this.#options.log({
      level: "warn",
      event: "warning",
      message:
        `The MTA-STS policy of "${domain}" holds until ${end} and cannot be refreshed: ${reason}`,
    });
  }

  #keptSince(policy: StsPolicy, fetchedAt: number): Kept {
    const share = 0.5 + this.#random() / 2;
    return {
      policy,
      fetchedAt,
      refreshAt: fetchedAt + share * policy.maxAgeMs,
    };
  }

  // The folder.

  #path(domain: string): string | undefined {
    const { folder } = this.#options;
    return folder === undefined ? undefined : `${folder}/${domain}.json`;
  }

  async #load(domain: string): Promise<Kept | undefined> {
    const path = this.#path(domain);
    const kept = path === undefined ? undefined : await this.#read(path);
    put(this.#kept, domain, kept);
    return kept;
  }

  async #read(path: string): Promise<Kept | undefined> {
    let text: string;
    try {
      text = await Deno.readTextFile(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) this.#fault(path, error);
      return undefined;
    }
    try {
      const { id, fetchedAt, policy } = JSON.parse(text);
      const read = parseStsPolicy(String(policy), String(id));
      if ("fault" in read) throw new SyntaxError(read.fault);
      if (!Number.isFinite(fetchedAt)) throw new SyntaxError("It has no time");
      // A clock that was set back must not keep it for ever.
      return this.#keptSince(read, Math.min(fetchedAt, this.#now()));
    } catch (error) {
      this.#fault(path, error);
      return undefined;
    }
  }

  async #save(domain: string, { policy, fetchedAt }: Kept): Promise<void> {
    const path = this.#path(domain);
    if (path === undefined) return;
    const { id, lines } = policy;
    const text = JSON.stringify({ id, fetchedAt, policy: lines.join("\n") });
    try {
      await Deno.mkdir(this.#options.folder!, { recursive: true, mode: 0o700 });
      await Deno.writeTextFile(`${path}.new`, text, { mode: 0o600 });
      await Deno.rename(`${path}.new`, path);
      if (this.#isSwept) return;
      this.#isSwept = true;
      await sweep(this.#options.folder!, this.#now() - LONGEST_MS);
    } catch (error) {
      this.#fault(path, error);
    }
  }

  #fault(path: string, error: unknown): void {
    this.#options.log({
      level: "error",
      event: "error",
      message: `Cannot use the kept MTA-STS policy "${path}"`,
      error: describeError(error),
    });
  }
}

/** Removes files from before a time, and the oldest of too many. */
async function sweep(folder: string, before: number): Promise<void> {
  const found: { readonly path: string; readonly at: number }[] = [];
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (!isFile) continue;
    const path = `${folder}/${name}`;
    // Another delivery may have replaced it meanwhile.
    const info = await Deno.stat(path).catch(() => undefined);
    if (info?.mtime) found.push({ path, at: info.mtime.getTime() });
  }
  found.sort((one, other) => other.at - one.at);
  for (const [index, { path, at }] of found.entries()) {
    if (index >= MOST_FILES || at < before) {
      await Deno.remove(path).catch(() => {});
    }
  }
}

/** Puts an entry last, and drops the first of too many. */
function put<V>(map: Map<string, V>, domain: string, value: V): void {
  map.delete(domain);
  map.set(domain, value);
  if (map.size > MOST_KEPT) map.delete(map.keys().next().value!);
}

function foundIn({ policy }: Kept): StsOutcome {
  return policy.mode === "none"
    ? { status: "none" }
    : { status: "found", policy };
}

/** Fetches the policy of a domain; says why it cannot be had. Never rejects. */
export async function fetchStsPolicy(
  domain: string,
  id: string,
  options: HttpsOptions,
): Promise<StsPolicy | (StsOutcome & { readonly status: "failed" })> {
  const failed = (type: TlsFailureType, reason: string) =>
    ({ status: "failed", type, reason }) as const;
  try {
    const { status, headers, body } = await requestHttps({
      host: `mta-sts.${domain}`,
      path: "/.well-known/mta-sts.txt",
    }, options);
    if (status !== 200) {
      const text = `The policy of "${domain}" has status ${status}, want 200`;
      return failed("sts-policy-fetch-error", text);
    }
    if (!/^text\/plain[ \t]*(?:;|$)/i.test(headers.get("content-type") ?? "")) {
      const text = `The policy of "${domain}" is no text/plain`;
      return failed("sts-policy-fetch-error", text);
    }
    const policy = parseStsPolicy(new TextDecoder().decode(body), id);
    return "fault" in policy
      ? failed("sts-policy-invalid", `${policy.fault} ("${domain}")`)
      : policy;
  } catch (error) {
    if (!(error instanceof HttpsError)) throw error;
    const type = error.isCertificate
      ? "sts-webpki-invalid"
      : "sts-policy-fetch-error";
    return failed(type, error.message);
  }
}
