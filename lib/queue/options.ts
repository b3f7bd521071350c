/**
 * What a queue can be told: options, hooks, and their defaults in one place.
 */

import { Address } from "../protocol/address.ts";
import {
  anyNumber,
  callable,
  checkOptions,
  having,
  required,
  type Rule,
  type Rules,
  text,
  where,
} from "../options.ts";
import { type Clock, SYSTEM_CLOCK } from "../spool/clock.ts";
import type { Deliver, DeliveryState } from "./job.ts";
import { DEFAULT_WINDOW } from "./destination.ts";
import type { Relay, RelayRecipient } from "./relay.ts";
import { RetrySchedule } from "./schedule.ts";
import { type Spool, SPOOL_RULE } from "../spool/spool.ts";
import type { Logger } from "../log.ts";

const HOUR = 3_600_000;

/** Hooks of a queue: what a program is told of its relays. None may throw; what one throws is logged. */
export interface RelayHooks {
  /** A delivery has made a step. Many deliveries of one message may take turns. */
  onRelayStateChange?(
    relay: Relay,
    state: DeliveryState,
    previous: DeliveryState,
  ): void;
  /** Every recipient has been dealt with, none failed, and the relay has left the queue. */
  onRelayDone?(relay: Relay): void;
  /**
   * Recipients have failed for good; the sender has not been told yet. Return
   * `"hold"` to keep them in the queue, held, until the program has changed
   * what was wrong and calls {@linkcode Relay.retry}; anything else lets the
   * notice go.
   */
  onRelayError?(
    relay: Relay,
    failed: readonly RelayRecipient[],
  ): "hold" | void | Promise<"hold" | void>;
}

/** Options of {@linkcode RelayQueue}. */
export interface RelayQueueOptions extends RelayHooks {
  /** Where messages are kept safe. The queue opens and closes it. */
  readonly spool: Spool;
  /** Who delivers. */
  readonly deliver: Deliver;
  /** This host's name, for notices. */
  readonly hostname: string;
  /**
   * When a deferred delivery is tried again.
   *
   * @default {RetrySchedule.DEFAULT}
   */
  readonly schedule?: RetrySchedule;
  /**
   * Milliseconds until what is not delivered is returned.
   *
   * @default {432000000} Five days
   */
  readonly expireAfterMs?: number;
  /**
   * Milliseconds until the sender is told that a message is late; `Infinity`
   * for never.
   *
   * @default {14400000} Four hours
   */
  readonly delayNoticeMs?: number;
  /**
   * Milliseconds to wait before the first try.
   *
   * @default {0}
   */
  readonly idleWaitMs?: number;
  /**
   * The most deliveries under way, beside those that wait for a word of the
   * other side: these are twice as many at most.
   *
   * @default {100}
   */
  readonly maxConcurrent?: number;
  /**
   * The most recipients of one delivery.
   *
   * @default {100} What every host must take (RFC 5321 section 4.5.3.1.8)
   */
  readonly maxRecipients?: number;
  /**
   * The one destination of all mail that has no smarthost of its own, where the
   * delivery sends everything the same way: it has one window then, and one
   * delivery for all recipients of a message.
   *
   * @default {each recipient's domain}
   */
  readonly commonDestination?: string;
  /**
   * The most deliveries under way to one destination. The first ones are a few
   * less: the number grows while all goes well.
   *
   * @default {20}
   */
  readonly maxPerDestination?: number;
  /**
   * Address in the From field of notices.
   *
   * @default {MAILER-DAEMON at the host's name}
   */
  readonly bounceFrom?: string;
  /**
   * Bytes up to which a notice returns the whole message, where its sender asked for that.
   *
   * @default {1048576}
   */
  readonly returnLimit?: number;
  /**
   * Milliseconds between looks for requests from outside.
   *
   * @default {500}
   */
  readonly pollMs?: number;
  /**
   * Takes log records.
   *
   * @default {nobody}
   */
  readonly log?: Logger;
  /**
   * Time and timers.
   *
   * @default {the machine's}
   */
  readonly clock?: Clock;
  /**
   * Gives a number from 0 up to but not including 1.
   *
   * @default {Math.random}
   */
  readonly random?: () => number;
}

const HOOK_RULES: Rules<RelayHooks> = {
  onRelayStateChange: callable(),
  onRelayDone: callable(),
  onRelayError: callable(),
};
/** What the sender of notices must be, inside other options: it stands in a header field. */
export const BOUNCE_FROM_RULE: Rule = where(
  'an address, as "postmaster@example.com"',
  (value) => {
    if (typeof value !== "string" || value === "") return false;
    try {
      return Address.parse(value).domain !== "";
    } catch {
      return false;
    }
  },
);

const RULES: Rules<RelayQueueOptions> = {
  ...HOOK_RULES,
  spool: required(SPOOL_RULE),
  deliver: required(callable()),
  hostname: required(text()),
  schedule: where(
    "a RetrySchedule",
    (value) => value instanceof RetrySchedule,
  ),
  expireAfterMs: anyNumber,
  delayNoticeMs: anyNumber,
  idleWaitMs: anyNumber,
  maxConcurrent: anyNumber,
  maxRecipients: anyNumber,
  commonDestination: text(),
  maxPerDestination: anyNumber,
  bounceFrom: BOUNCE_FROM_RULE,
  returnLimit: anyNumber,
  pollMs: anyNumber,
  log: callable(),
  clock: having("a Clock", "now", "setTimer"),
  random: callable(),
};

/** Options with every default filled in. */
export type QueueConfig =
  & Required<
    Omit<
      RelayQueueOptions,
      | "commonDestination"
      | "onRelayStateChange"
      | "onRelayDone"
      | "onRelayError"
    >
  >
  & RelayHooks
  & {
    readonly commonDestination: string | undefined;
  };

/**
 * Fills in the defaults.
 *
 * @throws {RangeError} If a number makes no sense
 */
export function configure(options: RelayQueueOptions): QueueConfig {
  checkOptions("RelayQueue", options, RULES);
  const config: QueueConfig = {
    schedule: RetrySchedule.DEFAULT,
    expireAfterMs: 5 * 24 * HOUR,
    delayNoticeMs: 4 * HOUR,
    idleWaitMs: 0,
    maxConcurrent: 100,
    maxRecipients: 100,
    bounceFrom: `MAILER-DAEMON@${options.hostname}`,
    returnLimit: 1024 * 1024,
    pollMs: 500,
    log: () => {},
    clock: SYSTEM_CLOCK,
    random: Math.random,
    maxPerDestination: DEFAULT_WINDOW.max,
    commonDestination: undefined,
    ...options,
  };
  checkAtLeast("maxConcurrent", config.maxConcurrent, 1);
  checkAtLeast("maxPerDestination", config.maxPerDestination, 1);
  checkAtLeast("maxRecipients", config.maxRecipients, 1);
  checkAtLeast("expireAfterMs", config.expireAfterMs, 1);
  checkAtLeast("delayNoticeMs", config.delayNoticeMs, 0);
  checkAtLeast("idleWaitMs", config.idleWaitMs, 0);
  checkAtLeast("pollMs", config.pollMs, 1);
  checkAtLeast("returnLimit", config.returnLimit, 0);
  return config;
}

function checkAtLeast(name: string, value: number, least: number): void {
  if (!(value >= least)) {
    throw new RangeError(
      `Cannot make a queue with "${name}" of ${value}: want ${least} or more`,
    );
  }
}
