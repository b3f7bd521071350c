/** The end of a connection that gets no session. Decides nothing: the server counts. */

import type { Transport } from "../net/transport.ts";
import { replies } from "../protocol/replies.ts";
import type { SessionContext } from "../session/context.ts";

/** Ends a connection that is one too many; says so where that costs little. */
export async function turnAway(
  transport: Transport,
  context: SessionContext,
): Promise<void> {
  try {
    // The platform's TLS keeps a socket open that is closed before this.
    if (transport.handshake !== undefined) await transport.handshake();
    if (transport.tls !== undefined || !context.implicitTls) {
      await transport.write(replies.tooManyConnections.octets);
    }
  } catch {
    // It is gone, which is what was wanted.
  }
  transport.close();
}
