/**
 * What the queue knows of one message: the envelope, written once and never
 * changed, and the progress, changed by small notes. Pure values that become
 * JSON; {@linkcode applyChange} is the one place where progress moves, in a
 * running queue as in the replay of a journal, so the two cannot differ.
 */

import {
  HOP_RULE,
  type NextHop,
  TLS_SECURITY_RULE,
  type TlsSecurity,
} from "../client/next_hop.ts";
import type { Rules } from "../options.ts";
import type { MailParameters, RcptParameters } from "../protocol/parameters.ts";

/** What may be chosen for the delivery of one message. All of it survives a restart. */
export interface RelayRoute {
  /** The next hop for all recipients; without it each domain's MX. */
  readonly smarthost?: NextHop | undefined;
  /** How TLS is used; without it the delivery's own default. */
  readonly security?: TlsSecurity | undefined;
}

/** What a {@linkcode RelayRoute} must be. */
export const ROUTE_RULES: Rules<RelayRoute> = {
  smarthost: HOP_RULE,
  security: TLS_SECURITY_RULE,
};

/** Choices that stand in the envelope. */
export interface EnvelopeOptions extends RelayRoute {
  /** Milliseconds to wait before the first try. */
  readonly idleWaitMs?: number;
  /** The retry schedule in its text form. */
  readonly schedule?: string;
  /** Milliseconds after acceptance until what is not delivered is returned. */
  readonly expireAfterMs?: number;
  /** Whether {@linkcode Spool.login} has something to say. */
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
  /** What came with MAIL FROM. */
  readonly parameters: MailParameters;
  /** All recipients, in order. Progress names them by their index. */
  readonly recipients: readonly EnvelopeRecipient[];
  /** Bytes of the content. */
  readonly size: number;
  /** When the message was accepted, in milliseconds since 1970. */
  readonly acceptedAt: number;
  /** What was chosen for this message. */
  readonly options: EnvelopeOptions;
}

/** How far one recipient has come. */
export type RecipientStatus =
  /** To be tried, or tried again. */
  | "pending"
  /** The next hop has it and does not know DSN. */
  | "relayed"
  /** The next hop has it and took over the duty to report. */
  | "passed-on"
  /** It is in the recipient's mailbox. */
  | "delivered"
  /** Given up. */
  | "failed";

/** What was last heard about a recipient. */
export interface RecipientAnswer {
  /** When, in milliseconds since 1970. */
  readonly at: number;
  /** The reply as on the wire, or what went wrong, without line ends. */
  readonly text: string;
  /** Whether `text` is an SMTP reply, and not words of our own. */
  readonly isReply: boolean;
  /** The enhanced status code, as `"4.4.1"`. */
  readonly status: string;
  /** The host that said it. */
  readonly remoteMta?: string;
}

/** The progress of one recipient. */
export interface RecipientProgress {
  /** How far it has come. */
  status: RecipientStatus;
  /** Tries so far. */
  attempts: number;
  /** When it is tried next, in milliseconds since 1970. */
  nextTryAt: number;
  /** What was last heard; `undefined` before the first try. */
  answer: RecipientAnswer | undefined;
  /** Whether the sender has been told of the final status, or need not be. */
  reported: boolean;
}

/** The progress of one message. */
export interface Progress {
  /** Whether it waits until somebody releases it. */
  held: boolean;
  /** Whether the sender has been told that delivery is late. */
  delayReported: boolean;
  /** What the program keeps with the message: any JSON value. */
  tag: unknown;
  /** The route chosen after acceptance; `undefined`: the envelope's. */
  route: RelayRoute | undefined;
  /** One a recipient, in the envelope's order. */
  readonly recipients: RecipientProgress[];
}

/** One message of the spool. */
export interface SpoolEntry {
  /** The envelope, without the secret of a log-in. */
  readonly envelope: StoredEnvelope;
  /** The progress; only {@linkcode applyChange} changes it. */
  readonly progress: Progress;
}

/** The new state of one recipient in a {@linkcode SpoolChange}. */
export interface RecipientResult {
  /** Which recipient of the envelope. */
  readonly index: number;
  /** How far it has come. */
  readonly status: RecipientStatus;
  /** Tries so far. */
  readonly attempts: number;
  /** When it is tried next, in milliseconds since 1970. */
  readonly nextTryAt: number;
  /** What was heard; without it the last answer stays. */
  readonly answer?: RecipientAnswer;
}

/** One step of progress. Sets values, never adds: replaying it twice is the same as once. */
export type SpoolChange =
  | { readonly kind: "result"; readonly results: readonly RecipientResult[] }
  | { readonly kind: "hold"; readonly held: boolean }
  | { readonly kind: "retry"; readonly at: number }
  | { readonly kind: "reported"; readonly indices: readonly number[] }
  | { readonly kind: "delay-reported" }
  | { readonly kind: "route"; readonly route: RelayRoute }
  | { readonly kind: "tag"; readonly tag: unknown };

/** The progress of a message nothing has happened to yet. */
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

/** Takes one step of progress. An index that the envelope does not have is passed over. */
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

/** Where the message goes: what was chosen last. */
export function routeOf(entry: SpoolEntry): RelayRoute {
  return entry.progress.route ?? entry.envelope.options;
}
