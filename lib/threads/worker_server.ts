/**
 * One worker's side: a server of its own on the shared port, with what there is
 * only one of reached through the channel. Owns nothing that another thread
 * could miss: its sessions end with it, and nothing else does.
 */

import type { Credentials } from "../sasl/credentials.ts";
import type { Logger } from "../log.ts";
import { SmtpServer } from "../server/server.ts";
import type {
  MainFace,
  ThreadServices,
  ThreadStart,
  WireAddress,
  WireOptions,
  WorkerFace,
} from "./api.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import { loadHandlerModule } from "../session/handler_module.ts";
import { SessionCount, TicketLedger } from "../session/limits.ts";
import { makeStore } from "../store/thread_store.ts";
import { OfferedBodies } from "./bodies.ts";
import { Channel, type Implementation } from "./channel.ts";
import { remoteHandlers } from "./remote_handlers.ts";
import { RemoteGuard, remoteRelay, RemoteStore } from "./remote_services.ts";
import { SessionReports } from "./mirrors.ts";
import {
  type PostingPort,
  type SharedMemory,
  SharedPort,
} from "./shared_memory.ts";
import { decodeSecret } from "./wire.ts";
import { decodeReply } from "./wire_errors.ts";
import { OptionDecoder } from "./wire_options.ts";

/** How often a thread shows that it turns, in ms. */
const PULSE_MS = 1000;

/** The server of one worker. */
export class ThreadServer {
  /** Carries the channel. */
  readonly port: SharedPort;
  /** To the main thread. */
  readonly channel: Channel<WorkerFace, MainFace>;
  readonly #bodies = new OfferedBodies();
  readonly #logins = new Map<string, Credentials>();
  readonly #reports: SessionReports;
  readonly #decoder: OptionDecoder;
  #server: SmtpServer | undefined;
  #started: Promise<unknown> | undefined;
  #pulse: ReturnType<typeof setInterval> | undefined;

  /**
   * @param port To the main thread
   * @param memory What it shares with this one
   */
  constructor(port: PostingPort, memory: SharedMemory) {
    this.port = new SharedPort(port, {
      memory,
      receive: (batch) => this.channel.receive(batch),
    });
    this.channel = new Channel(this.port, this.#face());
    this.#decoder = new OptionDecoder(this.channel);
    this.#reports = new SessionReports({
      sessions: (news) => this.channel.note("sessions", news),
      closed: (id) => this.channel.noteLater("closed", id),
    });
  }

  #face(): Implementation<WorkerFace> {
    const session = (id: string) => this.#reports.get(id);
    return {
      calls: {
        start: (start) => this.#started = this.#start(start),
        reload: (options) => this.#reload(options),
        stop: (graceMs) => this.#stop(graceMs),
        verify: async ({ session, secret }) =>
          await this.#logins.get(session)?.verify(decodeSecret(secret)) ??
            false,
        read: (read) => this.#bodies.read(read),
      },
      notes: {
        certificates: (wire) => this.#decoder.exchange(wire),
        send: (it) => session(it.session)?.send(it.text),
        close: (it) =>
          session(it.session)?.close(it.reply && decodeReply(it.reply)),
        abort: () => this.#server?.abort(),
      },
    };
  }

  async #start(start: ThreadStart): Promise<readonly WireAddress[]> {
    const { channel } = this;
    const log: Logger = (record) =>
      record.level === "debug" || record.level === "info"
        ? channel.noteLater("log", record)
        : channel.note("log", record);
    const access = { channel, bodies: this.#bodies };
    const relay = remoteRelay(access);
    const ahead = start.now - performance.now();
    const services: ThreadServices = {
      thread: start.thread,
      prefix: start.prefix,
      guard: new RemoteGuard(channel),
      counts: {
        count: new SessionCount(start.sessions, start.thread),
        memory: start.addresses,
        ledger: new TicketLedger(start.tickets),
      },
      now: () => performance.now() + ahead,
      saltKey: start.saltKey,
      relays: { add: relay },
      relay: async (message, recipients) => {
        await relay(message, { recipients });
      },
      opened: (session) => this.#reports.opened(session),
      closed: (session) => this.#reports.closed(session),
    };
    const { store } = start;
    this.#server = new SmtpServer({
      ...this.#decoder.decode(start.options),
      listen: start.listen,
      handlers: await this.#handlers(start, services),
      store: "main" in store
        ? new RemoteStore(store.main, { access })
        : makeStore(store),
      log,
    }, services);
    await this.#server.start();
    const beat = () => Atomics.add(start.pulses, start.thread, 1);
    beat();
    this.#pulse = setInterval(beat, PULSE_MS);
    return this.#server.addresses;
  }

  /** Those of the module, or those of the main thread. */
  async #handlers(
    start: ThreadStart,
    { relays, thread }: ThreadServices,
  ): Promise<SmtpHandlers> {
    if (start.module !== undefined) {
      return await loadHandlerModule(start.module, { relays, thread });
    }
    const { channel } = this;
    const access = { channel, bodies: this.#bodies };
    return remoteHandlers(start.handlers, {
      ...access,
      reports: this.#reports,
      logins: this.#logins,
      storeOf: (kind, chosen) => new RemoteStore(kind, { access, chosen }),
    });
  }

  /** New settings may come while the thread still begins. */
  async #reload(options: WireOptions): Promise<void> {
    await this.#started;
    await this.#server!.reload(this.#decoder.decode(options));
  }

  async #stop(graceMs: number): Promise<void> {
    await this.#started?.catch(() => {});
    await this.#server?.stop({ graceMs });
    clearInterval(this.#pulse);
    this.#reports.stop();
  }
}
