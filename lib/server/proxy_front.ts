/**
 * What comes before a session behind a proxy: connections from the networks of
 * proxies have to begin with a header that tells the client. On all others a
 * header is an unknown command: a client that could choose would write an
 * address of its choice.
 *
 * A part of admission with a file of its own: nothing else in the room reads
 * bytes of a client.
 */

import { isConnectionError, type Transport } from "../net/transport.ts";
import type { Logger } from "../log.ts";
import type { SessionContext } from "../session/context.ts";
import { readProxyHeader } from "../session/proxied_transport.ts";
import { type ProxyFault, records } from "./log.ts";

/** How long a proxy may take for its header, in ms; it writes that first of all. */
const HEADER_TIMEOUT_MS = 5000;

/** Reads the headers of proxies. */
export class ProxyFront {
  readonly #log: Logger;
  /** Connections whose header has not come yet, and what waits for it. */
  readonly #waiting = new Map<Transport, Promise<Transport | undefined>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Connections whose header has not come yet. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * The client's connection behind a proxy's, or `undefined` where the header
   * does not tell it: then the connection is closed without a reply. Never rejects.
   */
  read(
    transport: Transport,
    context: SessionContext,
  ): Promise<Transport | undefined> {
    const reading = this.#read(transport, context);
    this.#waiting.set(transport, reading);
    return reading;
  }

  async #read(
    transport: Transport,
    context: SessionContext,
  ): Promise<Transport | undefined> {
    const limit = Math.min(HEADER_TIMEOUT_MS, context.limits.timeoutMs);
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

  #report({ remote }: Transport, fault: ProxyFault, error?: unknown): void {
    this.#log(records.proxyRefused(remote, fault, error));
  }

  /** Closes the connections whose header has not come; resolves when none is left. */
  async close(): Promise<void> {
    for (const transport of this.#waiting.keys()) transport.close();
    await Promise.all(this.#waiting.values());
  }
}
