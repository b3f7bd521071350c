/** A resolver that answers from a table, in place of a name server. */

import { DnsClient, type DnsClientOptions } from "../../lib/dns/client.ts";
import type { DnsResolver } from "../../lib/dns/exchange.ts";
import { type DnsSeams, withSeams } from "../../lib/dns/seams.ts";

/** Per question, as `"MX example.com"`: the records, an error to throw, or "silence". */
export type DnsTable = Readonly<
  Record<string, readonly unknown[] | Error | "silence">
>;

/** A resolver over a table, and the questions that it was asked. */
export interface TableResolver {
  /** The resolver; a question that the table lacks is "not found". */
  readonly resolver: DnsResolver;
  /** The questions in order, as `"MX example.com."`, with ` @IP:PORT` where `servers` is set. */
  readonly asked: string[];
}

/** Makes a resolver that answers from `table`; with `silent` the servers that never answer. */
export function tableResolver(
  table: DnsTable,
  options: { silent?: readonly string[]; broken?: readonly string[] } = {},
): TableResolver {
  const asked: string[] = [];
  const resolver: DnsResolver = async (name, type, { nameServer, signal }) => {
    const { ipAddr, port } = nameServer!;
    const server = `${ipAddr}:${port}`;
    asked.push(`${type} ${name} @${server}`);
    if (options.broken?.includes(server)) throw new Error("Broken pipe");
    const key = `${type} ${name.slice(0, -1)}`;
    const entry = options.silent?.includes(server) ? "silence" : table[key];
    if (entry === "silence") return await silence(signal!);
    await Promise.resolve();
    if (entry instanceof Error) throw entry;
    if (entry === undefined) throw new Deno.errors.NotFound("no records found");
    return entry;
  };
  return { resolver, asked };
}

/** Waits for the signal and no longer. */
export function silence(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  if (signal.aborted) reject(signal.reason);
  signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  return promise;
}

/** A client with the seams among its options. */
export function seamedClient(options: DnsClientOptions & DnsSeams): DnsClient {
  const { resolver, confirm, now, ...rest } = options;
  return new DnsClient(withSeams(rest, { resolver, confirm, now }));
}
