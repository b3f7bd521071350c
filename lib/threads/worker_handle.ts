/**
 * One worker as the main thread has it: its start, what it asks, and its end.
 * What it held of the main thread (attempts to log in, bodies, its place in the
 * counters) is given back however it ends.
 */

import { describeError, type Logger } from "../log.ts";
import type { LoginAttempt, LoginCounter } from "../session/login_guard.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import type { MessageStore } from "../message/message.ts";
import type { BodyOptions } from "../message/body.ts";
import type { Accounts } from "../sasl/accounts.ts";
import type { Relays } from "../queue/relay.ts";
import { RetrySchedule } from "../queue/schedule.ts";
import type { CertificateSource } from "../tls/set.ts";
import type { SmtpSession } from "../session/session.ts";
import { OfferedBodies, RemoteBody } from "./bodies.ts";
import { Channel, type Implementation } from "./channel.ts";
import {
  askHandler,
  chosenStores,
  type HandlerHostInit,
} from "./handler_host.ts";
import type {
  MainFace,
  MessageCall,
  ThreadStart,
  WireAddress,
  WorkerFace,
} from "./api.ts";
import { Mirrors } from "./mirrors.ts";
import { sharedMemory, SharedPort } from "./shared_memory.ts";
import { decodeMessage, encodeSecret } from "./wire.ts";
import { encodeError, encodeReply } from "./wire_errors.ts";
import { encodeCertificate } from "./wire_options.ts";

/** What the main thread has for its workers. */
export interface MainServices {
  /** The handlers as they are now. */
  handlers(): SmtpHandlers;
  /** The accounts as they are now. */
  accounts(): Accounts | undefined;
  /** The certificates in use. */
  certificates(): CertificateSource | undefined;
  /** Where contents go that handlers replace. */
  body(): BodyOptions;
  /** The server's store. */
  readonly store: MessageStore;
  /** Counts failed log-ins. */
  readonly guard: LoginCounter;
  /** The messages to be relayed. */
  readonly relays: Relays;
  /** Takes log records. */
  readonly log: Logger;
}

/** One worker. */
export class RemoteThread {
  /** Which one it is, from 1. */
  readonly thread: number;
  /** Resolves with the reason when it ends before it was told to. */
  readonly failed: Promise<string>;
  /** Asks it. */
  readonly channel: Channel<MainFace, WorkerFace>;
  readonly #fail: (reason: string) => void;
  readonly #worker: Worker;
  readonly #port: SharedPort;
  readonly #services: MainServices;
  readonly #mirrors: Mirrors;
  readonly #bodies = new OfferedBodies();
  /** Attempts to log in that are under way. */
  readonly #attempts = new Map<string, LoginAttempt[]>();
  #over = false;

  /**
   * Starts a worker, which does nothing before {@linkcode RemoteThread.start}.
   *
   * @param thread Which one it is, from 1
   */
  constructor(thread: number, services: MainServices) {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.thread = thread;
    this.failed = promise;
    this.#fail = resolve;
    this.#services = services;
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), {
      type: "module",
      name: `smtp-${thread}`,
    });
    const [mine, theirs] = sharedMemory();
    this.#worker.postMessage(theirs);
    this.#port = new SharedPort(this.#worker, {
      memory: mine,
      receive: (batch) => this.channel.receive(batch),
    });
    this.channel = new Channel(this.#port, this.#face());
    const { channel } = this;
    this.#mirrors = new Mirrors({
      send: (session, text) => channel.note("send", { session, text }),
      close: (session, reply) =>
        channel.note("close", { session, reply: reply && encodeReply(reply) }),
      read: (read) => channel.call("read", read),
      body: () => services.body(),
    });
    this.#worker.onmessage = ({ data }) => this.#port.posted(data);
    this.#worker.onerror = (event) => {
      // Else the error of one thread would end all of them.
      event.preventDefault();
      resolve(event.message);
    };
    this.#worker.onmessageerror = () => resolve("A message could not be read");
  }

  /** The sessions that the worker has told of. */
  get sessions(): readonly SmtpSession[] {
    return this.#mirrors.all.map(({ session }) => session);
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
    // The worker may fail later on, when nobody waits here any more.
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
    for (const mirror of this.#mirrors.all) {
      const { session, isAsked, isTold } = mirror;
      this.#mirrors.remove(session.id);
      if (isAsked && !isTold) this.#tellEnd(session);
    }
  }

  /** What `onConnect` saw ends exactly once, however its thread ended. */
  async #tellEnd(session: SmtpSession): Promise<void> {
    try {
      await this.#services.handlers().onDisconnect?.(session, "error");
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

  #face(): Implementation<MainFace> {
    const services = this.#services;
    const host: HandlerHostInit = {
      handlers: () => services.handlers(),
      verify: (session, secret) =>
        this.channel.call("verify", { session, secret }),
      bodies: this.#bodies,
    };
    return {
      calls: {
        handler: (call, octets) =>
          askHandler(
            { call, octets },
            this.#mirrors.update(call.session)!,
            host,
          ),
        save: (call, octets) => this.#save(call, octets),
        relay: (call, octets) => this.#relay(call, octets),
        find: async (username) =>
          encodeSecret(await services.accounts()?.find(username)),
        enter: (attempt) => this.#enter(attempt),
        fail: (attempt) => services.guard.fail(attempt),
        choose: async (name) => {
          const found = await services.certificates()?.current.select(name);
          return found && encodeCertificate(found);
        },
        read: (read) => this.#bodies.read(read),
      },
      notes: {
        log: (record) => services.log(record),
        sessions: (news) => news.forEach((one) => this.#mirrors.update(one)),
        closed: (id) => this.#mirrors.remove(id),
        state: (it) => this.#tellState(it),
        leave: (attempt) => this.#leave(attempt),
        succeed: (attempt) => services.guard.succeed(attempt),
        release: () => services.guard.release(),
        ending: (reason) => this.#fail(reason),
      },
    };
  }

  #tellState(
    { session: news, state, previous }: MainFace["notes"]["state"],
  ): void {
    const { session } = this.#mirrors.update(news)!;
    try {
      this.#services.handlers().onStateChange?.(session, state, previous);
    } catch (error) {
      this.#handlerFailed("onStateChange", session, error);
    }
  }

  async #enter(attempt: LoginAttempt): Promise<boolean> {
    const { guard } = this.#services;
    if (!await guard.enter(attempt)) return false;
    if (this.#over) {
      // Nobody is left to make it.
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
    call: MainFace["calls"]["save"][0],
    octets: Uint8Array | undefined,
  ): Promise<MainFace["calls"]["save"][1]> {
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
    call: MainFace["calls"]["relay"][0],
    octets: Uint8Array | undefined,
  ): Promise<string> {
    const { message, done } = this.#receive(call, octets);
    const { schedule, ...options } = call.options as { schedule?: string };
    try {
      const relay = await this.#services.relays.add(message, {
        ...options,
        recipients: message.recipients,
        ...(schedule === undefined
          ? {}
          : { schedule: RetrySchedule.parse(schedule) }),
      });
      return relay.id;
    } finally {
      done();
    }
  }

  /** A message that came across, and the one that handlers have seen of that name. */
  #receive(call: MessageCall, octets: Uint8Array | undefined) {
    const seen = this.#mirrors.messageOf(call.message.id);
    const body = this.#services.body();
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
