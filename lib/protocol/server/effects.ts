/**
 * The messages between the server state machine and its session: effects to the
 * session, verdicts from it.
 */

import type { Address } from "../address.ts";
import type { Capabilities } from "../capabilities.ts";
import type { BareNewlinePolicy } from "../data_decoder.ts";
import type { KindTraits } from "../listener_kind.ts";
import type { MailParameters, RcptParameters } from "../parameters.ts";
import { Redirect } from "../redirect.ts";
import { SmtpReply } from "../reply.ts";
import type { XclientAttributes } from "../xclient.ts";

/** A question to the handlers. */
export type ServerAsk =
  | { readonly effect: "ask"; readonly ask: "connect" }
  | { readonly effect: "ask"; readonly ask: "command"; readonly line: string }
  | { readonly effect: "ask"; readonly ask: "helo"; readonly name: string }
  | {
    readonly effect: "ask";
    readonly ask: "mail";
    readonly address: Address;
    readonly parameters: MailParameters;
  }
  | {
    readonly effect: "ask";
    readonly ask: "rcpt";
    readonly address: Address;
    readonly parameters: RcptParameters;
  }
  /** The envelope is complete and the body comes next. */
  | {
    readonly effect: "ask";
    readonly ask: "messageStart";
    readonly via: "DATA" | "BDAT";
  }
  /** The body is complete: asks for the final verdict. */
  | { readonly effect: "ask"; readonly ask: "message" }
  | { readonly effect: "ask"; readonly ask: "verify"; readonly text: string }
  | { readonly effect: "ask"; readonly ask: "expand"; readonly text: string }
  /** An AUTH exchange begins; `initial` as sent, not decoded. */
  | {
    readonly effect: "ask";
    readonly ask: "auth";
    readonly mechanism: string;
    readonly initial: string | undefined;
  }
  /**
   * The next line of the AUTH exchange, not decoded; `undefined` if it is too
   * long, `"\n"` if it is not text.
   */
  | {
    readonly effect: "ask";
    readonly ask: "authLine";
    readonly text: string | undefined;
  };

/** How the next bytes are read; also decides the time limit. */
export type ReadPhase = "command" | "data" | "bdat" | "auth";

/** One thing for the session to do. */
export type ServerEffect =
  /** Read from the peer and `receive` the bytes; nothing else is left to do. */
  | { readonly effect: "read"; readonly phase: ReadPhase }
  /** Write these bytes; they stay unchanged until the next call. */
  | { readonly effect: "write"; readonly bytes: Uint8Array<ArrayBuffer> }
  /** Decide and `answer`. */
  | ServerAsk
  /** Body bytes, valid until the next `receive`. */
  | { readonly effect: "body"; readonly bytes: Uint8Array }
  /** The current body is refused and gets this reply at its end: drop the bytes collected. */
  | { readonly effect: "drop"; readonly refusal: SmtpReply }
  /** A transaction ended without a message: RSET, HELO, end of the session. */
  | { readonly effect: "reset" }
  /** Begin TLS, then call `tlsStarted`. All replies have been written. */
  | { readonly effect: "startTls" }
  /** The session has another client from now on; the next question is whether it may connect. */
  | { readonly effect: "xclient"; readonly attributes: XclientAttributes }
  /** Close the connection. */
  | {
    readonly effect: "close";
    readonly reason: CloseReason;
    /** The last reply, if the state machine has chosen it. */
    readonly reply?: SmtpReply;
  };

/** The reason why a session ended. */
export type CloseReason =
  /** The client sent QUIT. */
  | "quit"
  /** The client closed the connection, or the connection broke. */
  | "disconnected"
  /** A handler or the session's own policy refused the client. */
  | "refused"
  /** The client sent bytes before the greeting. */
  | "early"
  /** Too many errors, an HTTP request, an endless line. */
  | "errors"
  /** The client exceeded a time limit. */
  | "timeout"
  /** The server is stopping. */
  | "shutdown"
  /** The TLS handshake failed. */
  | "tls"
  /** An error of the server itself. */
  | "error";

/**
 * The answer to an ask. `undefined` accepts and `"deny"` refuses with the
 * standard reply; `"allow"` accepts expressly, so that no policy refuses
 * (message only). A reply is sent and its code decides. The silent verdicts
 * send nothing, because the handler has sent the reply. `"drop"` closes without
 * a reply (connect only). A redirect accepts (RCPT only). Where content may come
 * by DATA, a positive reply is sent only if it is 354.
 */
export type Verdict =
  | undefined
  | SmtpReply
  | Redirect
  | "allow"
  | "deny"
  | "silent-allow"
  | "silent-deny"
  | "drop";

/** Whether a verdict accepts. */
export function accepts(verdict: Verdict): boolean {
  return verdict === undefined || verdict === "allow" ||
    verdict === "silent-allow" ||
    (verdict instanceof SmtpReply && verdict.isPositive) ||
    verdict instanceof Redirect;
}

/**
 * Counts messages and recipients, and refuses those beyond a limit; knows the
 * time. Answers synchronously, because every message calls it.
 */
export interface CountingGate {
  /**
   * Counts a message; returns the reply that refuses it, if it exceeds a limit.
   *
   * @param size The declared size in bytes, 0 without one
   */
  message(size: number): SmtpReply | undefined;
  /** Counts a recipient; returns the reply that refuses it, if it exceeds a limit. */
  recipient(): SmtpReply | undefined;
  /** The time of day, in milliseconds since 1970: the machine has no clock. */
  time(): number;
}

/** Hears what the client sends, in the order in which it is read. Must not throw. */
export interface InputListener {
  /**
   * A whole line, without its end.
   *
   * @param text The line; the first four characters if it is unusable
   */
  line(text: string, kind: "command" | "auth" | "unusable"): void;
  /**
   * Bytes of content.
   *
   * @param isOver Whether they are the last of the message or chunk
   */
  content(count: number, isOver: boolean): void;
  /** Bytes behind STARTTLS that are dropped. */
  dropped(count: number): void;
}

/** The asks that a handler decides; the others are accepted at once. */
export interface AskFlags {
  /** Before each command line is parsed. */
  readonly command: boolean;
  /** HELO, EHLO, LHLO. */
  readonly helo: boolean;
  /** MAIL. */
  readonly mail: boolean;
  /** RCPT. */
  readonly rcpt: boolean;
  /** VRFY. */
  readonly verify: boolean;
  /** EXPN. */
  readonly expand: boolean;
}

/** The settings shared by the sessions of a listener. Must not change once in use. */
export interface ServerProfile {
  /** The traits of the listener's kind. */
  readonly kind: KindTraits;
  /** The greeting, 220. */
  readonly greeting: SmtpReply;
  /** The reply to QUIT, 221. */
  readonly goodbye: SmtpReply;
  /** The extensions. */
  readonly capabilities: Capabilities;
  /** Largest message in bytes (`maxSize`), 0 for no limit. */
  readonly maxSize: number;
  /** Most recipients of a message. */
  readonly maxRecipients: number;
  /** Errors allowed per session, failed logins included; 0 for no limit. */
  readonly maxErrors: number;
  /** Permanent refusals of RCPT, VRFY and EXPN allowed per session; 0 for no limit. */
  readonly maxRefusedRecipients: number;
  /** Commands allowed without an accepted message between them; 0 for no limit. */
  readonly maxCommandsWithoutMail: number;
  /** The treatment of bare CR and LF in a body. */
  readonly bareNewlines: BareNewlinePolicy;
  /** The asks that a handler decides. */
  readonly asks: AskFlags;
  /** Whether STARTTLS is offered, and whether MAIL and AUTH require it. */
  readonly startTls: "none" | "allowed" | "required";
  /** Whether AUTH is offered, and whether MAIL requires it. */
  readonly authentication: "none" | "allowed" | "required";
  /** Whether some clients may send XCLIENT. */
  readonly xclient?: boolean;
}
