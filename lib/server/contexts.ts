/**
 * The consequences of a server's options: the context that all sessions of a
 * listener share, the relaying, and the warnings at the start. Touches no socket
 * and opens nothing.
 */

import { type Logger, type LogLevel, takesLevel } from "../log.ts";
import type { BodyOptions } from "../message/body.ts";
import type { MailForwarder } from "../message/forwarder.ts";
import type { MailSigner } from "../message/signer.ts";
import { machineName } from "../options.ts";
import { parsePeers } from "../net/cidr.ts";
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
import { parseIp } from "../protocol/ip.ts";
import { KINDS } from "../protocol/listener_kind.ts";
import { goodbyeReply, greetingReply, replies } from "../protocol/replies.ts";
import type { ServerProfile } from "../protocol/server/effects.ts";
import { hopOf } from "../client/next_hop.ts";
import { canValidate } from "../delivery/delivery.ts";
import { isOpenToClients } from "../delivery/options.ts";
import {
  type AuthenticationContext,
  authenticationContext,
} from "../session/authentication_context.ts";
import type {
  SessionContext,
  SessionRelaying,
  Tracing,
} from "../session/context.ts";
import type { Limits } from "../session/limit_options.ts";
import type { AddressLimiter } from "../session/limits.ts";
import type { UserLimiter } from "../session/user_limits.ts";
import { askedOf } from "../session/handlers.ts";
import { aliasTable } from "../session/aliases.ts";
import { localDomains, type LocalTest } from "../session/local_domains.ts";
import { openLocalRecipients } from "../session/local_recipients.ts";
import {
  RecipientPolicy,
  type RecipientPolicyInit,
} from "../session/recipient_policy.ts";
import {
  type RecipientTable,
  RecipientTables,
} from "../session/recipient_tables.ts";
import {
  loadChecks,
  type SessionSpf,
  Verification,
  type VerificationInit,
} from "../session/verification.ts";
import { SenderPolicy } from "../session/sender_policy.ts";
import { ChosenTracing, NetworkTracing } from "../session/tracing.ts";
import type { MessageStore } from "../message/message.ts";
import type { LoginCounter } from "../session/login_guard.ts";
import type { CertificateSource } from "../tls/set.ts";
import type { Admission } from "./admission.ts";
import { domainEntries, domainNames, DomainTable } from "./domain_options.ts";
import { checkForwarding, Forwarding } from "./forwarding.ts";
import type { SettledOptions } from "./options.ts";
import type { Settings } from "./settings.ts";
import type { ServerStores } from "./stores.ts";
import type { DnsClient } from "../dns/client.ts";
import { RelayService } from "../delivery/service.ts";

/** The parts that all sessions of a server share. */
export interface SharedServices {
  readonly stores: ServerStores;
  readonly log: Logger;
  /** Counts failed logins. */
  readonly guard: LoginCounter;
  /** Counts what clients do, and holds the limits in force. */
  readonly counts: AddressLimiter;
  /** Counts what users do. */
  readonly users: UserLimiter;
  /** Holds the sessions' clock and delays refusals. */
  readonly admission: Admission;
  /** Makes ids of sessions and messages unique among the server's threads. */
  readonly prefix?: string | undefined;
  /** Key of the SCRAM salts of unknown users, if threads share it. */
  readonly saltKey?: Uint8Array | undefined;
  /** Takes mail for other servers. */
  readonly relaying: SessionRelaying;
  /** Rewrites and seals mail that leaves again. */
  readonly forwarding: Forwarding;
  /** Checks SPF where a handler asks for it. */
  readonly spf: SessionSpf;
}

/** Makes the contexts of sessions from the settings in force. */
export class SessionContexts {
  readonly #settings: Settings;
  readonly #shared: SharedServices;
  #nextId: () => string;
  /** The function in `trace`. */
  #chosen:
    | { readonly by: SettledOptions["trace"]; readonly tracing: Tracing }
    | undefined;

  constructor(settings: Settings, shared: SharedServices) {
    this.#settings = settings;
    this.#shared = shared;
    this.#nextId = idSource(shared.prefix);
  }

  /** Prepares a start: ids differ from those of the last run. */
  begin(): void {
    this.#nextId = idSource(this.#shared.prefix);
  }

  /**
   * The context of a listener's sessions.
   *
   * @throws {TypeError} If TLS is required without a certificate, or logins without accounts
   */
  of(listen: ListenOptions): SessionContext {
    const { options, certificates, recipients, verification } = this.#settings;
    const { stores, relaying, counts, users, admission, log, spf } =
      this.#shared;
    const { forwarding } = this.#shared;
    const { current: store, table: domains } = stores;
    const { kind = "smtp" } = listen;
    const {
      proxyProtocol = options.proxyProtocol,
      xclient = options.xclient,
    } = listen;
    const hostname = options.hostname ?? machineName();
    const { limits } = counts;
    const policy = policyOf(listen, options);
    return {
      ...{ kind, hostname, store, relaying, limits, counts, users, log },
      path: listen.path,
      profile: profileOf(listen, { ...options, hostname, xclient }, {
        ...policy,
        limits,
        asksRecipients: recipients !== undefined,
        asksSenders: verification !== undefined,
      }),
      handlers: options.handlers ?? {},
      senders: options.senderPolicy === "own"
        ? new SenderPolicy({ accounts: options.accounts, recipients })
        : undefined,
      isLocal: localTest(options),
      ...{ recipients, spf, verification },
      forwarding: forwarding.takesBounces ? forwarding : undefined,
      domains: domains.isEmpty ? undefined : domains,
      addReceived: options.addReceived ?? true,
      complete: options.complete ?? KINDS[kind].completesMessages
        ? {
          domain: asciiDomain(
            domainNames(options.domains ?? [])[0] ?? hostname,
          ),
        }
        : undefined,
      body: bodyOptions(options),
      earlyTalkers: options.earlyTalkers ?? "refuse",
      delays: admission.delays,
      verbose: takesLevel(leastLevel(options), "info"),
      debug: takesLevel(leastLevel(options), "debug"),
      nextId: this.#nextId,
      now: () => admission.now,
      secure: certificates && secureWith(certificates, {
        clientCertificate: options.clientCertificate,
        handshakeTimeoutMs: limits.handshakeTimeoutMs,
      }),
      implicitTls: policy.security === "implicit",
      proxies: proxyProtocol?.map(parsePeers),
      xclients: xclient?.map(parsePeers),
      tracing: this.#tracing(options.trace),
      authentication: policy.authentication === "none"
        ? undefined
        : this.#authentication(hostname, {
          isPrivate: listen.path !== undefined &&
            !proxyProtocol?.includes("unix") && !xclient?.includes("unix"),
        }),
    };
  }

  /** The sessions to trace. The listeners share a function, so that its failure is logged once. */
  #tracing(trace: SettledOptions["trace"]): Tracing | undefined {
    if (typeof trace !== "function") {
      return trace && new NetworkTracing(trace.map(parsePeers));
    }
    if (this.#chosen?.by !== trace) {
      const tracing = new ChosenTracing(trace, this.#shared.log);
      this.#chosen = { by: trace, tracing };
    }
    return this.#chosen!.tracing;
  }

  /**
   * @param listener Whether the listener is private: a unix socket whose clients
   * speak for themselves, so that no one can read a password on its way
   */
  #authentication(
    hostname: string,
    listener: { readonly isPrivate: boolean },
  ): AuthenticationContext {
    const { options } = this.#settings;
    const { guard, saltKey, log } = this.#shared;
    return authenticationContext({
      hostname,
      accounts: options.accounts,
      handlers: options.handlers ?? {},
      mechanisms: options.mechanisms,
      allowInsecure: options.allowInsecureAuth ?? listener.isPrivate,
      ...{ guard, saltKey, log },
    });
  }
}

/** The test for the server's own addresses; `undefined` if every address is its own. */
function localTest(options: SettledOptions): LocalTest | undefined {
  const { domains, relay = {} } = options;
  if (domains !== undefined) return localDomains(domainNames(domains));
  return isOpenToClients(relay) ? localDomains([]) : undefined;
}

/**
 * What decides on local recipients; `undefined` if no option asks for it. Reads
 * the files of `localRecipients`.
 *
 * @throws {SyntaxError} If the file cannot be used
 * @throws {Deno.errors.NotFound} If the file does not exist
 */
export async function recipientPolicyOf(
  options: SettledOptions,
  services: Pick<RecipientPolicyInit, "log" | "now" | "observer" | "store">,
): Promise<RecipientPolicy | undefined> {
  const { recipientDelimiter, domains = [] } = options;
  const tables = await recipientTables(options);
  const isPlain = tables.isEmpty && recipientDelimiter === undefined &&
    services.store.hasRoom === undefined;
  if (isPlain) return undefined;
  return new RecipientPolicy({
    ...services,
    tables,
    delimiter: recipientDelimiter,
    isLocal: localTest(options),
    domain: asciiDomain(
      domainNames(domains)[0] ?? options.hostname ?? machineName(),
    ),
  });
}

/** What checks the mail from outside; `undefined` if no option asks for it. Loads the checks. */
export async function verificationOf(
  { verify = false }: SettledOptions,
  init: VerificationInit & { readonly spf: SessionSpf },
): Promise<Verification | undefined> {
  if (verify === false) return undefined;
  const options = verify === true ? {} : verify;
  return new Verification(options, init, await loadChecks());
}

/** The aliases and mailboxes of the server and of its domains. */
async function recipientTables(
  { aliases, localRecipients, domains }: SettledOptions,
): Promise<RecipientTables> {
  const server: RecipientTable = {
    aliases: aliases && aliasTable(aliases),
    local: await openLocalRecipients(localRecipients),
  };
  const own = new Map<string, RecipientTable>();
  for (const [name, options] of domainEntries(domains)) {
    const { aliases, localRecipients } = options;
    if (aliases === undefined && localRecipients === undefined) continue;
    own.set(asciiDomain(name), {
      aliases: aliases && aliasTable(aliases),
      local: localRecipients === undefined
        ? server.local
        : await openLocalRecipients(localRecipients),
    });
  }
  return new RecipientTables(server, own);
}

/** A sentence for each alias of the options that leads nowhere. */
export async function aliasFaults(
  options: Omit<SettledOptions, "handlers">,
): Promise<readonly string[]> {
  const { store = {} as Pick<MessageStore, "hasRoom"> } = options;
  const services = { store, log: () => {} };
  const policy = await recipientPolicyOf(options, services);
  return await policy?.aliasFaults() ?? [];
}

/** The TLS policy of a listener. */
export function securityOf(
  listen: ListenOptions,
  options: SettledOptions,
): ListenerSecurity {
  // What a unix socket carries does not leave the machine.
  const common = listen.path === undefined ? options.security : "none";
  const security = listen.security ?? common ??
    (options.certificate === undefined ? "none" : "allowed");
  if (security !== "none" && options.certificate === undefined) {
    throw new TypeError(
      `Cannot listen with security "${security}": no certificate is set`,
    );
  }
  return security;
}

/**
 * The policy of a listener: what its clients may or must do.
 *
 * @throws {TypeError} If TLS is required without a certificate, or logins without accounts
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
  const { kind = "smtp" } = listen;
  const { requiresLogin } = KINDS[kind];
  const policy = listen.authentication ??
    (requiresLogin ? "required" : options.authentication) ??
    (canServe ? "allowed" : "none");
  if (policy === "required" && !canServe) {
    throw new TypeError(
      `Cannot require authentication${
        requiresLogin ? ` on a ${kind} listener` : ""
      }: neither accounts nor onAuthenticate is set`,
    );
  }
  return policy;
}

/** The protocol profile that a listener's sessions share. */
function profileOf(
  listen: ListenOptions,
  options: SettledOptions & { readonly hostname: string },
  policy: {
    readonly security: ListenerSecurity;
    readonly authentication: AuthenticationPolicy;
    readonly limits: Limits;
    /** Whether something but a handler decides on local recipients. */
    readonly asksRecipients: boolean;
    /** Whether something but a handler asks about senders. */
    readonly asksSenders: boolean;
  },
): ServerProfile {
  const { hostname, handlers = {}, greeting, goodbye } = options;
  const { maxSize, maxRecipients } = policy.limits;
  const kind = KINDS[listen.kind ?? "smtp"];
  const { security, authentication } = policy;
  return {
    kind,
    greeting: greetingReply(hostname, greeting ?? kind.greeting),
    goodbye: goodbye === undefined ? replies.goodbye : goodbyeReply(goodbye),
    capabilities: new Capabilities({
      hostname,
      maxSize,
      maxRecipients,
      disabled: options.disabledExtensions ?? [],
      expand: handlers.onExpand !== undefined,
      // A queue in memory would lose what it holds with the process.
      canHold: options.relay?.spool !== undefined,
    }, authentication !== "none"),
    ...policy.limits,
    bareNewlines: options.bareNewlines ?? "normalize",
    asks: {
      ...askedOf(handlers),
      ...((localTest(options) !== undefined || policy.asksRecipients) &&
        { rcpt: true }),
      ...((options.senderPolicy === "own" || policy.asksSenders) &&
        { mail: true }),
    },
    startTls: security === "implicit" ? "none" : security,
    authentication,
    xclient: options.xclient !== undefined && options.xclient.length > 0,
  };
}

/** The options for storing the content of messages. */
export function bodyOptions(
  options: Pick<SettledOptions, "memoryLimit" | "temporaryFolder">,
): BodyOptions {
  const { memoryLimit = 262_144, temporaryFolder } = options;
  return { memoryLimit, temporaryFolder };
}

/** The least level of the records that are made. */
export function leastLevel(
  { log, logLevel = "debug" }: SettledOptions,
): LogLevel {
  return log === undefined ? "warn" : logLevel;
}

/** Makes the server side of a TLS handshake, with the certificates in force when it begins. */
function secureWith(
  certificates: CertificateSource,
  policy: Omit<UpgradeServerOptions, "certificates">,
): (transport: Transport) => Promise<Transport> {
  return (transport) => upgradeServer(transport, { certificates, ...policy });
}

/** The digits of base 36. */
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/**
 * Makes a source of ids for sessions and messages. The ids are unique over
 * restarts, since stores and spools use them in file names: a prefix of time and
 * random digits differs from that of any other source.
 *
 * @param thread Prefix that differs from those of the server's other threads,
 * which start at the same time
 */
function idSource(thread = ""): () => string {
  const chance = crypto.getRandomValues(new Uint16Array(1))[0]!;
  const prefix = `${Date.now().toString(36)}${chance.toString(36)}-${thread}`
    .toUpperCase();
  let last = 0;
  return () => {
    // One id for each message: `toString(36)` and `toUpperCase()` cost ten times this.
    let digits = "";
    for (let rest = ++last; rest > 0; rest = Math.floor(rest / 36)) {
      digits = DIGITS[rest % 36]! + digits;
    }
    return prefix + digits;
  };
}

/** The test for addresses in the domains in force; `false` for all if every address is local. */
function ownAddresses(settings: Settings): LocalTest {
  return (address) => localTest(settings.options)?.(address) === true;
}

/**
 * The forwarding of a server.
 *
 * @throws {TypeError} If it needs an option that is not set
 */
export function forwardingOf(settings: Settings, log: Logger): Forwarding {
  const { relay = {}, verify = false } = settings.options;
  checkForwarding(relay.forwarding ?? {}, {
    hasDomains: localTest(settings.options) !== undefined,
    verifies: verify !== false,
  });
  const isOurs = ownAddresses(settings);
  return new Forwarding(relay.forwarding, { isOurs, log });
}

/** The relaying of a server; it reads the options in force at each use. */
export function relayServiceOf(
  settings: Settings,
  services: {
    readonly dns: DnsClient;
    readonly stores: ServerStores;
    readonly addresses: () => readonly SocketAddress[];
    readonly signer: MailSigner;
    readonly forwarder: MailForwarder;
    readonly log: Logger;
  },
): RelayService {
  const { relay = {}, hostname = machineName() } = settings.options;
  const { dns, stores, addresses, signer, forwarder, log } = services;
  const isOurs = ownAddresses(settings);
  return new RelayService(relay, {
    hostname,
    dns,
    // The server loads a handler module when it starts.
    get handlers() {
      return settings.options.handlers ?? {};
    },
    local: {
      isOurs,
      isLocal: (address) =>
        isOurs(address) && stores.of(address).kind !== "discard",
      get store() {
        return stores.current;
      },
      decide: async (address, size) =>
        await settings.recipients?.decide(address, { size }),
    },
    ...{ addresses, signer, forwarder, log },
    body: bodyOptions(settings.options),
    logLevel: leastLevel(settings.options),
  });
}

/** The warnings about a server's options. */
export function warningsOf(options: SettledOptions): readonly string[] {
  const warnings: string[] = [];
  if (discards(options)) {
    warnings.push(
      "Mail is accepted and discarded: no store is set and no handler keeps it",
    );
  }
  const { verify } = options;
  if (typeof verify === "object" && verify.dmarc === "enforce") {
    for (const check of ["spf", "dkim"] as const) {
      if (verify[check] !== false) continue;
      warnings.push(
        `verify.${check} is false and verify.dmarc is "enforce": good mail that passes DMARC by ${check.toUpperCase()} alone is refused`,
      );
    }
  }
  return warnings;
}

/** Why the queue cannot use DANE, if it would; `undefined` if it can, or need not. */
export function daneIsOff(
  { relay = {} }: SettledOptions,
  dns: DnsClient,
): string | undefined {
  const { policies = ["dane"], smarthosts = [], security } = relay;
  const hops = smarthosts.map(hopOf);
  const isNamed = hops.length === 0 ||
    hops.some(({ host, lmtp }) => !lmtp && parseIp(host) === undefined);
  const isWanted = isOpenToClients(relay) && isNamed && security !== "none" &&
    policies.includes("dane");
  if (!isWanted || canValidate(dns)) return undefined;
  return "DANE is off: no name server on this machine validates answers, and dns.trustAd is not set";
}

function discards(options: SettledOptions): boolean {
  const { store, handlers, domains } = options;
  if (store !== undefined) return false;
  const names = domainNames(domains ?? []);
  const { stores } = new DomainTable(domains);
  if (names.length > 0 && stores.length === names.length) return false;
  // All mail is relayed: there is nothing to store.
  if (domains === undefined && localTest(options)) return false;
  return (handlers?.onMessageStart ?? handlers?.onMessage) === undefined;
}
