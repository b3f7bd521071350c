/**
 * XCLIENT in a session: who may say it, and how the session becomes that of the
 * client it names. After it the new client's address decides on the next one:
 * the one in front usually gives its right away, so that nobody behind it can
 * use it.
 *
 * {@link https://www.postfix.org/XCLIENT_README.html | Postfix XCLIENT Howto}
 */

import type { SocketAddress } from "../net/transport.ts";
import type { ServerProtocol } from "../protocol/server/protocol.ts";
import type { XclientAttributes } from "../protocol/xclient.ts";
import type { SessionContext } from "./context.ts";
import { noteImpersonation } from "./log.ts";
import type { SessionInit, SmtpSession } from "./session.ts";

/** What becomes another client's. */
export interface Impersonated {
  /** What the session was made of, and looks into. */
  readonly init: SessionInit;
  /** The session. */
  readonly session: SmtpSession;
  /** Its machine. */
  readonly protocol: ServerProtocol;
}

/** Whether a client may say for whom it speaks. */
export function mayImpersonate(
  context: SessionContext,
  session: SmtpSession,
): boolean {
  return context.xclients !== undefined &&
    context.xclients.some((network) => network.contains(session.remoteAddress));
}

/** Makes the session that of the client that the attributes name. */
export function impersonate(
  attributes: XclientAttributes,
  { init, session, protocol }: Impersonated,
  context: SessionContext,
): void {
  const { addr, port, destaddr, destport, login } = attributes;
  const before = session.remoteAddress;
  // What tells of the connection stays, what tells of the conversation does not.
  const forgotten = { proto: undefined, helo: undefined, login: undefined };
  init.xclient = { ...session.xclient, ...forgotten, ...attributes };
  init.remote = changed(init.remote, { address: addr, port });
  init.local = changed(init.local, { address: destaddr, port: destport });
  session.username = login === "[UNAVAILABLE]" ? undefined : login;
  protocol.impersonationAllowed(mayImpersonate(context, session));
  noteImpersonation(context, session, before);
}

/** The client's host name, where the one in front has told it. */
export function toldName({ xclient }: SmtpSession): string | undefined {
  // The words for a name that there is not stand in brackets.
  return xclient?.name?.startsWith("[") ? undefined : xclient?.name;
}

/** The address after a command: what it did not tell stays as it was. */
function changed(
  known: SocketAddress,
  told: {
    readonly address: string | undefined;
    readonly port: number | "[UNAVAILABLE]" | undefined;
  },
): SocketAddress {
  const { address = known.address, port = known.port } = told;
  return {
    address: address === "[UNAVAILABLE]" ? "unknown" : address,
    port: port === "[UNAVAILABLE]" ? 0 : port,
  };
}
