/**
 * Makes the server's options for relaying from the settings of `serve`, and
 * parses a next hop, its account and its mechanisms, also for `send`. Opens no
 * file and no connection.
 */

import type { NextHop, TlsSecurity } from "../client/mod.ts";
import {
  type DnsClient,
  type DnsClientOptions,
  parseNameServer,
} from "../dns/mod.ts";
import {
  parseDuration,
  type RelayingOptions,
  RetrySchedule,
  type TlsReportOptions,
} from "../queue/mod.ts";
import {
  MECHANISM_NAMES,
  type MechanismName,
  parseMechanismName,
} from "../sasl/auth.ts";
import { isReportSender, parseHop, parsePeers } from "../server/mod.ts";
import { Address, type SmtpServerOptions } from "../../mod.ts";
import { DEFAULT_SPOOL, LONG_LINES, TLS_POLICIES } from "./option.ts";
import {
  flag,
  one,
  parseOption,
  type RawSettings,
  wholeNumber,
  word,
} from "./arguments.ts";
import { type Output, UsageError } from "./output.ts";

/** Range of the port of another server. */
export const PORTS = { least: 1, most: 65535 } as const;

/**
 * Checks the settings and makes options from them. The spool is left out if no
 * message can get into it.
 *
 * @throws {UsageError} If a value cannot be used
 */
export function relaySettings(
  raw: RawSettings,
): Pick<SmtpServerOptions, "relay" | "dns"> {
  const from = raw.get("relay-from");
  for (const network of from ?? []) {
    parseOption("relay-from", () => parsePeers(network));
  }
  const isWanted = flag(raw, "relay") ||
    ["relay-from", "smarthost", "spool", "aliases"].some((name) =>
      raw.has(name)
    );
  return {
    dns: dnsSettings(raw),
    relay: {
      allow: flag(raw, "relay") ? "authenticated" : "none",
      from,
      spool: isWanted ? one(raw, "spool") ?? DEFAULT_SPOOL : undefined,
      ...smarthosts(raw),
      chunking: raw.has("chunking") ? flag(raw, "chunking") : undefined,
      ...times(raw),
      bounceFrom: bounceFrom(raw),
      reports: reports(raw),
      longLines: word(raw, "long-lines", LONG_LINES),
      remotePort: wholeNumber(raw, "remote-port", PORTS),
      policies: tlsPolicies(raw),
      allowLoopback: flag(raw, "allow-loopback") || undefined,
    },
  };
}

/**
 * Options of the DNS client; without `--dns` it asks the system's name servers.
 *
 * @throws {UsageError} If a name server is malformed
 */
export function dnsSettings(raw: RawSettings): DnsClientOptions {
  const servers = raw.get("dns");
  for (const server of servers ?? []) {
    parseOption("dns", () => parseNameServer(server));
  }
  return { nameServers: servers, trustAd: flag(raw, "trust-ad") || undefined };
}

/** The policies in `--tls-policy`. */
function tlsPolicies(raw: RawSettings): RelayingOptions["policies"] {
  const given = raw.get("tls-policy");
  if (given === undefined) return undefined;
  const policies: ("dane" | "mta-sts")[] = [];
  for (const text of given) {
    const policy = TLS_POLICIES.find((one) => one === text);
    if (policy === undefined) {
      throw new UsageError(
        `--tls-policy: cannot be "${text}", want ${TLS_POLICIES.join(", ")}`,
      );
    }
    if (policy !== "none") policies.push(policy);
  }
  if (given.length > 1 && policies.length < given.length) {
    throw new UsageError("--tls-policy: cannot be none with another one");
  }
  return policies;
}

function smarthosts(
  raw: RawSettings,
): Pick<
  RelayingOptions,
  "smarthosts" | "login" | "security" | "allowInsecureAuth"
> {
  const hops = (raw.get("smarthost") ?? []).map((text) =>
    parseOption("smarthost", () => parseNextHop(text))
  );
  const [first] = hops;
  const account = one(raw, "smarthost-user");
  const mechanisms = one(raw, "smarthost-mechanisms");
  if (first === undefined && account !== undefined) {
    throw new UsageError("--smarthost-user: want --smarthost, too");
  }
  if (mechanisms !== undefined && account === undefined) {
    throw new UsageError("--smarthost-mechanisms: want --smarthost-user, too");
  }
  if (first === undefined) return {};
  if (hops.some(({ tls }) => (tls === "none") !== (first.tls === "none"))) {
    throw new UsageError("--smarthost: want /none for all or for none of them");
  }
  const login = account === undefined ? undefined : {
    ...parseOption("smarthost-user", () => parseLogin(account)),
    ...(mechanisms !== undefined && {
      mechanisms: parseOption(
        "smarthost-mechanisms",
        () => parseMechanisms(mechanisms),
      ),
    }),
  };
  // TLS required of one smarthost is required of all.
  const tls = hops.find((hop) => hop.tls !== undefined)?.tls;
  return {
    smarthosts: hops.map(({ host }) => host),
    login,
    security: securityFor(tls, login !== undefined),
    // The user has chosen this by writing /none.
    allowInsecureAuth: tls === "none",
  };
}

function times(
  raw: RawSettings,
): Pick<RelayingOptions, "schedule" | "expireAfterMs"> {
  const retry = one(raw, "retry");
  const expire = one(raw, "expire");
  return {
    schedule: retry === undefined
      ? undefined
      : parseOption("retry", () => RetrySchedule.parse(retry)),
    expireAfterMs: expire === undefined
      ? undefined
      : parseOption("expire", () => parseDuration(expire)),
  };
}

function bounceFrom(raw: RawSettings): string | undefined {
  const text = one(raw, "bounce-from");
  return text &&
    parseOption("bounce-from", () => Address.parse(text).toString());
}

function reports(raw: RawSettings): TlsReportOptions | undefined {
  const from = one(raw, "tls-reports");
  if (from === undefined) return undefined;
  parseOption("tls-reports", () => {
    if (!isReportSender(from)) {
      throw new SyntaxError(
        `Cannot send reports from "${from}": want an address in ASCII, as "tls-reports@example.com"`,
      );
    }
  });
  return { from };
}

/** A next hop, and the TLS that its setting asks for. */
export interface HopSetting {
  /** The next hop. */
  readonly host: NextHop;
  /** The TLS suffix; `undefined` without one. */
  readonly tls: "smtps" | "starttls" | "none" | undefined;
}

const TLS_SUFFIX = /\/(smtps|starttls|none|lmtp)$/;
const WANTED_HOP =
  'HOST:PORT, perhaps with /smtps, /starttls or /none, as "mail.example.com:587/starttls"';

/**
 * Parses `HOST[:PORT][/smtps|/starttls|/none|/lmtp]`.
 *
 * @throws {SyntaxError} If the text has another form
 */
export function parseNextHop(text: string): HopSetting {
  const [end = "", suffix] = TLS_SUFFIX.exec(text) ?? [];
  const { host: name, port } = parseHop(
    text.slice(0, text.length - end.length),
    { want: WANTED_HOP, whole: text },
  );
  const host = {
    host: name,
    port,
    implicitTls: suffix === "smtps",
    lmtp: suffix === "lmtp",
  };
  return {
    host,
    tls: suffix === "lmtp" ? "none" : suffix as HopSetting["tls"],
  };
}

/** The TLS policy for a suffix: a secret goes to a verified server only. */
export function securityFor(
  tls: HopSetting["tls"],
  hasLogin: boolean,
): TlsSecurity | undefined {
  if (tls === "smtps" || tls === "starttls") {
    return hasLogin ? "verified" : "required";
  }
  return tls;
}

/**
 * Parses `NAME:SECRET`.
 *
 * @throws {SyntaxError} If the text has another form; the error does not quote it
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
 * Parses names of mechanisms, separated by blanks or commas.
 *
 * @throws {SyntaxError} If a name is unknown
 */
export function parseMechanisms(text: string): readonly MechanismName[] {
  const names = text.split(/[\s,]+/).filter((name) => name !== "");
  return names.map((name) => {
    const known = parseMechanismName(name);
    if (known !== undefined) return known;
    throw new SyntaxError(
      `Cannot log in with "${name}": want some of ${MECHANISM_NAMES.join(" ")}`,
    );
  });
}

/** What a lookup that explains works with. */
export interface LookupTools {
  readonly dns: DnsClient;
  /** The options of the command line. */
  readonly raw: RawSettings;
  /** Whether the output is JSON. */
  readonly json: boolean;
  readonly output: Output;
}
