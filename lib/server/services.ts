/**
 * What a server that is one thread of another gets from that: everything of
 * which there is one for all threads. Types only.
 */

import type { Message, Recipient } from "../message/message.ts";
import type { HandlerContext } from "../session/handler_module.ts";
import type { SharedCounts } from "../session/limits.ts";
import type { LoginCounter } from "../session/login_guard.ts";
import type { SmtpSession } from "../session/session.ts";

/** What the main thread does for a server in another one. */
export interface ThreadServices {
  /** Which thread it is, from 1. */
  readonly thread: number;
  /** What its names of sessions and messages begin with. */
  readonly prefix: string;
  /** Counts failed log-ins. */
  readonly guard: LoginCounter;
  /** What sessions and their addresses are counted in. */
  readonly counts: SharedCounts;
  /** The clock of the main thread, in ms: {@linkcode performance.now} begins anew in each. */
  readonly now: () => number;
  /** Key of SCRAM's salts for unknown users. */
  readonly saltKey: Uint8Array;
  /** The queue, for handler modules. */
  readonly relays: HandlerContext["relays"];
  /** The queue, for what clients send elsewhere. */
  relay(message: Message, recipients: readonly Recipient[]): Promise<void>;
  /** A session has begun. */
  opened(session: SmtpSession): void;
  /** A session has ended. */
  closed(session: SmtpSession): void;
}
