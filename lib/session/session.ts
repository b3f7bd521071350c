/**
 * The session as handlers see it: who is connected, how far the conversation
 * is, and the two things a handler may do to it, `send` and `close`.
 */

import type { Message } from "../message/message.ts";
import type { ListenerKind } from "../protocol/listener_kind.ts";
import type { SocketAddress, TlsInfo } from "../net/transport.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { ServerFacts } from "../protocol/server/state.ts";
import type { XclientAttributes } from "../protocol/xclient.ts";
import type { SessionProxy } from "../protocol/proxy_header.ts";

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
export interface SessionProtocol {
  /** Where things stand. */
  readonly state: Pick<ServerFacts, "helo" | "extended" | "activity">;
  /** Sends text as it is. */
  send(text: string): void;
}

/** What a session is made of. The session looks into it: XCLIENT changes the client. */
export interface SessionInit {
  /** Unique name. */
  readonly id: string;
  /** The client's address and port. */
  remote: SocketAddress;
  /** The address and port it connected to. */
  local: SocketAddress;
  /** What the proxy in front told, if there is one. */
  readonly proxy?: SessionProxy | undefined;
  /** What the client in front told by XCLIENT. */
  xclient?: XclientAttributes | undefined;
  /** What the listener is for. */
  readonly kind: ListenerKind;
  /** The machine behind the session. */
  readonly protocol: SessionProtocol;
  /** Ends the session. */
  readonly close: (reply: SmtpReply | undefined) => void;
  /** When the client connected; now, when not given. */
  readonly connectedAt?: Date | undefined;
}

/**
 * One connected client.
 *
 * @example Remember something for the length of a session
 * ```ts
 * import { type SmtpHandlers, SmtpReply } from "@smtp/server";
 *
 * const handlers: SmtpHandlers = {
 *   onConnect(session) {
 *     session.tag = 0;
 *   },
 *   onRcptTo(session) {
 *     session.tag = session.tag as number + 1;
 *     if (session.tag as number > 100) {
 *       session.close(new SmtpReply(421, "Enough", { enhanced: "4.7.0" }));
 *     }
 *   },
 * };
 * console.assert(handlers.onRcptTo !== undefined);
 * ```
 */
export class SmtpSession {
  /** Unique name of the session on this server, for logs. */
  readonly id: string;
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
  readonly #init: SessionInit;
  readonly #protocol: SessionProtocol;

  /** Made by the server. */
  constructor(init: SessionInit) {
    this.id = init.id;
    this.kind = init.kind;
    this.connectedAt = init.connectedAt ?? new Date();
    this.#init = init;
    this.#protocol = init.protocol;
  }

  /** The client's IP address, as the proxy in front tells it, or XCLIENT; `"unknown"` where that does not know. */
  get remoteAddress(): string {
    return this.#init.remote.address;
  }

  /** The client's port. */
  get remotePort(): number {
    return this.#init.remote.port;
  }

  /** The address the client connected to. */
  get localAddress(): string {
    return this.#init.local.address;
  }

  /** The port the client connected to. */
  get localPort(): number {
    return this.#init.local.port;
  }

  /** What the proxy in front told of the connection; `undefined` without one. */
  get proxy(): SessionProxy | undefined {
    return this.#init.proxy;
  }

  /** What was told of the client by XCLIENT; `undefined` before that. */
  get xclient(): XclientAttributes | undefined {
    return this.#init.xclient;
  }

  /** The name the client gave in HELO, EHLO or LHLO; `undefined` before it. */
  get helo(): string | undefined {
    return this.#protocol.state.helo;
  }

  /** Whether the client speaks ESMTP or LMTP: it said EHLO or LHLO. */
  get extended(): boolean {
    return this.#protocol.state.extended;
  }

  /** Where the session is. */
  get state(): SessionState {
    return this.#protocol.state.activity;
  }

  /** The name and address in a form for logs. */
  toString(): string {
    return `${this.id} [${this.remoteAddress}]:${this.remotePort}`;
  }

  /** What is known of the session, for logs: no secret, and not the `tag`. */
  toJSON(): Record<string, unknown> {
    const { id, kind, state, helo, username, connectedAt, messages } = this;
    const { remoteAddress, remotePort, localAddress, localPort, tls } = this;
    return {
      ...{ id, kind, state },
      ...{ remoteAddress, remotePort, localAddress, localPort },
      ...{ helo, username, tls, connectedAt, messages },
    };
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
    this.#init.close(reply);
  }
}
