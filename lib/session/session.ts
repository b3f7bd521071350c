/**
 * The session as handlers see it: the client, the state of the conversation, and
 * the two things that a handler may do, `send` and `close`.
 */

import type { Message } from "../message/message.ts";
import type { Envelope } from "../protocol/envelope.ts";
import type { ListenerKind } from "../protocol/listener_kind.ts";
import type { SocketAddress, TlsInfo } from "../net/transport.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type { ServerFacts, SessionState } from "../protocol/server/state.ts";
import type { XclientAttributes } from "../protocol/xclient.ts";
import type { SessionProxy } from "../protocol/proxy_header.ts";
import type { SpfResult } from "../trust/result.ts";

/** The part of the protocol that a session shows. */
export interface SessionProtocol {
  readonly state: Pick<
    ServerFacts,
    "helo" | "extended" | "activity" | "envelope"
  >;
  /** Sends text unchanged. */
  send(text: string): void;
}

/** Checks SPF for sessions. */
export interface SpfSource {
  /** See {@linkcode SmtpSession.checkSpf}. */
  checkSpf(session: SmtpSession): Promise<SpfResult>;
}

/** The parts of a session. It reads the client from here on every access, because XCLIENT changes it. */
export interface SessionInit {
  readonly id: string;
  /** The client's address and port. */
  remote: SocketAddress;
  /** The address and port to which the client connected. */
  local: SocketAddress;
  /** The proxy in front of the server, if there is one. */
  readonly proxy?: SessionProxy | undefined;
  /** The attributes of XCLIENT. */
  xclient?: XclientAttributes | undefined;
  readonly kind: ListenerKind;
  readonly protocol: SessionProtocol;
  /** Ends the session. */
  readonly close: (reply: SmtpReply | undefined) => void;
  /** Checks SPF; without it {@linkcode SmtpSession.checkSpf} rejects. */
  readonly spf?: SpfSource | undefined;
  /** When the client connected; the default is now. */
  readonly connectedAt?: Date | undefined;
}

/**
 * One connected client.
 *
 * @example Keep a value with a session
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
  /** Unique id of the session on this server, for logs. */
  readonly id: string;
  /** The kind of the listener: `"smtp"`, `"submission"` or `"lmtp"`. */
  readonly kind: ListenerKind;
  /** When the client connected. */
  readonly connectedAt: Date;
  /** The message of the current transaction, from `onMessageStart` to the final reply. */
  message: Message | undefined;
  /** Messages accepted in this session so far. */
  messages = 0;
  /** The TLS of the connection; `undefined` without encryption. */
  tls: TlsInfo | undefined;
  /** The user that is logged in; `undefined` before a login. */
  username: string | undefined;
  /** Any value that the program wants to keep with the session. */
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

  /** The client's IP address, from the proxy or XCLIENT if there is one; `"unknown"` if XCLIENT does not know it. */
  get remoteAddress(): string {
    return this.#init.remote.address;
  }

  /** The client's port. */
  get remotePort(): number {
    return this.#init.remote.port;
  }

  /** The IP address to which the client connected. */
  get localAddress(): string {
    return this.#init.local.address;
  }

  /** The port to which the client connected. */
  get localPort(): number {
    return this.#init.local.port;
  }

  /** The proxy in front of the server and its header; `undefined` without one. */
  get proxy(): SessionProxy | undefined {
    return this.#init.proxy;
  }

  /** The client's attributes from XCLIENT; `undefined` before that command. */
  get xclient(): XclientAttributes | undefined {
    return this.#init.xclient;
  }

  /** The client's name in HELO, EHLO or LHLO; `undefined` before the command. */
  get helo(): string | undefined {
    return this.#protocol.state.helo;
  }

  /** Whether the client speaks ESMTP or LMTP: it sent EHLO or LHLO. */
  get extended(): boolean {
    return this.#protocol.state.extended;
  }

  /**
   * What the client has said of the message so far: from an accepted MAIL until
   * its end or reset; `undefined` otherwise, as in `onMailFrom`, `onReset` and
   * `onDisconnect`. Recipients of a message are in it once they are accepted.
   */
  get envelope(): Envelope | undefined {
    return this.#protocol.state.envelope;
  }

  /** The state of the session. */
  get state(): SessionState {
    return this.#protocol.state.activity;
  }

  /** The id, address and port, for logs. */
  toString(): string {
    return `${this.id} [${this.remoteAddress}]:${this.remotePort}`;
  }

  /** The facts of the session for logs: no secret, and not the `tag`. */
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
   * Sends text to the client unchanged, in order with the replies. The caller
   * supplies the line ends and must follow the protocol.
   *
   * @throws {TypeError} If `text` is no string
   */
  send(text: string): void {
    if (typeof text !== "string") {
      throw new TypeError('Cannot send that: want a text, as "250 OK\\r\\n"');
    }
    this.#protocol.send(text);
  }

  /**
   * Asks whether the domain of the sender allows this client to send in its name
   * (SPF, RFC 7208): the domain of MAIL FROM, or the name in HELO for a null
   * sender. Call it in `onMailFrom`, `onRcptTo` or later in the transaction. It
   * asks the DNS at most once for a transaction, also where `verify` asks, too.
   *
   * @throws {TypeError} If the session has no transaction
   *
   * @example Refuse senders whose domain forbids this client
   * ```ts
   * import { type SmtpHandlers, SmtpReply } from "@smtp/server";
   *
   * const handlers: SmtpHandlers = {
   *   async onMailFrom(session) {
   *     const { result, domain } = await session.checkSpf();
   *     if (result !== "fail") return;
   *     const text = `${domain} forbids ${session.remoteAddress} to send`;
   *     return new SmtpReply(550, text, { enhanced: "5.7.23" });
   *   },
   * };
   * console.assert(handlers.onMailFrom !== undefined);
   * ```
   */
  async checkSpf(): Promise<SpfResult> {
    const { spf } = this.#init;
    if (spf === undefined) {
      throw new TypeError("Cannot check SPF: the session has no server");
    }
    return await spf.checkSpf(this);
  }

  /**
   * Ends the session: with `reply`, usually a 421, or without one.
   *
   * @throws {TypeError} If `reply` is no SmtpReply
   */
  close(reply?: SmtpReply): void {
    if (reply !== undefined && !(reply instanceof SmtpReply)) {
      throw new TypeError(
        'Cannot close with that: want a reply, as new SmtpReply(421, "Enough")',
      );
    }
    this.#init.close(reply);
  }
}
