/**
 * Servers in memory for tests of the client: a server that answers by a table of
 * faults, a drive that connects a ClientProtocol to it without a promise, and a
 * network of hosts with such servers, joined by transports.
 */

import { Delivery } from "../../../lib/delivery/delivery.ts";
import type {
  DeliveryMachine,
  DeliveryOptions,
} from "../../../lib/delivery/options.ts";
import { SmtpClient } from "../../../lib/client/client.ts";
import type {
  ClientNetwork,
  SmtpClientOptions,
} from "../../../lib/client/options.ts";
import type { ClientEffect } from "../../../lib/protocol/client/state.ts";
import type { ClientProtocol } from "../../../lib/protocol/client/protocol.ts";
import { bytesOf, textOf } from "../bytes.ts";
import type { ConnectTransport } from "../../../lib/net/deno_transport.ts";
import type {
  SocketAddress,
  TlsInfo,
  Transport,
} from "../../../lib/net/transport.ts";

/** What to do instead of the usual answer; `drop` closes without a reply. */
export type Fault = string | "drop";

/** How a {@linkcode FakeServer} behaves. */
export interface FakeServerOptions {
  /** Lines of the EHLO reply after the first. */
  capabilities?: string[];
  /** Answers by command: `greeting`, a verb, `RCPT 2` for the second RCPT, `AUTH PLAIN` for a mechanism, `end`, `end 2` (LMTP). */
  faults?: Record<string, Fault>;
  /** Whether to speak LMTP. */
  lmtp?: boolean;
}

/** A message as the server took it. */
export interface TakenMessage {
  /** The line of MAIL. */
  mail: string;
  /** The lines of the accepted RCPTs. */
  rcpt: string[];
  /** The content, dots removed. */
  content: string;
}

/** A server in memory. Bytes in, bytes out; every byte is a character here. */
export class FakeServer {
  /** Every command line it saw. */
  readonly lines: string[] = [];
  /** The messages it took. */
  readonly messages: TakenMessage[] = [];
  /** Whether it has closed the connection. */
  closed = false;
  #buffer = "";
  #mail = "";
  #rcpt: string[] = [];
  #rcptSeen = 0;
  #mode: "commands" | "data" = "commands";
  #chunk: { left: number; last: boolean; content: string } | undefined;
  #content = "";
  readonly #options: FakeServerOptions;

  constructor(options: FakeServerOptions = {}) {
    this.#options = options;
  }

  /** The first word, or nothing where the fault drops the connection. */
  greet(): string {
    return this.#answer("greeting", "220 fake ESMTP");
  }

  /** Takes bytes and gives the answers to them. */
  receive(text: string): string {
    this.#buffer += text;
    let out = "";
    for (;;) {
      if (this.closed) return out;
      const answer = this.#step();
      if (answer === undefined) return out;
      out += answer;
    }
  }

  #step(): string | undefined {
    if (this.#mode === "data") return this.#data();
    if (this.#chunk) return this.#bdat();
    const end = this.#buffer.indexOf("\r\n");
    if (end < 0) return undefined;
    const line = this.#buffer.slice(0, end);
    this.#buffer = this.#buffer.slice(end + 2);
    this.lines.push(line);
    return this.#command(line);
  }

  #command(line: string): string {
    const verb = line.split(" ")[0]!.toUpperCase();
    switch (verb) {
      case "EHLO":
      case "LHLO": {
        const all = ["fake", ...this.#options.capabilities ?? []];
        const reply = all.map((text, at) =>
          `250${at === all.length - 1 ? " " : "-"}${text}`
        ).join("\r\n");
        return this.#answer(verb, reply);
      }
      case "MAIL": {
        const answer = this.#answer(verb, "250 2.1.0 Sender ok");
        if (answer.startsWith("2")) this.#begin(line);
        return answer;
      }
      case "RCPT": {
        this.#rcptSeen++;
        const key = `RCPT ${this.#rcptSeen}`;
        if (this.#mail === "") return "503 5.5.1 No MAIL\r\n";
        const answer = this.#has(key)
          ? this.#answer(key, "")
          : this.#answer("RCPT", "250 2.1.5 Recipient ok");
        if (answer.startsWith("2")) this.#rcpt.push(line);
        return answer;
      }
      case "DATA": {
        const usual = this.#mail === ""
          ? "503 5.5.1 No MAIL"
          : this.#rcpt.length === 0
          ? "554 5.5.1 No valid recipients"
          : "354 Go on";
        const answer = this.#answer(verb, usual);
        if (answer.startsWith("354")) this.#mode = "data";
        return answer;
      }
      case "BDAT": {
        const [, size, last] = line.split(" ");
        this.#chunk = { left: Number(size), last: !!last, content: "" };
        return "";
      }
      case "RSET":
        this.#reset();
        return this.#answer(verb, "250 2.0.0 Reset");
      case "QUIT": {
        const answer = this.#answer(verb, "221 2.0.0 Bye");
        this.closed = true;
        return answer;
      }
      case "STARTTLS":
        return this.#answer(verb, "220 2.0.0 Go");
      case "AUTH": {
        const key = `AUTH ${line.split(" ")[1]}`;
        return this.#answer(this.#has(key) ? key : verb, "235 2.7.0 Welcome");
      }
      case "HELO":
        return this.#answer(verb, "250 fake");
      default:
        return this.#answer(verb, "500 5.5.1 What");
    }
  }

  #begin(line: string): void {
    this.#reset();
    this.#mail = line;
  }

  #reset(): void {
    this.#mail = "";
    this.#rcpt = [];
    this.#rcptSeen = 0;
    this.#content = "";
  }

  #data(): string | undefined {
    if (this.#buffer === "") return undefined;
    if (this.#has("body")) {
      const answer = this.#answer("body", "");
      this.closed = true;
      return answer;
    }
    const all = `\r\n${this.#buffer}`;
    const end = all.indexOf("\r\n.\r\n");
    if (end < 0) return undefined;
    this.#buffer = all.slice(end + 5);
    this.#mode = "commands";
    this.#content = all.slice(0, end + 2).replaceAll("\r\n.", "\r\n").slice(2);
    return this.#finish();
  }

  #bdat(): string | undefined {
    const chunk = this.#chunk!;
    const part = this.#buffer.slice(0, chunk.left);
    this.#buffer = this.#buffer.slice(part.length);
    chunk.left -= part.length;
    this.#content += part;
    if (chunk.left > 0) return undefined;
    this.#chunk = undefined;
    if (this.#rcpt.length === 0) return "503 5.5.1 No valid recipients\r\n";
    if (!chunk.last) return this.#answer("BDAT", "250 2.0.0 Chunk ok");
    return this.#finish();
  }

  #finish(): string {
    const count = this.#options.lmtp ? this.#rcpt.length : 1;
    let out = "";
    for (let at = 1; at <= count && !this.closed; at++) {
      const key = this.#has(`end ${at}`) ? `end ${at}` : "end";
      out += this.#answer(key, "250 2.6.0 Taken");
    }
    if (out.startsWith("2")) {
      this.messages.push({
        mail: this.#mail,
        rcpt: this.#rcpt,
        content: this.#content,
      });
    }
    this.#reset();
    return out;
  }

  #has(key: string): boolean {
    return this.#options.faults?.[key] !== undefined;
  }

  #answer(key: string, usual: string): string {
    const fault = this.#options.faults?.[key];
    if (fault === "drop") {
      this.closed = true;
      return "";
    }
    const text = fault ?? usual;
    if (text.startsWith("421")) this.closed = true;
    return `${text}\r\n`;
  }
}

/** A ClientProtocol, a server and the connection between them. */
export class Drive {
  readonly client: ClientProtocol;
  readonly server: FakeServer;
  /** Every write of the client, as text. */
  readonly writes: string[] = [];
  #waiting: string;

  constructor(client: ClientProtocol, server: FakeServer) {
    this.client = client;
    this.server = server;
    this.#waiting = server.greet();
  }

  /** Carries out effects until the command ends. Content goes out in the given pieces. */
  run(content: readonly string[] = []): ClientEffect {
    const pieces = [...content];
    for (let round = 0; round < 100000; round++) {
      const effect = this.client.next();
      switch (effect.kind) {
        case "write":
          this.writes.push(textOf(effect.bytes));
          this.#waiting += this.server.receive(textOf(effect.bytes));
          break;
        case "read":
          if (this.#waiting !== "") {
            this.client.receive(bytesOf(this.#waiting));
            this.#waiting = "";
          } else if (this.server.closed) {
            this.client.end();
          } else {
            this.client.fail("timeout", "The server says nothing");
          }
          break;
        case "content": {
          const piece = pieces.shift();
          if (piece === undefined) this.client.endContent();
          else this.client.content(bytesOf(piece));
          break;
        }
        default:
          return effect;
      }
    }
    throw new Error("Cannot finish: the machine runs in circles");
  }
}

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

/** How one host behaves: as a server, as unreachable, or as one that accepts and sends nothing. */
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

  /** Connections that are still open. */
  get open(): number {
    return this.connections.filter(({ closed }) => !closed).length;
  }
}

/** Connects a client through a network in memory. */
export function connectClient(
  { connect, upgrade, ...options }: SmtpClientOptions & ClientNetwork,
): Promise<SmtpClient> {
  return SmtpClient.connect(options, { connect, upgrade });
}

/** A delivery through a network in memory. */
export function makeDelivery(
  { connect, upgrade, now, random, ...options }:
    & DeliveryOptions
    & DeliveryMachine,
): Delivery {
  return new Delivery(options, { connect, upgrade, now, random });
}
