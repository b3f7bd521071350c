/**
 * What passes between the receiving machine and the session that carries it
 * out: effects one way, verdicts the other.
 */

import type { Address } from "../address.ts";
import type { Capabilities } from "../capabilities.ts";
import type { BareNewlinePolicy } from "../data_decoder.ts";
import type { KindTraits } from "../listener_kind.ts";
import type { MailParameters, RcptParameters } from "../parameters.ts";
import type { SmtpReply } from "../reply.ts";
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
  /** The body is about to come: the envelope is complete. */
  | {
    readonly effect: "ask";
    readonly ask: "messageStart";
    readonly via: "DATA" | "BDAT";
  }
  /** The body is complete: the final verdict. */
  | { readonly effect: "ask"; readonly ask: "message" }
  | { readonly effect: "ask"; readonly ask: "verify"; readonly text: string }
  | { readonly effect: "ask"; readonly ask: "expand"; readonly text: string }
  /** An AUTH exchange begins; `initial` as sent, undecoded. */
  | {
    readonly effect: "ask";
    readonly ask: "auth";
    readonly mechanism: string;
    readonly initial: string | undefined;
  }
  /** The client's next line of it, undecoded; `undefined` for one too long, a text that is no base64 for one that is no text. */
  | {
    readonly effect: "ask";
    readonly ask: "authLine";
    readonly text: string | undefined;
  };

/** How the next bytes are to be read: decides the time limit too. */
export type ReadPhase = "command" | "data" | "bdat" | "auth";

/** One thing for the session to do. */
export type ServerEffect =
  /** Read from the peer and `receive` it; nothing else is left to do. */
  | { readonly effect: "read"; readonly phase: ReadPhase }
  /** Write these bytes; they are untouched until the next call. */
  | { readonly effect: "write"; readonly bytes: Uint8Array<ArrayBuffer> }
  /** Decide and `answer`. */
  | ServerAsk
  /** Body bytes, good until the next `receive`. */
  | { readonly effect: "body"; readonly bytes: Uint8Array }
  /** The body under way is refused and will be answered so at its end: drop what was collected. */
  | { readonly effect: "drop"; readonly refusal: SmtpReply }
  /** A transaction is over without a message: RSET, HELO, the end of the session. */
  | { readonly effect: "reset" }
  /** Begin TLS, then call `tlsStarted`. Everything written has been flushed. */
  | { readonly effect: "startTls" }
  /** The client is another one from here on; the next question is whether it may connect. */
  | { readonly effect: "xclient"; readonly attributes: XclientAttributes }
  /** Close the connection. */
  | {
    readonly effect: "close";
    readonly reason: CloseReason;
    /** The last word, where the machine has chosen it. */
    readonly reply?: SmtpReply;
  };

/** Why a session ended. */
export type CloseReason =
  /** The client said QUIT. */
  | "quit"
  /** The client closed, or the connection broke. */
  | "disconnected"
  /** A handler or the session's own policy refused the client. */
  | "refused"
  /** The client spoke before the greeting. */
  | "early"
  /** Too many errors, an HTTP request, an endless line. */
  | "errors"
  /** Nothing came, or it came too slowly. */
  | "timeout"
  /** The server is stopping. */
  | "shutdown"
  /** The TLS handshake failed. */
  | "tls"
  /** A fault of the server itself. */
  | "error";

/**
 * The answer to an ask: nothing accepts and `"deny"` refuses with the standard
 * reply, a reply is sent and decides by its code; the silent ones send nothing,
 * because the handler has done so; `"drop"` closes without a word (connect only).
 * Where content may come by DATA, a reply that accepts is sent only if it is a 354.
 */
export type Verdict =
  | undefined
  | SmtpReply
  | "deny"
  | "silent-allow"
  | "silent-deny"
  | "drop";

/**
 * Counts what a client begins, and refuses what is too much. It answers at once:
 * nothing is asked for what every message has.
 */
export interface CountingGate {
  /** A message begins; the reply that refuses it, if it is too much. */
  message(): SmtpReply | undefined;
  /** A recipient is named; the reply that refuses it, if it is too much. */
  recipient(): SmtpReply | undefined;
}

/** Which asks somebody wants to decide; the others are accepted on the spot. */
export interface AskFlags {
  /** Before each command line is looked at. */
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

/** What a listener's sessions have in common. Not changed once in use. */
export interface ServerProfile {
  /** What the listener's kind makes different. */
  readonly kind: KindTraits;
  /** The greeting, 220. */
  readonly greeting: SmtpReply;
  /** The reply to QUIT, 221. */
  readonly goodbye: SmtpReply;
  /** The extensions. */
  readonly capabilities: Capabilities;
  /** Largest message in bytes, 0 for no limit. */
  readonly maxSize: number;
  /** Most recipients of a message. */
  readonly maxRecipients: number;
  /** Errors that a session may make, refused log-ins among them; 0 for no end. */
  readonly maxErrors: number;
  /** Names that RCPT, VRFY and EXPN may refuse for good in a session; 0 for no end. */
  readonly maxRefusedRecipients: number;
  /** Commands that may follow each other without a message being taken; 0 for no end. */
  readonly maxCommandsWithoutMail: number;
  /** What happens to bare CR and LF in a body. */
  readonly bareNewlines: BareNewlinePolicy;
  /** Which asks somebody wants to decide. */
  readonly asks: AskFlags;
  /** Whether STARTTLS is there, and whether MAIL and AUTH wait for it. */
  readonly startTls: "none" | "allowed" | "required";
  /** Whether AUTH is there, and whether MAIL waits for it. */
  readonly authentication: "none" | "allowed" | "required";
  /** Whether there are clients that may send XCLIENT. */
  readonly xclient?: boolean;
}
