/**
 * Deliveries: messages to the hosts of their destinations, over sessions that
 * are reused. Owns the pool and the memories of hosts; `host_walk.ts` walks each
 * job.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5 | RFC 5321 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-6.3 | section 6.3}
 */

import { hopOf } from "../client/next_hop.ts";
import type { DnsQuerier } from "../dns/outcome.ts";
import type { StsPolicies } from "../secure_transport/sts_store.ts";
import { checkOptions } from "../options.ts";
import { MessageHeaders } from "../protocol/headers.ts";
import { SmtpReply } from "../protocol/reply.ts";
import { countReceived } from "../protocol/trace.ts";
import type { DeliveryJob, DeliveryReport } from "../queue/job.ts";
import { DeliveryContent } from "./content.ts";
import { BrokenTlsMemory, HostMemory, SilentHosts } from "./host_memory.ts";
import { HostWalk } from "./host_walk.ts";
import {
  DEFAULT_POLICIES,
  DELIVERY_RULES,
  type DeliveryMachine,
  type DeliveryOptions,
  type RelayDns,
  type SettledDeliveryOptions,
} from "./options.ts";
import { ClientPool } from "./pool.ts";

/**
 * Delivers messages to the hosts of their destinations.
 *
 * @example Deliver to a fixed host
 * ```ts
 * import { Address } from "@smtp/server";
 * import { DnsClient } from "@smtp/server/dns";
 * import { Delivery } from "@smtp/server/queue";
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
 *   id: "m1",
 *   from: Address.parse("ann@example.com"),
 *   parameters: {},
 *   recipients: [{ address: Address.parse("bob@example.org"), parameters: {} }],
 *   destination: "example.org",
 *   size: content.length,
 *   acceptedAt: Date.now(),
 *   attempt: 1,
 *   content: () => ReadableStream.from([content]),
 * });
 * console.assert(report.recipients[0]?.status === "delivered");
 * ```
 */
export class Delivery {
  /** @internal The hosts whose TLS handshake failed recently. */
  readonly brokenTls: BrokenTlsMemory = new BrokenTlsMemory();
  /** @internal The idle sessions. */
  readonly pool: ClientPool;
  readonly #noChunking = new HostMemory();
  readonly #silent = new SilentHosts();
  readonly #options: SettledDeliveryOptions;
  readonly #machine: DeliveryMachine;
  /** The policies of domains, from the first delivery that needs them. */
  #sts: Promise<StsPolicies> | undefined;
  /** Whether DANE is asked for, from the first delivery on. */
  #dane: boolean | undefined;

  /**
   * Makes one without sessions.
   *
   * @param options How to deliver
   * @throws {TypeError} If an option is unknown or of the wrong kind
   */
  constructor(options: DeliveryOptions);
  /** @internal */
  constructor(options: DeliveryOptions, machine: DeliveryMachine);
  constructor(options: DeliveryOptions, machine: DeliveryMachine = {}) {
    checkOptions(
      "Delivery",
      options,
      DELIVERY_RULES,
      "{ dns: new DnsClient() }",
    );
    this.#options = { ...options, smarthosts: options.smarthosts?.map(hopOf) };
    this.#machine = machine;
    this.pool = new ClientPool(options.pool);
  }

  /**
   * Delivers one job. The report holds every failure of hosts, network and DNS.
   * An abort stops the delivery soon; the undecided recipients are deferred then.
   * Rejects only if the content cannot be opened, before anything was sent.
   */
  async deliver(
    job: DeliveryJob,
    signal?: AbortSignal,
  ): Promise<DeliveryReport> {
    const by = this.#machine.signing;
    const content = await DeliveryContent.load(
      () => job.content(),
      by && { job, by },
    );
    try {
      const hops = countReceived(MessageHeaders.parse(content.head));
      const limit = this.#options.hopLimit ?? 100;
      if (hops > limit) return refuseLoop(job, hops);
      const isExempt = this.#machine.isExempt?.(job) === true;
      const walk = new HostWalk(job, {
        ...this.#options,
        sts: isExempt ? undefined : await this.#policies(),
        dane: !isExempt && (this.#dane ??= this.#canUseDane()),
        ...this.#machine,
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

  /** Whether DANE is wanted, and an answer can be secure. */
  #canUseDane(): boolean {
    const { dns, policies = DEFAULT_POLICIES } = this.#options;
    if (!policies.includes("dane") || dns.query === undefined) return false;
    return canValidate(dns);
  }

  /** The MTA-STS policies; `undefined` if they are not wanted, or cannot be asked for. */
  #policies(): Promise<StsPolicies> | undefined {
    const { dns, policies = DEFAULT_POLICIES, smarthosts = [] } = this.#options;
    const isWanted = policies.includes("mta-sts") && smarthosts.length === 0 &&
      dns.query !== undefined;
    return isWanted ? this.#sts ??= this.#openPolicies() : undefined;
  }

  async #openPolicies(): Promise<StsPolicies> {
    const { StsStore } = await import("../secure_transport/sts_store.ts");
    const { dns, trusted, allowLoopback } = this.#options;
    const { stsFolder: folder, stsPort: port, log = () => {} } = this.#machine;
    return new StsStore({
      dns: dns as DnsQuerier,
      ...{ folder, port, log, trusted, allowLoopback },
    });
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

/** Whether an answer can be secure; not so without the permission to know the system's name servers. */
export function canValidate(dns: Pick<RelayDns, "canValidate">): boolean {
  try {
    return dns.canValidate === true;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return false;
    throw error;
  }
}

function refuseLoop(job: DeliveryJob, hops: number): DeliveryReport {
  const text = `Message loops: it has been through ${hops} hosts`;
  const reply = new SmtpReply(554, text, { enhanced: "5.4.6" });
  return {
    recipients: job.recipients.map(() => ({
      status: "failed",
      reply,
      fromPeer: false,
    })),
    destinationFailed: false,
  };
}
