/**
 * One worker as the main thread has it: its start, the calls in both directions,
 * and its end. The handle owns what the worker holds on the main thread (login
 * attempts, bodies, published sessions), and releases it on every kind of end.
 *
 * A call from the worker may ask a handler of the main thread. The handler sees
 * the {@linkcode RemoteSession}; its answer and its changes go back to the worker,
 * which serves its other sessions meanwhile.
 */

import {
  closeHeaders,
  mailboxesOf,
  type Message,
  type MessageStore,
  openHeaders,
  setAuthentication,
  settleHeaders,
  setTrace,
} from "../message/message.ts";
import { Address } from "../protocol/address.ts";
import { MessageHeaders } from "../protocol/headers.ts";
import { Credentials } from "../sasl/credentials.ts";
import {
  type ArgumentsOf,
  type HandlerArguments,
  HANDLERS,
  invoke,
  type SmtpHandlers,
} from "../session/handlers.ts";
import { logHandlerFailure } from "../session/log.ts";
import type { LoginAttempt } from "../session/login_guard.ts";
import { tellHandler } from "../session/verdicts.ts";
import type { SmtpSession } from "../session/session.ts";
import type {
  HandlerAnswer,
  HandlerCall,
  MainApi,
  MainServices,
  MainSettings,
  MessageCall,
  MessageChanges,
  SessionNews,
  ThreadStart,
  WireAddress,
  WorkerApi,
} from "./api.ts";
import { OfferedBodies, RemoteBody } from "./bodies.ts";
import { Channel, type Implementation } from "./channel.ts";
import { type RemoteSession, RemoteSessions } from "./remote_sessions.ts";
import { sharedMemory, SharedPort } from "./shared_memory.ts";
import {
  decodeAuthentication,
  decodeBytes,
  decodeMessage,
  encodeCertificate,
  encodeError,
  encodeReply,
  encodeSecret,
  encodeThrown,
  encodeVerdict,
} from "./wire.ts";

/** One worker, from its start to its end. */
export class WorkerHandle {
  /** Number of the thread, from 1. */
  readonly thread: number;
  /** Resolves with the reason if the worker fails. */
  readonly failed: Promise<string>;
  /** Calls the worker. */
  readonly channel: Channel<MainApi, WorkerApi>;
  readonly #fail: (reason: string) => void;
  readonly #worker: Worker;
  readonly #port: SharedPort;
  readonly #services: MainServices;
  readonly #sessions: RemoteSessions;
  readonly #bodies = new OfferedBodies();
  /** Login attempts under way, by address and account. */
  readonly #attempts = new Map<string, LoginAttempt[]>();
  #over = false;

  /**
   * Makes a worker, which does nothing before {@linkcode WorkerHandle.start}.
   *
   * @param thread Number of the thread, from 1
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
      // Otherwise the error of one thread would end the process.
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
   * Starts to listen; resolves with the addresses.
   *
   * @throws {Error} If the worker cannot listen, or fails before
   */
  async start(start: ThreadStart): Promise<readonly WireAddress[]> {
    const ended = this.failed.then((reason) => {
      throw new Error(`Cannot start thread ${this.thread}: ${reason}`);
    });
    // The worker may also fail later, when no start awaits this promise.
    ended.catch(() => {});
    return await Promise.race([
      this.channel.call("start", start, { isRich: true }),
      ended,
    ]);
  }

  /** Terminates the worker at once. Its open sessions end with the reason "error". */
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
    for (const { session, isAsked, isEndReported } of this.#sessions.all) {
      this.#sessions.remove(session.id);
      if (isAsked && !isEndReported) this.#reportEnd(session);
    }
  }

  /** Calls `onDisconnect` for a session of an ended worker: each session that `onConnect` saw ends exactly once. */
  async #reportEnd(session: SmtpSession): Promise<void> {
    try {
      await this.#services.settings.handlers.onDisconnect?.(session, "error");
    } catch (error) {
      const name = "onDisconnect";
      logHandlerFailure(this.#services, session, { name, error });
    }
  }

  #api(): Implementation<MainApi> {
    const services = this.#services;
    const { settings, guard } = services;
    return {
      calls: {
        handler: (call, head) =>
          askHandler(
            { call, head },
            this.#sessions.update(call.session)!,
            { settings, channel: this.channel, bodies: this.#bodies },
          ),
        save: (call, head) => this.#save(call, head),
        relay: (call, head) => this.#relay(call, head),
        room: async ({ address, size, store }) =>
          await settings.storeOf(store)?.hasRoom?.(
            Address.parse(address),
            size,
          ) !== false,
        find: async (username) =>
          encodeSecret(await settings.accounts?.find(username)),
        isDisabled: async (username) =>
          await settings.accounts?.isDisabled?.(username) ?? false,
        ownAddresses: async (username) =>
          await settings.accounts?.addresses?.(username) ?? [],
        recipient: (recipient) => knowsRecipient(recipient, settings),
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
        state: (change) => this.#reportState(change),
        limit: ({ session: news, limit }) => this.#tell("onLimit", news, limit),
        dialogue: ({ session: news, exchange }) =>
          this.#tell("onDialogue", news, exchange),
        leave: (attempt) => this.#leave(attempt),
        succeed: (attempt) => guard.succeed(attempt),
        release: () => guard.release(),
        recipients: (domain) => settings.rereadRecipients(domain),
        ending: (reason) => this.#fail(reason),
      },
    };
  }

  #reportState(
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
      const name = "onStateChange";
      logHandlerFailure(this.#services, session, { name, error });
    }
  }

  #tell<N extends "onLimit" | "onDialogue">(
    name: N,
    news: SessionNews,
    value: ArgumentsOf<N>[1],
  ): void {
    const { settings, log } = this.#services;
    const context = { handlers: settings.handlers, log };
    const { session } = this.#sessions.update(news)!;
    const args = [session, value] as ArgumentsOf<N>;
    tellHandler(context, name, ...args);
  }

  async #enter(attempt: LoginAttempt): Promise<boolean> {
    const { guard } = this.#services;
    if (!await guard.enter(attempt)) return false;
    if (this.#over) {
      // The worker has ended while the attempt waited.
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
    head: Uint8Array | undefined,
  ): Promise<MainApi["calls"]["save"][1]> {
    const { seen, message, done } = this.#receive(call, head);
    const { partial, place } = call;
    try {
      const store = "chosen" in place
        ? seen && chosenStores(seen)?.[place.chosen]
        : this.#services.settings.storeOf(place.number);
      if (store === undefined) {
        throw new TypeError(`Cannot keep message "${message.id}": it is over`);
      }
      const saved = await store.save(message, { partial });
      return { mailboxes: mailboxesOf(saved) };
    } catch (error) {
      return { failure: encodeError(error, message.recipients) };
    } finally {
      done();
    }
  }

  async #relay(
    call: MainApi["calls"]["relay"][0],
    head: Uint8Array | undefined,
  ): Promise<string> {
    const { message, done } = this.#receive(call, head);
    try {
      return await this.#services.relays.add(message, call.options);
    } finally {
      done();
    }
  }

  /** Makes the message of a call; `seen` is the message with that id that handlers have seen. */
  #receive(call: MessageCall, head: Uint8Array | undefined) {
    const seen = this.#sessions.messageOf(call.message.id);
    const body = this.#services.settings.body;
    const content = new RemoteBody(
      body,
      (read) => this.channel.call("read", read),
    );
    content.fill(call.body, head);
    const message = decodeMessage(call.message, { body, content });
    if (seen !== undefined) {
      const { tag, store, filename, append } = seen;
      Object.assign(message, { tag, store, filename, append });
    }
    return { seen, message, done: () => content.forget() };
  }
}

/** Asks the program's function whether a local recipient exists. */
async function knowsRecipient(
  { address, domain }: MainApi["calls"]["recipient"][0],
  settings: MainSettings,
): Promise<MainApi["calls"]["recipient"][1]> {
  try {
    const knows = settings.recipientsOf(domain);
    // A reload has taken the function away: the session began before.
    if (knows === undefined) throw new TypeError("Cannot ask for a recipient");
    // A program may answer with what it has found, which may not cross.
    return { known: Boolean(await knows(Address.parse(address))) };
  } catch (error) {
    return { thrown: encodeError(error) };
  }
}

function keyOf({ address, account }: LoginAttempt): string {
  return `${address} ${account}`;
}

/** The services for a call of a handler. */
interface CallServices {
  /** Holds the current handlers. */
  readonly settings: { readonly handlers: SmtpHandlers };
  /** To the worker, where the client's secret is compared. */
  readonly channel: Channel<MainApi, WorkerApi>;
  /** Offers new contents of messages to the worker. */
  readonly bodies: OfferedBodies;
}

/** The objects that a handler gets, made from a call. */
interface Given {
  readonly session: SmtpSession;
  readonly message: Message | undefined;
  readonly headers: MessageHeaders | undefined;
  readonly credentials: Credentials | undefined;
}

/** Calls a handler for a worker. Never rejects. */
async function askHandler(
  { call, head }: {
    readonly call: HandlerCall;
    /** The first bytes of the content, which came with the call. */
    readonly head: Uint8Array | undefined;
  },
  remote: RemoteSession,
  init: CallServices,
): Promise<HandlerAnswer> {
  const { session } = remote;
  const message = remote.useMessage(call.message);
  if (call.body !== undefined) remote.content?.fill(call.body, head);
  if (call.proved !== undefined && message !== undefined) {
    const { authentication, trace } = call.proved;
    setAuthentication(message, decodeAuthentication(authentication), "");
    setTrace(message, remote.trace = trace);
  }
  const headers = decodeBytes(call.headers);
  const given: Given = {
    session,
    message,
    headers: headers && MessageHeaders.parse(headers, {
      utf8: message?.parameters.smtpUtf8 === true,
    }),
    credentials: credentialsOf(call, init),
  };
  remote.isAsked = true;
  if (call.name === "onDisconnect") remote.isEndReported = true;
  const { username } = session;
  const body = message?.body;
  let verdict = await run(init.settings.handlers, call, given);
  // Later edits would be lost.
  given.headers?.freeze();
  let edited = message && closeHeaders(message);
  if (message !== undefined && edited !== undefined && message.body !== body) {
    try {
      await settleHeaders(message);
    } catch (error) {
      verdict = encodeThrown(error);
    }
    edited = undefined;
  }
  const replaced = message?.body !== body && message
    ? init.bodies.giveAway(message.body)
    : undefined;
  remote.content?.forget();
  return {
    verdict,
    username: session.username === username
      ? undefined
      : session.username ?? null,
    identity: given.credentials?.identity,
    message: message && changesOf(message, {
      ...{ remote, replaced },
      headers: edited?.bytes.toBase64(),
    }),
    headers: given.headers?.changed
      ? given.headers.encode().toBase64()
      : undefined,
  };
}

/** Calls the handler with its arguments; resolves with what it returned or threw. */
async function run(
  handlers: SmtpHandlers,
  call: HandlerCall,
  given: Given,
): Promise<HandlerAnswer["verdict"]> {
  const { args } = HANDLERS[call.name];
  try {
    if (args.includes("content")) await openHeaders(given.message!);
    const values = args.map((word) => ARGUMENTS[word](call, given));
    const result = invoke(handlers, call.name, [given.session, ...values]);
    return encodeVerdict(await result);
  } catch (error) {
    return encodeThrown(error);
  }
}

/** How each argument of a handler is made from a call. */
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
  // Comes by a notification of its own, never by a call.
  exchange: () => ({ side: "client", line: "", atMs: 0 }),
};

/** Credentials whose secret is compared in the worker, which runs the SASL exchange. */
function credentialsOf(
  { credentials, session }: HandlerCall,
  { channel }: CallServices,
): Credentials | undefined {
  if (credentials === undefined) return undefined;
  const { mechanism, certificate, ...shown } = credentials;
  return new Credentials({
    ...shown,
    mechanism,
    certificate: decodeBytes(certificate),
    check: (secret) =>
      channel.call("verify", {
        session: session.id,
        secret: encodeSecret(secret),
      }),
  });
}

/** The changes of handlers to a message; `undefined` if there never were any. */
function changesOf(
  message: Message,
  { remote, replaced, headers }: {
    readonly remote: RemoteSession;
    readonly replaced: MessageChanges["replaced"];
    readonly headers: MessageChanges["headers"];
  },
): MessageChanges | undefined {
  const { filename, append, relays, traceText: trace } = message;
  const stores = chosenStores(message)?.map(({ kind }) => kind);
  const replies = message.recipients.flatMap(({ reply }, index) =>
    reply === undefined ? [] : [[index, encodeReply(reply)] as const]
  );
  // A later handler may have undone the change of an earlier one: that must cross as well.
  remote.isChanged ||= filename !== undefined || append ||
    stores !== undefined || replaced !== undefined ||
    headers !== undefined || trace !== remote.trace || replies.length > 0 ||
    relays.length > 0;
  return remote.isChanged
    ? { filename, append, stores, replaced, trace, headers, replies, relays }
    : undefined;
}

/** The stores that a handler chose for the message. */
function chosenStores(
  message: Message,
): readonly MessageStore[] | undefined {
  const { store } = message;
  if (store === undefined) return undefined;
  return Array.isArray(store) ? store : [store as MessageStore];
}
