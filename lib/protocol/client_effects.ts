/**
 * What the sending machine tells its owner, one effect at a time, and what it
 * wants to know at the start. Types only.
 */

import type { ClientFault, ClientPhase } from "./client_states.ts";
import type { SmtpReply } from "./reply.ts";

/** What the owner has to do next. */
export type ClientEffect =
  | {
    /** Read from the connection, hand it to `receive()` or call `end()` or `fail()`. */
    readonly kind: "read";
    /** What is waited for: names the time limit. */
    readonly phase: ClientPhase;
  }
  | {
    /** Write all of `bytes`. */
    readonly kind: "write";
    /** What to write. The machine does not touch it again. */
    readonly bytes: Uint8Array;
    /** What is under way. */
    readonly phase: ClientPhase;
  }
  | {
    /** Hand over content with `content()` and, after the last of it, `endContent()`. */
    readonly kind: "content";
  }
  | {
    /** Compute the answer to a SASL challenge and call `respond()`. */
    readonly kind: "challenge";
    /** The challenge, decoded. */
    readonly challenge: Uint8Array;
  }
  | {
    /** Begin TLS on the connection now, with nothing read or written before it; then `secured()`. */
    readonly kind: "startTls";
  }
  | {
    /** The order is carried out. */
    readonly kind: "done";
    /** The reply that decided; for a transaction see `outcomes`. */
    readonly reply: SmtpReply | undefined;
  }
  | {
    /** The session broke; close the connection. */
    readonly kind: "failed";
    /** Why. */
    readonly fault: ClientFault;
  };

/** Options of {@linkcode ClientProtocol}. */
export interface ClientProtocolOptions {
  /** The name to give in EHLO, HELO or LHLO: a domain or an address literal. */
  readonly hostname: string;
  /**
   * Whether to speak LMTP: LHLO, and one reply a recipient.
   *
   * @default {false}
   */
  readonly lmtp?: boolean | undefined;
}
