/**
 * What a running server says of itself: the sessions by state, how much it did in
 * the last minute and hour, and the queue by destination. Read from the public
 * face of the server and counted from its log records. Changes nothing.
 */

import type { LogRecord, SmtpServer, SmtpSession } from "../../mod.ts";
import { kindName } from "../server/mod.ts";
import { domainOf } from "./queue_filter.ts";

/** Most destinations that the status names. */
const MOST_DESTINATIONS = 20;
/** Messages looked at before others get a turn: 100,000 may wait. */
const SLICE = 500;

/** How much was done in the last minute and hour. */
export interface Rate {
  readonly minute: number;
  readonly hour: number;
}

/** The rates that are counted: messages, refusals, results of recipients, and bounces. */
export type RateName =
  | "accepted"
  | "refused"
  | "delivered"
  | "deferred"
  | "failed"
  | "bounces";

/** The messages that wait for one destination. */
export interface DestinationFacts {
  readonly destination: string;
  readonly messages: number;
  /** When the next is tried; `null` if all are held. */
  readonly nextTryAt: string | null;
  /** The last answer for any of them. */
  readonly answer: string | null;
}

/** All that `status` shows. */
export interface StatusFacts {
  readonly version: string;
  readonly pid: number;
  readonly upSince: string;
  /** Whether it takes connections: it does not while it stops. */
  readonly active: boolean;
  readonly listeners: readonly {
    readonly address: string;
    readonly port: number;
    /** The absolute path of a unix socket. */
    readonly path?: string | undefined;
    readonly kind: string;
  }[];
  readonly sessions: {
    readonly total: number;
    readonly states: Readonly<Partial<Record<SmtpSession["state"], number>>>;
    readonly tls: number;
    readonly loggedIn: number;
  };
  readonly rates: Readonly<Record<RateName, Rate>>;
  readonly queue: {
    readonly total: number;
    readonly bytes: number;
    /** Being delivered. */
    readonly active: number;
    /** Tried before, and to be tried again. */
    readonly deferred: number;
    /** Not tried yet. */
    readonly waiting: number;
    readonly held: number;
    /** The destinations that most messages wait for. */
    readonly destinations: readonly DestinationFacts[];
    /** Number of further destinations. */
    readonly moreDestinations: number;
  };
}

/** Slots of each ring: seconds of a minute, and minutes of an hour. */
const SLOTS = 60;

/** A sum over the last 60 slots of time. */
class Ring {
  readonly #slots = new Float64Array(SLOTS);
  readonly #slotMs: number;
  #at = 0;

  constructor(slotMs: number) {
    this.#slotMs = slotMs;
  }

  add(now: number): void {
    this.#slots[this.#turn(now)]! += 1;
  }

  sum(now: number): number {
    this.#turn(now);
    return this.#slots.reduce((sum, count) => sum + count, 0);
  }

  /** Empties the slots that have passed; returns the present one. */
  #turn(now: number): number {
    const present = Math.floor(now / this.#slotMs);
    const passed = Math.min(present - this.#at, SLOTS);
    for (let back = 0; back < passed; back++) {
      this.#slots[(present - back) % SLOTS] = 0;
    }
    this.#at = Math.max(this.#at, present);
    return this.#at % SLOTS;
  }
}

/** What a delivery counts for, by its result. */
const RESULTS: Readonly<Record<string, RateName>> = {
  delivered: "delivered",
  relayed: "delivered",
  deferred: "deferred",
  failed: "failed",
};

/** What other events count for. */
const COUNTED: Readonly<Partial<Record<LogRecord["event"], RateName>>> = {
  message: "accepted",
  refused: "refused",
  bounce: "bounces",
};

/** Counts log records by what they report. */
export class RateCounter {
  readonly #rings: Readonly<Record<RateName, readonly [Ring, Ring]>>;

  constructor() {
    const rings = () => [new Ring(1000), new Ring(60_000)] as const;
    this.#rings = {
      accepted: rings(),
      refused: rings(),
      delivered: rings(),
      deferred: rings(),
      failed: rings(),
      bounces: rings(),
    };
  }

  /** Counts a record; `now` in ms of a clock that never goes back. */
  count({ level, event, fields }: LogRecord, now: number): void {
    // Whether a port is open is no business with the server: no rate may depend
    // on whether the log wants records of it.
    if (level === "debug") return;
    const name = event === "delivery"
      ? RESULTS[String(fields?.["result"])]
      : COUNTED[event];
    if (name === undefined) return;
    for (const ring of this.#rings[name]) ring.add(now);
  }

  /** The rates at a time of the same clock. */
  rates(now: number): Readonly<Record<RateName, Rate>> {
    const rates = Object.entries(this.#rings).map(([name, [second, minute]]) =>
      [name, { minute: second.sum(now), hour: minute.sum(now) }] as const
    );
    return Object.fromEntries(rates) as Record<RateName, Rate>;
  }
}

/** The facts of a running server. Looks at a large queue in slices. */
export async function statusFacts(
  server: SmtpServer,
  { version, upSince, rates }: {
    readonly version: string;
    readonly upSince: Date;
    readonly rates: RateCounter;
  },
): Promise<StatusFacts> {
  return {
    version,
    pid: Deno.pid,
    upSince: upSince.toISOString(),
    active: server.active,
    listeners: server.addresses.map((at) => ({
      address: at.address,
      port: at.port,
      ...(at.path !== undefined && { path: at.path }),
      kind: kindName(at),
    })),
    sessions: sessionFacts(server.sessions),
    rates: rates.rates(performance.now()),
    queue: await queueFacts(server),
  };
}

function sessionFacts(
  sessions: readonly SmtpSession[],
): StatusFacts["sessions"] {
  const states: Partial<Record<SmtpSession["state"], number>> = {};
  for (const { state } of sessions) states[state] = (states[state] ?? 0) + 1;
  return {
    total: sessions.length,
    states,
    tls: sessions.filter(({ tls }) => tls !== undefined).length,
    loggedIn: sessions.filter(({ username }) => username !== undefined).length,
  };
}

/** A destination while the queue is looked at. */
interface Destination {
  messages: number;
  nextTryAt: number;
  answer: { readonly at: number; readonly text: string } | undefined;
}

async function queueFacts(server: SmtpServer): Promise<StatusFacts["queue"]> {
  const counts = { active: 0, deferred: 0, waiting: 0, held: 0 };
  const found = new Map<string, Destination>();
  let total = 0;
  let bytes = 0;
  for (const relay of server.relays) {
    if (++total % SLICE === 0) {
      await new Promise<void>((resolve) => setTimeout(resolve));
    }
    const { held, state, recipients } = relay;
    bytes += relay.size;
    const pending = recipients.filter(({ status }) => status === "pending");
    const isActive = state !== "idle-waiting" && state !== "done";
    const isTried = pending.some(({ attempts }) => attempts > 0);
    counts[
      isActive ? "active" : held ? "held" : isTried ? "deferred" : "waiting"
    ]++;
    const counted = new Set<string>();
    for (const { address, nextTryAt, answer } of pending) {
      const name = domainOf(address);
      let destination = found.get(name);
      if (destination === undefined) {
        destination = { messages: 0, nextTryAt: Infinity, answer: undefined };
        found.set(name, destination);
      }
      if (!counted.has(name)) destination.messages++;
      counted.add(name);
      if (!held && nextTryAt !== undefined) {
        destination.nextTryAt = Math.min(
          destination.nextTryAt,
          nextTryAt.getTime(),
        );
      }
      if (answer !== undefined && answer.at >= (destination.answer?.at ?? 0)) {
        destination.answer = answer;
      }
    }
  }
  const sorted = [...found].sort(([a, one], [b, other]) =>
    other.messages - one.messages || (a < b ? -1 : 1)
  );
  return {
    ...{ total, bytes, ...counts },
    destinations: sorted.slice(0, MOST_DESTINATIONS).map(([name, its]) => ({
      destination: name,
      messages: its.messages,
      nextTryAt: its.nextTryAt === Infinity
        ? null
        : new Date(its.nextTryAt).toISOString(),
      answer: its.answer?.text ?? null,
    })),
    moreDestinations: Math.max(0, sorted.length - MOST_DESTINATIONS),
  };
}
