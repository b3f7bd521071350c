/**
 * XCLIENT in a session: decides which clients may use it, and makes the session
 * that of the client it names. From then on the named client's address decides
 * on another XCLIENT. A proxy therefore usually loses the right with the
 * command, and its clients cannot use it.
 *
 * {@link https://www.postfix.org/XCLIENT_README.html | Postfix XCLIENT Howto}
 */

import type { SocketAddress } from "../net/transport.ts";
import type { ServerProtocol } from "../protocol/server/protocol.ts";
import type { XclientAttributes } from "../protocol/xclient.ts";
import type { SessionContext } from "./context.ts";
import { logImpersonation } from "./log.ts";
import type { SessionInit, SmtpSession } from "./session.ts";

/** The parts that XCLIENT changes. */
export interface Impersonated {
  /** The session reads its client from here. */
  readonly init: SessionInit;
  readonly session: SmtpSession;
  readonly protocol: ServerProtocol;
}

/** Whether the session's client may use XCLIENT. */
export function mayImpersonate(
  context: SessionContext,
  session: SmtpSession,
): boolean {
  return context.xclients !== undefined &&
    context.xclients.some((network) => network.contains(session.remoteAddress));
}

/** Makes the session that of the client in the attributes. */
export function impersonate(
  attributes: XclientAttributes,
  { init, session, protocol }: Impersonated,
  context: SessionContext,
): void {
  const { addr, port, destaddr, destport, login } = attributes;
  const before = session.remoteAddress;
  // Attributes of the connection stay, those of the conversation do not.
  const forgotten = { proto: undefined, helo: undefined, login: undefined };
  init.xclient = { ...session.xclient, ...forgotten, ...attributes };
  init.remote = changed(init.remote, { address: addr, port });
  init.local = changed(init.local, { address: destaddr, port: destport });
  session.username = login === "[UNAVAILABLE]" ? undefined : login;
  protocol.impersonationAllowed(mayImpersonate(context, session));
  logImpersonation(context, session, before);
}

/** The client's host name, if XCLIENT gave it. */
export function clientName({ xclient }: SmtpSession): string | undefined {
  // `[UNAVAILABLE]` and `[TEMPUNAVAIL]` stand for a missing name.
  return xclient?.name?.startsWith("[") ? undefined : xclient?.name;
}

/** The address after a command: the parts that the command does not name stay. */
function changed(
  known: SocketAddress,
  named: {
    readonly address: string | undefined;
    readonly port: number | "[UNAVAILABLE]" | undefined;
  },
): SocketAddress {
  const { address = known.address, port = known.port } = named;
  return {
    address: address === "[UNAVAILABLE]" ? "unknown" : address,
    port: port === "[UNAVAILABLE]" ? 0 : port,
  };
}
