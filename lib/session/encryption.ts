/**
 * The TLS handshakes of a session: before the first byte, and after STARTTLS.
 * A failure costs this session only and is noted in the log.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8314 | RFC 8314},
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207}
 */

import type { Transport } from "../net/transport.ts";
import { note, type SessionContext } from "./context.ts";
import type { SmtpSession } from "./session.ts";

/**
 * TLS before the first byte, where the listener wants it. Resolves with the
 * transport to go on with, or `undefined` after a failure: nobody has been told
 * of the session yet, and nobody needs to be.
 */
export async function secureFirst(
  transport: Transport,
  context: SessionContext,
  session: SmtpSession,
): Promise<Transport | undefined> {
  const { implicitTls, secure } = context;
  try {
    if (transport.handshake !== undefined) await transport.handshake();
    else if (implicitTls && transport.tls === undefined) {
      return await secure!(transport);
    }
    return transport;
  } catch (error) {
    noteFailure(error, context, session);
    transport.close();
    return undefined;
  }
}

/** TLS after STARTTLS. Rejects when the handshake fails. */
export async function secureNow(
  transport: Transport,
  context: SessionContext,
  session: SmtpSession,
): Promise<Transport> {
  try {
    return await context.secure!(transport);
  } catch (error) {
    noteFailure(error, context, session);
    throw error;
  }
}

function noteFailure(
  error: unknown,
  context: SessionContext,
  session: SmtpSession,
): void {
  const reason = error instanceof Error ? error.message : String(error);
  note(context, () => ({
    level: "info",
    event: "refused",
    message: `TLS handshake failed: ${reason}`,
    session: session.id,
    fields: { address: session.remoteAddress },
  }));
}
