/**
 * The sockets that a server listens on, each with the context of its sessions:
 * binds them, replaces them while connections come in, and closes them.
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
import type { ListeningAddress, SettledOptions } from "./options.ts";
import type { Settings } from "./settings.ts";

/** Milliseconds between two tries to bind again. */
const REBIND_MS = 100;
/** Limit of handshakes of the platform's TLS that hang. */
const MOST_STALLS = 64;
/** A connection limit below this may be reached by handshakes alone, without an attack. */
const FEW = 8;

/** A listening socket, and the context of its sessions. */
interface OpenListener {
  /** The socket; replaced when it is bound again. */
  listener: Listener;
  readonly listen: ListenOptions;
  context: SessionContext;
  /** Resolves when the socket is closed and the port is free. */
  accepting?: Promise<void>;
}

/** The parts of {@linkcode Listeners}. */
export interface ListenersInit {
  /** The options in force. */
  readonly settings: Settings;
  /** Makes the contexts of sessions. */
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
  /** Serializes bindings: two at once would need the same port. */
  #turn: Promise<void> = Promise.resolve();
  /** Number of handshakes of the platform's TLS that did not end in time. */
  #stalls = 0;
  /** Handshakes under way or stalled, by client address or network. */
  readonly #underWay = new Map<string, number>();
  /** Handshakes under way of all clients, without the stalled ones. */
  #allUnderWay = 0;

  /** Binds nothing before {@linkcode Listeners.open}. */
  constructor(init: ListenersInit) {
    this.#init = init;
  }

  /** The addresses the server listens on. */
  get addresses(): readonly ListeningAddress[] {
    return this.#open.map(({ listener, listen }) => ({
      ...listener.address,
      kind: listen.kind ?? "smtp",
      security: securityOf(listen, this.#init.settings.options),
    }));
  }

  /**
   * Binds the listeners of the options, all or nothing.
   *
   * @throws {SyntaxError} If `listen` cannot be read
   * @throws {Deno.errors.AddrInUse} If something listens there already
   * @throws {Deno.errors.AlreadyExists} If a file is where a unix socket should be
   */
  async open(): Promise<void> {
    this.#stalls = 0;
    this.#forgetUnderWay();
    try {
      const { contexts, settings } = this.#init;
      for (const listen of wantedListeners(settings.options.listen)) {
        const context = contexts.of(listen);
        const { path } = listen;
        const listener = path === undefined
          ? this.#bind(listen, context)
          : await Listener.openUnix({ ...listen, path });
        this.#open.push({ listener, listen, context });
      }
    } catch (error) {
      for (const { listener } of this.#open) listener.close();
      this.#open = [];
      throw error;
    }
  }

  /**
   * Tries {@linkcode Listeners.open} and closes the ports again: binding a shared
   * port does not fail when another server has it. Returns the listeners that
   * threads are to bind. Unix sockets, which no two threads can bind, stay open
   * here.
   */
  async probe(): Promise<readonly ListenOptions[]> {
    await this.open();
    const ports = this.#open.filter(({ listen }) => listen.path === undefined);
    this.#open = this.#open.filter(({ listen }) => listen.path !== undefined);
    for (const { listener } of ports) listener.close();
    return ports.map(({ listen }) => listen);
  }

  /** The addresses of all listeners in the order of the options, those of threads among them. */
  addressesWith(
    threads: readonly ListeningAddress[],
  ): readonly ListeningAddress[] {
    const own = this.addresses;
    if (own.length === 0 || threads.length === 0) return [...threads, ...own];
    const [ports, sockets] = [[...threads], [...own]];
    return wantedListeners(this.#init.settings.options.listen).map(({ path }) =>
      (path === undefined ? ports : sockets).shift()!
    );
  }

  /** Starts to accept connections. */
  accept(): void {
    for (const open of this.#open) this.#accept(open);
  }

  /**
   * Applies changed options. Finds any fault in them before it changes anything.
   *
   * @param options Whether sockets with a fixed certificate are bound again
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
   * is never replaced. It cannot end a handshake that stalls: the socket stays
   * open for as long as the client likes. Nor can anything, such as a proxy's
   * header, come before the handshake.
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
   * Counts a handshake. When half of the connections that an address may have, or
   * that the server may have at all, are in handshakes, the slower TLS serves from
   * then on: the server could not end connections beyond the limit.
   */
  #countBegun(address: string, { limits }: SessionContext): void {
    if (this.#stalls >= MOST_STALLS) return;
    const { maxConnections, maxConnectionsPerIp, exempt } = limits;
    const { counts, share: isShared } = this.#init;
    const share = counts.shareOf(maxConnections);
    // If there is room for a few only, they may all come at once.
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
    // The handshakes of a stopping server do not end, either.
    if (this.#open.length === 0) return;
    this.#init.log(records.slowerTls(reason));
    this.#rebind(this.#open.filter(({ listener }) => listener.isTls))
      .catch((error) => this.#report("rebinding", error));
  }

  /** Binds listeners again on their former ports. */
  #rebind(listeners: readonly OpenListener[]): Promise<void> {
    const turn = this.#turn.then(async () => {
      for (const open of listeners) {
        const { port } = open.listener.address;
        open.listener.close();
        // The port is not free before accepting has ended.
        await open.accepting;
        await this.#bindAgain(open, port);
      }
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** Tries until it succeeds or the server stops: no other event would bind the listener again. */
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
 * The listeners of the option `listen`, as a list.
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
