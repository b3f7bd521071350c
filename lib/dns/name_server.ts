/**
 * The addresses of name servers: those of the configuration, and those of the
 * system. Stands alone: parsing addresses needs no DNS.
 *
 * Never falls back to a public resolver: that would reveal mail routes to a
 * third party.
 */

import { printable } from "../log.ts";
import { getServers } from "node:dns";
import { formatIp, parseIp } from "../protocol/ip.ts";

/** A name server's address and port. */
export interface NameServer {
  /** The IP address, canonical and without brackets. */
  readonly address: string;
  /** The port; 53 if the text names none. */
  readonly port: number;
}

/**
 * Parses the address of a name server.
 *
 * @param text As `"192.0.2.53"`, `"192.0.2.53:5353"`, `"2001:db8::53"` or
 * `"[2001:db8::53]:5353"`
 * @throws {SyntaxError} If the text has another form; a host name is refused,
 * because resolving it would require a name server
 *
 * @example With and without a port
 * ```ts
 * import { parseNameServer } from "@smtp/server/dns";
 *
 * console.assert(parseNameServer("192.0.2.53").port === 53);
 * console.assert(parseNameServer("[::1]:5353").address === "::1");
 * ```
 */
export function parseNameServer(text: string): NameServer {
  const bare = parseIp(text);
  if (bare !== undefined) return { address: formatIp(bare), port: 53 };
  const match = /^(?:\[([^\]]*:[^\]]*)\]|([^:[\]]*))(?::([1-9]\d{0,4}))?$/
    .exec(text);
  const bytes = parseIp(match?.[1] ?? match?.[2] ?? "");
  const port = Number(match?.[3] ?? 53);
  if (bytes === undefined || port > 65535) {
    throw new SyntaxError(
      `Cannot parse name server "${
        printable(text)
      }": want "IP", "IP:PORT" or "[IPv6]:PORT", the port from 1 to 65535`,
    );
  }
  return { address: formatIp(bytes), port };
}

/** The text of a name server in the form for {@linkcode parseNameServer}. */
export function formatNameServer(server: NameServer): string {
  return server.address.includes(":")
    ? `[${server.address}]:${server.port}`
    : `${server.address}:${server.port}`;
}

/**
 * The system's name servers, without duplicates, read again at each call. If
 * the system configures none, the machine itself, as in resolv.conf(5). Skips
 * an address with a zone index. Requires `allow-sys=networkInterfaces`.
 *
 * @throws {Deno.errors.NotCapable} If that permission is missing
 */
export function systemNameServers(): readonly NameServer[] {
  const servers = new Map<string, NameServer>();
  for (const text of getServers()) {
    try {
      servers.set(text, parseNameServer(text));
    } catch {
      continue;
    }
  }
  return servers.size > 0
    ? [...servers.values()]
    : [{ address: "127.0.0.1", port: 53 }];
}
