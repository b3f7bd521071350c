/**
 * What the main thread is told of the sessions of a worker: each once, and then
 * what has changed. Those that end at once are never told of, or every
 * connection would cost a message.
 */

import type { SmtpSession } from "../session/session.ts";
import type {
  SessionChanges,
  SessionFacts,
  SessionNews,
  WireTls,
} from "./messages.ts";
import { encodeProxy, encodeTls } from "./wire.ts";

/** How long a session is kept quiet about that no handler was asked about, in ms: twice that at most. */
const QUIET_MS = 25;
/** How often changes are told that no handler was asked about, in ms. */
const REFRESH_MS = 1000;

/** What a session was like when it was told of. */
type Shown = Pick<SmtpSession, keyof SessionChanges>;

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
  readonly #told = new Map<string, Shown>();
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

function shownOf(session: SmtpSession): Shown {
  const { helo, extended, state, username, messages, tls, xclient } = session;
  const { remoteAddress, remotePort, localAddress, localPort } = session;
  return {
    ...{ helo, extended, state, username, messages, tls, xclient },
    ...{ remoteAddress, remotePort, localAddress, localPort },
  };
}

function factsOf(session: SmtpSession, shown: Shown): SessionFacts {
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
