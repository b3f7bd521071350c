/** A network in memory for client tests: hosts with fake servers, joined by transports. */

import type { ConnectTransport } from "../../../lib/net/connect.ts";
import type {
  SocketAddress,
  TlsInfo,
  Transport,
} from "../../../lib/net/transport.ts";
import { FakeServer, type FakeServerOptions } from "./fake_server.ts";
import { bytesOf, textOf } from "../bytes.ts";

/** One end of a connection in memory that a {@linkcode FakeServer} answers at once. */
class FakeConnection implements Transport {
  readonly remote: SocketAddress;
  readonly local = { address: "192.0.2.99", port: 50000 };
  tls: TlsInfo | undefined = undefined;
  closed = false;
  #waiting: Uint8Array;
  #wake: (() => void) | undefined;
  readonly #server: FakeServer;
  readonly #silent: boolean;

  constructor(
    server: FakeServer,
    options: { address: string; silent: boolean },
  ) {
    this.remote = { address: options.address, port: 25 };
    this.#server = server;
    this.#silent = options.silent;
    this.#waiting = bytesOf(options.silent ? "" : server.greet());
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    while (this.#waiting.length === 0) {
      if (this.closed) throw new Deno.errors.Interrupted("Closed");
      if (this.#server.closed) return null;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const part = this.#waiting.subarray(0, buffer.length);
    buffer.set(part);
    this.#waiting = this.#waiting.subarray(part.length);
    return part.length;
  }

  write(bytes: Uint8Array): Promise<void> {
    if (this.closed || this.#server.closed) {
      this.#wake?.();
      return Promise.reject(new Deno.errors.BrokenPipe("Broken pipe"));
    }
    if (!this.#silent) {
      const answer = this.#server.receive(textOf(bytes));
      this.#waiting = bytesOf(textOf(this.#waiting) + answer);
    }
    this.#wake?.();
    return Promise.resolve();
  }

  close(): void {
    this.closed = true;
    this.#wake?.();
  }
}

/** How one host behaves: as a server, not reachable, or without ever a word. */
export type FakeHost = FakeServerOptions | "refused" | "silent";

/** Hosts by address, and what happened to them. */
export class FakeNetwork {
  readonly hosts: Record<string, FakeHost>;
  /** The addresses connected to, in order. */
  readonly connects: string[] = [];
  /** The servers, one a connection. */
  readonly servers: FakeServer[] = [];
  /** The connections. */
  readonly connections: FakeConnection[] = [];

  constructor(hosts: Record<string, FakeHost>) {
    this.hosts = hosts;
  }

  /** Connects, for the option of that name. */
  readonly connect: ConnectTransport = ({ host }) => {
    this.connects.push(host);
    const behaviour = this.hosts[host] ?? "refused";
    if (behaviour === "refused") {
      return Promise.reject(new Deno.errors.ConnectionRefused("Refused"));
    }
    const silent = behaviour === "silent";
    const server = new FakeServer(silent ? {} : behaviour);
    const connection = new FakeConnection(server, { address: host, silent });
    this.servers.push(server);
    this.connections.push(connection);
    return Promise.resolve(connection);
  };

  /** All messages taken, in the order of the connections. */
  get messages(): { content: string; rcpt: string[] }[] {
    return this.servers.flatMap(({ messages }) => messages);
  }

  /** Connections that nobody has closed. */
  get open(): number {
    return this.connections.filter(({ closed }) => !closed).length;
  }
}
