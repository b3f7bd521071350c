/**
 * The sessions of a worker as the main thread sees them: the same class that a
 * handler gets on a server of one thread, fed with what the worker tells. What
 * is done to one goes back to the worker.
 *
 * What the main thread is told of the sessions of a worker: each once, and then
 * what has changed. Those that end at once are never told of, or every
 * connection would cost a message.
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
  WireTls,
} from "./api.ts";
import {
  decodeMessage,
  decodeProxy,
  decodeTls,
  encodeProxy,
  encodeTls,
} from "./wire.ts";

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
        state: {
          get helo() {
            return shown.helo;
          },
          get extended() {
            return shown.extended;
          },
          get activity() {
            return shown.state;
          },
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

/** How long a session is kept quiet about that no handler was asked about, in ms: twice that at most. */
const QUIET_MS = 25;
/** How often changes are told that no handler was asked about, in ms. */
const REFRESH_MS = 1000;

/** What a session was like when it was told of. */
type Published = Pick<SmtpSession, keyof SessionChanges>;

/** What is looked at for changes. */
const CHANGING: readonly (keyof SessionChanges)[] = [
  ...["state", "helo", "extended", "username", "messages", "tls"] as const,
];
/** What changes with XCLIENT alone. */
const CHANGING_BY_XCLIENT: readonly (keyof SessionChanges)[] = [
  ...["xclient", "remoteAddress", "remotePort"] as const,
  ...["localAddress", "localPort"] as const,
];

/** Takes what there is to tell. */
export interface ReportSink {
  /** Sessions that are new, or have changed. */
  sessions(news: readonly SessionNews[]): void;
  /** A session that was told of has ended. */
  closed(id: string): void;
}

/** Tells of the sessions of one worker. */
export class SessionReports {
  readonly #sink: ReportSink;
  readonly #live = new Map<string, SmtpSession>();
  /** What was told last; without an entry nothing was. */
  readonly #told = new Map<string, Published>();
  /** Sessions that have begun since the last look, and those that had then. */
  #fresh = new Set<SmtpSession>();
  #aged = new Set<SmtpSession>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #nextRefresh = 0;

  /** @param sink Takes what there is to tell */
  constructor(sink: ReportSink) {
    this.#sink = sink;
  }

  /** The session of that name. */
  get(id: string): SmtpSession | undefined {
    return this.#live.get(id);
  }

  /** A session has begun. */
  opened(session: SmtpSession): void {
    this.#live.set(session.id, session);
    this.#fresh.add(session);
    if (this.#fresh.size > 1) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#tell(), QUIET_MS);
  }

  /** A session has ended. */
  closed(session: SmtpSession): void {
    this.#live.delete(session.id);
    this.#fresh.delete(session);
    this.#aged.delete(session);
    if (this.#told.delete(session.id)) this.#sink.closed(session.id);
  }

  /** What the main thread does not know of a session; from here on it does. */
  news(session: SmtpSession): SessionNews {
    const { id } = session;
    const told = this.#told.get(id);
    if (told === undefined) {
      const shown = shownOf(session);
      this.#told.set(id, shown);
      return factsOf(session, shown);
    }
    const changed: Record<string, unknown> = { id };
    const look = (name: keyof SessionChanges) => {
      const value = session[name];
      if (value === told[name]) return;
      Object.assign(told, { [name]: value });
      changed[name] = (name === "tls" ? tlsOf(session) : value) ?? null;
    };
    CHANGING.forEach(look);
    if (session.xclient !== told.xclient) CHANGING_BY_XCLIENT.forEach(look);
    return changed as SessionNews;
  }

  #tell(): void {
    const news = [...this.#aged]
      .filter(({ id }) => !this.#told.has(id))
      .map((session) => this.news(session));
    this.#aged = this.#fresh;
    this.#fresh = new Set();
    const now = performance.now();
    if (now >= this.#nextRefresh) {
      this.#nextRefresh = now + REFRESH_MS;
      news.push(...this.#changes());
    }
    if (news.length > 0) this.#sink.sessions(news);
    this.#timer = this.#live.size === 0 ? undefined : setTimeout(
      () => this.#tell(),
      this.#aged.size > 0 ? QUIET_MS : REFRESH_MS,
    );
  }

  /** What has changed in the sessions that were told of. */
  #changes(): SessionNews[] {
    return [...this.#told.keys()]
      .map((id) => this.news(this.#live.get(id)!))
      .filter((one) => Object.keys(one).length > 1);
  }

  /** Tells nothing any more. */
  stop(): void {
    clearTimeout(this.#timer);
  }
}

function shownOf(session: SmtpSession): Published {
  const { helo, extended, state, username, messages, tls, xclient } = session;
  const { remoteAddress, remotePort, localAddress, localPort } = session;
  return {
    ...{ helo, extended, state, username, messages, tls, xclient },
    ...{ remoteAddress, remotePort, localAddress, localPort },
  };
}

function factsOf(session: SmtpSession, shown: Published): SessionFacts {
  const { id, proxy, kind, connectedAt } = session;
  return {
    ...{ id, kind, connectedAt: connectedAt.getTime() },
    proxy: proxy && encodeProxy(proxy),
    ...shown,
    tls: tlsOf(session),
  };
}

function tlsOf({ tls }: SmtpSession): WireTls | undefined {
  return tls && encodeTls(tls);
}
