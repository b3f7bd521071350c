/**
 * What a client is told that has met a limit of its address, and what the log
 * is: which limit it was, and how far it goes.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-3.8 | RFC 5321 section 3.8},
 * {@link https://www.rfc-editor.org/rfc/rfc3463#section-3.8 | RFC 3463 section 3.8}
 */

import { formatIp, parseUnmapped } from "../net/ip.ts";
import { SmtpReply } from "../protocol/reply.ts";
import { note, type SessionContext } from "./context.ts";
import type { LimitBreach } from "./limits.ts";

/** What there is too much of, and whether it ends the session. */
const WORDS: Readonly<
  Record<LimitBreach, readonly [what: string, code: number]>
> = {
  maxConnections: ["connections", 421],
  maxConnectionsPerIp: ["connections", 421],
  connectionsPerMinute: ["new connections", 421],
  messagesPerMinute: ["messages", 450],
  recipientsPerMinute: ["recipients", 450],
  bytesPerMinute: ["octets", 450],
};

/** A client that has met a limit, to be noted. */
export interface LimitedClient {
  /** Its IP address. */
  readonly address: string;
  /** Its session, if it has got one. */
  readonly session?: string | undefined;
}

/** Makes the reply to a client that has met a limit, and notes it. */
export function refuseByLimit(
  breach: LimitBreach,
  context: SessionContext,
  client: LimitedClient,
): SmtpReply {
  const { address, session } = client;
  const [what, code] = WORDS[breach];
  const who = breach === "maxConnections" ? "" : ` from ${networkOf(address)}`;
  const rate = breach.endsWith("PerMinute") ? " a minute" : "";
  const text = `Too many ${what}${who}, at most ${
    context.limits[breach]
  }${rate}`;
  note(context, () => ({
    level: "info",
    event: "refused",
    message: text,
    session,
    fields: { address, limit: breach },
  }));
  return new SmtpReply(code, text, {
    enhanced: code === 421 ? "4.7.0" : "4.7.1",
  });
}

/** What is counted as one: the address, or the /64 of an IPv6 one. */
function networkOf(address: string): string {
  const bytes = parseUnmapped(address);
  if (bytes === undefined || bytes.length === 4) return address;
  return `${formatIp([...bytes.slice(0, 8), 0, 0, 0, 0, 0, 0, 0, 0])}/64`;
}
