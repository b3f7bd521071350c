/** A minimal Transport over a Deno.Conn, and pairs of connections on the loopback. */

import type { Transport } from "../../lib/net/transport.ts";

function address(from: Deno.Addr): { address: string; port: number } {
  return from.transport === "tcp"
    ? { address: from.hostname, port: from.port }
    : { address: "unix", port: 0 };
}

/** A Transport over `conn`. */
export function connTransport(conn: Deno.Conn): Transport {
  let closed = false;
  return {
    remote: address(conn.remoteAddr),
    local: address(conn.localAddr),
    tls: undefined,
    read: (buffer) => conn.read(buffer),
    async write(bytes) {
      for (let at = 0; at < bytes.length;) {
        at += await conn.write(bytes.subarray(at));
      }
    },
    close() {
      if (closed) return;
      closed = true;
      conn.close();
    },
  };
}

/** Two ends of one connection. */
export interface ConnPair {
  /** The end that connected. */
  client: Deno.TcpConn;
  /** The end that was accepted. */
  server: Deno.TcpConn;
}

/** Connects to itself. */
export async function connPair(): Promise<ConnPair> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [client, server] = await Promise.all([
    Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
    listener.accept(),
  ]);
  return { client, server };
}
