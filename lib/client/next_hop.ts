/**
 * The next hop of mail: the host, the TLS policy and the login. Client, spool,
 * queue and delivery share these types; this file owns their rules and the
 * default port. It stands alone because the spool stores these choices and needs
 * no client.
 *
 * Opens no connection and decides nothing about one.
 */

import {
  either,
  flag,
  host,
  list,
  object,
  oneOf,
  optionError,
  port,
  required,
  type Rule,
  type Rules,
  secret,
  text,
} from "../options.ts";
import { isHost } from "../net/listen_options.ts";
import { asciiDomain } from "../protocol/domain.ts";
import type { ClientMechanismOptions } from "../sasl/client_mechanism.ts";
import { MECHANISM_NAMES, type MechanismName } from "../sasl/mechanism_name.ts";

/** A server that takes mail. */
export interface NextHop {
  /** Host name, or IP address without brackets. The certificate must be for it. */
  readonly host: string;
  /**
   * The port.
   *
   * @default {25, with `implicitTls` 465}
   */
  readonly port?: number | undefined;
  /**
   * Whether TLS begins with the first byte (RFC 8314) instead of after STARTTLS.
   *
   * @default {false}
   */
  readonly implicitTls?: boolean | undefined;
  /**
   * Whether the server speaks LMTP (RFC 2033).
   *
   * @default {false}
   */
  readonly lmtp?: boolean | undefined;
}

/** The rules for the members of a {@linkcode NextHop}. */
export const HOP_RULES: Rules<NextHop> = {
  host: required(host),
  port,
  implicitTls: flag,
  lmtp: flag,
};

const HOP_TEXT = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/[\]]+))(?::(-?\d+))?$/;

/** Range of a port. */
const PORTS = { least: 1, most: 65535 } as const;

/**
 * Parses `HOST` or `HOST:PORT`; an IPv6 address stands in brackets.
 *
 * @param facts `want`: what the error asks for; `whole`: the text of which this is a part
 * @throws {SyntaxError} If the text has another form
 */
export function parseHop(
  text: string,
  { want = 'HOST:PORT, as "mail.example.com:587"', whole = text }: {
    readonly want?: string;
    readonly whole?: string;
  } = {},
): NextHop {
  const match = HOP_TEXT.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? undefined : Number(match[3]);
  // A URL may have a login before the host.
  const shown = whole.replace(/^.*@/s, "...@");
  if (host === undefined || !isHost(host)) {
    throw new SyntaxError(`Cannot send to "${shown}": want ${want}`);
  }
  if (port !== undefined && !(port >= PORTS.least && port <= PORTS.most)) {
    throw new SyntaxError(
      `Cannot send to "${shown}": want a port from ${PORTS.least} to ${PORTS.most}`,
    );
  }
  return port === undefined ? { host } : { host, port };
}

/** The hop of a text or of an object. */
export function hopOf(hop: NextHop | string): NextHop {
  return typeof hop === "string" ? parseHop(hop) : hop;
}

const HOP_WANT =
  'a host, as "mail.example.com:587" or { host: "mail.example.com", port: 587 }';

/** The rule for a {@linkcode NextHop} or its text inside other options. */
export const HOP_RULE: Rule = either({
  text: {
    want: HOP_WANT,
    check(value, at) {
      try {
        parseHop(value as string);
      } catch {
        // A URL may have a login before the host.
        const secret = at.secret || (value as string).includes("@");
        throw optionError({ ...at, secret }, value, { want: HOP_WANT });
      }
    },
  },
  object: object(HOP_RULES, '{ host: "mail.example.com", port: 587 }'),
}, HOP_WANT);

/** The rule for a list of {@linkcode NextHop} or their texts inside other options. */
export const HOPS_RULE: Rule = list(
  HOP_RULE,
  'an array of hosts, as ["mail.example.com:587"]',
);

export function hopPort(hop: Pick<NextHop, "port" | "implicitTls">): number {
  return hop.port ?? (hop.implicitTls ? 465 : 25);
}

/** A hop as text: `relay.example.com:587`, the host with A-labels in lower case. */
export function hopName(hop: NextHop): string {
  const host = asciiDomain(hop.host);
  return `${host.includes(":") ? `[${host}]` : host}:${hopPort(hop)}`;
}

/** Whether a hop is one of several: by its host and port. */
export function hasHop(
  hops: readonly NextHop[] | undefined,
  hop: NextHop,
): boolean {
  const name = hopName(hop);
  return hops?.some((one) => hopName(one) === name) ?? false;
}

/**
 * The TLS policy. `none` never uses TLS. `opportunistic` uses it if the server
 * offers it, accepts any certificate, and goes on without TLS if the handshake
 * fails. `required` sends nothing without TLS. `verified` also requires a trusted
 * certificate for the host.
 */
export type TlsSecurity = "none" | "opportunistic" | "required" | "verified";

/** The rule for a {@linkcode TlsSecurity} inside other options. */
export const TLS_SECURITY_RULE: Rule = oneOf(
  "none",
  "opportunistic",
  "required",
  "verified",
);

/** Credentials: `username` with `password` or `token`. */
export interface Login extends
  Pick<
    ClientMechanismOptions,
    "username" | "password" | "token" | "authorizationId"
  > {
  /**
   * The mechanisms to try, in this order. After a refusal (5xx but 530; 535 under
   * TLS only) the next one is tried.
   *
   * @default {all, the strongest first}
   */
  readonly mechanisms?: readonly MechanismName[] | undefined;
}

const LOGIN_RULES: Rules<Login> = {
  username: required(text()),
  password: text(),
  token: text(),
  authorizationId: text(),
  mechanisms: list(oneOf(...MECHANISM_NAMES)),
};

/** The rule for a {@linkcode Login} inside other options. */
export const LOGIN_RULE: Rule = secret(
  object(LOGIN_RULES, '{ username: "ann", password: "..." }'),
);
