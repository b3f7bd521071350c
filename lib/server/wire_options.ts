/**
 * The options of a server in a form that can cross threads: data as it is,
 * certificates as PEM, and a marker for each option that stays on the main
 * thread. Encodes and decodes them.
 */

import type { Settings, SettledOptions, SmtpServerOptions } from "./options.ts";
import type { RelayOptions } from "../queue/relay.ts";
import { RetrySchedule } from "../queue/schedule.ts";
import { authenticationContext } from "../session/authentication_context.ts";
import { LoginGuard } from "../session/login_guard.ts";
import { Certificate } from "../tls/certificate.ts";
import { ScramVerifier } from "../sasl/scram_verifier.ts";
import type { Accounts, KnownAccount } from "../sasl/accounts.ts";
import { CertificateSet, CertificateSource } from "../tls/set.ts";
import type { Channel } from "../threads/channel.ts";
import type {
  MainApi,
  PlainOptions,
  WireCertificate,
  WireCertificates,
  WireOptions,
  WorkerApi,
} from "../threads/api.ts";
import { decodeSecret, encodeCertificates } from "../threads/wire.ts";

/** Options that do not cross threads as they are: encoded here, or kept on the main thread. */
const SPECIAL: ReadonlySet<string> = new Set<keyof SmtpServerOptions>([
  ...["accounts", "certificate", "clientCertificate", "dns"] as const,
  ...["handlers", "listen", "log", "mechanisms"] as const,
  ...["relay", "store", "threads"] as const,
]);

/**
 * Encodes options for a worker.
 *
 * @param wanted The options that the worker needs, by name
 * @param settings All options in force, and the certificates in use
 */
export function encodeOptions(
  wanted: SmtpServerOptions,
  settings: Settings,
): WireOptions {
  const { options, certificates } = settings;
  const { accounts, clientCertificate } = options;
  const has = (name: keyof SmtpServerOptions) => name in wanted;
  const judged = has("accounts") || has("mechanisms") || has("handlers");
  return {
    plain: {
      ...plainOptions(wanted),
      ...(judged ? { mechanisms: mechanismsOf(options) } : {}),
      ...(has("relay") ? { relay: admission(options) } : {}),
    },
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
    ...(has("accounts")
      ? { accounts: accounts ? { decoy: accounts.decoy?.toString() } : null }
      : {}),
  };
}

function plainOptions(options: SmtpServerOptions): PlainOptions {
  const plain: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    // An unset option is sent, too: a reload may unset it.
    if (SPECIAL.has(name)) continue;
    plain[name] = structuredClone(value);
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

/** The clients that may relay; the queue stays on the main thread. */
function admission(options: SettledOptions): SmtpServerOptions["relay"] {
  const { allow, from } = options.relay ?? {};
  return { allow, from };
}

/** Limit of certificates that a worker remembers. */
const MOST_KNOWN = 1000;

/** Decodes the options from the main thread. */
export class OptionDecoder {
  readonly #channel: Channel<WorkerApi, MainApi>;
  /** Certificates made here: a TLS context is made once for each. */
  readonly #known = new Map<string, Certificate>();
  #source: CertificateSource | undefined;

  /** @param channel To the main thread */
  constructor(channel: Channel<WorkerApi, MainApi>) {
    this.#channel = channel;
  }

  /** Decodes options. */
  decode(wire: WireOptions): SmtpServerOptions {
    const { certificates, clientCertificate, accounts } = wire;
    return {
      ...wire.plain,
      ...(certificates && { certificate: this.#certificate(certificates) }),
      ...(clientCertificate !== undefined && {
        clientCertificate: clientCertificate === null ? undefined : {
          mode: clientCertificate.mode,
          trusted: clientCertificate.trusted?.map((pem) =>
            Certificate.parse(pem, { keyOptional: true })
          ),
        },
      }),
      ...(accounts !== undefined && {
        accounts: accounts === null
          ? undefined
          : new RemoteAccounts(this.#channel, accounts.decoy),
      }),
    };
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

  async find(username: string): Promise<KnownAccount> {
    return decodeSecret(await this.#channel.call("find", username));
  }
}

/** Encodes the options of `relays.add`, without recipients, for the main thread. */
export function encodeRelayOptions(
  { schedule, ...others }: Omit<RelayOptions, "recipients">,
): PlainOptions {
  return schedule === undefined
    ? others
    : { ...others, schedule: schedule.toString() };
}

/** Decodes the options of `relays.add` from a worker. */
export function decodeRelayOptions(wire: PlainOptions): RelayOptions {
  const { schedule, ...others } = wire as { schedule?: string };
  return schedule === undefined
    ? others
    : { ...others, schedule: RetrySchedule.parse(schedule) };
}
