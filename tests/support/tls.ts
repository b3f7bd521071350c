/**
 * TLS for tests: connections of the loopback in pairs, a test client over an
 * encrypted connection, and an AUTH exchange by one of the client's mechanisms.
 */

import { DenoTransport } from "../../lib/net/deno_transport.ts";
import { upgradeClient } from "../../lib/net/tls_upgrade.ts";
import type { Transport } from "../../lib/net/transport.ts";
import { decodeBase64Strict, encodeBase64 } from "../../lib/sasl/encoding.ts";
import { tlsServerEndPoint } from "../../lib/sasl/channel_binding.ts";
import type { ClientMechanismOptions } from "../../lib/sasl/client_mechanism.ts";
import { createClientMechanism } from "../../lib/sasl/registry.ts";
import type { MechanismName } from "../../lib/sasl/mechanism_name.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { TestClient } from "./server.ts";
import { within } from "./wait.ts";

/** The certificate of the servers under test. */
export const certificate: Certificate = await Certificate.selfSigned({
  names: ["mx.test", "127.0.0.1"],
});

/** A test client over TLS, and the certificate that its server showed. */
export interface TlsClient extends Disposable {
  /** The client. */
  readonly client: TestClient;
  /** The server's certificate. */
  readonly certificate: Certificate;
  /** What lies below the client. */
  readonly transport: Transport;
}

/** How a test client speaks TLS. */
export interface TlsClientOptions {
  /** The name that it asks for. */
  readonly serverName?: string;
  /** The certificate that it presents. */
  readonly clientCertificate?: Certificate;
}

/** Puts TLS onto a connection. */
export async function secure(
  transport: Transport,
  options: TlsClientOptions = {},
): Promise<TlsClient> {
  const { serverName = "mx.test", ...rest } = options;
  const upgraded = await upgradeClient(transport, {
    serverName,
    handshakeTimeoutMs: 60_000,
    ...rest,
  });
  const client = new TestClient(upgraded.transport);
  return {
    client,
    certificate: upgraded.certificate,
    transport: upgraded.transport,
    [Symbol.dispose]: () => client.close(),
  };
}

/** Connects to a server of this machine. */
export async function dial(server: SmtpServer, index = 0): Promise<Transport> {
  const { address, port } = server.addresses[index]!;
  return new DenoTransport(
    await within(Deno.connect({ hostname: address, port }), "a connection"),
  );
}

/** Connects with TLS from the first byte. */
export async function connectTls(
  server: SmtpServer,
  options: TlsClientOptions & { readonly index?: number } = {},
): Promise<TlsClient> {
  const { index, ...rest } = options;
  return await secure(await dial(server, index), rest);
}

/** Connects, reads the greeting and encrypts with STARTTLS. */
export async function connectStartTls(
  server: SmtpServer,
  options: TlsClientOptions & { readonly index?: number } = {},
): Promise<TlsClient> {
  const { index, ...rest } = options;
  const transport = await dial(server, index);
  const plain = new TestClient(transport);
  await plain.reply();
  await plain.expect(["EHLO client.test", "250"], ["STARTTLS", "220 2.0.0"]);
  return await secure(transport, rest);
}

/** What {@linkcode logIn} needs beside the mechanism. */
export type LoginOptions = ClientMechanismOptions & {
  /** The server's certificate, to bind the channel to. */
  readonly certificate?: Certificate;
};

/** Runs an AUTH exchange as a client would; gives the last reply. */
export async function logIn(
  client: TestClient,
  mechanism: MechanismName,
  options: LoginOptions,
): Promise<string> {
  const machine = createClientMechanism(mechanism, {
    ...options,
    channelBinding: options.certificate &&
      tlsServerEndPoint(options.certificate.der),
  });
  const initial = machine.start();
  const coded = initial && (encodeBase64(initial) || "=");
  let reply = await client.say(
    `AUTH ${mechanism}${coded === undefined ? "" : ` ${coded}`}`,
  );
  while (reply.startsWith("334 ")) {
    const challenge = decodeBase64Strict(reply.slice(4))!;
    reply = await client.say(encodeBase64(await machine.step(challenge)));
  }
  if (reply.startsWith("235")) machine.finish();
  return reply;
}

/** The initial response of PLAIN. */
export function plainResponse(username: string, password: string): string {
  return btoa(`\0${username}\0${password}`);
}

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
