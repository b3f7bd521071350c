/**
 * The sessions of a worker as the main thread sees them: the same class that a
 * handler gets on a server of one thread, fed with what the worker tells. What
 * is done to one goes back to the worker.
 */

import type { BodyOptions } from "../message/body.ts";
import type { Message } from "../message/message.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import { SmtpSession } from "../session/session.ts";
import { type ReadBody, RemoteBody } from "./bodies.ts";
import type {
  HandlerCall,
  SessionChanges,
  SessionFacts,
  SessionNews,
  SessionUpdate,
} from "./messages.ts";
import { decodeMessage, decodeProxy, decodeTls } from "./wire.ts";

/** What mirrors do to the sessions they show. */
export interface MirrorLinks {
  /** Sends text to the client. */
  send(session: string, text: string): void;
  /** Ends the session. */
  close(session: string, reply: SmtpReply | undefined): void;
  /** Reads on in a body of the worker. */
  readonly read: ReadBody;
  /** Where a replaced content goes. */
  body(): BodyOptions;
}

/** What stands for the machine of a session. */
type Shown = {
  -readonly [K in keyof SessionChanges]: SessionChanges[K];
};

/** One session of a worker. */
export class Mirror {
  /** The session as handlers see it. */
  readonly session: SmtpSession;
  /** The content of the message under way. */
  content: RemoteBody | undefined;
  /** The message that handlers were asked about last. */
  message: Message | undefined;
  /** Whether the worker has been told that a handler changed the message. */
  isChanged = false;
  /** Whether handlers know of the session. */
  isAsked = false;
  /** Whether handlers know of its end. */
  isTold = false;
  readonly #shown: Shown;
  readonly #links: MirrorLinks;
  readonly #messages: Map<string, Message>;

  /**
   * @param facts The session as the worker shows it
   * @param options What can be done to it, and the messages of all sessions
   */
  constructor(
    facts: SessionFacts,
    options: {
      readonly links: MirrorLinks;
      readonly messages: Map<string, Message>;
    },
  ) {
    const { links, messages } = options;
    const shown: Shown = { ...facts };
    this.#shown = shown;
    this.#links = links;
    this.#messages = messages;
    this.session = new SmtpSession({
      id: facts.id,
      get remote() {
        return { address: shown.remoteAddress, port: shown.remotePort };
      },
      get local() {
        return { address: shown.localAddress, port: shown.localPort };
      },
      get xclient() {
        return shown.xclient;
      },
      proxy: facts.proxy && decodeProxy(facts.proxy),
      kind: facts.kind,
      connectedAt: new Date(facts.connectedAt),
      close: (reply) => links.close(facts.id, reply),
      protocol: {
        get helo() {
          return shown.helo;
        },
        get extended() {
          return shown.extended;
        },
        get phase() {
          return PHASE[shown.state];
        },
        get reading() {
          return READING[shown.state];
        },
        send: (text) => links.send(facts.id, text),
      },
    });
    this.update(facts);
  }

  /** Takes over what has changed. */
  update(news: SessionUpdate): void {
    const { session } = this;
    const shown = this.#shown as Record<string, unknown>;
    for (const name in news) {
      shown[name] = news[name as keyof SessionUpdate] ?? undefined;
    }
    const { username, tls, messages } = news;
    if (username !== undefined) session.username = username ?? undefined;
    if (tls !== undefined) {
      session.tls = tls === null ? undefined : decodeTls(tls);
    }
    if (typeof messages === "number") session.messages = messages;
  }

  /** The session's connection is gone. */
  end(): void {
    this.#shown.state = "disconnected";
    this.useMessage(undefined);
  }

  /** The message that the next handler is asked about. */
  useMessage(message: HandlerCall["message"]): Message | undefined {
    const id = typeof message === "object" ? undefined : message;
    if (this.message !== undefined && this.message.id !== id) {
      this.#messages.delete(this.message.id);
      this.message = this.content = undefined;
      this.isChanged = false;
    }
    if (typeof message === "object") {
      const body = this.#links.body();
      this.content = new RemoteBody(body, this.#links.read);
      this.message = decodeMessage(message, { body, content: this.content });
      this.#messages.set(this.message.id, this.message);
    }
    return this.session.message = this.message;
  }
}

/** A phase that makes the session say the state. */
const PHASE = {
  connecting: "connecting",
  ready: "ready",
  receiving: "ready",
  authenticating: "ready",
  disconnected: "closed",
} as const;

/** A way of reading that makes the session say the state. */
const READING = {
  connecting: "command",
  ready: "command",
  receiving: "data",
  authenticating: "auth",
  disconnected: "command",
} as const;

/** The sessions of one worker. */
export class Mirrors {
  readonly #mirrors = new Map<string, Mirror>();
  readonly #messages = new Map<string, Message>();
  readonly #links: MirrorLinks;

  /** @param links What can be done to the sessions */
  constructor(links: MirrorLinks) {
    this.#links = links;
  }

  /** All of them. */
  get all(): readonly Mirror[] {
    return [...this.#mirrors.values()];
  }

  /** Takes in what is new; `undefined` for a session that is over. */
  update(news: SessionNews): Mirror | undefined {
    const known = this.#mirrors.get(news.id);
    if (known !== undefined) {
      known.update(news);
      return known;
    }
    if (!("connectedAt" in news)) return undefined;
    const mirror = new Mirror(news, {
      links: this.#links,
      messages: this.#messages,
    });
    this.#mirrors.set(news.id, mirror);
    return mirror;
  }

  /** The message of that name, if a handler was asked about it. */
  messageOf(id: string): Message | undefined {
    return this.#messages.get(id);
  }

  /** A session has ended. */
  remove(id: string): void {
    this.#mirrors.get(id)?.end();
    this.#mirrors.delete(id);
  }
}
