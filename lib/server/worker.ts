/**
 * The module that a worker runs: its port, joined to a server on the shared
 * ports. An entry point, like the command line: no file imports it.
 *
 * The server calls the main thread through the channel for everything that exists
 * only once: the queue, stores that a worker cannot make again, handlers that are
 * not a module, and the counts of logins. Owns nothing that another thread needs:
 * if it ends, only its sessions end.
 */

import {
  type PostingPort,
  type SharedMemory,
  SharedPort,
} from "../threads/shared_memory.ts";
import { records } from "./log.ts";
import { type Logger, takesLevel } from "../log.ts";
import type { BodyOptions } from "../message/body.ts";
import { Message } from "../message/message.ts";
import { messageOf } from "../queue/outgoing.ts";
import { recipientsOf, type RelayOptions } from "../queue/relay.ts";
import type { Credentials } from "../sasl/credentials.ts";
import {
  type HandlerContext,
  loadHandlerModule,
} from "../session/handler_module.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import { SessionCount, TicketLedger } from "../session/limits.ts";
import type { LoginAttempt, LoginCounter } from "../session/login_guard.ts";
import type {
  MainApi,
  ThreadServices,
  ThreadStart,
  WireAddress,
  WireOptions,
  WorkerApi,
} from "../threads/api.ts";
import { Channel, type Implementation } from "../threads/channel.ts";
import { decodeStore, MessageCalls } from "../threads/message_calls.ts";
import { remoteHandlers } from "../threads/remote_handlers.ts";
import { SessionPublisher } from "../threads/remote_sessions.ts";
import { decodeReply, decodeSecret } from "../threads/wire.ts";
import { bodyOptions } from "./contexts.ts";
import { SmtpServer } from "./server.ts";
import { encodeRelayOptions, OptionDecoder } from "./threading.ts";

/** Milliseconds between two signs of life of a thread. */
const PULSE_MS = 1000;

/** The server of one worker. */
class WorkerServer {
  /** The port of the channel. */
  readonly port: SharedPort;
  /** The channel to the main thread. */
  readonly channel: Channel<WorkerApi, MainApi>;
  readonly #messages: MessageCalls;
  /** Logins that a handler of the main thread checks, by session. */
  readonly #logins = new Map<string, Credentials>();
  readonly #sessions: SessionPublisher;
  readonly #decoder: OptionDecoder;
  #server: SmtpServer | undefined;
  #started: Promise<unknown> | undefined;
  #pulse: ReturnType<typeof setInterval> | undefined;

  /**
   * @param port To the main thread
   * @param memory The memory shared with the main thread
   */
  constructor(port: PostingPort, memory: SharedMemory) {
    this.port = new SharedPort(port, memory);
    this.channel = new Channel(this.port, this.#api());
    this.#messages = new MessageCalls(this.channel);
    this.#decoder = new OptionDecoder(this.#messages);
    this.#sessions = new SessionPublisher(this.channel);
    this.port.open(this.channel);
  }

  #api(): Implementation<WorkerApi> {
    return {
      calls: {
        start: (start) => this.#started = this.#start(start),
        reload: (options) => this.#reload(options),
        stop: (graceMs) => this.#stop(graceMs),
        verify: async ({ session, secret }) =>
          await this.#logins.get(session)?.verify(decodeSecret(secret)) ??
            false,
        spf: (session) => this.#sessions.of(session).checkSpf(),
        read: (read) => this.#messages.bodies.read(read),
      },
      notifications: {
        certificates: (wire) => this.#decoder.exchange(wire),
        send: ({ session, text }) => this.#sessions.get(session)?.send(text),
        close: ({ session, reply }) =>
          this.#sessions.get(session)?.close(reply && decodeReply(reply)),
        abort: () => this.#server?.abort(),
      },
    };
  }

  async #start(start: ThreadStart): Promise<readonly WireAddress[]> {
    const { channel } = this;
    // What is queued is delivered by the main thread, which logs that after this.
    const log: Logger = (record) =>
      takesLevel("warn", record.level) || record.fields?.["queued"]
        ? channel.notify("log", record)
        : channel.notifyLazily("log", record);
    const options = this.#decoder.decode(start.options);
    const services = this.#services(start, bodyOptions(options));
    this.#server = new SmtpServer({
      ...options,
      listen: start.listen,
      handlers: await this.#handlers(start, services),
      store: decodeStore(start.store, this.#messages),
      log,
    }, services);
    await this.#server.start();
    const beat = () => Atomics.add(start.pulses, start.thread, 1);
    beat();
    this.#pulse = setInterval(beat, PULSE_MS);
    return this.#server.addresses;
  }

  #services(start: ThreadStart, body: BodyOptions): ThreadServices {
    const { thread, prefix, saltKey, now } = start;
    const ahead = now - performance.now();
    return {
      ...{ thread, prefix, saltKey },
      guard: new RemoteLogins(this.channel),
      counts: {
        count: new SessionCount(start.sessions, thread),
        memory: start.addresses,
        users: start.users,
        ledger: new TicketLedger(start.tickets),
      },
      now: () => performance.now() + ahead,
      relays: remoteRelays(this.#messages, body),
      recipients: {
        recipientsReread: (domain) => this.channel.notify("recipients", domain),
      },
      observer: this.#sessions,
    };
  }

  /** The handlers of the module, or those of the main thread. */
  async #handlers(
    start: ThreadStart,
    { relays, thread }: ThreadServices,
  ): Promise<SmtpHandlers> {
    if (start.module !== undefined) {
      return await loadHandlerModule(start.module, { relays, thread });
    }
    return remoteHandlers(start.handlers, {
      channel: this.channel,
      messages: this.#messages,
      sessions: this.#sessions,
      logins: this.#logins,
    });
  }

  /** Applies new settings, which may come while the thread still starts. */
  async #reload(options: WireOptions): Promise<void> {
    await this.#started;
    await this.#server!.reload(this.#decoder.decode(options));
  }

  async #stop(graceMs: number): Promise<void> {
    await this.#started?.catch(() => {});
    await this.#server?.stop({ graceMs });
    clearInterval(this.#pulse);
    this.#sessions.stop();
  }
}

/** The queue of the main thread. */
function remoteRelays(
  calls: MessageCalls,
  body: BodyOptions,
): HandlerContext["relays"] {
  const addMessage = async (
    message: Message,
    options: RelayOptions,
  ): Promise<string> => {
    const { recipients: _, ...others } = options;
    const recipients = recipientsOf(options) ?? message.recipients;
    const id = await calls.offering(
      message.forRecipients(recipients),
      (offer, bytes) =>
        calls.channel.call("relay", {
          ...offer,
          options: encodeRelayOptions(others),
        }, { bytes, isRich: true }),
    );
    message.relays = [...message.relays, id];
    return id;
  };
  return {
    async add(message, options = {}) {
      if (message instanceof Message) return await addMessage(message, options);
      const id = crypto.randomUUID();
      const made = await messageOf(message, { id, body });
      try {
        return await addMessage(made, options);
      } finally {
        await made.discard();
      }
    },
  };
}

/** The counts of failed logins, which all threads share. */
class RemoteLogins implements LoginCounter {
  readonly #channel: Channel<WorkerApi, MainApi>;

  constructor(channel: Channel<WorkerApi, MainApi>) {
    this.#channel = channel;
  }

  enter(attempt: LoginAttempt): Promise<boolean> {
    return this.#channel.call("enter", attempt);
  }

  leave(attempt: LoginAttempt): void {
    this.#channel.notify("leave", attempt);
  }

  fail(attempt: LoginAttempt): Promise<void> {
    return this.#channel.call("fail", attempt);
  }

  succeed(attempt: LoginAttempt): void {
    this.#channel.notify("succeed", attempt);
  }

  release(): void {
    this.#channel.notify("release", undefined);
  }
}

/** The part of the worker's global scope that is used here. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<unknown>) => void) | null;
  postMessage(message: unknown, transfer: Transferable[]): void;
  close(): void;
}

const scope = globalThis as typeof globalThis & WorkerScope;
let server: WorkerServer | undefined;
// The first message brings the shared memory.
scope.onmessage = ({ data }) => {
  const { port } = server = new WorkerServer(scope, data as SharedMemory);
  scope.onmessage = ({ data }) => port.posted(data);
};

/** The URL of the server's own modules. */
const OWN = new URL("..", import.meta.url).href;
/** A module's URL in a stack trace. */
const MODULE = /\b(?:file|https?|data|blob|jsr|npm):[^\s()]*/g;

/**
 * Whether only the server's own modules were running when it was thrown. Then
 * the state of this thread is unknown. Otherwise the error concerns a connection
 * of the platform's, or the program's handlers.
 */
function isOwnFault(error: unknown): boolean {
  if (!(error instanceof Error) || error.stack === undefined) return false;
  const modules = error.stack.slice(error.message.length).match(MODULE) ?? [];
  return modules.length > 0 &&
    modules.every((module) => module.startsWith(OWN));
}

/** Logs an exception outside of every promise, from handlers or the platform; an own fault ends the thread. */
function keepGoing(event: Event, error: unknown): void {
  if (server === undefined || isOwnFault(error)) return;
  event.preventDefault();
  server.channel.notify("log", records.uncaught(error));
}

globalThis.addEventListener("error", (event) => keepGoing(event, event.error));
globalThis.addEventListener(
  "unhandledrejection",
  (event) => keepGoing(event, event.reason),
);

/** Reports the end of the worker: without an error the main thread does not notice it. */
function announce(what: string): void {
  server?.channel.notify("ending", what);
  server?.channel.flush();
}

const close = scope.close.bind(scope);
scope.close = () => {
  announce("close() was called");
  close();
};
const exit = Deno.exit;
Deno.exit = (code) => {
  announce("Deno.exit() was called");
  return exit(code);
};
