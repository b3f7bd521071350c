/**
 * The session as handlers see it: who is connected, how far the conversation
 * is, and the two things a handler may do to it, `send` and `close`.
 */

import type { Message } from "../message/message.ts";
import type { ListenerKind } from "../net/listen_options.ts";
import type { SocketAddress, TlsInfo } from "../net/transport.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { ServerProtocol } from "../protocol/server_protocol.ts";

/**
 * Where a session is: `connecting` before the greeting, `ready` between
 * commands, `receiving` in a message body, `authenticating` in an AUTH
 * exchange, `disconnected` at the end.
 */
export type SessionState =
  | "connecting"
  | "ready"
  | "receiving"
  | "authenticating"
  | "disconnected";

/** What a session shows of the machine behind it. */
export type SessionProtocol = Pick<
  ServerProtocol,
  "helo" | "extended" | "phase" | "reading" | "send"
>;

/** What a session is made of. */
export interface SessionInit {
  /** Unique name. */
  readonly id: string;
  /** The client's address and port. */
  readonly remote: SocketAddress;
  /** The address and port it connected to. */
  readonly local: SocketAddress;
  /** What the listener is for. */
  readonly kind: ListenerKind;
  /** The machine behind the session. */
  readonly protocol: SessionProtocol;
  /** Ends the session. */
  readonly close: (reply: SmtpReply | undefined) => void;
  /** When the client connected; now, when not given. */
  readonly connectedAt?: Date | undefined;
}

/** One connected client. */
export class SmtpSession {
  /** Unique name of the session on this server, for logs. */
  readonly id: string;
  /** The client's IP address. */
  readonly remoteAddress: string;
  /** The client's port. */
  readonly remotePort: number;
  /** The address the client connected to. */
  readonly localAddress: string;
  /** The port the client connected to. */
  readonly localPort: number;
  /** What the listener is for: `"smtp"`, `"submission"` or `"lmtp"`. */
  readonly kind: ListenerKind;
  /** When the client connected. */
  readonly connectedAt: Date;
  /** The message under way: from `onMessageStart` to the final reply. */
  message: Message | undefined;
  /** Messages accepted in this session so far. */
  messages = 0;
  /** The encryption in force, `undefined` on a plain connection. */
  tls: TlsInfo | undefined;
  /** Who has logged in, `undefined` for nobody. */
  username: string | undefined;
  /** Anything the program wants to keep with the session. */
  tag: unknown;
  readonly #protocol: SessionProtocol;
  readonly #close: (reply: SmtpReply | undefined) => void;

  /** Made by the server. */
  constructor(init: SessionInit) {
    this.id = init.id;
    this.remoteAddress = init.remote.address;
    this.remotePort = init.remote.port;
    this.localAddress = init.local.address;
    this.localPort = init.local.port;
    this.kind = init.kind;
    this.connectedAt = init.connectedAt ?? new Date();
    this.#protocol = init.protocol;
    this.#close = init.close;
  }

  /** The name the client gave in HELO, EHLO or LHLO; `undefined` before it. */
  get helo(): string | undefined {
    return this.#protocol.helo;
  }

  /** Whether the client speaks ESMTP or LMTP: it said EHLO or LHLO. */
  get extended(): boolean {
    return this.#protocol.extended;
  }

  /** Where the session is. */
  get state(): SessionState {
    const { phase, reading } = this.#protocol;
    if (phase === "connecting") return "connecting";
    if (phase === "closed") return "disconnected";
    if (reading === "command") return "ready";
    return reading === "auth" ? "authenticating" : "receiving";
  }

  /** The name and address in a form for logs. */
  toString(): string {
    return `${this.id} [${this.remoteAddress}]:${this.remotePort}`;
  }

  /**
   * Sends text to the client as it is, in its place among the replies. The
   * caller supplies the line ends and keeps to the protocol.
   */
  send(text: string): void {
    this.#protocol.send(text);
  }

  /** Ends the session: with `reply`, usually a 421, or without a word. */
  close(reply?: SmtpReply): void {
    this.#close(reply);
  }
}
