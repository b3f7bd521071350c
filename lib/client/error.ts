/**
 * The error of a client that cannot open a session, and the replies that stand
 * for failures without a reply. Owns their codes and texts: a DSN needs a status
 * for everything that can go wrong.
 *
 * There are three lists of steps. `ClientPhase` names what the protocol waits
 * for. `ClientStage` is a phase or one of the two steps of the network; it names
 * failures and time limits. `ClientProgress` is what `onProgress` reports to a
 * program.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3463 | RFC 3463}
 */

import { SmtpError, SmtpReply } from "../protocol/reply.ts";
import type { ClientFault, ClientPhase } from "../protocol/client/state.ts";

/** The step that failed, or that decided on a recipient. Each has a time limit. */
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
 * A session could not be opened. `reply` is the server's, or one made here that
 * says what went wrong.
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
  /** Whether the reply is the server's; otherwise it was made here. */
  readonly fromPeer: boolean;

  /**
   * Makes an error from a reply.
   *
   * @param reply The server's reply, or one made here
   * @param options The step, and the origin of the reply
   */
  constructor(
    reply: SmtpReply,
    options: ErrorOptions & {
      /** The step that failed. */
      stage: ClientStage;
      /** Whether the reply is the server's. */
      fromPeer: boolean;
    },
  ) {
    super(reply, "", options);
    this.stage = options.stage;
    this.fromPeer = options.fromPeer;
  }
}

/** The name of each stage in the text of a reply. */
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

/** The enhanced status code of each fault of a session (RFC 3463 sections 3.5 and 3.6). */
const FAULT_STATUS: Readonly<Record<ClientFault["kind"], string>> = {
  closed: "4.4.2",
  closing: "4.4.2",
  timeout: "4.4.2",
  network: "4.4.2",
  protocol: "4.5.0",
};

/** The reply for a broken session: the server's if there is one, else one made here. */
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

/** The error for a step that failed on this side. It is temporary: a change of the configuration may help. */
export function localError(
  stage: ClientStage,
  status: string,
  options: ErrorOptions & {
    /** The text of the reply. */
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

/** A failure of a session or of one recipient. */
export interface Failure {
  /** The step that failed. */
  readonly stage: ClientStage;
  /** The reply: the server's, or one made here. */
  readonly reply: SmtpReply;
  /** Whether the reply is the server's. */
  readonly fromPeer: boolean;
  /** Whether the session broke. */
  readonly broken: boolean;
}

/** Replies to BDAT of hosts that offer CHUNKING without having the command. */
const NO_BDAT: ReadonlySet<number> = new Set([500, 502, 503, 504]);

/** Whether a host that offers CHUNKING does not know or does not accept BDAT. */
export function refusesBdat({ stage, reply, fromPeer }: Failure): boolean {
  return stage === "dataEnd" && fromPeer && NO_BDAT.has(reply.code);
}
