/**
 * The data of one message in the queue: the envelope, written once and never
 * changed, and the progress, changed in small steps. Pure values that become
 * JSON. Only {@linkcode applyChange} changes progress, in a running queue as in
 * the replay of a journal, so that a change means the same in both.
 */

import {
  HOP_RULE,
  hopOf,
  HOPS_RULE,
  type NextHop,
  TLS_SECURITY_RULE,
  type TlsSecurity,
} from "../client/next_hop.ts";
import type { Rules } from "../options.ts";
import type { MailParameters, RcptParameters } from "../protocol/parameters.ts";

/** The route of one message. It survives a restart. */
export interface RelayRoute {
  /** The next hop for all recipients; without it, the MX of each domain. */
  readonly smarthost?: NextHop | undefined;
  /** Further next hops, tried in this order after `smarthost`. */
  readonly smarthosts?: readonly NextHop[] | undefined;
  /** The use of TLS; without it, the delivery's default. */
  readonly security?: TlsSecurity | undefined;
}

/** Rules for the properties of a {@linkcode RelayRoute}. */
export const ROUTE_RULES: Rules<RelayRoute> = {
  smarthost: HOP_RULE,
  smarthosts: HOPS_RULE,
  security: TLS_SECURITY_RULE,
};

/** The next hops of a route, in the order to try them; `[]` for the MX of each domain. */
export function hopsOf(route: RelayRoute | undefined): readonly NextHop[] {
  const { smarthost, smarthosts = [] } = route ?? {};
  return smarthost === undefined ? smarthosts : [smarthost, ...smarthosts];
}

/**
 * The route alone, without what else is in the same object; texts become hops.
 * The first next hop is `smarthost`: a server that knows no `smarthosts` finds it
 * in the spool.
 */
export function plainRoute(
  route: Omit<RelayRoute, "smarthost" | "smarthosts"> & {
    readonly smarthost?: NextHop | string | undefined;
    readonly smarthosts?: readonly (NextHop | string)[] | undefined;
  },
): RelayRoute {
  const { security } = route;
  const given = [
    ...(route.smarthost === undefined ? [] : [route.smarthost]),
    ...route.smarthosts ?? [],
  ];
  const [smarthost, ...smarthosts] = given.map(hopOf);
  return {
    ...(smarthost === undefined ? {} : { smarthost }),
    ...(smarthosts.length === 0 ? {} : { smarthosts }),
    ...(security === undefined ? {} : { security }),
  };
}

/** Options stored in the envelope. */
export interface EnvelopeOptions extends RelayRoute {
  /** Milliseconds to wait before the first try. Default: the queue's. */
  readonly idleWaitMs?: number;
  /** The retry schedule in its text form. Default: the queue's. */
  readonly schedule?: string;
  /**
   * Milliseconds after acceptance until undelivered recipients are returned.
   * Default: the queue's.
   */
  readonly expireAfterMs?: number;
  /** When the message is to be delivered by, in milliseconds since 1970 (RFC 2852). Default: at no time. */
  readonly deliverBy?: number;
  /** Whether it goes into the server's own store. Default: to other hosts. */
  readonly toStore?: true;
  /** Whether the message says `TLS-Required: No` (RFC 8689). Default: it does not. */
  readonly declinesTls?: true;
  /** Whether {@linkcode Spool.login} returns a login. Default: it does not. */
  readonly hasLogin?: true;
}

/** One recipient of an envelope. */
export interface EnvelopeRecipient {
  /** The forward-path without brackets. */
  readonly address: string;
  /** NOTIFY and ORCPT. */
  readonly parameters: RcptParameters;
}

/** The envelope of one message in the spool. Written once. */
export interface StoredEnvelope {
  /** Unique name in the spool: letters, digits and `-`, up to 100 of them. */
  readonly id: string;
  /** The reverse-path without brackets; `""` for the null sender. */
  readonly from: string;
  /** The parameters of MAIL FROM. */
  readonly parameters: MailParameters;
  /** All recipients, in order. Progress refers to them by index. */
  readonly recipients: readonly EnvelopeRecipient[];
  /** Bytes of the content. */
  readonly size: number;
  /** Bytes on top of the content that are the server's own signatures. Default: none. */
  readonly signed?: number | undefined;
  /** Bytes on top of the content that are the server's seal (ARC). Default: none. */
  readonly sealed?: number | undefined;
  /** When the message was accepted, in milliseconds since 1970. */
  readonly acceptedAt: number;
  /** The options chosen for this message. */
  readonly options: EnvelopeOptions;
  /**
   * Where it comes from, for the log: the ids of the message and of the session
   * in which it came; for a DSN the name of the relay that it is about.
   */
  readonly origin?: {
    readonly message?: string | undefined;
    readonly session?: string | undefined;
    readonly about?: string | undefined;
  } | undefined;
}

/** The delivery status of one recipient. */
export type RecipientStatus =
  /** To be tried, or tried again. */
  | "pending"
  /** The next hop has taken it, and does not support DSN. */
  | "relayed"
  /** The next hop has taken it, and is responsible for reporting. */
  | "passed-on"
  /** The message is in the recipient's mailbox. */
  | "delivered"
  /** Given up. */
  | "failed";

/** The last reply or error for a recipient. */
export interface RecipientAnswer {
  /** Time of the reply, in milliseconds since 1970. */
  readonly at: number;
  /** The reply as received, or a description of the error, without line ends. */
  readonly text: string;
  /** Whether `text` is an SMTP reply, not a description made here. */
  readonly isReply: boolean;
  /** The enhanced status code, as `"4.4.1"`. */
  readonly status: string;
  /** The host that sent it. */
  readonly remoteMta?: string;
}

/** The progress of one recipient. */
export interface RecipientProgress {
  /** The delivery status. */
  status: RecipientStatus;
  /** Tries so far. */
  attempts: number;
  /** Time of the next try, in milliseconds since 1970. */
  nextTryAt: number;
  /** The last reply or error; `undefined` before the first try. */
  answer: RecipientAnswer | undefined;
  /** Whether the final status was reported to the sender, or need not be. */
  reported: boolean;
}

/** The progress of one message. */
export interface Progress {
  /** Whether it is held until it is released. */
  held: boolean;
  /** Whether the delay was reported to the sender. */
  delayReported: boolean;
  /** A JSON value that the program stores with the message. */
  tag: unknown;
  /** The route chosen after acceptance; `undefined` for the envelope's. */
  route: RelayRoute | undefined;
  /** One for each recipient, in the envelope's order. */
  readonly recipients: RecipientProgress[];
}

/** One message of the spool. */
export interface SpoolEntry {
  /** The envelope, without the secret of a login. */
  readonly envelope: StoredEnvelope;
  /** The progress; changed only by {@linkcode applyChange}. */
  readonly progress: Progress;
}

/** The new state of one recipient in a {@linkcode SpoolChange}. */
export interface RecipientResult {
  /** Index of the recipient in the envelope. */
  readonly index: number;
  /** The delivery status. */
  readonly status: RecipientStatus;
  /** Tries so far. */
  readonly attempts: number;
  /** Time of the next try, in milliseconds since 1970. */
  readonly nextTryAt: number;
  /** The reply or error; without it the last answer stays. */
  readonly answer?: RecipientAnswer;
}

/** One change of progress. It sets values and never adds: applying it twice equals once. */
export type SpoolChange =
  | { readonly kind: "result"; readonly results: readonly RecipientResult[] }
  | { readonly kind: "hold"; readonly held: boolean }
  | { readonly kind: "retry"; readonly at: number }
  | { readonly kind: "reported"; readonly indices: readonly number[] }
  | { readonly kind: "delay-reported" }
  | { readonly kind: "route"; readonly route: RelayRoute }
  | { readonly kind: "tag"; readonly tag: unknown };

/** The progress of a new message. */
export function initialProgress(envelope: StoredEnvelope): Progress {
  const nextTryAt = envelope.acceptedAt + (envelope.options.idleWaitMs ?? 0);
  return {
    held: false,
    delayReported: false,
    tag: undefined,
    route: undefined,
    recipients: envelope.recipients.map(() => ({
      status: "pending",
      attempts: 0,
      nextTryAt,
      answer: undefined,
      reported: false,
    })),
  };
}

/** Applies one change. Ignores an index that the envelope does not have. */
export function applyChange(progress: Progress, change: SpoolChange): void {
  switch (change.kind) {
    case "result":
      for (const result of change.results) applyResult(progress, result);
      return;
    case "hold":
      progress.held = change.held;
      return;
    case "retry":
      for (const recipient of progress.recipients) {
        if (recipient.status === "pending") recipient.nextTryAt = change.at;
      }
      return;
    case "reported":
      for (const index of change.indices) {
        const recipient = progress.recipients[index];
        if (recipient !== undefined) recipient.reported = true;
      }
      return;
    case "delay-reported":
      progress.delayReported = true;
      return;
    case "route":
      progress.route = change.route;
      return;
    case "tag":
      progress.tag = change.tag;
      return;
  }
}

function applyResult(progress: Progress, result: RecipientResult): void {
  const recipient = progress.recipients[result.index];
  if (recipient === undefined) return;
  recipient.status = result.status;
  recipient.attempts = result.attempts;
  recipient.nextTryAt = result.nextTryAt;
  if (result.answer !== undefined) recipient.answer = result.answer;
}

/** The route of the message: the one chosen last. */
export function routeOf(entry: SpoolEntry): RelayRoute {
  return entry.progress.route ?? entry.envelope.options;
}

/** When a message is returned because BY asks for it, in milliseconds since 1970; `Infinity` for never. */
export function returnTime({ parameters, options }: StoredEnvelope): number {
  const { deliverBy = Infinity } = options;
  return parameters.by?.mode === "return" ? deliverBy : Infinity;
}

/**
 * When BY asks for a notice of the delay, in milliseconds since 1970; `undefined`
 * if it does not, or if the time had passed at another host, which has sent it.
 */
export function noticeTime(
  { parameters, options }: StoredEnvelope,
): number | undefined {
  const { mode, seconds = 0 } = parameters.by ?? {};
  return mode === "notify" && seconds > 0 ? options.deliverBy : undefined;
}
