/**
 * The sockets that a server listens on, each with what its sessions have in
 * common: bound, exchanged for others while connections come in, and closed.
 */

import type { Logger } from "../log.ts";
import { type ListenOptions, parseListen } from "../net/listen_options.ts";
import { customerOf } from "../protocol/ip.ts";
import { Listener, type NativeTls } from "../net/listener.ts";
import type { SessionContext } from "../session/context.ts";
import type { AddressLimiter } from "../session/limits.ts";
import { Certificate } from "../tls/certificate.ts";
import { type Admission, isOutOfDescriptors } from "./admission.ts";
import { securityOf, type SessionContexts } from "./contexts.ts";
import { type ListenerFault, records } from "./log.ts";
import type { ListeningAddress, Settings, SettledOptions } from "./options.ts";

/** Milliseconds between two tries to listen again. */
const REBIND_MS = 100;
/** Handshakes that the platform's TLS may leave hanging before another one takes its place. */
const MOST_STALLS = 64;
/** A limit of connections below this is reached in handshakes alone by chance. */
const FEW = 8;

/** A socket that listens, and what its sessions have in common. */
interface OpenListener {
  /** The socket; another one after it was bound again. */
  listener: Listener;
  readonly listen: ListenOptions;
  context: SessionContext;
  /** Ends when the socket is closed and the port free. */
  accepting?: Promise<void>;
}

/** What {@linkcode Listeners} are made of. */
export interface ListenersInit {
  /** The options in force. */
  readonly settings: Settings;
  /** Makes what the sessions of a listener have in common. */
  readonly contexts: SessionContexts;
  /** Takes the connections. */
  readonly admission: Admission;
  /** Counts what clients do. */
  readonly counts: AddressLimiter;
  readonly log: Logger;
  /** Whether other threads listen on the same ports. */
  readonly share: boolean;
}

/** The listeners of one server. */
export class Listeners {
  readonly #init: ListenersInit;
  #open: OpenListener[] = [];
  /** Bindings wait for each other: two at once would want the same port. */
  #turn: Promise<void> = Promise.resolve();
  /** Handshakes of the platform's TLS that have not come to an end in time. */
  #stalls = 0;
  /** Those that are under way or have stalled, by customer. */
  readonly #underWay = new Map<string, number>();
  /** Those of all customers, without those that stalled. */
  #allUnderWay = 0;

  /** Binds nothing before {@linkcode Listeners.open}. */
  constructor(init: ListenersInit) {
    this.#init = init;
  }

  /** Where the server listens. */
  get addresses(): readonly ListeningAddress[] {
    return this.#open.map(({ listener, listen }) => ({
      ...listener.address,
      kind: listen.kind ?? "smtp",
      security: securityOf(listen, this.#init.settings.options),
    }));
  }

  /**
   * Binds what the options name, all or nothing.
   *
   * @throws {SyntaxError} If `listen` cannot be read
   * @throws {Deno.errors.AddrInUse} If something listens there already
   */
  open(): void {
    this.#stalls = 0;
    this.#forgetUnderWay();
    try {
      const { contexts, settings } = this.#init;
      for (const listen of wantedListeners(settings.options.listen)) {
        const context = contexts.of(listen);
        const listener = this.#bind(listen, context);
        this.#open.push({ listener, listen, context });
      }
    } catch (error) {
      for (const { listener } of this.#open) listener.close();
      this.#open = [];
      throw error;
    }
  }

  /**
   * Tries what {@linkcode Listeners.open} does and lets go again: whoever
   * shares a port is not told that another server has it. Gives what to listen on.
   */
  async probe(): Promise<readonly ListenOptions[]> {
    this.open();
    const wanted = this.#open.map(({ listen }) => listen);
    await this.close();
    return wanted;
  }

  /** Begins to accept connections. */
  accept(): void {
    for (const open of this.#open) this.#accept(open);
  }

  /**
   * Puts changed options into force. What can be wrong with them is found
   * before anything changes.
   *
   * @param options Whether sockets that keep a certificate are bound again
   */
  async renew(options: { readonly rebind: boolean }): Promise<void> {
    const { contexts } = this.#init;
    const renewed = this.#open.map(({ listen }) => contexts.of(listen));
    const bound = options.rebind
      ? this.#open.filter(({ listener }) => listener.isTls)
      : [];
    for (const { listen } of bound) {
      this.#bind({ ...listen, port: 0 }, contexts.of(listen)).close();
    }
    for (const [index, open] of this.#open.entries()) {
      open.context = renewed[index]!;
    }
    await this.#rebind(bound);
  }

  /** Stops listening; resolves when the ports are free. */
  async close(): Promise<void> {
    const closed = this.#open;
    this.#open = [];
    for (const { listener } of closed) listener.close();
    await this.#turn;
    await Promise.all(closed.map(({ accepting }) => accepting));
  }

  #bind(
    listen: ListenOptions,
    context: SessionContext,
  ): Listener {
    const { host, port = 25 } = listen;
    const { share } = this.#init;
    return Listener.open({
      ...{ host: host || undefined, port, share },
      tls: this.#nativeTls(context),
    });
  }

  /**
   * The platform's TLS, which is about twice as fast, for one certificate that
   * is never exchanged. It cannot end a handshake that stands still: the
   * socket stays open for as long as the client likes. Nor can anything come
   * before the handshake, as a proxy's header does.
   */
  #nativeTls(context: SessionContext): NativeTls | undefined {
    const { certificate, clientCertificate } = this.#init.settings.options;
    if (
      !context.implicitTls || !(certificate instanceof Certificate) ||
      clientCertificate !== undefined || this.#stalls >= MOST_STALLS ||
      (context.proxies ?? []).length > 0
    ) {
      return undefined;
    }
    return {
      certificate: certificate.toPem(),
      key: certificate.keyPem(),
      der: certificate.der,
      handshakeTimeoutMs: context.limits.handshakeTimeoutMs,
      watch: {
        begun: (address) => this.#countBegun(address, context),
        ended: (address) => this.#countEnded(address),
        stalled: () => {
          if (this.#allUnderWay > 0) this.#allUnderWay--;
          if (++this.#stalls === MOST_STALLS) {
            this.#leaveNativeTls(
              `${MOST_STALLS} TLS handshakes came to no end`,
            );
          }
        },
      },
    };
  }

  /**
   * When half of the connections that an address may have, or that there may be
   * at all, are in handshakes, the slower TLS serves from then on: connections
   * beyond the limit could not be ended.
   */
  #countBegun(address: string, { limits }: SessionContext): void {
    if (this.#stalls >= MOST_STALLS) return;
    const { maxConnections, maxConnectionsPerIp, exempt } = limits;
    const { counts, share: isShared } = this.#init;
    const share = counts.shareOf(maxConnections);
    // Where there is room for a few only, they may all come at once.
    const most = share < FEW && !isShared ? share : share / 2;
    if (++this.#allUnderWay > most) {
      this.#stalls = MOST_STALLS;
      return this.#leaveNativeTls(
        `${this.#allUnderWay} TLS handshakes are under way at once`,
      );
    }
    if (maxConnectionsPerIp === 0) return;
    if (exempt.some((network) => network.contains(address))) return;
    const customer = customerOf(address);
    const count = (this.#underWay.get(customer) ?? 0) + 1;
    this.#underWay.set(customer, count);
    if (count <= counts.shareOf(maxConnectionsPerIp) / 2) return;
    this.#stalls = MOST_STALLS;
    this.#leaveNativeTls(
      `${count} TLS handshakes of ${address} are under way or came to no end`,
    );
  }

  #countEnded(address: string): void {
    if (this.#allUnderWay > 0) this.#allUnderWay--;
    const customer = customerOf(address);
    const count = this.#underWay.get(customer) ?? 0;
    if (count > 1) this.#underWay.set(customer, count - 1);
    else this.#underWay.delete(customer);
  }

  #forgetUnderWay(): void {
    this.#underWay.clear();
    this.#allUnderWay = 0;
  }

  #leaveNativeTls(reason: string): void {
    this.#forgetUnderWay();
    // The handshakes of a server that stops come to no end, either.
    if (this.#open.length === 0) return;
    this.#init.log(records.slowerTls(reason));
    this.#rebind(this.#open.filter(({ listener }) => listener.isTls))
      .catch((error) => this.#report("rebinding", error));
  }

  /** Binds listeners again where they were bound before. */
  #rebind(listeners: readonly OpenListener[]): Promise<void> {
    const turn = this.#turn.then(async () => {
      for (const open of listeners) {
        const { port } = open.listener.address;
        open.listener.close();
        // Until accepting has ended the port is not free.
        await open.accepting;
        await this.#bindAgain(open, port);
      }
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** Tries until it succeeds or the server stops: a listener that gives up never hears again. */
  async #bindAgain(open: OpenListener, port: number): Promise<void> {
    for (let isTold = false; this.#open.includes(open); isTold = true) {
      try {
        open.listener = this.#bind({ ...open.listen, port }, open.context);
        return this.#accept(open);
      } catch (error) {
        if (isOutOfDescriptors(error)) this.#init.admission.makeRoom();
        if (!isTold) this.#report("binding", error);
        await new Promise((resolve) => setTimeout(resolve, REBIND_MS));
      }
    }
  }

  #accept(open: OpenListener): void {
    const { admission } = this.#init;
    open.accepting = open.listener.accept(
      (transport) => void admission.serve(transport, open.context),
      (error) =>
        isOutOfDescriptors(error)
          ? admission.makeRoom()
          : this.#report("accepting", error),
    );
  }

  #report(fault: ListenerFault, error: unknown): void {
    this.#init.log(records.listenerFailed(fault, error));
  }
}

/**
 * Where to listen, as a list.
 *
 * @throws {SyntaxError} If a text cannot be read
 */
function wantedListeners(
  listen: SettledOptions["listen"] = ":25",
): readonly ListenOptions[] {
  const entries = isList(listen) ? listen : [listen];
  return entries.map((entry) =>
    typeof entry === "string" ? parseListen(entry) : entry
  );
}

function isList(
  listen: NonNullable<SettledOptions["listen"]>,
): listen is readonly (string | ListenOptions)[] {
  return Array.isArray(listen);
}
