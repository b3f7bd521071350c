/**
 * The handlers of the main thread as a worker calls them. Each is a call of the
 * channel; afterwards the handler's changes are applied to the arguments here.
 * `onStateChange`, `onLimit` and `onDialogue` are notifications: they have no
 * answer.
 * {@linkcode HANDLERS} lists the arguments of each handler, {@linkcode CROSSINGS}
 * says how each argument crosses. Only handlers that the program has set exist.
 */

import { type Message, setTrace } from "../message/message.ts";
import type { Credentials } from "../sasl/credentials.ts";
import {
  type DialogueLine,
  type HandlerArguments,
  HANDLERS,
  type LimitName,
  type SessionHandlerName,
  type SmtpHandlers,
} from "../session/handlers.ts";
import type { SmtpSession } from "../session/session.ts";
import { headOf, readBody } from "./bodies.ts";
import type { Channel } from "./channel.ts";
import type {
  HandlerAnswer,
  HandlerCall,
  MainApi,
  MessageChanges,
  WorkerApi,
} from "./api.ts";
import { type MessageCalls, RemoteStore } from "./message_calls.ts";
import type { SessionPublisher } from "./remote_sessions.ts";
import {
  decodeReply,
  decodeVerdict,
  encodeAuthentication,
  encodeMessage,
} from "./wire.ts";

/** The services for calls of handlers. */
export interface RemoteHandlersInit {
  /** To the main thread. */
  readonly channel: Channel<WorkerApi, MainApi>;
  readonly sessions: SessionPublisher;
  /** Offers messages to the main thread. */
  readonly messages: MessageCalls;
  /** Credentials that a handler judges now, by session. */
  readonly logins: Map<string, Credentials>;
}

/**
 * Makes the handlers that call those of the main thread.
 *
 * @param names The handlers that the program has set
 */
export function remoteHandlers(
  names: readonly SessionHandlerName[],
  init: RemoteHandlersInit,
): SmtpHandlers {
  const remote = new RemoteHandlers(init);
  return Object.fromEntries(names.map((name) => [
    name,
    (session: SmtpSession, ...values: readonly unknown[]) =>
      name === "onDialogue"
        ? remote.reportDialogue(session, values[0] as DialogueLine)
        : HANDLERS[name].answer === "none"
        ? remote.report(name, session, values)
        : remote.call(name, session, values),
  ]));
}

/** Calls the handlers of the main thread. The session judges their answers. */
class RemoteHandlers {
  readonly #init: RemoteHandlersInit;
  /** Messages whose facts were sent to the main thread. */
  readonly #sentMessages = new WeakSet<Message>();

  constructor(init: RemoteHandlersInit) {
    this.#init = init;
  }

  /** Calls a handler; the result has no type, like that of any handler. */
  async call(
    name: SessionHandlerName,
    session: SmtpSession,
    values: readonly unknown[],
  ): Promise<unknown> {
    const { channel, sessions } = this.#init;
    const { message } = session;
    const handler = HANDLERS[name];
    const crossings = handler.args.map((word) => CROSSINGS[word] as Crossing);
    const sent: Sent = {};
    crossings.forEach((crossing, at) =>
      Object.assign(sent, crossing.send(values[at], this.#init, session))
    );
    try {
      const { head, ...about } = sent;
      const answer = await channel.call("handler", {
        ...{ name, session: sessions.news(session) },
        message: message && this.#sentMessages.has(message)
          ? message.id
          : message && this.#facts(message),
        ...about,
      }, { bytes: head });
      const { username } = answer;
      if (username !== undefined) session.username = username ?? undefined;
      for (const [at, { apply }] of crossings.entries()) {
        const applied = apply?.(values[at], answer, this.#init);
        if (applied !== undefined) await applied;
      }
      const verdict = decodeVerdict(answer.verdict);
      return handler.answer === "command" && typeof verdict !== "string"
        ? undefined
        : verdict;
    } finally {
      crossings.forEach(({ release }, at) =>
        release?.(values[at], sent, this.#init, session)
      );
    }
  }

  #facts(message: Message): HandlerCall["message"] {
    this.#sentMessages.add(message);
    return encodeMessage(message);
  }

  /** Notifies the main thread of a line of the dialogue; there is no answer. */
  reportDialogue(session: SmtpSession, exchange: DialogueLine): void {
    const { channel, sessions } = this.#init;
    channel.notify("dialogue", { session: sessions.news(session), exchange });
  }

  /** Notifies the main thread of a state or limit; there is no answer. */
  report(
    name: SessionHandlerName,
    session: SmtpSession,
    [state, previous]: readonly unknown[],
  ): void {
    const { channel, sessions } = this.#init;
    if (name === "onLimit") {
      return channel.notify("limit", {
        session: sessions.news(session),
        limit: state as LimitName,
      });
    }
    channel.notify("state", {
      session: sessions.news(session),
      state: state as SmtpSession["state"],
      previous: previous as SmtpSession["state"],
    });
  }
}

/** The part of a call that an argument adds. */
interface Sent extends
  Partial<
    Pick<
      HandlerCall,
      "body" | "text" | "parameters" | "headers" | "credentials" | "proved"
    >
  > {
  /** The first bytes of the content, which go with the call. */
  readonly head?: Uint8Array | undefined;
}

/** How an argument of a handler crosses to the main thread. */
interface Crossing<T = unknown> {
  send(value: T, init: RemoteHandlersInit, session: SmtpSession): Sent;
  /** Applies the handler's changes here. */
  apply?(
    value: T,
    answer: HandlerAnswer,
    init: RemoteHandlersInit,
  ): void | Promise<void>;
  /** Called after the call, even if it failed. */
  release?(
    value: T,
    sent: Sent,
    init: RemoteHandlersInit,
    session: SmtpSession,
  ): void;
}

/** How each argument of a handler crosses. The session and its message go with every call. */
const CROSSINGS: {
  readonly [W in keyof HandlerArguments]: Crossing<HandlerArguments[W]>;
} = {
  text: { send: (text) => ({ text }) },
  address: { send: (address) => ({ text: address.toString() }) },
  parameters: { send: (parameters) => ({ parameters }) },
  message: {
    send: () => ({}),
    apply: (message, answer, init) =>
      changeMessage(message, answer.message, init),
  },
  content: {
    send(message, { messages }) {
      const { body, traceText: trace } = message;
      const authentication = encodeAuthentication(message);
      return {
        body: messages.bodies.offer(body),
        head: headOf(body),
        proved: authentication && { authentication, trace },
      };
    },
    apply: (message, answer, init) =>
      changeMessage(message, answer.message, init),
    release: (_message, { body }, { messages }) =>
      messages.bodies.withdraw(body!),
  },
  headers: {
    send: (headers) => ({ headers: headers.encode().toBase64() }),
    apply(headers, answer) {
      if (answer.headers === undefined) return;
      headers.assign(Uint8Array.fromBase64(answer.headers));
    },
  },
  // Crosses by a notification of its own.
  exchange: { send: () => ({}) },
  credentials: {
    send(credentials, { logins }, session) {
      const { mechanism, username, authorizationId, certificate } = credentials;
      const { password, token } = credentials;
      logins.set(session.id, credentials);
      return {
        credentials: {
          ...{ mechanism, username, authorizationId, password, token },
          certificate: certificate?.toBase64(),
        },
      };
    },
    apply(credentials, { identity }) {
      if (identity !== undefined) credentials.identity = identity;
    },
    release(credentials, _sent, { logins }, session) {
      if (logins.get(session.id) === credentials) logins.delete(session.id);
    },
  },
};

/** Applies a handler's changes to the message; a promise if it has a new content. */
function changeMessage(
  message: Message,
  changes: MessageChanges | undefined,
  { channel, messages }: RemoteHandlersInit,
): Promise<void> | undefined {
  if (changes === undefined) return undefined;
  message.filename = changes.filename;
  message.append = changes.append;
  message.relays = changes.relays;
  message.store = changes.stores?.map((kind, chosen) =>
    new RemoteStore(kind, messages, { chosen })
  );
  for (const [index, reply] of changes.replies) {
    message.recipients[index]!.reply = decodeReply(reply);
  }
  const { replaced, headers, trace } = changes;
  if (headers !== undefined) {
    message.headers.assign(Uint8Array.fromBase64(headers));
  }
  if (replaced === undefined) {
    if (message.traceText !== trace) setTrace(message, trace);
    return undefined;
  }
  const chunks = readBody(replaced, (read) => channel.call("read", read));
  return message.replace(ReadableStream.from(chunks))
    .then(() => setTrace(message, trace));
}
