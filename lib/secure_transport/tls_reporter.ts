/**
 * Reports on TLS over time: counts results, keeps the counts in a folder, and
 * sends each domain that asks for it the report of a day that has ended.
 *
 * Reads the clock it was given, and looks once a minute for what is due. Never
 * holds up a delivery, and never rejects: a report that cannot be sent is tried
 * again for a day, then dropped with a log record.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8460#section-3 | RFC 8460 section 3},
 * {@link https://www.rfc-editor.org/rfc/rfc8460#section-5 | section 5}
 */

import type { DnsQuerier } from "../dns/outcome.ts";
import { describeError, errorMessage, type Logger } from "../log.ts";
import { Address } from "../protocol/address.ts";
import { type HttpsOptions, requestHttps } from "./https.ts";
import { DAY_MS, dayOf, TlsDay, type TlsReportHead } from "./tls_report.ts";
import {
  makeTlsReport,
  TLS_REPORT_TYPE,
  type TlsReportFile,
  tlsReportMessage,
} from "./tls_report_mail.ts";
import type { TlsReportOptions } from "./tls_report_options.ts";
import {
  readTlsReportRecord,
  type TlsReportPlace,
} from "./tls_report_record.ts";
import type { TlsResult } from "./tls_result.ts";

/** A message with a report. */
export interface TlsReportMail {
  readonly from: string;
  readonly to: string;
  readonly data: Uint8Array;
}

/** Time and timers: the clock of the queue. */
interface ReporterClock {
  now(): number;
  setTimer(ms: number, action: () => void): () => void;
}

/** What a {@linkcode TlsReporter} works with. */
export interface TlsReporterInit
  extends Pick<HttpsOptions, "trusted" | "allowLoopback"> {
  readonly options: TlsReportOptions;
  readonly dns: DnsQuerier;
  readonly log: Logger;
  readonly clock: ReporterClock;
  /** Hands a message over; resolves when it is safe. */
  readonly send: (mail: TlsReportMail) => Promise<void>;
  /** The folder that keeps the counts; without one they are lost at the end. */
  readonly folder?: string | undefined;
  /** A random number from 0 to below 1. Default: `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** Milliseconds between two looks, and between two writes of the counts. */
const TICK_MS = 60_000;
/** Longest delay behind the end of a day: not all senders report at once (RFC 8460 section 4.1). */
const SPREAD_MS = 4 * 3_600_000;
/** Milliseconds until a report that failed is tried again; doubled each time. */
const RETRY_MS = 900_000;
/** Milliseconds of a report's tries (RFC 8460 section 5.5). */
const LAST_MS = DAY_MS;
/** Reports that are sent at a time, and how many times that until the counts are written again. */
const AT_ONCE = 10;
const SAVE_EVERY = 5;
/** Days without a report that are kept. */
const MOST_DAYS = 7;
/** Bytes of a file that is read. */
const MOST_FILE = 128 * 1024 * 1024;
const FILE = /^(\d{4}-\d\d-\d\d)\.json$/;

/** A report that failed. */
interface Attempt {
  readonly tries: number;
  readonly nextAt: number;
}

/** Counts and reports. */
export class TlsReporter {
  readonly #init: TlsReporterInit;
  readonly #head: TlsReportHead;
  readonly #random: () => number;
  /** The days by name, that of now among them. */
  readonly #days = new Map<string, TlsDay>();
  /** When the reports of a day are due. */
  readonly #dueAt = new Map<string, number>();
  /** Reports that failed, by day and domain. */
  readonly #attempts = new Map<string, Attempt>();
  /** Days whose counts have changed since they were written. */
  readonly #changed = new Set<string>();
  readonly #stop = new AbortController();
  #cancelTimer: (() => void) | undefined;
  #running: Promise<void> | undefined;

  /** Makes one that has counted nothing. */
  constructor(init: TlsReporterInit) {
    const { options, random } = init;
    const submitter = Address.parse(options.from).asciiDomain;
    this.#init = init;
    this.#random = random ?? Math.random;
    this.#head = {
      organization: options.organization ?? submitter,
      contact: options.contact ?? options.from,
      submitter,
    };
  }

  /** Counts a result. */
  add(result: TlsResult): void {
    const day = this.#today();
    const wasFull = day.isFull;
    day.add(result);
    this.#changed.add(day.day);
    if (day.isFull && !wasFull) {
      this.#init.log({
        level: "warn",
        event: "warning",
        message: "There is no room for more results of TLS today",
      });
    }
  }

  /** Reads the counts of the folder, and begins to look for reports that are due. */
  async start(): Promise<void> {
    await this.#load();
    this.#tickLater();
  }

  /** Ends what is under way, and writes the counts. */
  async stop(): Promise<void> {
    this.#stop.abort(new Deno.errors.Interrupted("The server stops"));
    this.#cancelTimer?.();
    await this.#running;
    await this.#save();
  }

  #today(): TlsDay {
    const name = dayOf(this.#init.clock.now());
    let day = this.#days.get(name);
    if (day === undefined) {
      const bytes = crypto.getRandomValues(new Uint8Array(6));
      day = new TlsDay(name, bytes.toHex());
      this.#days.set(name, day);
    }
    return day;
  }

  #tickLater(): void {
    if (this.#stop.signal.aborted) return;
    this.#cancelTimer = this.#init.clock.setTimer(TICK_MS, () => {
      this.#running = this.#tick().catch((error) => this.#fault(error))
        .finally(() => this.#tickLater());
    });
  }

  async #tick(): Promise<void> {
    const now = this.#init.clock.now();
    for (const day of [...this.#days.values()]) {
      // A clock that was set back leaves days to come: they wait, too.
      if (now < this.#due(day)) continue;
      await this.#report(day);
      if (this.#stop.signal.aborted) return;
    }
    await this.#save();
  }

  #due(day: TlsDay): number {
    let due = this.#dueAt.get(day.day);
    if (due === undefined) {
      due = day.end + this.#random() * SPREAD_MS;
      this.#dueAt.set(day.day, due);
    }
    return due;
  }

  async #report(day: TlsDay): Promise<void> {
    const { domains } = day;
    for (let at = 0; at < domains.length; at += AT_ONCE) {
      const some = domains.slice(at, at + AT_ONCE);
      await Promise.all(some.map((domain) => this.#reportOn(day, domain)));
      if (this.#stop.signal.aborted) return;
      if ((at / AT_ONCE) % SAVE_EVERY === SAVE_EVERY - 1) await this.#save();
    }
  }

  /** Sends one report, or notes when it is tried again. */
  async #reportOn(day: TlsDay, domain: string): Promise<void> {
    const key = `${day.day} ${domain}`;
    const attempt = this.#attempts.get(key);
    const { clock } = this.#init;
    if (attempt !== undefined && clock.now() < attempt.nextAt) return;
    const failure = await this.#reportTo(day, domain);
    if (this.#stop.signal.aborted) return;
    const tries = (attempt?.tries ?? 0) + 1;
    const nextAt = clock.now() + RETRY_MS * 2 ** (tries - 1);
    if (failure !== undefined && nextAt <= this.#due(day) + LAST_MS) {
      this.#attempts.set(key, { tries, nextAt });
      return;
    }
    this.#attempts.delete(key);
    day.drop(domain);
    this.#changed.add(day.day);
    if (failure !== undefined) this.#logDropped(day, domain, failure);
  }

  #logDropped({ day }: TlsDay, domain: string, failure: string): void {
    this.#init.log({
      level: "warn",
      event: "warning",
      message:
        `Cannot report the TLS of ${day} to "${domain}", and will not try again: ${failure}`,
      fields: { name: domain },
    });
  }

  /** Sends one report to all places that lack it; returns why some do, still. */
  async #reportTo(day: TlsDay, domain: string): Promise<string | undefined> {
    const name = `_smtp._tls.${domain}`;
    if (name.length > 253) return undefined;
    const { signal } = this.#stop;
    try {
      const answer = await this.#init.dns.query("TXT", name, { signal });
      if (answer.status === "failed") return answer.reason;
      if (answer.status !== "found") return undefined;
      const { places = [] } = readTlsReportRecord(answer.records);
      if (places.length === 0) return undefined;
      const report = await makeTlsReport(day, domain, this.#head);
      let failure: string | undefined;
      for (const place of places) {
        if (day.sentTo(domain).has(place.uri)) continue;
        try {
          await this.#sendTo(place, report);
          day.markSent(domain, place.uri);
          this.#changed.add(day.day);
        } catch (error) {
          failure = errorMessage(error);
        }
        if (signal.aborted) break;
      }
      return failure;
    } catch (error) {
      return errorMessage(error);
    }
  }

  async #sendTo(place: TlsReportPlace, report: TlsReportFile): Promise<void> {
    if (place.kind === "mail") return await this.#sendMail(place, report);
    const { host, path, port } = place;
    const { dns, trusted, allowLoopback } = this.#init;
    const { status } = await requestHttps({
      ...{ host, path },
      headers: { "Content-Type": TLS_REPORT_TYPE },
      body: report.bytes,
    }, { dns, port, trusted, allowLoopback, signal: this.#stop.signal });
    if (status < 200 || status > 299) {
      throw new Error(`Host "${host}" answers with status ${status}`);
    }
  }

  async #sendMail(
    { address: to }: TlsReportPlace & { readonly kind: "mail" },
    report: TlsReportFile,
  ): Promise<void> {
    const { options: { from }, clock, send } = this.#init;
    const { submitter } = this.#head;
    const unique = crypto.randomUUID().replaceAll("-", "");
    const now = clock.now();
    const data = tlsReportMessage(report, {
      ...{ from, to, now, unique, submitter },
    });
    await send({ from, to, data });
  }

  // The folder.

  async #load(): Promise<void> {
    const { folder } = this.#init;
    if (folder === undefined) return;
    const names: string[] = [];
    try {
      for await (const { name, isFile } of Deno.readDir(folder)) {
        if (isFile && FILE.test(name)) names.push(name);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) this.#fault(error);
      return;
    }
    names.sort();
    for (const name of names.splice(0, names.length - MOST_DAYS)) {
      await Deno.remove(`${folder}/${name}`).catch(() => {});
    }
    for (const name of names) {
      const path = `${folder}/${name}`;
      try {
        const { size } = await Deno.stat(path);
        if (size > MOST_FILE) throw new RangeError(`It has ${size} bytes`);
        const day = TlsDay.parse(await Deno.readTextFile(path));
        if (name !== `${day.day}.json`) {
          throw new SyntaxError("Its name is not that of its day");
        }
        this.#days.set(day.day, day);
      } catch (error) {
        this.#fault(error, path);
        // What cannot be read stays for people, and out of the way.
        await Deno.rename(path, `${path}.damaged`).catch(() => {});
      }
    }
  }

  /** Writes the counts that have changed; removes those of days that are done with. */
  async #save(): Promise<void> {
    const { folder, clock } = this.#init;
    const today = dayOf(clock.now());
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const name of changed) {
      const day = this.#days.get(name);
      if (day === undefined) continue;
      const isDone = name < today && day.domains.length === 0;
      if (isDone) {
        this.#days.delete(name);
        this.#dueAt.delete(name);
      }
      if (folder === undefined) continue;
      const path = `${folder}/${name}.json`;
      try {
        if (isDone) await Deno.remove(path).catch(unlessMissing);
        else await write(folder, path, day.toText());
      } catch (error) {
        if (!isDone) this.#changed.add(name);
        this.#fault(error, path);
      }
    }
  }

  #fault(error: unknown, path?: string): void {
    this.#init.log({
      level: "error",
      event: "error",
      message: path === undefined
        ? "Cannot report on TLS"
        : `Cannot keep the counts of TLS in "${path}"`,
      error: describeError(error),
    });
  }
}

/** Replaces a file: a reader finds the old text or the new one. */
async function write(
  folder: string,
  path: string,
  text: string,
): Promise<void> {
  await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
  const next = `${path}.new`;
  await Deno.remove(next).catch(unlessMissing);
  using file = await Deno.open(next, {
    ...{ write: true, createNew: true, mode: 0o600 },
  });
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) {
    at += await file.write(bytes.subarray(at));
  }
  await file.syncData();
  await Deno.rename(next, path);
}

function unlessMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
