/**
 * The threads of a server and the objects they use: the settings and the queue
 * as the main thread serves them, and the relaying inside a worker. Also the
 * options in a form that can cross: data as it is, certificates as PEM, and of
 * the accounts, which stay on the main thread, only whether there are any and the
 * verifier for unknown users.
 */

import type { BodyOptions } from "../message/body.ts";
import type { Message, MessageStore, Recipient } from "../message/message.ts";
import type { Address } from "../protocol/address.ts";
import {
  aliasTable,
  decodeAliases,
  encodeAliases,
} from "../session/aliases.ts";
import type { ListenOptions } from "../net/listen_options.ts";
import type { RelayOptions, Relays } from "../queue/relay.ts";
import type { Accounts } from "../sasl/accounts.ts";
import type { KnownSecret } from "../sasl/credentials.ts";
import type { RelayClient, SessionRelaying } from "../session/context.ts";
import {
  type HandlerContext,
  loadHandlerModule,
} from "../session/handler_module.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import type { SmtpSession } from "../session/session.ts";
import type {
  MainApi,
  MainRelays,
  MainServices,
  MainSettings,
  PlainOptions,
  WireAddress,
  WireCertificate,
  WireCertificates,
  WireDomain,
  WireDomains,
  WireOptions,
  WireRecipients,
  WireStore,
  WorkerApi,
} from "../threads/api.ts";
import { type Counters, ThreadPool } from "../threads/pool.ts";
import { CertificateSet, CertificateSource } from "../tls/set.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { describeStore } from "../store/thread_store.ts";
import { decodeStore, type MessageCalls } from "../threads/message_calls.ts";
import { bodyOptions, leastLevel } from "./contexts.ts";
import { domainEntries, domainNames } from "./domain_options.ts";
import type { ServerStores } from "./stores.ts";
import type {
  ReloadOptions,
  SettledOptions,
  SmtpServerOptions,
} from "./options.ts";
import type { ServerSettings, Settings } from "./settings.ts";
import type { RelayingOptions } from "../delivery/options.ts";
import { RetrySchedule } from "../queue/schedule.ts";
import { authenticationContext } from "../session/authentication_context.ts";
import { LoginGuard } from "../session/login_guard.ts";
import { Certificate } from "../tls/certificate.ts";
import { ScramVerifier } from "../sasl/scram_verifier.ts";
import type { Channel } from "../threads/channel.ts";
import {
  decodeError,
  decodeSecret,
  encodeCertificates,
} from "../threads/wire.ts";

/** The URL of the worker's module. */
const WORKER = new URL("./worker.ts", import.meta.url);

/** The parts that a server shares with its threads. */
export interface ServerThreadsInit
  extends Pick<MainServices, "guard" | "counts" | "log"> {
  readonly settings: ServerSettings;
  readonly stores: ServerStores;
  readonly relays: Relays;
}

/** The threads of a server; each start makes new ones. */
export class ServerThreads {
  readonly #counters: Counters;
  readonly #init: ServerThreadsInit;
  #pool: ThreadPool | undefined;

  /** @param counters The numbers that all threads share, one set for each */
  constructor(counters: Counters, init: ServerThreadsInit) {
    this.#counters = counters;
    this.#init = init;
  }

  /** The addresses the threads listen on; none while the server is stopped. */
  get addresses(): readonly WireAddress[] {
    return this.#pool?.addresses ?? [];
  }

  /** The sessions that the threads have published. */
  get sessions(): readonly SmtpSession[] {
    return this.#pool?.sessions ?? [];
  }

  /**
   * Starts all threads.
   *
   * @throws {Deno.errors.NotSupported} If the platform does not share ports
   * @throws {Error} If a thread cannot start; then all are stopped
   */
  async start(listen: readonly ListenOptions[]): Promise<void> {
    const { settings, stores, relays } = this.#init;
    const pool = new ThreadPool({
      ...this.#init,
      worker: WORKER,
      module: settings.module,
      listen,
      settings: new ThreadSettings(settings, stores),
      relays: new ThreadRelays(relays),
    }, this.#counters);
    await pool.start();
    this.#pool = pool;
  }

  /**
   * Applies the options of a reload, which are in the settings already.
   *
   * @throws {TypeError} If they do not fit the listeners; nothing is changed then
   */
  async reload(options: ReloadOptions, before: Settings): Promise<void> {
    await this.#pool?.reload(
      encodeOptions(options, this.#init),
      formerOptions(options, { ...this.#init, settings: before }),
    );
  }

  /** Stops all threads; their sessions may go on for `graceMs` milliseconds. */
  async stop(graceMs: number): Promise<void> {
    await this.#pool?.stop(graceMs);
    this.#pool = undefined;
    await this.#init.settings.recipients?.settled;
  }

  /** Ends the grace period of a stop under way. */
  abort(): void {
    this.#pool?.abort();
  }
}

/** The settings in force, in the form that the threads need. */
class ThreadSettings implements MainSettings {
  readonly #settings: Settings;
  readonly #stores: ServerStores;

  constructor(settings: Settings, stores: ServerStores) {
    this.#settings = settings;
    this.#stores = stores;
  }

  get store(): WireStore {
    return encodeStore(this.#stores.own, this.#stores);
  }

  storeOf(number: number): MessageStore | undefined {
    return this.#stores.numbered(number);
  }

  get handlers(): SmtpHandlers {
    return this.#settings.options.handlers ?? {};
  }

  get accounts(): Accounts | undefined {
    return this.#settings.options.accounts;
  }

  recipientsOf(
    domain: string | undefined,
  ): ((address: Address) => boolean | Promise<boolean>) | undefined {
    const given = domain === undefined
      ? this.#settings.options.localRecipients
      : this.#stores.table.localRecipientsOf(asciiDomain(domain));
    return typeof given === "function" ? given : undefined;
  }

  rereadRecipients(domain: string): void {
    this.#settings.recipients?.reread(domain);
  }

  get certificates(): CertificateSource | undefined {
    return this.#settings.certificates;
  }

  get body(): BodyOptions {
    return bodyOptions(this.#settings.options);
  }

  encode(): WireOptions {
    const { options } = this.#settings;
    // The default logger takes no lower level; each thread's logger takes all.
    const logLevel = leastLevel(options);
    return encodeOptions({ ...options, logLevel }, {
      settings: this.#settings,
      stores: this.#stores,
    });
  }
}

/** The queue, for messages from workers. */
class ThreadRelays implements MainRelays {
  readonly #relays: Relays;

  constructor(relays: Relays) {
    this.#relays = relays;
  }

  async add(message: Message, options: PlainOptions): Promise<string> {
    const decoded = decodeRelayOptions(options);
    const { recipients } = message;
    const { id } = await this.#relays.add(message, { ...decoded, recipients });
    return id;
  }
}

/** The settings before a reload, for the options that it changes. */
function formerOptions(
  reloaded: ReloadOptions,
  before: OptionSource,
): WireOptions {
  const names = Object.keys(reloaded) as (keyof ReloadOptions)[];
  const { options } = before.settings;
  const wanted = Object.fromEntries(names.map((name) => [name, options[name]]));
  return encodeOptions(wanted, before);
}

/** Relaying inside a thread: decides here which clients may relay; the queue is on the main thread. */
export class ThreadRelaying implements SessionRelaying {
  readonly #policy: Pick<SessionRelaying, "allows" | "sendsFor">;
  readonly #relays: HandlerContext["relays"];

  constructor(
    policy: Pick<SessionRelaying, "allows" | "sendsFor">,
    relays: HandlerContext["relays"],
  ) {
    this.#policy = policy;
    this.#relays = relays;
  }

  allows(client: RelayClient): boolean {
    return this.#policy.allows(client);
  }

  sendsFor(client: RelayClient): boolean {
    return this.#policy.sendsFor(client);
  }

  async add(
    message: Message,
    recipients: readonly Recipient[],
    route?: RelayOptions,
  ): Promise<void> {
    await this.#relays.add(message, { ...route, recipients });
  }
}

/** Loads a handler module on the main thread. */
export function loadHere(
  module: string,
  relays: Relays,
): Promise<SmtpHandlers> {
  const context: HandlerContext = {
    thread: 0,
    relays: {
      add: async (message, options) => (await relays.add(message, options)).id,
    },
  };
  return loadHandlerModule(module, context);
}

/** Options that do not cross threads as they are: encoded here, or kept on the main thread. */
const SPECIAL: ReadonlySet<string> = new Set<keyof SmtpServerOptions>([
  ...["accounts", "aliases", "certificate", "clientCertificate"] as const,
  ...["dkim", "domains", "handlers", "listen"] as const,
  ...["localRecipients", "log", "mechanisms"] as const,
  ...["relay", "store", "threads"] as const,
]);

/** Where the options of workers come from. */
interface OptionSource {
  /** All options in force, and the certificates in use. */
  readonly settings: Settings;
  /** The stores with their numbers. */
  readonly stores: ServerStores;
}

/**
 * Encodes options for a worker.
 *
 * @param wanted The options that the worker needs, by name
 */
function encodeOptions(
  wanted: SmtpServerOptions,
  { settings, stores }: OptionSource,
): WireOptions {
  const { options, certificates } = settings;
  const { accounts, clientCertificate } = options;
  const has = (name: keyof SmtpServerOptions) => name in wanted;
  const judged = has("accounts") || has("mechanisms") || has("handlers");
  return {
    plain: {
      ...plainOptions(wanted),
      ...(judged ? { mechanisms: mechanismsOf(options) } : {}),
      ...(has("relay") ? { relay: relayPolicy(options) } : {}),
    },
    ...(has("domains") ? { domains: encodeDomains(options, stores) } : {}),
    ...(has("certificate") && certificates !== undefined
      ? {
        certificates: encodeCertificates(
          certificates,
          options.certificate instanceof Certificate,
        ),
      }
      : {}),
    ...(has("clientCertificate")
      ? {
        clientCertificate: clientCertificate
          ? {
            mode: clientCertificate.mode,
            trusted: clientCertificate.trusted?.map((one) => one.toPem()),
          }
          : null,
      }
      : {}),
    ...(has("aliases") && {
      aliases: options.aliases
        ? encodeAliases(aliasTable(options.aliases))
        : null,
    }),
    ...(has("localRecipients") &&
      { localRecipients: encodeRecipients(options.localRecipients) }),
    ...(has("accounts")
      ? { accounts: accounts ? { decoy: accounts.decoy?.toString() } : null }
      : {}),
  };
}

/** The local recipients; a function stays on the main thread. */
function encodeRecipients(
  given: SettledOptions["localRecipients"],
): WireRecipients {
  return typeof given === "function"
    ? "main"
    : { given: given as Exclude<typeof given, Iterable<string>> | string[] };
}

/** Encodes a store: as data if a worker can make it, else by its number. */
function encodeStore(store: MessageStore, stores: ServerStores): WireStore {
  return describeStore(store) ?? {
    main: store.kind,
    number: stores.numberOf(store),
    hasRoom: store.hasRoom !== undefined,
  };
}

/** Encodes domains; a store of several is one store in the worker, too. */
function encodeDomains(
  { domains }: SmtpServerOptions,
  servers: ServerStores,
): WireOptions["domains"] {
  if (domains === undefined) return null;
  const names = domainNames(domains);
  if (names === domains) return names;
  const known: MessageStore[] = [];
  const stores: WireDomains["stores"][number][] = [];
  const options: [string, WireDomain][] = [];
  for (const [domain, given] of domainEntries(domains)) {
    const { store, aliases, localRecipients, ...plain } = given;
    let index = -1;
    if (store !== undefined && store !== servers.own) {
      index = known.indexOf(store);
      if (index < 0) {
        index = known.push(store) - 1;
        stores.push(encodeStore(store, servers));
      }
    }
    options.push([domain, {
      plain,
      store: index,
      ...(aliases && { aliases: encodeAliases(aliasTable(aliases)) }),
      ...(localRecipients === undefined
        ? {}
        : { localRecipients: encodeRecipients(localRecipients) }),
    }]);
  }
  return { stores, options: Object.fromEntries(options) };
}

function plainOptions(options: SmtpServerOptions): PlainOptions {
  const plain: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    // An unset option is sent, too: a reload may unset it.
    if (SPECIAL.has(name)) continue;
    // Each thread warns by its own logger.
    plain[name] = name === "dns"
      ? structuredClone({ ...value, onWarning: undefined })
      : structuredClone(value);
  }
  return plain;
}

/** The mechanisms that can be served; only the thread with the accounts can tell. */
function mechanismsOf(options: SettledOptions): readonly string[] {
  const { accounts, handlers = {}, mechanisms } = options;
  return authenticationContext({
    hostname: "",
    accounts,
    handlers,
    mechanisms,
    allowInsecure: false,
    guard: new LoginGuard(),
    log: () => {},
  }).mechanisms;
}

/** What workers decide of relaying: clients and recipients. The queue stays on the main thread. */
function relayPolicy({ relay = {} }: SettledOptions): RelayingOptions {
  const { allow, from, spool, forwarding: { srs } = {} } = relay;
  return {
    ...{ allow, from, forwarding: { srs } },
    // A worker never opens it.
    ...(spool !== undefined && { spool: "./spool-of-the-main-thread" }),
  };
}

/** Limit of certificates that a worker remembers. */
const MOST_KNOWN = 1000;

/** Decodes the options from the main thread. */
export class OptionDecoder {
  readonly #calls: MessageCalls;
  readonly #channel: Channel<WorkerApi, MainApi>;
  /** Certificates made here: a TLS context is made once for each. */
  readonly #known = new Map<string, Certificate>();
  #source: CertificateSource | undefined;

  /** @param calls To the main thread */
  constructor(calls: MessageCalls) {
    this.#calls = calls;
    this.#channel = calls.channel;
  }

  /** Decodes options. */
  decode(wire: WireOptions): SmtpServerOptions {
    const { certificates, clientCertificate, accounts, domains } = wire;
    const { aliases, localRecipients } = wire;
    return {
      ...wire.plain,
      ...(domains !== undefined && { domains: this.#domains(domains) }),
      ...(certificates && { certificate: this.#certificate(certificates) }),
      ...(clientCertificate !== undefined && {
        clientCertificate: clientCertificate === null ? undefined : {
          mode: clientCertificate.mode,
          trusted: clientCertificate.trusted?.map((pem) =>
            Certificate.parse(pem, { keyOptional: true })
          ),
        },
      }),
      ...(aliases !== undefined && {
        aliases: aliases === null ? undefined : decodeAliases(aliases),
      }),
      ...(localRecipients !== undefined && {
        localRecipients: this.#recipients(localRecipients),
      }),
      ...(accounts !== undefined && {
        accounts: accounts === null
          ? undefined
          : new RemoteAccounts(this.#channel, accounts.decoy),
      }),
    };
  }

  /** @param domain The domain that has them; `undefined` for the server's */
  #recipients(
    wire: WireRecipients,
    domain?: string,
  ): SmtpServerOptions["localRecipients"] {
    return wire === "main"
      ? (address) => this.#isRecipient(address, domain)
      : wire.given as SmtpServerOptions["localRecipients"];
  }

  /** Asks a function of the main thread whether a mailbox exists. */
  async #isRecipient(
    address: Address,
    domain: string | undefined,
  ): Promise<boolean> {
    const { known, thrown } = await this.#channel.call("recipient", {
      address: address.toString(),
      domain,
    });
    if (thrown !== undefined) throw decodeError(thrown);
    return known ?? false;
  }

  #domains(
    wire: NonNullable<WireOptions["domains"]> | null,
  ): SmtpServerOptions["domains"] {
    if (wire === null) return undefined;
    if (!("stores" in wire)) return wire;
    const stores = wire.stores.map((one) => decodeStore(one, this.#calls));
    return Object.fromEntries(
      Object.entries(wire.options).map(([domain, one]) => {
        const { plain, store, aliases, localRecipients } = one;
        return [domain, {
          ...plain,
          store: stores[store],
          aliases: aliases && decodeAliases(aliases),
          localRecipients: localRecipients &&
            this.#recipients(localRecipients, domain),
        }];
      }),
    );
  }

  /** Replaces the certificates in use. */
  exchange(wire: WireCertificates): void {
    this.#source?.replace(this.#set(wire));
  }

  #certificate(wire: WireCertificates): SmtpServerOptions["certificate"] {
    if (wire.isSingle) return this.#one(wire.list[0]!);
    return this.#source = new CertificateSource(this.#set(wire));
  }

  #set(wire: WireCertificates): CertificateSet {
    const all = wire.list.map((one) => this.#one(one));
    const choose = async (name: string) => {
      const found = await this.#channel.call("choose", name);
      return found && this.#one(found);
    };
    const fallback = wire.fallback < 0 ? null : all[wire.fallback]!;
    return new CertificateSet(all, {
      fallback,
      ...(wire.isOpen ? { choose } : {}),
    });
  }

  #one(wire: WireCertificate): Certificate {
    let certificate = this.#known.get(wire.pem);
    if (certificate === undefined) {
      certificate = Certificate.parse(wire.pem, { key: wire.key });
      // A server with more certificates than this selects among many.
      if (this.#known.size >= MOST_KNOWN) this.#known.clear();
      this.#known.set(wire.pem, certificate);
    }
    return certificate;
  }
}

/** The accounts, looked up on the main thread. */
class RemoteAccounts implements Accounts {
  /** The verifier that unknown users are checked against. */
  readonly decoy: ScramVerifier | undefined;
  readonly #channel: Channel<WorkerApi, MainApi>;

  constructor(channel: Channel<WorkerApi, MainApi>, decoy?: string) {
    this.#channel = channel;
    this.decoy = decoy === undefined ? undefined : ScramVerifier.parse(decoy);
  }

  async find(username: string): Promise<KnownSecret> {
    return decodeSecret(await this.#channel.call("find", username));
  }

  isDisabled(username: string): Promise<boolean> {
    return this.#channel.call("isDisabled", username);
  }

  addresses(username: string): Promise<readonly string[]> {
    return this.#channel.call("ownAddresses", username);
  }
}

/** Encodes the options of `relays.add`, without recipients, for the main thread. */
export function encodeRelayOptions(
  { schedule, from, ...others }: Omit<RelayOptions, "recipients">,
): PlainOptions {
  return {
    ...others,
    ...(schedule === undefined ? {} : { schedule: schedule.toString() }),
    ...(from === undefined ? {} : { from: String(from ?? "") }),
  };
}

/** Decodes the options of `relays.add` from a worker. */
function decodeRelayOptions(wire: PlainOptions): RelayOptions {
  const { schedule, ...others } = wire as { schedule?: string };
  return schedule === undefined
    ? others
    : { ...others, schedule: RetrySchedule.parse(schedule) };
}
