/**
 * The settings of `serve` that are about relaying, and what they become in the
 * server's options. Opens no file and prints nothing.
 */

import { parseCidr } from "../net/cidr.ts";
import { parseNameServer } from "../dns/name_server.ts";
import { Address } from "../protocol/address.ts";
import { parseDuration, RetrySchedule } from "../queue/schedule.ts";
import type { RelayingOptions } from "../relaying/relaying_options.ts";
import type { SmtpServerOptions } from "../server/options.ts";
import {
  parseLogin,
  parseMechanisms,
  parseNextHop,
  securityFor,
} from "./next_hop.ts";
import {
  flag,
  one,
  type RawSettings,
  type SettingForm,
  usable,
  wholeNumber,
  word,
} from "./raw_settings.ts";
import { UsageError } from "./usage.ts";

/** The settings, by their name on the command line. */
export const RELAY_SETTINGS: Readonly<Record<string, SettingForm>> = {
  relay: "flag",
  "relay-from": "many",
  smarthost: "many",
  "smarthost-user": "one",
  "smarthost-mechanisms": "one",
  chunking: "flag",
  spool: "one",
  dns: "many",
  retry: "one",
  expire: "one",
  "bounce-from": "one",
  "long-lines": "one",
  "remote-port": "one",
  "allow-loopback": "flag",
};

/** What the port of another server may be. */
export const PORTS = { least: 1, most: 65535 } as const;

/** Where the queue is, unless told otherwise. */
export const DEFAULT_SPOOL = "./spool";

/**
 * Checks the settings and makes options of them. The spool is opened only
 * where something can come into it.
 *
 * @throws {UsageError} If a value cannot be used
 */
export function relaySettings(
  raw: RawSettings,
): Pick<SmtpServerOptions, "relay" | "dns"> {
  const from = raw.get("relay-from");
  for (const network of from ?? []) {
    usable("relay-from", () => parseCidr(network));
  }
  const isWanted = flag(raw, "relay") ||
    ["relay-from", "smarthost", "spool"].some((name) => raw.has(name));
  return {
    dns: { nameServers: nameServers(raw) },
    relay: {
      allow: flag(raw, "relay") ? "authenticated" : "none",
      from,
      spool: isWanted ? one(raw, "spool") ?? DEFAULT_SPOOL : undefined,
      ...smarthosts(raw),
      chunking: raw.has("chunking") ? flag(raw, "chunking") : undefined,
      ...times(raw),
      bounceFrom: bounceFrom(raw),
      longLines: word(raw, "long-lines", ["keep", "encode"]),
      remotePort: wholeNumber(raw, "remote-port", PORTS),
      allowLoopback: flag(raw, "allow-loopback") || undefined,
    },
  };
}

/** The name servers of `--dns`, checked; `undefined` for the system's. */
export function nameServers(raw: RawSettings): readonly string[] | undefined {
  const servers = raw.get("dns");
  for (const server of servers ?? []) {
    usable("dns", () => parseNameServer(server));
  }
  return servers;
}

function smarthosts(
  raw: RawSettings,
): Pick<
  RelayingOptions,
  "smarthosts" | "login" | "security" | "allowInsecureAuth"
> {
  const hops = (raw.get("smarthost") ?? []).map((text) =>
    usable("smarthost", () => parseNextHop(text))
  );
  const [first] = hops;
  const account = one(raw, "smarthost-user");
  const mechanisms = one(raw, "smarthost-mechanisms");
  if (first === undefined) {
    if (account !== undefined) {
      throw new UsageError("--smarthost-user: want --smarthost, too");
    }
  }
  if (mechanisms !== undefined && account === undefined) {
    throw new UsageError("--smarthost-mechanisms: want --smarthost-user, too");
  }
  if (first === undefined) return {};
  if (hops.some(({ tls }) => (tls === "none") !== (first.tls === "none"))) {
    throw new UsageError("--smarthost: want /none for all or for none of them");
  }
  const login = account === undefined ? undefined : {
    ...usable("smarthost-user", () => parseLogin(account)),
    ...(mechanisms !== undefined && {
      mechanisms: usable(
        "smarthost-mechanisms",
        () => parseMechanisms(mechanisms),
      ),
    }),
  };
  // One that is to be kept safe is kept safe at all of them.
  const tls = hops.find((hop) => hop.tls !== undefined)?.tls;
  return {
    smarthosts: hops.map(({ host }) => host),
    login,
    security: securityFor(tls, login !== undefined),
    // Whoever writes /none has been asked.
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
      : usable("retry", () => RetrySchedule.parse(retry)),
    expireAfterMs: expire === undefined
      ? undefined
      : usable("expire", () => parseDuration(expire)),
  };
}

function bounceFrom(raw: RawSettings): string | undefined {
  const text = one(raw, "bounce-from");
  return text && usable("bounce-from", () => Address.parse(text).toString());
}
