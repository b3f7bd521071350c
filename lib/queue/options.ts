/**
 * The options and hooks of a queue: their types, checks and defaults.
 */

import type { BodyOptions } from "../message/body.ts";
import type { MailForwarder } from "../message/forwarder.ts";
import type { MailSigner } from "../message/signer.ts";
import { Address } from "../protocol/address.ts";
import {
  anyNumber,
  callable,
  checkOptions,
  machineName,
  oneOf,
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
import { RetrySchedule, SCHEDULE_RULE } from "./schedule.ts";
import { type Spool, SPOOL_RULE } from "../spool/spool.ts";
import {
  type Logger,
  type LogLevel,
  takesLevel,
  type WantedLog,
} from "../log.ts";

const HOUR = 3_600_000;

/**
 * Hooks of a queue. A hook must not throw; the queue logs an exception.
 *
 * @example Keep what a host refuses for its policy
 * ```ts
 * import {
 *   type DeliveryState,
 *   type Relay,
 *   type RelayRecipient,
 *   SmtpServer,
 * } from "@smtp/server";
 * import type { RecipientAnswer, RelayHooks } from "@smtp/server/queue";
 *
 * const isPolicy = (answer?: RecipientAnswer) =>
 *   answer?.status.startsWith("5.7.") === true;
 * const hooks: RelayHooks = {
 *   onRelayStateChange({ id }: Relay, state: DeliveryState) {
 *     if (state === "connected") console.log(`${id} has a host`);
 *   },
 *   onRelayError: (_relay, failed: readonly RelayRecipient[]) =>
 *     failed.some(({ answer }) => isPolicy(answer)) ? "hold" : undefined,
 * };
 * const server = new SmtpServer({ handlers: hooks });
 * console.assert(!server.active);
 * ```
 */
export interface RelayHooks {
  /** Called at each step of a delivery. Steps of a message's parallel deliveries may alternate. */
  onRelayStateChange?(
    relay: Relay,
    state: DeliveryState,
    previous: DeliveryState,
  ): void;
  /** Called when all recipients have succeeded and the relay has left the queue. */
  onRelayDone?(relay: Relay): void;
  /**
   * Called when recipients have failed permanently, before the failure DSN is
   * sent. Return `"hold"` to keep them in the queue, held, until the program has
   * corrected the cause and calls {@linkcode Relay.retry}. Any other return value
   * lets the queue send the DSN.
   */
  onRelayError?(
    relay: Relay,
    failed: readonly RelayRecipient[],
  ): "hold" | void | Promise<"hold" | void>;
}

/** Options of {@linkcode RelayQueue}. */
export interface RelayQueueOptions extends RelayHooks {
  /** Stores the messages. The queue opens and closes it. */
  readonly spool: Spool;
  /** Delivers the messages. */
  readonly deliver: Deliver;
  /**
   * This host's name, for DSNs.
   *
   * @default {the machine's, or "localhost" without `allow-sys`}
   */
  readonly hostname?: string;
  /**
   * The delays between tries, as `"30s 5m*3 1h*12 4h"`.
   *
   * @default {RetrySchedule.DEFAULT}
   */
  readonly schedule?: RetrySchedule | string;
  /**
   * Milliseconds until undelivered recipients are returned to the sender.
   *
   * @default {432000000} Five days
   */
  readonly expireAfterMs?: number;
  /**
   * Milliseconds until a delay DSN is sent to the sender; `Infinity` for never.
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
   * Most deliveries under way; others wait. Deliveries that wait for the peer do
   * not count here; their limit is twice as high.
   *
   * @default {100}
   */
  readonly maxConcurrent?: number;
  /**
   * Most recipients of one delivery; more of a message are several deliveries.
   *
   * @default {100} What every host must accept (RFC 5321 section 4.5.3.1.8)
   */
  readonly maxRecipients?: number;
  /**
   * The destination of all mail without a smarthost of its own, for a delivery
   * that sends everything to one place. All this mail shares one window, and a
   * message needs one delivery for all its recipients.
   *
   * @default {each recipient's domain}
   */
  readonly commonDestination?: string;
  /**
   * Most deliveries under way to one destination; others wait. A new destination
   * begins with fewer; the number grows while deliveries succeed.
   *
   * @default {20}
   */
  readonly maxPerDestination?: number;
  /**
   * Address in the From field of DSNs.
   *
   * @default {MAILER-DAEMON at the host's name}
   */
  readonly bounceFrom?: string;
  /**
   * Bytes up to which a DSN returns the whole message, if the sender asked for
   * that. A larger one is returned as its header.
   *
   * @default {1048576}
   */
  readonly returnLimit?: number;
  /**
   * Milliseconds between two checks for requests from outside the process.
   *
   * @default {500}
   */
  readonly pollMs?: number;
  /**
   * Receives log records.
   *
   * @default {no logger}
   */
  readonly log?: Logger;
  /**
   * The least level of the records that are made for `log`.
   *
   * @default {"debug"}
   */
  readonly logLevel?: LogLevel;
}

/** The parts of the machine that a {@linkcode RelayQueue} uses; for tests and the server. */
export interface QueueMachine {
  readonly clock?: Clock | undefined;
  /** Returns a number from 0 up to but not including 1. */
  readonly random?: (() => number) | undefined;
  /** Where the content of the program's own mail goes on its way to the spool. */
  readonly body?: BodyOptions | undefined;
  /** Signs mail on its way into the spool. */
  readonly signer?: MailSigner | undefined;
  /** Changes mail from outside on its way into the spool. */
  readonly forwarder?: MailForwarder | undefined;
}

const HOOK_RULES: Rules<RelayHooks> = {
  onRelayStateChange: callable(),
  onRelayDone: callable(),
  onRelayError: callable(),
};

/** Rule for the From address of DSNs, which stands in a header field. */
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
  hostname: text(),
  schedule: SCHEDULE_RULE,
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
  logLevel: oneOf("debug", "info", "warn", "error"),
};

/** Options with every default filled in. */
export type QueueConfig =
  & Required<
    Omit<
      RelayQueueOptions,
      | "commonDestination"
      | "log"
      | "logLevel"
      | "schedule"
      | "onRelayStateChange"
      | "onRelayDone"
      | "onRelayError"
    >
  >
  & RelayHooks
  & WantedLog
  & {
    readonly commonDestination: string | undefined;
    readonly clock: Clock;
    readonly random: () => number;
    readonly body: BodyOptions;
    readonly signer: MailSigner | undefined;
    readonly forwarder: MailForwarder | undefined;
    readonly schedule: RetrySchedule;
  };

/**
 * Fills in the defaults.
 *
 * @throws {RangeError} If a number makes no sense
 * @throws {SyntaxError} If the schedule cannot be read
 */
export function configure(
  options: RelayQueueOptions,
  machine: QueueMachine,
): QueueConfig {
  checkOptions("RelayQueue", options, RULES);
  const { log, logLevel = "debug", hostname = machineName() } = options;
  const { schedule = RetrySchedule.DEFAULT } = options;
  const config: QueueConfig = {
    expireAfterMs: 5 * 24 * HOUR,
    delayNoticeMs: 4 * HOUR,
    idleWaitMs: 0,
    maxConcurrent: 100,
    maxRecipients: 100,
    bounceFrom: `MAILER-DAEMON@${hostname}`,
    returnLimit: 1024 * 1024,
    pollMs: 500,
    verbose: log !== undefined && takesLevel(logLevel, "info"),
    debug: log !== undefined && takesLevel(logLevel, "debug"),
    maxPerDestination: DEFAULT_WINDOW.max,
    commonDestination: undefined,
    ...options,
    hostname,
    schedule: typeof schedule === "string"
      ? RetrySchedule.parse(schedule)
      : schedule,
    log: log ?? (() => {}),
    clock: machine.clock ?? SYSTEM_CLOCK,
    random: machine.random ?? Math.random,
    body: machine.body ?? { memoryLimit: 262_144 },
    signer: machine.signer,
    forwarder: machine.forwarder,
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
