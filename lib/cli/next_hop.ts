/**
 * A server to send to, as it is written on the command line: where it is and
 * how much TLS it gets. Connects to nothing.
 */

import { isHost } from "../net/listen_options.ts";
import type { RelayHost } from "../relay/delivery_job.ts";
import { MECHANISM_NAMES, type MechanismName } from "../sasl/mechanism_name.ts";
import type { TlsSecurity } from "../relay/tls_policy.ts";

/** A server, and what is sent over the connection to it. */
export interface NextHop {
  /** Where it is. */
  readonly host: RelayHost;
  /** How much TLS was asked for; `undefined` where nothing was. */
  readonly tls: "smtps" | "starttls" | "none" | undefined;
}

const FORM =
  /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/[\]]+))(?::(-?\d+))?(?:\/(smtps|starttls|none|lmtp))?$/;

/**
 * Reads `HOST[:PORT][/smtps|/starttls|/none|/lmtp]`.
 *
 * @throws {SyntaxError} If the text has another form
 */
export function parseNextHop(text: string): NextHop {
  const match = FORM.exec(text);
  // A URL may have a log-in in front of the host.
  const shown = text.replace(/^.*@/s, "...@");
  const port = match?.[3] === undefined ? undefined : Number(match[3]);
  if (match === null || !isHost((match[1] ?? match[2])!)) {
    throw new SyntaxError(
      `Cannot send to "${shown}": want HOST:PORT, perhaps with /smtps, /starttls or /none, as "mail.example.com:587/starttls"`,
    );
  }
  if (port !== undefined && !(port >= 1 && port <= 65535)) {
    throw new SyntaxError(
      `Cannot send to "${shown}": want a port from 1 to 65535`,
    );
  }
  const suffix = match[4];
  const host = {
    host: (match[1] ?? match[2])!,
    port,
    implicitTls: suffix === "smtps",
    lmtp: suffix === "lmtp",
  };
  return { host, tls: suffix === "lmtp" ? "none" : suffix as NextHop["tls"] };
}

/** The policy for what was asked for: a secret wants to know whom it is told. */
export function securityFor(
  tls: NextHop["tls"],
  hasLogin: boolean,
): TlsSecurity | undefined {
  if (tls === "smtps" || tls === "starttls") {
    return hasLogin ? "verified" : "required";
  }
  return tls;
}

/**
 * Reads `NAME:SECRET`.
 *
 * @throws {SyntaxError} If it has another form; the text is not repeated
 */
export function parseLogin(
  text: string,
): { readonly username: string; readonly password: string } {
  const colon = text.indexOf(":");
  if (colon < 1 || colon === text.length - 1) {
    throw new SyntaxError("Cannot use the account: want NAME:SECRET");
  }
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

/**
 * Reads the names of mechanisms, apart by blanks or commas.
 *
 * @throws {SyntaxError} If one is not known
 */
export function parseMechanisms(text: string): readonly MechanismName[] {
  const names = text.split(/[\s,]+/).filter((name) => name !== "");
  return names.map((name) => {
    const known = MECHANISM_NAMES.find((it) => it === name.toUpperCase());
    if (known !== undefined) return known;
    throw new SyntaxError(
      `Cannot log in with "${name}": want some of ${MECHANISM_NAMES.join(" ")}`,
    );
  });
}
