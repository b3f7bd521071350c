/**
 * Where mail goes next: the host, how much TLS it gets, and who logs in there.
 * These are the words that client, spool, queue and delivery share; this file
 * owns what they may be and the default of the port. It stands alone because
 * the spool keeps these choices and has no use for a client.
 *
 * Opens no connection and decides nothing about one.
 */

import {
  flag,
  host,
  list,
  object,
  oneOf,
  port,
  required,
  type Rule,
  type Rules,
  secret,
  text,
} from "../options.ts";
import { asciiDomain } from "../protocol/domain.ts";
import type { ClientMechanismOptions } from "../sasl/client_mechanism.ts";
import { MECHANISM_NAMES, type MechanismName } from "../sasl/mechanism_name.ts";

/** A server that takes mail. */
export interface NextHop {
  /** Host name, or IP address without brackets. Its certificate must be for this. */
  readonly host: string;
  /**
   * The port.
   *
   * @default {25, with `implicitTls` 465}
   */
  readonly port?: number | undefined;
  /**
   * Whether TLS begins with the first byte (RFC 8314) instead of STARTTLS.
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

/** What the members of a {@linkcode NextHop} must be. */
export const HOP_RULES: Rules<NextHop> = {
  host: required(host),
  port,
  implicitTls: flag,
  lmtp: flag,
};

/** What a {@linkcode NextHop} must be, inside other options. */
export const HOP_RULE: Rule = object(
  HOP_RULES,
  '{ host: "mail.example.com", port: 587 }',
);

/** What lists of {@linkcode NextHop} must be, inside other options. */
export const HOPS_RULE: Rule = list(
  HOP_RULE,
  'an array of hosts, as [{ host: "mail.example.com", port: 587 }]',
);

/** The port of a hop. */
export function hopPort(hop: Pick<NextHop, "port" | "implicitTls">): number {
  return hop.port ?? (hop.implicitTls ? 465 : 25);
}

/** A hop as one word: `relay.example.com:587`, the host with A-labels in lower case. */
export function hopName(hop: NextHop): string {
  const host = asciiDomain(hop.host);
  return `${host.includes(":") ? `[${host}]` : host}:${hopPort(hop)}`;
}

/**
 * How much TLS: `none` never asks for it; `opportunistic` takes it where it is
 * offered, without a look at the certificate, and goes on in the clear where
 * the handshake fails; `required` sends nothing without TLS; `verified` also
 * wants a certificate that is trusted and made out to the host.
 */
export type TlsSecurity = "none" | "opportunistic" | "required" | "verified";

/** What a {@linkcode TlsSecurity} must be, inside other options. */
export const TLS_SECURITY_RULE: Rule = oneOf(
  "none",
  "opportunistic",
  "required",
  "verified",
);

/** Who logs in: `username` with `password` or `token`. */
export interface Login extends
  Pick<
    ClientMechanismOptions,
    "username" | "password" | "token" | "authorizationId"
  > {
  /**
   * The mechanisms that may be used, in the order to try them. One that the
   * server refuses (5xx but 530; 535 under TLS only) gives way to the next.
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

/** What a {@linkcode Login} must be, inside other options. */
export const LOGIN_RULE: Rule = secret(
  object(LOGIN_RULES, '{ username: "ann", password: "..." }'),
);
