/**
 * A server that relays and its next hop, on the loopback, with a DNS that knows
 * one domain: `dest.test`.
 */

import { testDns } from "../../../lib/testing/mod.ts";
import type { DnsResolver } from "../../../lib/dns/seams.ts";
import type { LogRecord } from "../../../lib/log.ts";
import { Certificate } from "../../../lib/tls/certificate.ts";
import type { RelayingOptions } from "../../../lib/delivery/options.ts";
import type { SmtpServer } from "../../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../../lib/server/options.ts";
import { MemoryStore } from "../../../lib/store/memory_store.ts";
import { startServer } from "../server.ts";

/** Options of {@linkcode startPair}. */
export interface PairOptions {
  /** The server that relays, beside `relay`. */
  readonly near?: SmtpServerOptions;
  /** How it relays. */
  readonly relay?: RelayingOptions;
  /** The server that takes what is relayed. */
  readonly far?: SmtpServerOptions;
}

/** Two servers. */
export interface Pair extends AsyncDisposable {
  /** The one that relays. */
  readonly near: SmtpServer;
  /** The store of its local mail. */
  readonly nearStore: MemoryStore;
  /** Its log records. */
  readonly records: LogRecord[];
  /** The next hop. */
  readonly far: SmtpServer;
  /** The store of the next hop. */
  readonly farStore: MemoryStore;
}

/** A retry schedule of 20 ms. */
export const SOON = "20ms";

/** Starts two servers; `near` is open to relay for the loopback unless `options` say otherwise. */
export async function startPair(options: PairOptions = {}): Promise<Pair> {
  const farStore = new MemoryStore();
  const nearStore = new MemoryStore();
  const records: LogRecord[] = [];
  const far = await startServer({
    hostname: "mx.dest.test",
    store: farStore,
    ...options.far,
  });
  const near = await startServer({
    hostname: "mx.near.test",
    store: nearStore,
    log: (record) => records.push(record),
    dns: testDns(resolve),
    relay: {
      from: ["127.0.0.0/8"],
      remotePort: far.addresses[0]!.port,
      allowLoopback: true,
      schedule: SOON,
      ...options.relay,
    },
    ...options.near,
  }).catch(async (error) => {
    await far.stop({ graceMs: 0 });
    throw error;
  });
  return {
    near,
    nearStore,
    records,
    far,
    farStore,
    async [Symbol.asyncDispose]() {
      await near.stop({ graceMs: 0 });
      await far.stop({ graceMs: 0 });
    },
  };
}

/** A DNS in which `dest.test` takes its mail on the loopback. */
const resolve: DnsResolver = (name: string, type: string) => {
  if (type === "MX" && name === "dest.test.") {
    return Promise.resolve([{ preference: 10, exchange: "mx.dest.test." }]);
  }
  if (type === "A" && name === "mx.dest.test.") {
    return Promise.resolve(["127.0.0.1"]);
  }
  return Promise.reject(new Deno.errors.NotFound(`No ${type} of ${name}`));
};

/** A certificate for the next hop that no authority has signed. */
export function farCertificate(): Promise<Certificate> {
  return Certificate.selfSigned({ names: ["mx.dest.test"] });
}
