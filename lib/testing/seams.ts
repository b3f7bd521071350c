/**
 * What stands in for the platform in a test. A DNS of the test's own: the
 * questions of a `DnsClient`, or of a server, go to a function and to no name
 * server. Stands alone because the tests of this package use it without the
 * test server.
 */

import type { DnsClientOptions } from "../dns/client.ts";
import type { DnsResolver } from "../dns/exchange.ts";
import { withSeams } from "../dns/seams.ts";

/**
 * Options of a `DnsClient`, or the option `dns` of a server, that have every
 * question answered by a function.
 *
 * @param resolver Gives the records, as `Deno.resolveDns` does. The name comes
 * with a final dot; to say that there is no such record the function throws
 * `Deno.errors.NotFound`
 * @param options The other options, such as `timeoutMs`
 *
 * @example A domain without mail
 * ```ts
 * import { DnsClient } from "@smtp/server";
 * import { testDns } from "@smtp/server/testing";
 *
 * const dns = new DnsClient(
 *   testDns(() => Promise.reject(new Deno.errors.NotFound("None"))),
 * );
 * console.assert((await dns.mx("example.com")).status === "none");
 * ```
 */
export function testDns(
  resolver: DnsResolver,
  options: DnsClientOptions = {},
): DnsClientOptions {
  return withSeams({ nameServers: ["127.0.0.1"], ...options }, { resolver });
}
