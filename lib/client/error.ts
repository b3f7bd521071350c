/**
 * What a client throws when no session comes about, and the replies that stand
 * for failures without a reply. Owns their codes and texts: a report about a
 * message needs a status for everything that can go wrong.
 *
 * Steps have three lists. `ClientPhase` is what the machine of the protocol waits
 * for. `ClientStage` is a phase or one of the two steps of the network, and names
 * a failure and a time limit. `ClientProgress` is told to a program as a delivery
 * gets on, in words of its own.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3463 | RFC 3463}
 */

import { SmtpError, SmtpReply } from "../protocol/reply.ts";
import type { ClientFault, ClientPhase } from "../protocol/client/state.ts";

/** The step that failed, or that decided about a recipient. Each has a time limit. */
export type ClientStage =
  | "connect"
  | "greeting"
  | "hello"
  | "startTls"
  | "tls"
  | "authenticate"
  | "reset"
  | "mail"
  | "rcpt"
  | "data"
  | "body"
  | "dataEnd"
  | "quit";

/**
 * No session with the server. The `reply` is the server's, or one made here
 * that says what went wrong.
 *
 * @example Tell a server's refusal from a broken network
 * ```ts
 * import { SmtpClient, SmtpClientError } from "@smtp/server/client";
 *
 * try {
 *   await SmtpClient.connect({ host: "127.0.0.1", port: 1 });
 * } catch (error) {
 *   console.assert(error instanceof SmtpClientError);
 *   console.assert(error instanceof SmtpClientError && !error.fromPeer);
 * }
 * ```
 */
export class SmtpClientError extends SmtpError {
  /** `"SmtpClientError"`. */
  override readonly name: string = "SmtpClientError";
  /** The step that failed. */
  readonly stage: ClientStage;
  /** Whether the server said so; otherwise the reply was made here. */
  readonly fromPeer: boolean;

  /**
   * Makes an error of a reply.
   *
   * @param reply The server's reply, or one made here
   * @param options The step, and who said so
   */
  constructor(
    reply: SmtpReply,
    options: ErrorOptions & {
      /** The step that failed. */
      stage: ClientStage;
      /** Whether the server said so. */
      fromPeer: boolean;
    },
  ) {
    super(reply, "", options);
    this.stage = options.stage;
    this.fromPeer = options.fromPeer;
  }
}

/** Each stage in the text of a reply. */
const DOING: Readonly<Record<ClientStage, string>> = {
  connect: "connecting",
  tls: "the TLS handshake",
  greeting: "the greeting",
  hello: "EHLO",
  startTls: "STARTTLS",
  authenticate: "AUTH",
  reset: "RSET",
  mail: "MAIL FROM",
  rcpt: "RCPT TO",
  data: "DATA",
  body: "sending the message",
  dataEnd: "the end of the message",
  quit: "QUIT",
} satisfies Record<ClientPhase | "connect" | "tls", string>;

/** Enhanced status codes of what broke a session (RFC 3463 sections 3.5 and 3.6). */
const FAULT_STATUS: Readonly<Record<ClientFault["kind"], string>> = {
  closed: "4.4.2",
  closing: "4.4.2",
  timeout: "4.4.2",
  network: "4.4.2",
  protocol: "4.5.0",
};

/** The reply that stands for a broken session: the server's own where there is one. */
export function faultReply(fault: ClientFault, host: string): SmtpReply {
  if (fault.reply) return fault.reply;
  const text = `${fault.message} (${DOING[fault.phase]}, host "${host}")`;
  return new SmtpReply(451, text, { enhanced: FAULT_STATUS[fault.kind] });
}

/** The error for a broken session. */
export function faultError(fault: ClientFault, host: string): SmtpClientError {
  return new SmtpClientError(asRefusal(faultReply(fault, host)), {
    stage: fault.phase,
    fromPeer: fault.reply !== undefined,
  });
}

/** The error for a step that failed here, temporary until somebody changes something. */
export function localError(
  stage: ClientStage,
  status: string,
  options: ErrorOptions & {
    /** What went wrong, for people. */
    text: string;
  },
): SmtpClientError {
  const reply = new SmtpReply(451, options.text, { enhanced: status });
  return new SmtpClientError(reply, { ...options, stage, fromPeer: false });
}

/** The error for a server's refusal of a step. */
export function peerError(
  stage: ClientStage,
  reply: SmtpReply,
): SmtpClientError {
  return new SmtpClientError(reply, { stage, fromPeer: true });
}

function asRefusal(reply: SmtpReply): SmtpReply {
  return reply.isPositive ? new SmtpReply(451, reply.lines) : reply;
}

/** A failure, of a session or of one recipient. */
export interface Failure {
  /** The step that failed. */
  readonly stage: ClientStage;
  /** The reply, the server's or one of our own. */
  readonly reply: SmtpReply;
  /** Whether the reply is the server's. */
  readonly fromPeer: boolean;
  /** Whether the session broke. */
  readonly broken: boolean;
}

/** What a host may answer to BDAT that has the keyword CHUNKING and not the command. */
const NO_BDAT: ReadonlySet<number> = new Set([500, 502, 503, 504]);

/** Whether a host that offers CHUNKING does not know, or not follow, BDAT. */
export function refusesBdat({ stage, reply, fromPeer }: Failure): boolean {
  return stage === "dataEnd" && fromPeer && NO_BDAT.has(reply.code);
}
