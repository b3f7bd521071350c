/**
 * What a delivery is given and what it reports: types only, so that the queue
 * can be joined to it without either importing the other's code.
 */

import {
  flag,
  host,
  list,
  object,
  port,
  required,
  type Rule,
  type Rules,
} from "../options.ts";
import type { DnsOutcome, MxOutcome } from "../dns/outcome.ts";
import type { Address } from "../protocol/address.ts";
import type { MailParameters, RcptParameters } from "../protocol/parameters.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { ClientLogin, ClientProgress } from "../client/options.ts";
import type { OpenContent } from "./content.ts";
import type { TlsSecurity } from "../client/tls_policy.ts";

/** The questions that a delivery asks; `DnsClient` answers them. */
export interface RelayDns {
  /** The mail exchangers of a domain. */
  mx(
    name: string,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<MxOutcome>;
  /** The IP addresses of a host. */
  addresses(
    host: string,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<DnsOutcome<string>>;
}

/** A fixed next hop. */
export interface RelayHost {
  /** Host name, or IP address without brackets. */
  readonly host: string;
  /**
   * The port.
   *
   * @default {25, with `implicitTls` 465}
   */
  readonly port?: number | undefined;
  /**
   * Whether TLS begins with the first byte.
   *
   * @default {false}
   */
  readonly implicitTls?: boolean | undefined;
  /**
   * Whether the hop speaks LMTP.
   *
   * @default {false}
   */
  readonly lmtp?: boolean | undefined;
}

const HOST_RULES: Rules<RelayHost> = {
  host: required(host),
  port,
  implicitTls: flag,
  lmtp: flag,
};

/** What lists of {@linkcode RelayHost} must be, inside other options. */
export const HOSTS_RULE: Rule = list(
  object(HOST_RULES, '{ host: "mail.example.com", port: 587 }'),
  'an array of hosts, as [{ host: "mail.example.com", port: 587 }]',
);

/** Where a delivery stands, in the order of time. */
export type RelayProgress = "resolving-mx" | "resolving-a" | ClientProgress;

/** One message to the recipients of one destination. */
export interface RelayJob {
  /** The reverse-path. */
  readonly from: Address;
  /** What came with MAIL. */
  readonly parameters: MailParameters;
  /** The recipients, at least one, all of the same destination. */
  readonly recipients: readonly {
    /** The forward-path. */
    readonly address: Address;
    /** What came with RCPT. */
    readonly parameters: RcptParameters;
  }[];
  /** The domain whose hosts are asked for: the recipients' own, brackets included for a literal. */
  readonly domain: string;
  /** Bytes of the content. */
  readonly size: number;
  /** Opens the content from its beginning; may be called more than once. */
  readonly open: OpenContent;
  /** The hosts to use instead of the domain's, in order; the delivery's own where not given. */
  readonly smarthosts?: readonly RelayHost[] | undefined;
  /** How much TLS; the delivery's own policy where not given. */
  readonly security?: TlsSecurity | undefined;
  /** Who logs in; the delivery's own login where not given, and only at smarthosts. */
  readonly login?: ClientLogin | undefined;
  /** Whether hosts are to be called that were silent a short while ago. */
  readonly isUrged?: boolean | undefined;
  /** Told the IP address that is called, or whose session is used again. */
  readonly onHost?: ((address: string) => void) | undefined;
  /** Told of each step. */
  readonly onProgress?: ((progress: RelayProgress) => void) | undefined;
}

/** What became of one recipient. */
export interface RecipientReport {
  /** The recipient. */
  readonly address: Address;
  /** `deferred`: worth another try later. `failed`: not. */
  readonly status: "delivered" | "deferred" | "failed";
  /** The reply that decided, a host's or one made here. */
  readonly reply: SmtpReply;
  /** Whether the reply is a host's. */
  readonly fromPeer: boolean;
  /** The host that decided, `undefined` where none was reached. */
  readonly remoteMta: string | undefined;
  /** Whether that host has taken over the duty to report (RFC 3461). */
  readonly dsnPassedOn: boolean;
}

/** What became of a job. */
export interface RelayReport {
  /** The recipients in the job's order. */
  readonly recipients: readonly RecipientReport[];
  /** Whether no host of the destination took a message at all: others would fail, too. */
  readonly hostFailure: boolean;
  /** What went wrong on this side, where that ended the job: the content could not be read. */
  readonly error?: unknown;
}
