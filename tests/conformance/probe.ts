/**
 * The connection that the rows of the table use: it sends given bytes unchanged
 * and parses replies without judging them. Every wait has a limit.
 */

import { DenoTransport } from "../../lib/net/deno_transport.ts";
import { upgradeClient } from "../../lib/net/tls_upgrade.ts";
import { isConnectionError, type Transport } from "../../lib/net/transport.ts";
import { bytesOf, textOf } from "../support/bytes.ts";

/** How long a reply may take before it counts as none, in ms. */
export const PATIENCE_MS = 3000;

/** A reply: its code, and its lines without line ends. */
export interface ProbeReply {
  readonly code: number;
  readonly lines: readonly string[];
}

/** Why there is no reply. */
export type NoReply = "closed" | "silent";

/** A connection to the server that is looked at. */
export class Probe implements Disposable {
  #transport: Transport;
  #buffer = new Uint8Array(65536);
  #text = "";
  #closed = false;
  #reading: Promise<number | null> | undefined;

  /** @param transport Connected */
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Connects; reads nothing. */
  static async connect(port: number): Promise<Probe> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    return new Probe(new DenoTransport(conn));
  }

  /** Connects, reads the greeting and says EHLO. */
  static async greet(port: number): Promise<Probe> {
    const probe = await Probe.connect(port);
    await probe.reply();
    await probe.say("EHLO client.test");
    return probe;
  }

  /** Sends text as it is, one character a byte. A server that is gone is no error. */
  async send(text: string): Promise<void> {
    try {
      await this.#transport.write(bytesOf(text));
    } catch (error) {
      if (!isConnectionError(error)) throw error;
      this.#closed = true;
    }
  }

  /** The next reply. */
  async reply(waitMs: number = PATIENCE_MS): Promise<ProbeReply | NoReply> {
    const lines: string[] = [];
    const deadline = performance.now() + waitMs;
    for (;;) {
      const line = await this.#line(deadline);
      if (line === "closed" || line === "silent") return line;
      lines.push(line.slice(0, -2));
      if (!/^\d{3}-/.test(line)) {
        return { code: Number(line.slice(0, 3)), lines };
      }
    }
  }

  /** Sends a line and gives the reply's code, or why no reply came. */
  async say(line: string): Promise<number | NoReply> {
    await this.send(`${line}\r\n`);
    return await this.code();
  }

  /** The code of the next reply, or why no reply came. */
  async code(waitMs: number = PATIENCE_MS): Promise<number | NoReply> {
    const reply = await this.reply(waitMs);
    return typeof reply === "string" ? reply : reply.code;
  }

  /** The codes of all replies until the server closes or says nothing for a while. */
  async rest(waitMs = 500): Promise<(number | NoReply)[]> {
    const codes: (number | NoReply)[] = [];
    do {
      codes.push(await this.code(waitMs));
    } while (typeof codes.at(-1) === "number");
    return codes;
  }

  /** The sender and one recipient of a message. */
  async envelope(): Promise<void> {
    await this.say("MAIL FROM:<a@example.com>");
    await this.say("RCPT TO:<b@example.com>");
  }

  /** Sends a message whose content is sent as it is; the replies to that. */
  async message(content: string): Promise<(number | NoReply)[]> {
    await this.envelope();
    await this.say("DATA");
    await this.send(content);
    return await this.rest();
  }

  /** Begins TLS; what comes before it has been read. */
  async startTls(): Promise<void> {
    const { transport } = await upgradeClient(this.#transport, {
      serverName: "peer.test",
      handshakeTimeoutMs: 60_000,
    });
    this.#transport = transport;
    this.#text = "";
  }

  /** Goes away with a reset: what the server has sent is left unread. */
  async reset(): Promise<void> {
    this.#buffer = new Uint8Array(1);
    await this.#read(performance.now() + PATIENCE_MS);
    this.#transport.close();
  }

  /** Goes away. */
  [Symbol.dispose](): void {
    this.#transport.close();
    this.#reading?.catch(() => {});
  }

  async #line(deadline: number): Promise<string | NoReply> {
    for (;;) {
      const end = this.#text.indexOf("\r\n") + 2;
      if (end > 1) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end);
        return line;
      }
      if (this.#closed) return "closed";
      if (!await this.#read(deadline)) return "silent";
    }
  }

  /** Reads once; `false` where nothing came in time. */
  async #read(deadline: number): Promise<boolean> {
    this.#reading ??= this.#transport.read(this.#buffer).catch((error) => {
      if (!isConnectionError(error)) throw error;
      return null;
    });
    const { promise: late, resolve } = Promise.withResolvers<"late">();
    const timer = setTimeout(
      () => resolve("late"),
      Math.max(0, deadline - performance.now()),
    );
    const count = await Promise.race([this.#reading, late]);
    clearTimeout(timer);
    if (count === "late") return false;
    this.#reading = undefined;
    if (count === null) this.#closed = true;
    else this.#text += textOf(this.#buffer.subarray(0, count));
    return true;
  }
}
