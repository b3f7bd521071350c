/**
 * Which addresses are this server's own: those that it listens at, and those
 * that the program named. Stands alone because it asks the platform for the
 * addresses of the machine, which nothing else of relaying does.
 */

import { canonicalIp, isLoopback } from "../net/ip.ts";
import type { SocketAddress } from "../net/transport.ts";

/** Milliseconds for which the addresses of the machine are taken as they were. */
const FRESH_MS = 60_000;

/**
 * A test whether the server itself is at an address and port.
 *
 * @param listening Where it listens, now
 * @param named Names and addresses that are known as its own; of these the addresses, at whatever port
 */
export function ownAddressTest(
  listening: () => readonly SocketAddress[],
  named: readonly string[] = [],
): (address: string, port: number) => boolean {
  const given = new Set(named.map((name) => canonicalIp(name)));
  const machine = machineAddresses();
  return (address, port) => {
    const wanted = canonicalIp(address);
    if (wanted === undefined) return false;
    if (given.has(wanted)) return true;
    return listening().some((at) => {
      if (at.port !== port) return false;
      const own = canonicalIp(at.address) ?? at.address;
      if (own !== "0.0.0.0" && own !== "::") return own === wanted;
      return isLoopback(wanted) || wanted === "0.0.0.0" || wanted === "::" ||
        machine().has(wanted);
    });
  };
}

/** The addresses of this machine; none where the platform may not be asked. */
function machineAddresses(): () => ReadonlySet<string> {
  let known = new Set<string>();
  let askedAt = -Infinity;
  return () => {
    const now = performance.now();
    if (now - askedAt < FRESH_MS) return known;
    askedAt = now;
    try {
      known = new Set(
        Deno.networkInterfaces().map(({ address }) =>
          canonicalIp(address) ?? address
        ),
      );
    } catch {
      // Without allow-sys only what is written down is known.
    }
    return known;
  };
}
