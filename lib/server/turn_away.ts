/**
 * Turns away connections that a limit is in the way of, and says so where that
 * costs little: whoever floods the server must not be able to make it hold more
 * of them than a few.
 */

import type { Transport } from "../net/transport.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import { asSaid } from "../protocol/server_outbox.ts";
import type { SessionContext } from "../session/context.ts";

/** Connections that are told at once; further ones are closed without a word. */
const MOST_TOLD = 100;

/** The connections of a server that are being turned away. */
export class TurnedAway {
  readonly #transports = new Set<Transport>();

  /** Ends a connection with `reply`. Never rejects. */
  async end(
    transport: Transport,
    about: { readonly context: SessionContext; readonly reply: SmtpReply },
  ): Promise<void> {
    if (this.#transports.size >= MOST_TOLD) return transport.close();
    this.#transports.add(transport);
    const { capabilities } = about.context.profile;
    const isEnhanced = capabilities.has("ENHANCEDSTATUSCODES");
    try {
      // The platform's TLS keeps a socket open that is closed before this.
      if (transport.handshake !== undefined) await transport.handshake();
      if (transport.tls !== undefined || !about.context.implicitTls) {
        await transport.write(asSaid(about.reply, isEnhanced).octets);
      }
    } catch {
      // It is gone, which is what was wanted.
    }
    this.#transports.delete(transport);
    transport.close();
  }

  /** Ends all of them now. */
  close(): void {
    for (const transport of this.#transports) transport.close();
  }
}
