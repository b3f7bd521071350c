/**
 * The TLS of one job's hosts: asks what the DNS and the domain's policy say of each
 * host, decides before it is called, judges its certificate, and reports what
 * became of it. The walk knows none of this but the decision.
 *
 * DANE is asked for only where the answers of the name server may be believed, and
 * the TLSA records of a host only if its addresses are secure: broken name servers
 * of other zones fail at that question.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7672#section-2.2 | RFC 7672 section 2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc8461#section-5 | RFC 8461 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc8460#section-4.3 | RFC 8460 section 4.3}
 */

import type { SmtpClientError } from "../client/error.ts";
import { hopPort, type NextHop, type TlsSecurity } from "../client/next_hop.ts";
import type { PeerCertificate } from "../client/options.ts";
import type {
  DnsOutcome,
  DnsQuerier,
  MxOutcome,
  TlsaRecord,
} from "../dns/outcome.ts";
import { lookupSecureHost } from "../dns/secure.ts";
import type { SocketAddress } from "../net/transport.ts";
import { canonicalIp } from "../protocol/ip.ts";
import { listsHost } from "../secure_transport/sts_policy.ts";
import type { StsOutcome, StsPolicies } from "../secure_transport/sts_store.ts";
import {
  type DaneState,
  decideTls,
  strictTls,
  type StsFacts,
  type TlsSkip,
  type TlsUse,
} from "../secure_transport/tls_decision.ts";
import { tlsaFailure } from "../secure_transport/tlsa_match.ts";
import type {
  TlsFailureType,
  TlsResult,
} from "../secure_transport/tls_result.ts";
import type { RelayDns } from "./options.ts";

/** The parts of {@linkcode HostSecurity}. */
export interface HostSecurityInit {
  readonly dns: RelayDns;
  /** Whether DANE may be asked for. */
  readonly dane: boolean;
  /** The policies of domains; unset without MTA-STS. */
  readonly sts?: StsPolicies | undefined;
  /** The recipients' domain. */
  readonly domain: string;
  readonly signal: AbortSignal | undefined;
  /** Takes what became of the TLS of each connection. */
  readonly onResult?: ((result: TlsResult) => void) | undefined;
}

/** A host's addresses, and what is known of its TLSA records. */
export interface HostAnswers {
  readonly addresses: DnsOutcome<string>;
  readonly dane: DaneState;
}

/** What a certificate must be, for one connection. */
export interface CertificateJudge {
  /** Why a certificate is refused whatever the configuration says. */
  readonly judge: (peer: PeerCertificate) => string | undefined;
  /** The name for SNI and for the certificate. */
  readonly serverName: string;
  /** Takes the address of this side. */
  readonly connected: (local: SocketAddress) => void;
  /** The IP address of this side, for the report; unset for a unix socket. */
  localAddress: string | undefined;
  /** What the judge has found, for the report. */
  found: TlsFailureType | undefined;
}

const NO_DANE: DaneState = { status: "none" };

/** Finds out and decides for the hosts of one job. */
export class HostSecurity {
  readonly #init: HostSecurityInit;
  /** Whether the list of hosts is secure. */
  #isSecureList = false;
  /** Whether the hosts come from the configuration. */
  #isConfigured = false;
  #sts: StsOutcome = { status: "none" };

  constructor(init: HostSecurityInit) {
    this.#init = init;
  }

  /** The hosts come from the configuration, which counts as secure. */
  useConfigured(): void {
    this.#isConfigured = true;
    this.#isSecureList = true;
  }

  /** Asks for the mail exchangers and the policy of the domain. */
  async exchangers(domain: string): Promise<MxOutcome> {
    const { dns, dane, sts, signal } = this.#init;
    const [mx, policy] = await Promise.all([
      dns.mx(domain, { signal, ...(dane && { secure: true }) }),
      sts?.policyFor(domain, { signal }),
    ]);
    this.#isSecureList = dane && "secure" in mx && mx.secure === true;
    if (policy !== undefined) this.#sts = policy;
    if (policy?.status === "failed") this.#reportFailed(policy);
    return mx;
  }

  #reportFailed({ type, reason }: StsOutcome & { status: "failed" }): void {
    const { domain, onResult } = this.#init;
    onResult?.({
      destination: domain,
      policy: { type: "sts", domain, lines: [] },
      outcome: type,
      reason,
    });
  }

  /** Asks for the addresses of a host, and for its TLSA records where DANE is possible. */
  async host(hop: NextHop): Promise<HostAnswers> {
    const { dns, dane, signal } = this.#init;
    const { host } = hop;
    if (!dane || !this.#isSecureList || hop.lmtp || dns.query === undefined) {
      return {
        addresses: await dns.addresses(host, { signal }),
        dane: NO_DANE,
      };
    }
    const querier = dns as DnsQuerier;
    const { addresses, bases } = await lookupSecureHost(querier, host, {
      signal,
    });
    for (const base of bases) {
      const state = await this.#records(querier, base, hopPort(hop));
      if (state.status !== "none") return { addresses, dane: state };
    }
    return { addresses, dane: NO_DANE };
  }

  async #records(
    dns: DnsQuerier,
    base: string,
    port: number,
  ): Promise<DaneState> {
    const { signal } = this.#init;
    const name = `_${port}._tcp.${base}`;
    const outcome = await dns.query("TLSA", name, { signal, secure: true });
    if (outcome.status === "failed") {
      return { status: "failed", reason: outcome.reason };
    }
    return outcome.status === "found" && outcome.secure === true
      ? { status: "found", base, records: outcome.records }
      : NO_DANE;
  }

  /** Decides for a host; a host that must not be used is reported. */
  decide(
    host: string,
    configured: TlsSecurity,
    dane: DaneState,
  ): TlsUse | TlsSkip {
    const { domain, onResult } = this.#init;
    const sts = this.#factsOf(host);
    const isConfigured = this.#isConfigured;
    const decision = decideTls({
      ...{ host, domain, configured, dane, sts, isConfigured },
    });
    if (decision.action === "skip") {
      const { type: outcome, reason, policy } = decision;
      onResult?.({ destination: domain, host, policy, outcome, reason });
    }
    return decision;
  }

  /** The TLS with a host for a message that needs TLS all its way; `undefined` if it must not go there. */
  strict(host: string, use: TlsUse): TlsUse | undefined {
    return strictTls(use, this.#isSecureList || this.#isListed(host));
  }

  /** Whether the domain's MTA-STS policy names a host. */
  #isListed(host: string): boolean {
    const facts = this.#factsOf(host);
    return facts !== undefined && facts.mode !== "none" && facts.listsHost;
  }

  #factsOf(host: string): StsFacts | undefined {
    if (this.#sts.status !== "found") return undefined;
    const { policy } = this.#sts;
    const { mode, lines, hosts } = policy;
    const { domain } = this.#init;
    return {
      mode,
      listsHost: listsHost(policy, host),
      policy: { type: "sts", domain, lines, hosts, mode },
    };
  }

  /** What the certificate of a host must be. */
  judgeFor(use: TlsUse): CertificateJudge {
    const made: CertificateJudge = {
      serverName: use.name,
      localAddress: undefined,
      found: use.fault,
      connected: ({ address }) => {
        // The zone of a link-local address means nothing to others.
        made.localAddress = canonicalIp(address.replace(/%.*$/, ""));
      },
      judge: (peer) => {
        const failure = failureOf(peer, use);
        made.found ??= failure?.type;
        return use.isTest ? undefined : failure?.reason;
      },
    };
    return made;
  }

  /** Reports what became of a connection to an address. */
  connected(
    place: {
      readonly host: string;
      readonly address: string;
      readonly use: TlsUse;
      /** What the session used: `"none"` where TLS failed lately. */
      readonly security?: TlsSecurity | undefined;
    },
    outcome: {
      readonly judge: CertificateJudge;
      /** Whether the session is encrypted. */
      readonly isEncrypted: boolean;
      /** Why the connection failed, or went on without TLS. */
      readonly error?: SmtpClientError | undefined;
    },
  ): void {
    const { onResult, domain } = this.#init;
    if (onResult === undefined) return;
    const { host, address, use } = place;
    const { judge, isEncrypted, error } = outcome;
    // A host that does not answer says nothing about its TLS.
    const isAboutTls = error === undefined || error.stage === "startTls" ||
      error.stage === "tls";
    if (!isAboutTls || use.security === "none") return;
    const failure = judge.found ??
      (error !== undefined
        ? typeOfError(error)
        : isEncrypted
        ? undefined
        : place.security === "none"
        ? "validation-failure"
        : "starttls-not-supported");
    onResult({
      ...{ destination: domain, host, address, policy: use.policy },
      localAddress: judge.localAddress,
      outcome: failure ?? "success",
      reason: error?.message,
    });
  }
}

/** What is wrong with a certificate under a policy. */
function failureOf(
  { certificate, error, host }: PeerCertificate,
  use: TlsUse,
): { readonly type: TlsFailureType; readonly reason: string } | undefined {
  const { tlsa, names, policy } = use;
  if (tlsa !== undefined) {
    const records: readonly TlsaRecord[] = tlsa;
    return tlsaFailure(certificate.chain, { records, names, now: Date.now() });
  }
  if (policy.type !== "sts" || error === undefined) return undefined;
  const [problem] = certificate.verify({ host });
  const type = problem?.code === "host"
    ? "certificate-host-mismatch"
    : problem?.code === "expired" || problem?.code === "not-yet-valid"
    ? "certificate-expired"
    : "certificate-not-trusted";
  return { type, reason: error };
}

/** The kind of failure of a connection that ended before or in the handshake. */
function typeOfError({ stage, reply }: SmtpClientError): TlsFailureType {
  return stage === "startTls" && reply.enhanced === "4.7.4"
    ? "starttls-not-supported"
    : "validation-failure";
}
