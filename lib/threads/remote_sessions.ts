/**
 * The sessions of a worker as the main thread has them, and the publisher on the
 * worker's side. Handlers get an instance of {@linkcode SmtpSession}, as on a
 * server with one thread. Its facts come from the worker; `send()` and `close()`
 * go to the worker.
 *
 * The worker publishes each session once, then its changes. It does not publish a
 * session that ends at once: otherwise every connection would cost a packet.
 */

import type { Message } from "../message/message.ts";
import { Address } from "../protocol/address.ts";
import type { Envelope, Recipient } from "../protocol/envelope.ts";
import { SmtpSession, type SpfSource } from "../session/session.ts";
import type { SpfResult } from "../trust/result.ts";
import type { Channel } from "./channel.ts";
import { RemoteBody } from "./bodies.ts";
import type {
  HandlerCall,
  MainApi,
  MainSettings,
  SessionChanges,
  SessionFacts,
  SessionNews,
  SessionObserver,
  SessionUpdate,
  WireEnvelope,
  WireTls,
  WorkerApi,
} from "./api.ts";
import {
  decodeMessage,
  decodeProxy,
  decodeRecipient,
  decodeTls,
  encodeProxy,
  encodeRecipient,
  encodeReply,
  encodeTls,
} from "./wire.ts";

/** The parts that the sessions of one worker share. */
interface SharedBySessions {
  readonly channel: Channel<MainApi, WorkerApi>;
  readonly settings: Pick<MainSettings, "body">;
  /** The messages that handlers have seen, by id. */
  readonly messages: Map<string, Message>;
}

/** The published facts, which the session shows. */
type Shown = {
  -readonly [K in Exclude<keyof SessionChanges, "envelope">]: SessionChanges[K];
};

/** The envelope of the transaction under way. */
interface Transaction {
  envelope: Envelope & { readonly recipients: Recipient[] } | undefined;
}

/** One session of a worker. */
export class RemoteSession {
  /** The session as handlers see it. */
  readonly session: SmtpSession;
  /** The content of the message under way. */
  content: RemoteBody | undefined;
  /** The message of the last handler call. */
  message: Message | undefined;
  /** The trace fields of the message, as the worker knows them. */
  trace = "";
  /** Whether a handler has changed the message. */
  isChanged = false;
  /** Whether a handler has seen the session. */
  isAsked = false;
  /** Whether `onDisconnect` was called. */
  isEndReported = false;
  readonly #shown: Shown;
  readonly #transaction: Transaction = { envelope: undefined };
  readonly #shared: SharedBySessions;

  constructor(facts: SessionFacts, shared: SharedBySessions) {
    const shown: Shown = { ...facts };
    const transaction = this.#transaction;
    this.#shown = shown;
    this.#shared = shared;
    const { channel } = shared;
    const { id } = facts;
    this.session = new SmtpSession({
      id,
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
      spf: new RemoteSpf(channel),
      kind: facts.kind,
      connectedAt: new Date(facts.connectedAt),
      close: (reply) =>
        channel.notify("close", {
          session: id,
          reply: reply && encodeReply(reply),
        }),
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
          get envelope() {
            return transaction.envelope;
          },
        },
        send: (text) => channel.notify("send", { session: id, text }),
      },
    });
    this.update(facts);
  }

  /** Applies changed facts. */
  update(news: SessionUpdate): void {
    const { session } = this;
    const shown = this.#shown as Record<string, unknown>;
    for (const name in news) {
      shown[name] = news[name as keyof SessionUpdate] ?? undefined;
    }
    const { username, tls, messages, envelope } = news;
    if (envelope !== undefined) this.#applyEnvelope(envelope);
    if (username !== undefined) session.username = username ?? undefined;
    if (tls !== undefined) {
      session.tls = tls === null ? undefined : decodeTls(tls);
    }
    if (typeof messages === "number") session.messages = messages;
  }

  /** Begins a transaction, adds recipients to it, or ends it. */
  #applyEnvelope(wire: WireEnvelope | null): void {
    const transaction = this.#transaction;
    if (wire === null) {
      transaction.envelope = undefined;
      return;
    }
    const { begun, recipients } = wire;
    if (begun !== undefined) {
      const [from, parameters] = begun;
      const address = Address.parse(from);
      transaction.envelope = { from: address, parameters, recipients: [] };
    }
    transaction.envelope?.recipients.push(...recipients.map(decodeRecipient));
  }

  /** Ends the session. */
  end(): void {
    this.#shown.state = "disconnected";
    this.#transaction.envelope = undefined;
    this.useMessage(undefined);
  }

  /** Sets and returns the message for the next handler call. */
  useMessage(message: HandlerCall["message"]): Message | undefined {
    const id = typeof message === "object" ? undefined : message;
    if (this.message !== undefined && this.message.id !== id) {
      this.#shared.messages.delete(this.message.id);
      // Contents that a handler has made here.
      this.message.discard();
      this.message = this.content = undefined;
      this.isChanged = false;
    }
    if (typeof message === "object") {
      const { channel, settings, messages } = this.#shared;
      const { body } = settings;
      this.content = new RemoteBody(body, (read) => channel.call("read", read));
      this.message = decodeMessage(message, { body, content: this.content });
      this.trace = message.trace;
      messages.set(this.message.id, this.message);
    }
    return this.session.message = this.message;
  }
}

/** SPF of the sessions of one worker: it asks, because it knows the transaction. */
class RemoteSpf implements SpfSource {
  readonly #channel: SharedBySessions["channel"];

  constructor(channel: SharedBySessions["channel"]) {
    this.#channel = channel;
  }

  checkSpf({ id }: SmtpSession): Promise<SpfResult> {
    return this.#channel.call("spf", id);
  }
}

/** The published sessions of one worker. */
export class RemoteSessions {
  readonly #sessions = new Map<string, RemoteSession>();
  readonly #shared: SharedBySessions;

  constructor(
    channel: Channel<MainApi, WorkerApi>,
    settings: Pick<MainSettings, "body">,
  ) {
    this.#shared = { channel, settings, messages: new Map() };
  }

  get all(): readonly RemoteSession[] {
    return [...this.#sessions.values()];
  }

  /** Applies new or changed facts; `undefined` for a session that has ended. */
  update(news: SessionNews): RemoteSession | undefined {
    const known = this.#sessions.get(news.id);
    if (known !== undefined) {
      known.update(news);
      return known;
    }
    if (!("connectedAt" in news)) return undefined;
    const session = new RemoteSession(news, this.#shared);
    this.#sessions.set(news.id, session);
    return session;
  }

  /** The message of that id, if a handler has seen it. */
  messageOf(id: string): Message | undefined {
    return this.#shared.messages.get(id);
  }

  /** Ends a session. */
  remove(id: string): void {
    this.#sessions.get(id)?.end();
    this.#sessions.delete(id);
  }
}

/** Age at which a session is published without a handler call, in ms; it may be twice that. */
const QUIET_MS = 25;
/** Interval at which changes are published without a handler call, in ms. */
const REFRESH_MS = 1000;

/** The facts of a session when they were last published. */
type Published = Pick<SmtpSession, keyof SessionChanges> & {
  /** Recipients of the envelope that were published. */
  recipients: number;
};

/** The facts that are checked for changes. */
const CHANGING: readonly (keyof SessionChanges)[] = [
  ...["state", "helo", "extended", "username", "messages", "tls"] as const,
];
/** The facts that only XCLIENT changes. */
const CHANGING_BY_XCLIENT: readonly (keyof SessionChanges)[] = [
  ...["xclient", "remoteAddress", "remotePort"] as const,
  ...["localAddress", "localPort"] as const,
];

/** Publishes the sessions of one worker. */
export class SessionPublisher implements SessionObserver {
  readonly #channel: Channel<WorkerApi, MainApi>;
  readonly #live = new Map<string, SmtpSession>();
  /** The last published facts, by session. */
  readonly #published = new Map<string, Published>();
  /** Sessions that have begun since the last publication. */
  #fresh = new Set<SmtpSession>();
  /** Sessions that were fresh then. */
  #aged = new Set<SmtpSession>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #nextRefresh = 0;

  constructor(channel: Channel<WorkerApi, MainApi>) {
    this.#channel = channel;
  }

  /** The session of that id. */
  get(id: string): SmtpSession | undefined {
    return this.#live.get(id);
  }

  /**
   * The session of that id.
   *
   * @throws {Deno.errors.Interrupted} If it has ended
   */
  of(id: string): SmtpSession {
    const session = this.get(id);
    if (session !== undefined) return session;
    throw new Deno.errors.Interrupted(`Cannot ask: session ${id} has ended`);
  }

  /** See {@linkcode SessionObserver.opened}. */
  opened(session: SmtpSession): void {
    this.#live.set(session.id, session);
    this.#fresh.add(session);
    if (this.#fresh.size > 1) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#publish(), QUIET_MS);
  }

  /** See {@linkcode SessionObserver.closed}. */
  closed(session: SmtpSession): void {
    this.#live.delete(session.id);
    this.#fresh.delete(session);
    this.#aged.delete(session);
    if (this.#published.delete(session.id)) {
      this.#channel.notifyLazily("closed", session.id);
    }
  }

  /**
   * The facts of a session that are not published yet; they count as published
   * from here on.
   *
   * @throws {Deno.errors.Interrupted} If the session has ended: it would stay published for ever
   */
  news(session: SmtpSession): SessionNews {
    const { id } = session;
    if (!this.#live.has(id)) {
      throw new Deno.errors.Interrupted(
        `Cannot call a handler: session ${id} has ended`,
      );
    }
    const published = this.#published.get(id);
    if (published === undefined) {
      const shown = shownOf(session);
      this.#published.set(id, shown);
      return factsOf(session, shown);
    }
    const changed: Record<string, unknown> = { id };
    const look = (name: keyof SessionChanges) => {
      const value = session[name];
      if (value === published[name]) return;
      Object.assign(published, { [name]: value });
      changed[name] = (name === "tls" ? tlsOf(session) : value) ?? null;
    };
    CHANGING.forEach(look);
    const envelope = envelopeNews(session, published);
    if (envelope !== undefined) changed["envelope"] = envelope;
    if (session.xclient !== published.xclient) {
      CHANGING_BY_XCLIENT.forEach(look);
    }
    return changed as SessionNews;
  }

  #publish(): void {
    const news = [...this.#aged]
      .filter(({ id }) => !this.#published.has(id))
      .map((session) => this.news(session));
    this.#aged = this.#fresh;
    this.#fresh = new Set();
    const now = performance.now();
    if (now >= this.#nextRefresh) {
      this.#nextRefresh = now + REFRESH_MS;
      news.push(...this.#changes());
    }
    if (news.length > 0) this.#channel.notify("sessions", news);
    this.#timer = this.#live.size === 0 ? undefined : setTimeout(
      () => this.#publish(),
      this.#aged.size > 0 ? QUIET_MS : REFRESH_MS,
    );
  }

  /** The changed facts of published sessions. */
  #changes(): SessionNews[] {
    return [...this.#published.keys()]
      .map((id) => this.news(this.#live.get(id)!))
      .filter((one) => Object.keys(one).length > 1);
  }

  /** Stops publishing. */
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
    ...{ envelope: undefined, recipients: 0 },
  };
}

/** The news of the envelope, which count as published: `null` if the transaction is over. */
function envelopeNews(
  { envelope }: SmtpSession,
  published: Published,
): WireEnvelope | null | undefined {
  const isSame = envelope === published.envelope;
  const { length } = envelope?.recipients ?? [];
  if (isSame && length === published.recipients) return undefined;
  const first = isSame ? published.recipients : 0;
  Object.assign(published, { envelope, recipients: length });
  if (envelope === undefined) return null;
  const { from, parameters, recipients } = envelope;
  return {
    begun: isSame ? undefined : [from.toString(), parameters],
    recipients: recipients.slice(first).map(encodeRecipient),
  };
}

function factsOf(session: SmtpSession, shown: Published): SessionFacts {
  const { id, proxy, kind, connectedAt } = session;
  const { recipients: _, ...facts } = shown;
  const envelope = envelopeNews(session, shown) ?? undefined;
  return {
    ...{ id, kind, connectedAt: connectedAt.getTime() },
    proxy: proxy && encodeProxy(proxy),
    ...facts,
    envelope,
    tls: tlsOf(session),
  };
}

function tlsOf({ tls }: SmtpSession): WireTls | undefined {
  return tls && encodeTls(tls);
}
