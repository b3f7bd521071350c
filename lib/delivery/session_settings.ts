/**
 * The settings of a session with one place: what the options say, what is known of
 * the host, and what its TLS must be. Stands alone: the walk decides where mail
 * goes, and this how a session there begins and which sessions are alike.
 */

import { createHash } from "node:crypto";
import {
  hasHop,
  hopPort,
  type Login,
  type NextHop,
  type TlsSecurity,
} from "../client/next_hop.ts";
import type {
  PeerCertificate,
  SettledClientOptions,
} from "../client/options.ts";
import type { DeliveryJob, DeliveryState } from "../queue/job.ts";
import type { TlsUse } from "../secure_transport/tls_decision.ts";
import type { BrokenTlsMemory, HostMemory } from "./host_memory.ts";
import { pick, type SettledDeliveryOptions } from "./options.ts";

/** One address to try. */
export interface Place {
  readonly hop: NextHop;
  readonly address: string;
  readonly moreHosts: boolean;
  /** The TLS that the host must have. */
  readonly use: TlsUse;
}

/** What the settings are made of. */
export interface SettingsInit extends Omit<SettledDeliveryOptions, "pool"> {
  readonly brokenTls: BrokenTlsMemory;
  /** The hosts that offer CHUNKING and fail at BDAT. */
  readonly noChunking: HostMemory;
  readonly signal: AbortSignal | undefined;
}

/** The options of a delivery that its sessions get as they are. */
const TO_SESSION = {
  hostname: true,
  allowInsecureAuth: true,
  longLines: true,
  timeouts: true,
  clientCertificate: true,
  trusted: true,
  signal: true,
} as const;

/** The options of a session that its place does not decide. */
type SessionOption = Exclude<
  keyof SettledClientOptions,
  keyof NextHop | "path"
>;

/** The login at a next hop; only configured ones have one. */
function loginAt(
  hop: NextHop,
  job: DeliveryJob,
  options: SettingsInit,
  isConfigured: boolean,
): Login | undefined {
  if (!isConfigured) return undefined;
  return job.login ??
    (hasHop(options.smarthosts, hop) ? options.login : undefined);
}

/** What the configuration asks of the TLS of a next hop. */
export function configuredSecurity(
  hop: NextHop,
  job: DeliveryJob,
  options: SettingsInit,
  isConfigured: boolean,
): TlsSecurity {
  const login = loginAt(hop, job, options, isConfigured);
  const security = job.route?.security ?? options.security ??
    (login ? "verified" : "opportunistic");
  return declines(job, isConfigured) && security !== "none"
    ? "opportunistic"
    : security;
}

/**
 * Whether a message asks to be delivered even where TLS fails (RFC 8689 section
 * 3). A configured next hop keeps its TLS: that protects more than the message.
 */
export function declines(job: DeliveryJob, isConfigured: boolean): boolean {
  return job.declinesTls === true && !isConfigured;
}

/** Whether neither DANE nor MTA-STS may demand anything: then nothing is asked for them. */
export function isFreeOfPolicies(
  job: DeliveryJob,
  options: SettingsInit,
  smarthosts: readonly NextHop[] | undefined,
): boolean {
  return (job.route?.security ?? options.security) === "none" ||
    declines(job, smarthosts !== undefined);
}

/**
 * The settings of a session.
 *
 * @param facts `isConfigured`: whether the next hop comes from the configuration;
 * `now`: the clock of the memories; `onState`: gets each step
 */
export function settingsOf(
  { hop, address, use }: Place,
  job: DeliveryJob,
  options: SettingsInit,
  facts: {
    readonly isConfigured: boolean;
    readonly now: number;
    readonly onState: (state: DeliveryState) => void;
  },
): SettledClientOptions {
  const { onCertificate, brokenTls, noChunking } = options;
  const { isConfigured, now } = facts;
  const settings = {
    ...pick(options, TO_SESSION),
    address,
    security: brokenTls.apply(use.security, { host: hop.host, now }),
    login: loginAt(hop, job, options, isConfigured),
    chunking: options.chunking !== false && !noChunking.has(hop.host, now),
    onProgress: facts.onState,
    onCertificate: onCertificate &&
      ((peer: PeerCertificate) => onCertificate(peer, job)),
  } satisfies Record<SessionOption, unknown>;
  return { ...hop, ...settings };
}

/** The key of a place in the memory of silent addresses. */
export function nameOf({ hop, address }: Place): string {
  return `${address} ${hopPort(hop)}`;
}

/** The pool's key: equal for sessions that can stand in for each other. Holds a hash of the credentials. */
export function poolKey(settings: SettledClientOptions, use: TlsUse): string {
  const { host, address, port, implicitTls, lmtp, security, login } = settings;
  const credentials = login &&
    createHash("sha256").update(JSON.stringify(login)).digest("base64");
  return JSON.stringify([
    ...[host, address, port, implicitTls, lmtp, security, credentials],
    ...[use.key, use.name],
  ]);
}
