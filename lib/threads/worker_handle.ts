/**
 * One worker as the main thread has it: its start, its calls, and its end. What
 * it held of the main thread (attempts to log in, bodies, its place in the
 * counters) is given back however it ends.
 *
 * Asks the handlers of the main thread for a worker: shows them the mirror of
 * the session, and tells the worker what they said and did. A handler may take
 * its time; the worker goes on with its other sessions meanwhile.
 */

import { describeError } from "../log.ts";
import type { LoginAttempt } from "../session/login_guard.ts";
import type { SmtpSession } from "../session/session.ts";
import { OfferedBodies, RemoteBody } from "./bodies.ts";
import { Channel, type Implementation } from "./channel.ts";
import type {
  HandlerAnswer,
  HandlerCall,
  MainApi,
  MainServices,
  MessageCall,
  MessageChanges,
  ThreadStart,
  WireAddress,
  WorkerApi,
} from "./api.ts";
import { type RemoteSession, RemoteSessions } from "./remote_sessions.ts";
import { sharedMemory, SharedPort } from "./shared_memory.ts";
import {
  decodeMessage,
  decodeOctets,
  encodeCertificate,
  encodeError,
  encodeReply,
  encodeSecret,
  encodeThrown,
  encodeVerdict,
} from "./wire.ts";
import type { Message, MessageStore } from "../message/message.ts";
import { Address } from "../protocol/address.ts";
import { MessageHeaders } from "../protocol/headers.ts";
import { Credentials } from "../sasl/credentials.ts";
import {
  type HandlerArguments,
  HANDLERS,
  invoke,
  type SmtpHandlers,
} from "../session/handlers.ts";

/** One worker. */
export class WorkerHandle {
  /** Which one it is, from 1. */
  readonly thread: number;
  /** Resolves with the reason when it ends by itself. */
  readonly failed: Promise<string>;
  /** Asks it. */
  readonly channel: Channel<MainApi, WorkerApi>;
  readonly #fail: (reason: string) => void;
  readonly #worker: Worker;
  readonly #port: SharedPort;
  readonly #services: MainServices;
  readonly #sessions: RemoteSessions;
  readonly #bodies = new OfferedBodies();
  /** Attempts to log in that are under way. */
  readonly #attempts = new Map<string, LoginAttempt[]>();
  #over = false;

  /**
   * Starts a worker, which does nothing before {@linkcode WorkerHandle.start}.
   *
   * @param thread Which one it is, from 1
   */
  constructor(thread: number, services: MainServices) {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.thread = thread;
    this.failed = promise;
    this.#fail = resolve;
    this.#services = services;
    this.#worker = new Worker(services.worker, {
      type: "module",
      name: `smtp-${thread}`,
    });
    const [mine, theirs] = sharedMemory();
    this.#worker.postMessage(theirs);
    this.#port = new SharedPort(this.#worker, mine);
    this.channel = new Channel(this.#port, this.#api());
    this.#sessions = new RemoteSessions(this.channel, services.settings);
    this.#port.open(this.channel);
    this.#worker.onmessage = ({ data }) => this.#port.posted(data);
    this.#worker.onerror = (event) => {
      // Else the error of one thread would end all of them.
      event.preventDefault();
      resolve(event.message);
    };
    this.#worker.onmessageerror = () => resolve("A message could not be read");
  }

  /** The sessions that the worker has published. */
  get sessions(): readonly SmtpSession[] {
    return this.#sessions.all.map(({ session }) => session);
  }

  /**
   * Has the worker listen.
   *
   * @throws {Error} If it cannot, or ends instead
   */
  async start(start: ThreadStart): Promise<readonly WireAddress[]> {
    const ended = this.failed.then((reason) => {
      throw new Error(`Cannot start thread ${this.thread}: ${reason}`);
    });
    // The worker may fail later on, when no start waits here any more.
    ended.catch(() => {});
    return await Promise.race([
      this.channel.call("start", start, { isRich: true }),
      ended,
    ]);
  }

  /** Ends the worker at once, with whatever it has open. Its sessions end as by a fault. */
  end(): void {
    this.#over = true;
    this.#worker.terminate();
    this.#port.close();
    this.channel.close(
      new Deno.errors.Interrupted(`Thread ${this.thread} has ended`),
    );
    this.#bodies.discard();
    for (const attempts of this.#attempts.values()) {
      for (const attempt of attempts) this.#services.guard.leave(attempt);
    }
    this.#attempts.clear();
    for (const { session, isAsked, isTold } of this.#sessions.all) {
      this.#sessions.remove(session.id);
      if (isAsked && !isTold) this.#tellEnd(session);
    }
  }

  /** What `onConnect` saw ends exactly once, however its thread ended. */
  async #tellEnd(session: SmtpSession): Promise<void> {
    try {
      await this.#services.settings.handlers.onDisconnect?.(session, "error");
    } catch (error) {
      this.#handlerFailed("onDisconnect", session, error);
    }
  }

  #handlerFailed(name: string, session: SmtpSession, error: unknown): void {
    this.#services.log({
      level: "error",
      event: "error",
      message: `${name} failed`,
      session: session.id,
      error: describeError(error),
    });
  }

  #api(): Implementation<MainApi> {
    const services = this.#services;
    const { settings, guard } = services;
    return {
      calls: {
        handler: (call, octets) =>
          askHandler(
            { call, octets },
            this.#sessions.update(call.session)!,
            { settings, channel: this.channel, bodies: this.#bodies },
          ),
        save: (call, octets) => this.#save(call, octets),
        relay: (call, octets) => this.#relay(call, octets),
        find: async (username) =>
          encodeSecret(await settings.accounts?.find(username)),
        enter: (attempt) => this.#enter(attempt),
        fail: (attempt) => guard.fail(attempt),
        choose: async (name) => {
          const found = await settings.certificates?.current.select(name);
          return found && encodeCertificate(found);
        },
        read: (read) => this.#bodies.read(read),
      },
      notifications: {
        log: (record) => services.log(record),
        sessions: (news) => news.forEach((one) => this.#sessions.update(one)),
        closed: (id) => this.#sessions.remove(id),
        state: (change) => this.#tellState(change),
        leave: (attempt) => this.#leave(attempt),
        succeed: (attempt) => guard.succeed(attempt),
        release: () => guard.release(),
        ending: (reason) => this.#fail(reason),
      },
    };
  }

  #tellState(
    { session: news, state, previous }: MainApi["notifications"]["state"],
  ): void {
    const { session } = this.#sessions.update(news)!;
    try {
      this.#services.settings.handlers.onStateChange?.(
        session,
        state,
        previous,
      );
    } catch (error) {
      this.#handlerFailed("onStateChange", session, error);
    }
  }

  async #enter(attempt: LoginAttempt): Promise<boolean> {
    const { guard } = this.#services;
    if (!await guard.enter(attempt)) return false;
    if (this.#over) {
      // The worker that wanted to make it has ended.
      guard.leave(attempt);
      return false;
    }
    const key = keyOf(attempt);
    this.#attempts.set(key, [...this.#attempts.get(key) ?? [], attempt]);
    return true;
  }

  #leave(attempt: LoginAttempt): void {
    const key = keyOf(attempt);
    const [one, ...others] = this.#attempts.get(key) ?? [];
    if (one === undefined) return;
    if (others.length > 0) this.#attempts.set(key, others);
    else this.#attempts.delete(key);
    this.#services.guard.leave(one);
  }

  async #save(
    call: MainApi["calls"]["save"][0],
    octets: Uint8Array | undefined,
  ): Promise<MainApi["calls"]["save"][1]> {
    const { seen, message, done } = this.#receive(call, octets);
    const { partial, chosen } = call;
    try {
      const store = chosen === undefined
        ? this.#services.store
        : seen && chosenStores(seen)?.[chosen];
      if (store === undefined) {
        throw new TypeError(`Cannot keep message "${message.id}": it is over`);
      }
      await store.save(message, { partial });
      return undefined;
    } catch (error) {
      return encodeError(error, message.recipients);
    } finally {
      done();
    }
  }

  async #relay(
    call: MainApi["calls"]["relay"][0],
    octets: Uint8Array | undefined,
  ): Promise<string> {
    const { message, done } = this.#receive(call, octets);
    try {
      return await this.#services.relays.add(message, call.options);
    } finally {
      done();
    }
  }

  /** A message that came across, and the one that handlers have seen of that name. */
  #receive(call: MessageCall, octets: Uint8Array | undefined) {
    const seen = this.#sessions.messageOf(call.message.id);
    const body = this.#services.settings.body;
    const content = new RemoteBody(
      body,
      (read) => this.channel.call("read", read),
    );
    content.fill(call.body, octets);
    const message = decodeMessage(call.message, { body, content });
    if (seen !== undefined) {
      const { tag, store, filename, append } = seen;
      Object.assign(message, { tag, store, filename, append });
    }
    return { seen, message, done: () => content.forget() };
  }
}

function keyOf({ address, account }: LoginAttempt): string {
  return `${address} ${account}`;
}

/** What asking handlers for a worker takes. */
export interface HandlerHostInit {
  /** Has the handlers as they are now. */
  readonly settings: { readonly handlers: SmtpHandlers };
  /** To the worker, which knows whether the client of a session knows a secret. */
  readonly channel: Channel<MainApi, WorkerApi>;
  /** Offers replaced contents to the worker. */
  readonly bodies: OfferedBodies;
}

/** What has been made of a call, for the handler to look at and to change. */
interface Given {
  readonly session: SmtpSession;
  readonly message: Message | undefined;
  readonly headers: MessageHeaders | undefined;
  readonly credentials: Credentials | undefined;
}

/** Asks one handler. Never rejects. */
async function askHandler(
  { call, octets }: {
    readonly call: HandlerCall;
    /** The content, as much as came along. */
    readonly octets: Uint8Array | undefined;
  },
  mirror: RemoteSession,
  init: HandlerHostInit,
): Promise<HandlerAnswer> {
  const { session } = mirror;
  const message = mirror.useMessage(call.message);
  if (call.body !== undefined) mirror.content?.fill(call.body, octets);
  const headers = decodeOctets(call.headers);
  const given: Given = {
    session,
    message,
    headers: headers && MessageHeaders.parse(headers, {
      utf8: message?.parameters.smtpUtf8 === true,
    }),
    credentials: credentialsOf(call, init),
  };
  mirror.isAsked = true;
  if (call.name === "onDisconnect") mirror.isTold = true;
  const { username } = session;
  const body = message?.body;
  const verdict = await run(init.settings.handlers, call, given);
  // Edits that come later would be lost.
  given.headers?.freeze();
  const replaced = message?.body !== body && message
    ? init.bodies.giveAway(message.body)
    : undefined;
  mirror.content?.forget();
  return {
    verdict,
    username: session.username === username
      ? undefined
      : session.username ?? null,
    identity: given.credentials?.identity,
    message: message && changesOf(message, { mirror, replaced }),
    headers: given.headers?.changed
      ? given.headers.encode().toBase64()
      : undefined,
  };
}

/** Calls the handler of that name with what it wants; what it returned or threw. */
async function run(
  handlers: SmtpHandlers,
  call: HandlerCall,
  given: Given,
): Promise<HandlerAnswer["verdict"]> {
  const { args } = HANDLERS[call.name];
  try {
    const values = args.map((word) => ARGUMENTS[word](call, given));
    const result = invoke(handlers, call.name, [given.session, ...values]);
    return encodeVerdict(await result);
  } catch (error) {
    return encodeThrown(error);
  }
}

/** How each argument of a handler is made of a call. */
const ARGUMENTS: {
  readonly [W in keyof HandlerArguments]: (
    call: HandlerCall,
    given: Given,
  ) => HandlerArguments[W];
} = {
  text: ({ text = "" }) => text,
  address: ({ text = "" }) => Address.parse(text),
  parameters: ({ parameters = {} }) => parameters,
  message: (_call, { message }) => message!,
  content: (_call, { message }) => message!,
  headers: (_call, { headers }) => headers!,
  credentials: (_call, { credentials }) => credentials!,
};

/** Credentials whose secret is compared in the worker, where the exchange is. */
function credentialsOf(
  { credentials, session }: HandlerCall,
  { channel }: HandlerHostInit,
): Credentials | undefined {
  if (credentials === undefined) return undefined;
  const { mechanism, certificate, ...shown } = credentials;
  return new Credentials({
    ...shown,
    mechanism,
    certificate: decodeOctets(certificate),
    check: (secret) =>
      channel.call("verify", {
        session: session.id,
        secret: encodeSecret(secret),
      }),
  });
}

/** What handlers have made of a message; nothing where none of them has made anything of it. */
function changesOf(
  message: Message,
  { mirror, replaced }: {
    readonly mirror: RemoteSession;
    readonly replaced: MessageChanges["replaced"];
  },
): MessageChanges | undefined {
  const { filename, append } = message;
  const stores = chosenStores(message)?.map(({ kind }) => kind);
  const replies = message.recipients.flatMap(({ reply }, index) =>
    reply === undefined ? [] : [[index, encodeReply(reply)] as const]
  );
  // What one handler changed, a later one may have changed back.
  mirror.isChanged ||= filename !== undefined || append ||
    stores !== undefined || replaced !== undefined || replies.length > 0;
  return mirror.isChanged
    ? { filename, append, stores, replaced, replies }
    : undefined;
}

/** The stores that a handler chose, as a list. */
function chosenStores(
  message: Message,
): readonly MessageStore[] | undefined {
  const { store } = message;
  if (store === undefined) return undefined;
  return Array.isArray(store) ? store : [store as MessageStore];
}
