/**
 * What comes before a session where a proxy may be in front: connections from
 * its networks begin with a header that tells whose they are, and have to begin
 * with it. All others go straight on, and a header from them is an unknown
 * command: who could choose would write his own address.
 */

import { isConnectionError, type Transport } from "../net/transport.ts";
import { describeError, type Logger } from "../log.ts";
import type { SessionContext } from "../session/context.ts";
import { readProxyHeader } from "../session/proxied_transport.ts";

/** How long a proxy may take for its header, in ms; it writes that first of all. */
const HEADER_TIMEOUT_MS = 5000;

/** What the front needs of its server. */
export interface ProxyFrontInit {
  /** Runs a session on a connection whose client is known. */
  serve(transport: Transport, context: SessionContext): Promise<void>;
  /** Whether there is no room for another connection beside so many that wait here. */
  isFull(waiting: number): boolean;
  /** Takes log records. */
  readonly log: Logger;
}

/** Takes connections on their way to a session. */
export class ProxyFront {
  readonly #init: ProxyFrontInit;
  /** Connections whose header has not come yet, and what waits for it. */
  readonly #waiting = new Map<Transport, Promise<Transport | undefined>>();

  /** Made by the server. */
  constructor(init: ProxyFrontInit) {
    this.#init = init;
  }

  /** Runs a session on a connection, behind the header where one must come. Never rejects. */
  serve(transport: Transport, context: SessionContext): Promise<void> {
    const { address } = transport.remote;
    if (!context.proxies?.some((network) => network.contains(address))) {
      return this.#init.serve(transport, context);
    }
    return this.#serveProxied(transport, context);
  }

  async #serveProxied(
    transport: Transport,
    context: SessionContext,
  ): Promise<void> {
    if (this.#init.isFull(this.#waiting.size)) return transport.close();
    const reading = this.#read(transport, context);
    this.#waiting.set(transport, reading);
    const client = await reading;
    if (client !== undefined) await this.#init.serve(client, context);
  }

  /** The client's connection, or nothing: then the proxy has been closed on without a word. */
  async #read(
    transport: Transport,
    context: SessionContext,
  ): Promise<Transport | undefined> {
    const limit = Math.min(HEADER_TIMEOUT_MS, context.timeoutMs);
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      transport.close();
    }, limit);
    try {
      const found = await readProxyHeader(transport);
      if (typeof found !== "string") return found;
      this.#report(transport, found);
    } catch (error) {
      if (isLate) this.#report(transport, "late");
      else if (!isConnectionError(error)) {
        this.#report(transport, "broken", error);
      }
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(transport);
    }
    transport.close();
    return undefined;
  }

  #report(
    { remote }: Transport,
    fault: keyof typeof FAULTS,
    error?: unknown,
  ): void {
    this.#init.log({
      // Many a proxy looks whether the port is open, and does so all day.
      level: fault === "silent" ? "debug" : "warn",
      event: "refused",
      message: `Refused connection from proxy ${remote.address}: ${
        FAULTS[fault]
      }`,
      fields: { address: remote.address, port: remote.port },
      ...(error !== undefined && { error: describeError(error) }),
    });
  }

  /** Closes the connections whose header has not come; resolves when none is left. */
  async close(): Promise<void> {
    for (const transport of this.#waiting.keys()) transport.close();
    await Promise.all(this.#waiting.values());
  }
}

/** What can be wrong with a header, for the log. */
const FAULTS = {
  malformed: "it did not begin with a PROXY header",
  incomplete: "its PROXY header has no end",
  silent: "it closed before its PROXY header",
  late: "its PROXY header came too late",
  broken: "its PROXY header could not be read",
} as const;
