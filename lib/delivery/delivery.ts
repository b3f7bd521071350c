/**
 * Deliveries: messages to the hosts of their destination, with sessions that
 * are used again. Owns the pool and the memory of broken TLS; each job is
 * walked in `delivery_walk.ts`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5 | RFC 5321 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-6.3 | section 6.3}
 */

import {
  callable,
  checkOptions,
  flag,
  having,
  list,
  port,
  required,
  type Rule,
  type Rules,
  text,
  whole,
} from "../options.ts";
import { MessageHeaders } from "../protocol/headers.ts";
import { SmtpReply } from "../protocol/reply.ts";
import { countReceived } from "../protocol/trace.ts";
import {
  CLIENT_RULES,
  type PeerCertificate,
  type SmtpClientOptions,
  type UpgradeTransport,
} from "../client/options.ts";
import type { ConnectTransport } from "../net/connect.ts";
import { ClientPool, type ClientPoolOptions, POOL_RULE } from "./pool.ts";
import { DeliveryContent } from "./content.ts";
import {
  HOSTS_RULE,
  type RelayDns,
  type RelayHost,
  type RelayJob,
  type RelayReport,
} from "./job.ts";
import { DeliveryWalk } from "./host_walk.ts";
import { BrokenTlsMemory, HostMemory, SilentHosts } from "./host_memory.ts";

/** Options of {@linkcode Delivery}. */
export interface DeliveryOptions extends
  Pick<
    SmtpClientOptions,
    | "hostname"
    | "security"
    | "auth"
    | "allowInsecureAuth"
    | "chunking"
    | "longLines"
    | "timeouts"
    | "clientCertificate"
    | "trusted"
  > {
  /** Opens a connection, instead of {@linkcode connectTcp}. */
  readonly connect?: ConnectTransport | undefined;
  /** Puts TLS on it, instead of the platform's own. */
  readonly upgrade?: UpgradeTransport | undefined;
  /** Answers DNS questions. */
  readonly dns: RelayDns;
  /**
   * Further names of this server, besides `hostname`, and IP addresses that
   * lead to it without being its own, as behind a router that translates them:
   * where one is among a destination's hosts, only the better hosts are used.
   *
   * @default {[]}
   */
  readonly ownNames?: readonly string[] | undefined;
  /**
   * Whether this server itself listens at an IP address and port: a domain
   * whose best host is there gets no mail from here, it would come back.
   *
   * @default {no address is}
   */
  readonly isOwnAddress?:
    | ((address: string, port: number) => boolean)
    | undefined;
  /**
   * Whether hosts of a domain may be on the loopback or at an unspecified
   * address. Anybody can publish such a host and so send mail to ports of this
   * machine. Smarthosts may be there in any case.
   *
   * @default {false}
   */
  readonly allowLoopback?: boolean | undefined;
  /** The next hops for all jobs, in order; each destination's own hosts when not given. */
  readonly smarthosts?: readonly RelayHost[] | undefined;
  /**
   * The port of hosts found by DNS.
   *
   * @default {25}
   */
  readonly port?: number | undefined;
  /**
   * Received fields that a message may have before it is taken for one that loops.
   *
   * @default {100}
   */
  readonly hopLimit?: number | undefined;
  /** How sessions are kept. */
  readonly pool?: ClientPoolOptions | undefined;
  /** Judges the certificate of a host; `job` is what made us connect. */
  readonly onCertificate?:
    | ((
      peer: PeerCertificate,
      job: RelayJob,
    ) => boolean | void | Promise<boolean | void>)
    | undefined;
  /**
   * The time in milliseconds.
   *
   * @default {performance.now}
   */
  readonly now?: (() => number) | undefined;
  /**
   * A random number from 0 to below 1.
   *
   * @default {Math.random}
   */
  readonly random?: (() => number) | undefined;
}

/** What the names of this server must be, inside other options. */
export const NAMES_RULE: Rule = list(
  text(),
  'an array of names, as ["mail.example.com"]',
);

const {
  hostname,
  security,
  auth,
  allowInsecureAuth,
  chunking,
  longLines,
  timeouts,
  clientCertificate,
  trusted,
} = CLIENT_RULES;
const RULES: Rules<DeliveryOptions> = {
  ...{ hostname, security, auth, allowInsecureAuth, chunking, timeouts },
  longLines,
  ...{ clientCertificate, trusted },
  connect: callable(),
  upgrade: callable(),
  dns: required(having("a DnsClient", "mx", "addresses")),
  ownNames: NAMES_RULE,
  isOwnAddress: callable(),
  allowLoopback: flag,
  smarthosts: HOSTS_RULE,
  port,
  hopLimit: whole(1),
  pool: POOL_RULE,
  onCertificate: callable(),
  now: callable(),
  random: callable(),
};

/**
 * Delivers messages to the hosts of their destinations.
 *
 * @example Deliver to a fixed host
 * ```ts
 * import { Address, Delivery, DnsClient } from "@smtp/server";
 * import { startTestServer } from "@smtp/server/testing";
 *
 * await using server = await startTestServer();
 * await using delivery = new Delivery({
 *   hostname: "mail.example.com",
 *   dns: new DnsClient(),
 *   smarthosts: [{ host: server.address, port: server.port }],
 * });
 * const content = new TextEncoder().encode("Subject: Hello\r\n\r\nHello\r\n");
 * const report = await delivery.deliver({
 *   from: Address.parse("ann@example.com"),
 *   parameters: {},
 *   recipients: [{ address: Address.parse("bob@example.org"), parameters: {} }],
 *   domain: "example.org",
 *   size: content.length,
 *   open: () => ReadableStream.from([content]),
 * });
 * console.assert(report.recipients[0]?.status === "delivered");
 * ```
 */
export class Delivery {
  /** The hosts whose TLS handshake failed lately. */
  readonly brokenTls: BrokenTlsMemory = new BrokenTlsMemory();
  /** The idle sessions. */
  readonly pool: ClientPool;
  readonly #noChunking = new HostMemory();
  readonly #silent = new SilentHosts();
  readonly #options: DeliveryOptions;

  /**
   * Makes one that has no session yet.
   *
   * @param options How to deliver
   */
  constructor(options: DeliveryOptions) {
    checkOptions("Delivery", options, RULES, "{ dns: new DnsClient() }");
    this.#options = options;
    this.pool = new ClientPool(options.pool);
  }

  /**
   * Delivers one job. What hosts, network and DNS do is in the report, and so
   * is an abort: it stops soon, and who was not decided is deferred. Rejects
   * only where the content cannot be opened, before anything was sent.
   */
  async deliver(job: RelayJob, signal?: AbortSignal): Promise<RelayReport> {
    const content = await DeliveryContent.load(job.open);
    try {
      const hops = countReceived(MessageHeaders.parse(content.head));
      const limit = this.#options.hopLimit ?? 100;
      if (hops > limit) return refuseAll(job, tooManyHops(hops));
      const walk = new DeliveryWalk(job, {
        ...this.#options,
        content,
        signal,
        pool: this.pool,
        brokenTls: this.brokenTls,
        noChunking: this.#noChunking,
        silent: this.#silent,
      });
      return await walk.run();
    } finally {
      await content.release();
    }
  }

  /** Ends idle sessions. Idempotent. */
  async close(): Promise<void> {
    await this.pool.close();
  }

  /** As {@linkcode Delivery.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function tooManyHops(hops: number): SmtpReply {
  return new SmtpReply(
    554,
    `Message loops: it has been through ${hops} hosts`,
    {
      enhanced: "5.4.6",
    },
  );
}

function refuseAll(job: RelayJob, reply: SmtpReply): RelayReport {
  return {
    recipients: job.recipients.map(({ address }) => ({
      address,
      status: "failed",
      reply,
      fromPeer: false,
      remoteMta: undefined,
      dsnPassedOn: false,
    })),
    hostFailure: false,
  };
}
