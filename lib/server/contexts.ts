/**
 * Makes what the sessions of a listener have in common out of the options: the
 * machine's profile, the policy for TLS and for log-ins. No socket is touched.
 *
 * Makes a server's relaying out of its options. Opens nothing.
 *
 * What a program is warned of when its server starts. Decides from the options alone.
 */

import type { Logger } from "../log.ts";
import type { BodyOptions } from "../message/body.ts";
import { parseCidr } from "../net/cidr.ts";
import type {
  AuthenticationPolicy,
  ListenerSecurity,
  ListenOptions,
} from "../net/listen_options.ts";
import {
  upgradeServer,
  type UpgradeServerOptions,
} from "../net/tls_upgrade.ts";
import type { SocketAddress, Transport } from "../net/transport.ts";
import { Capabilities } from "../protocol/capabilities.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { replies } from "../protocol/replies.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type { ServerProfile } from "../protocol/server/effects.ts";
import { isOpenToClients } from "../delivery/options.ts";
import { authenticationContext } from "../session/authentication_context.ts";
import type { SessionContext, SessionRelaying } from "../session/context.ts";
import type { Delays } from "../session/delays.ts";
import type { Limits } from "../session/limit_options.ts";
import type { AddressLimiter } from "../session/limits.ts";
import { localDomains, type LocalTest } from "../session/local_domains.ts";
import type { LoginCounter } from "../session/login_guard.ts";
import type { MessageStore } from "../message/message.ts";
import { CertificateSource } from "../tls/set.ts";
import type { SettledOptions } from "./options.ts";
import type { DnsClient } from "../dns/client.ts";
import { RelayService } from "../delivery/service.ts";

/** What all listeners of a server share. */
export interface SharedServices {
  /** Where messages go that have no store of their own. */
  readonly store: MessageStore;
  /** Takes log records. */
  readonly log: Logger;
  /** The certificates, if there are any. */
  readonly certificates: CertificateSource | undefined;
  /** Counts failed log-ins. */
  readonly guard: LoginCounter;
  /** Counts what clients do, and has the limits in force. */
  readonly counts: AddressLimiter;
  /** Waits before a refusal is told. */
  readonly delays: Delays;
  /** Key of SCRAM's salts for unknown users, where threads share it. */
  readonly saltKey?: Uint8Array | undefined;
  /** Takes mail for other servers. */
  readonly relaying: SessionRelaying;
  /** Gives the next unique name of a session or message. */
  nextId(): string;
  /** A time in ms that never goes back; may lag by a second. */
  now(): number;
}

/** The test for the server's own addresses; `undefined` where every one is. */
function localTest(
  options: SettledOptions,
): LocalTest | undefined {
  const { domains, relay = {} } = options;
  if (domains !== undefined) return localDomains(domains);
  return isOpenToClients(relay) ? localDomains([]) : undefined;
}

/** What TLS means on a listener. */
export function securityOf(
  listen: ListenOptions,
  options: SettledOptions,
): ListenerSecurity {
  const security = listen.security ?? options.security ??
    (options.certificate === undefined ? "none" : "allowed");
  if (security !== "none" && options.certificate === undefined) {
    throw new TypeError(
      `Cannot listen with security "${security}": no certificate is set`,
    );
  }
  return security;
}

/**
 * What a listener's clients may or must do.
 *
 * @throws {TypeError} If TLS is wanted without a certificate, or log-ins without accounts
 */
export function policyOf(
  listen: ListenOptions,
  options: SettledOptions,
): {
  readonly security: ListenerSecurity;
  readonly authentication: AuthenticationPolicy;
} {
  return {
    security: securityOf(listen, options),
    authentication: authenticationOf(listen, options),
  };
}

/** Whether clients of a listener may or must log in. */
function authenticationOf(
  listen: ListenOptions,
  options: SettledOptions,
): AuthenticationPolicy {
  const canServe = options.accounts !== undefined ||
    options.handlers?.onAuthenticate !== undefined;
  const policy = listen.authentication ??
    (listen.kind === "submission" ? "required" : options.authentication) ??
    (canServe ? "allowed" : "none");
  if (policy === "required" && !canServe) {
    throw new TypeError(
      `Cannot require authentication${
        listen.kind === "submission" ? " on a submission listener" : ""
      }: neither accounts nor onAuthenticate is set`,
    );
  }
  return policy;
}

/**
 * The context of a listener's sessions.
 *
 * @throws {TypeError} If TLS is wanted without a certificate, or log-ins without accounts
 */
export function contextOf(
  listen: ListenOptions,
  options: SettledOptions,
  shared: SharedServices,
): SessionContext {
  const { kind = "smtp" } = listen;
  const { handlers = {} } = options;
  const { proxyProtocol = options.proxyProtocol, xclient = options.xclient } =
    listen;
  const hostname = options.hostname ?? ownName();
  const security = securityOf(listen, options);
  const authentication = authenticationOf(listen, options);
  return {
    kind,
    hostname,
    profile: profileOf(listen, { ...options, hostname, xclient }, {
      security,
      authentication,
      limits: shared.counts.limits,
    }),
    handlers,
    store: shared.store,
    isLocal: localTest(options),
    relaying: shared.relaying,
    addReceived: options.addReceived ?? true,
    complete: options.complete ?? kind === "submission"
      ? { domain: asciiDomain(options.domains?.[0] ?? hostname) }
      : undefined,
    body: bodyOptions(options),
    limits: shared.counts.limits,
    earlyTalkers: options.earlyTalkers ?? "refuse",
    counts: shared.counts,
    delays: shared.delays,
    log: shared.log,
    verbose: reads(options, "info"),
    debug: reads(options, "debug"),
    nextId: () => shared.nextId(),
    now: () => shared.now(),
    secure: shared.certificates && secureWith(shared.certificates, {
      clientCertificate: options.clientCertificate,
      handshakeTimeoutMs: shared.counts.limits.handshakeTimeoutMs,
    }),
    implicitTls: security === "implicit",
    proxies: proxyProtocol?.map(parseCidr),
    xclients: xclient?.map(parseCidr),
    authentication: authentication === "none"
      ? undefined
      : authenticationContext({
        hostname,
        accounts: options.accounts,
        handlers,
        mechanisms: options.mechanisms,
        allowInsecure: options.allowInsecureAuth ?? false,
        guard: shared.guard,
        saltKey: shared.saltKey,
        log: shared.log,
      }),
  };
}

/** Where the contents of messages go. */
export function bodyOptions(options: SettledOptions): BodyOptions {
  const { memoryLimit = 262_144, temporaryFolder } = options;
  return { memoryLimit, temporaryFolder };
}

/** Whether the program's logger wants records of a level. */
function reads(options: SettledOptions, level: "info" | "debug"): boolean {
  const { log, logLevel = "debug" } = options;
  return log !== undefined && (logLevel === "debug" || logLevel === level);
}

/** The server's side of a TLS handshake, with the certificates in force when it begins. */
function secureWith(
  certificates: CertificateSource,
  policy: Omit<UpgradeServerOptions, "certificates">,
): (transport: Transport) => Promise<Transport> {
  return (transport) => upgradeServer(transport, { certificates, ...policy });
}

/** The certificates as something that can be exchanged. */
export function sourceOf(
  certificate: SettledOptions["certificate"],
): CertificateSource | undefined {
  if (certificate === undefined) return undefined;
  return certificate instanceof CertificateSource
    ? certificate
    : new CertificateSource(certificate);
}

/** What the machines of a listener's sessions have in common. */
function profileOf(
  listen: ListenOptions,
  options: SettledOptions & { readonly hostname: string },
  policy: {
    readonly security: ListenerSecurity;
    readonly authentication: AuthenticationPolicy;
    readonly limits: Limits;
  },
): ServerProfile {
  const { hostname, handlers = {}, greeting, goodbye } = options;
  const { maxSize, maxRecipients } = policy.limits;
  const protocol = listen.kind === "lmtp" ? "lmtp" : "smtp";
  const text = greeting ?? (protocol === "lmtp" ? "LMTP ready" : "ESMTP ready");
  const { security, authentication } = policy;
  return {
    protocol,
    greeting: new SmtpReply(220, `${hostname} ${text}`),
    goodbye: goodbye === undefined
      ? replies.goodbye
      : new SmtpReply(221, goodbye, { enhanced: "2.0.0" }),
    capabilities: new Capabilities({
      hostname,
      maxSize,
      maxRecipients,
      disabled: options.disabledExtensions ?? [],
      expand: handlers.onExpand !== undefined,
    }, authentication !== "none"),
    maxSize,
    maxRecipients,
    maxErrors: policy.limits.maxErrors,
    maxRefusedRecipients: policy.limits.maxRefusedRecipients,
    maxCommandsWithoutMail: policy.limits.maxCommandsWithoutMail,
    bareNewlines: options.bareNewlines ?? "normalize",
    asks: {
      command: handlers.onCommand !== undefined,
      helo: handlers.onHelo !== undefined,
      mail: handlers.onMailFrom !== undefined,
      rcpt: handlers.onRcptTo !== undefined || localTest(options) !== undefined,
      verify: handlers.onVerify !== undefined,
      expand: handlers.onExpand !== undefined,
    },
    startTls: security === "implicit" ? "none" : security,
    authentication,
    xclient: options.xclient !== undefined && options.xclient.length > 0,
  };
}

/** This machine's name, where the permission to ask for it is there. */
export function ownName(): string {
  try {
    return Deno.hostname();
  } catch {
    return "localhost";
  }
}

/**
 * Names of sessions and messages, unique over restarts: they become file names
 * in stores and spools.
 */

/** The digits of base 36. */
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/**
 * Makes a source of names whose prefix, time and chance, tells them from those
 * of any other source.
 *
 * @param thread What tells the source from those of the server's other
 * threads, which begin at the same time
 */
export function idSource(thread = ""): () => string {
  const chance = crypto.getRandomValues(new Uint16Array(1))[0]!;
  const prefix = `${Date.now().toString(36)}${chance.toString(36)}-${thread}`
    .toUpperCase();
  let last = 0;
  return () => {
    // One name a message: `toString(36)` and `toUpperCase()` cost ten times this.
    let digits = "";
    for (let rest = ++last; rest > 0; rest = Math.floor(rest / 36)) {
      digits = DIGITS[rest % 36]! + digits;
    }
    return prefix + digits;
  };
}

/**
 * The relaying of a server.
 *
 * @param options The server's options as they are now, asked for again after a reload
 * @param services What the server has made
 */
export function relayServiceOf(
  options: () => SettledOptions,
  services: {
    readonly dns: DnsClient;
    readonly store: MessageStore;
    readonly addresses: () => readonly SocketAddress[];
    readonly log: Logger;
  },
): RelayService {
  const { relay = {}, hostname = ownName() } = options();
  const { dns, store, addresses, log } = services;
  return new RelayService(relay, {
    hostname,
    dns,
    // A module of handlers is loaded when the server starts.
    get handlers() {
      return options().handlers ?? {};
    },
    local: {
      isLocal: (address) => localTest(options())?.(address) ?? false,
      store,
    },
    addresses,
    log,
  });
}

/** The warnings that a server's options deserve. */
export function warningsOf(options: SettledOptions): readonly string[] {
  const warnings: string[] = [];
  if (discards(options)) {
    warnings.push(
      "Mail is accepted and discarded: no store is set and no handler keeps it",
    );
  }
  return warnings;
}

function discards(options: SettledOptions): boolean {
  const { store, handlers, domains } = options;
  if (store !== undefined) return false;
  // All mail is for others: there is nothing to store.
  if (domains === undefined && localTest(options)) return false;
  return (handlers?.onMessageStart ?? handlers?.onMessage) === undefined;
}
