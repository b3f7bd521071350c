/**
 * The handlers of the main thread as a worker has them: each is a call across,
 * and what the handler did to the session and the message is done here. Only
 * those are made that the program has set: what nobody is asked costs nothing.
 */

import type { Message, MessageStore } from "../message/message.ts";
import type { MessageHeaders } from "../protocol/headers.ts";
import type { Credentials } from "../sasl/credentials.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import type { SmtpSession } from "../session/session.ts";
import { headOf, type OfferedBodies, readBody } from "./bodies.ts";
import type { Channel } from "./channel.ts";
import type {
  HandlerAnswer,
  HandlerCall,
  MainFace,
  MessageChanges,
  SessionHandlerName,
  WorkerFace,
} from "./api.ts";
import type { SessionReports } from "./mirrors.ts";
import { decodeVerdict, encodeMessage } from "./wire.ts";
import { decodeReply } from "./wire_errors.ts";

/** What the handlers of a worker go through. */
export interface RemoteHandlersInit {
  /** To the main thread. */
  readonly channel: Channel<WorkerFace, MainFace>;
  /** What the main thread knows of the sessions. */
  readonly reports: SessionReports;
  /** Offers the bodies of messages. */
  readonly bodies: OfferedBodies;
  /** Log-ins that are being judged, by session. */
  readonly logins: Map<string, Credentials>;
  /** A store of the main thread that a handler chose. */
  storeOf(kind: string, chosen: number): MessageStore;
}

/** Everything of a call but which handler and which session. */
type About = Omit<HandlerCall, "name" | "session" | "message">;

/**
 * The handlers of the main thread.
 *
 * @param names Those that it has
 */
export function remoteHandlers(
  names: readonly SessionHandlerName[],
  init: RemoteHandlersInit,
): SmtpHandlers {
  const remote = new RemoteHandlers(init);
  const all: Required<Omit<SmtpHandlers, `onRelay${string}`>> = {
    onConnect: (session) => remote.ask("onConnect", session),
    onCommand: (session, text) => remote.text("onCommand", session, text),
    onHelo: (session, text) => remote.ask("onHelo", session, { text }),
    onAuthenticate: (session, credentials) =>
      remote.judge(session, credentials),
    onMailFrom: (session, address, parameters) =>
      remote.ask("onMailFrom", session, {
        text: address.toString(),
        parameters,
      }),
    onRcptTo: (session, address, parameters) =>
      remote.ask("onRcptTo", session, { text: address.toString(), parameters }),
    onMessageStart: (session, message) =>
      remote.message("onMessageStart", session, { message }),
    onHeaders: (session, message, headers) =>
      remote.message("onHeaders", session, { message, headers }),
    onMessage: (session, message) => remote.content(session, message),
    onReset: (session) => remote.ask("onReset", session),
    onDisconnect: (session, text) =>
      remote.ask("onDisconnect", session, { text }),
    onVerify: (session, text) => remote.ask("onVerify", session, { text }),
    onExpand: (session, text) => remote.ask("onExpand", session, { text }),
    onStateChange: (session, state, previous) =>
      init.channel.note("state", {
        session: init.reports.news(session),
        state,
        previous,
      }),
  };
  const wanted = names.map((name) => [name, all[name]]);
  return Object.fromEntries(wanted) as SmtpHandlers;
}

/** Asks the main thread. What comes back is judged by whoever asked. */
class RemoteHandlers {
  readonly #init: RemoteHandlersInit;
  /** Messages that the main thread has been told of. */
  readonly #told = new WeakSet<Message>();

  constructor(init: RemoteHandlersInit) {
    this.#init = init;
  }

  async #call(
    name: SessionHandlerName,
    session: SmtpSession,
    about: About,
    octets?: Uint8Array,
  ): Promise<HandlerAnswer> {
    const { channel, reports } = this.#init;
    const { message } = session;
    const { body, text, parameters, headers, credentials } = about;
    const answer = await channel.call("handler", {
      ...{ name, session: reports.news(session) },
      message: message && this.#tell(message),
      ...{ body, text, parameters, headers, credentials },
    }, { octets });
    const { username } = answer;
    if (username !== undefined) session.username = username ?? undefined;
    return answer;
  }

  #tell(message: Message): HandlerCall["message"] {
    if (this.#told.has(message)) return message.id;
    this.#told.add(message);
    return encodeMessage(message);
  }

  // The answers are as untyped as those of a handler may be: one place judges both.
  async ask(
    name: SessionHandlerName,
    session: SmtpSession,
    about: About = {},
    // deno-lint-ignore no-explicit-any
  ): Promise<any> {
    return decodeVerdict((await this.#call(name, session, about)).verdict);
  }

  async text(
    name: SessionHandlerName,
    session: SmtpSession,
    text: string,
  ): Promise<string | undefined> {
    const line = await this.ask(name, session, { text });
    return typeof line === "string" ? line : undefined;
  }

  async judge(
    session: SmtpSession,
    credentials: Credentials,
  ): Promise<boolean> {
    const { logins } = this.#init;
    const { mechanism, username, authorizationId, certificate } = credentials;
    const { password, token } = credentials;
    logins.set(session.id, credentials);
    try {
      const answer = await this.#call("onAuthenticate", session, {
        credentials: {
          ...{ mechanism, username, authorizationId, password, token },
          certificate: certificate?.toBase64(),
        },
      });
      if (answer.identity !== undefined) credentials.identity = answer.identity;
      return decodeVerdict(answer.verdict) as boolean;
    } finally {
      if (logins.get(session.id) === credentials) logins.delete(session.id);
    }
  }

  async message(
    name: "onMessageStart" | "onHeaders",
    session: SmtpSession,
    about: { readonly message: Message; readonly headers?: MessageHeaders },
    // deno-lint-ignore no-explicit-any
  ): Promise<any> {
    const { message, headers } = about;
    const answer = await this.#call(name, session, {
      headers: headers?.encode().toBase64(),
    });
    await this.#change(message, answer.message);
    if (answer.headers !== undefined) {
      headers?.assign(Uint8Array.fromBase64(answer.headers));
    }
    return decodeVerdict(answer.verdict);
  }

  // deno-lint-ignore no-explicit-any
  async content(session: SmtpSession, message: Message): Promise<any> {
    const { bodies } = this.#init;
    const body = bodies.offer(message.body);
    try {
      const head = headOf(message.body);
      const answer = await this.#call("onMessage", session, { body }, head);
      await this.#change(message, answer.message);
      return decodeVerdict(answer.verdict);
    } finally {
      bodies.withdraw(body);
    }
  }

  /** Does here what the handler did there. */
  async #change(
    message: Message,
    changes: MessageChanges | undefined,
  ): Promise<void> {
    if (changes === undefined) return;
    const { channel, storeOf } = this.#init;
    message.filename = changes.filename;
    message.append = changes.append;
    message.store = changes.stores?.map((kind, index) => storeOf(kind, index));
    for (const [index, reply] of changes.replies) {
      message.recipients[index]!.reply = decodeReply(reply);
    }
    if (changes.replaced === undefined) return;
    const chunks = readBody(
      changes.replaced,
      (read) => channel.call("read", read),
    );
    await message.replace(ReadableStream.from(chunks));
  }
}
