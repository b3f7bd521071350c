/**
 * The load: clients of every kind, good ones and bad ones, each in a session of
 * its own. Every message has a name that the ledger knows it by.
 */

import { SmtpClient } from "../../lib/client/mod.ts";
import type { TestClient } from "../support/server.ts";
import type { Ledger } from "./ledger.ts";
import type { ServerProcess } from "./server_process.ts";

/** The server, the ledger and chance, for one client. */
export interface LoadInit {
  readonly server: ServerProcess;
  readonly ledger: Ledger;
  readonly random: () => number;
}

/** One kind of client. */
type Kind = (load: Load) => Promise<void>;

/** Lines of a body: 70 bytes each. */
const SMALL = 10;
const LARGE = 12_000;
const TOO_LARGE = 60_000;

/** The kinds, and how often each comes. */
const KINDS: readonly (readonly [weight: number, kind: Kind])[] = [
  [40, (load) => load.byData("you@near.test", SMALL)],
  [3, (load) => load.byData("you@near.test", LARGE)],
  [10, (load) => load.byClient({ to: "bob@near.test", chunking: true })],
  [10, (load) => load.byClient({ to: "ann@far.test", login: true })],
  [5, (load) => load.byClient({ to: "tls@near.test", tls: true })],
  [15, (load) => load.byData("ann@far.test", SMALL)],
  [2, (load) => load.byData("large@far.test", LARGE)],
  [4, (load) => load.byData("info@near.test", SMALL)],
  [4, (load) => load.byData("away@near.test", SMALL)],
  [4, (load) => load.byData("moved@near.test", SMALL)],
  [6, (load) => load.byClient({ to: "unix@near.test", unix: true })],
  [1, (load) => load.fill()],
  [5, (load) => load.refused()],
  [1, (load) => load.byData("you@near.test", TOO_LARGE)],
  [8, (load) => load.drop()],
  [4, (load) => load.slow()],
];
const ALL = KINDS.reduce((sum, [weight]) => sum + weight, 0);
/** Commands after which a client closes. */
const DROPS = [
  "",
  "EHLO soak.test\r\n",
  "EHLO soak.test\r\nMAIL FROM:<a@soak.test>\r\nRCPT TO:<b@near.test>\r\n",
  "EHLO soak.test\r\nMAIL FROM:<a@soak.test>\r\nRCPT TO:<b@near.test>\r\nDATA\r\nX-Soak: drop\r\n",
  "EHLO soak.test\r\nMAIL FROM:<a@soak.test>\r\nRCPT TO:<b@near.test>\r\nBDAT 900000\r\nX-Soak: drop\r\n",
  "EHLO soak.test\r\nSTARTTLS\r\n",
  "GET / HTTP/1.1\r\nHost: near.test\r\n\r\n",
];

/** Clients that come one after the other. */
export class Load {
  readonly #init: LoadInit;
  /** Sessions, by how they ended: with 250, another reply, or none. */
  readonly ends: Record<"taken" | "refused" | "broken", number> = {
    taken: 0,
    refused: 0,
    broken: 0,
  };
  /** Messages for a mailbox that has a quota and is not emptied. */
  readonly full: Record<"taken" | "refused", number> = { taken: 0, refused: 0 };
  #last = 0;

  /** @param init The server, the ledger and the source of chance */
  constructor(init: LoadInit) {
    this.#init = init;
  }

  /** Runs one client to its end. */
  async one(): Promise<void> {
    let at = this.#init.random() * ALL;
    const [, kind] = KINDS.find(([weight]) => (at -= weight) < 0) ?? KINDS[0]!;
    await kind(this);
  }

  /** A message by DATA, without pipelining. */
  async byData(to: string, lines: number): Promise<void> {
    await this.#session(async (client, id) => {
      await client.envelope(to);
      return await client.data(contentOf(id, lines));
    });
  }

  /** A message by the module's own client. */
  async byClient(how: {
    readonly to: string;
    readonly chunking?: boolean;
    readonly login?: boolean;
    readonly tls?: boolean;
    /** By LMTP, over the unix socket. */
    readonly unix?: boolean;
  }): Promise<void> {
    const { server } = this.#init;
    const id = this.#name();
    let client: SmtpClient | undefined;
    try {
      client = await SmtpClient.connect({
        ...(how.unix
          ? { host: "localhost", path: server.socket, lmtp: true }
          : { host: "127.0.0.1", port: server.port }),
        hostname: "soak.test",
        security: how.login || how.tls ? "required" : "none",
        chunking: how.chunking ?? false,
        onCertificate: () => true,
        ...(how.login && { login: { username: "ann", password: "secret" } }),
      });
      const result = await client.send({
        from: "me@soak.test",
        to: [how.to],
        data: contentOf(id, SMALL),
      });
      const [one] = result.recipients;
      if (one!.broken) this.#broken(id);
      else this.#told(id, result.accepted);
      await client.quit();
    } catch {
      client?.close();
      this.#broken(id);
    }
  }

  /** A large message for a mailbox that gets full. The reply to RCPT may refuse it already. */
  async fill(): Promise<void> {
    await this.#session(async (client, id) => {
      await client.reply();
      await client.say("EHLO soak.test");
      await client.say("MAIL FROM:<a@soak.test>");
      let reply = await client.say("RCPT TO:<full@near.test>");
      if (reply.startsWith("250")) {
        reply = await client.data(contentOf(id, LARGE));
      }
      if (reply.startsWith("250")) this.full.taken++;
      if (reply.startsWith("452 4.2.2")) this.full.refused++;
      return reply;
    });
  }

  /** Invalid recipients, and commands out of order. */
  async refused(): Promise<void> {
    await this.#session(async (client) => {
      await client.reply();
      await client.say("MAIL FROM:<a@b.test>");
      await client.say("EHLO soak.test");
      await client.say("MAIL FROM:<a@b.test> SIZE=99999999");
      await client.say("MAIL FROM:<a@b.test>");
      await client.say("RCPT TO:<not an address>");
      return await client.say("DATA");
    });
  }

  /** Closes without QUIT; with the greeting unread this is a reset. */
  async drop(): Promise<void> {
    const { server, random } = this.#init;
    const text = DROPS[Math.floor(random() * DROPS.length)]!;
    try {
      using client = await server.connect();
      if (random() < 0.5) await client.reply();
      await client.send(text);
      this.ends.broken++;
    } catch {
      this.ends.broken++;
    }
  }

  /** A line at a time, each after a rest. */
  async slow(): Promise<void> {
    await this.#session(async (client, id) => {
      await client.envelope("slow@near.test");
      await client.say("DATA");
      for (const line of contentOf(id, SMALL).split("\r\n")) {
        await client.send(`${line}\r\n`);
        await new Promise((resolve) => setTimeout(resolve, 40));
      }
      return await client.say(".");
    });
  }

  /** A session with one message, whose last reply counts. */
  async #session(
    talk: (client: TestClient, id: string) => Promise<string>,
  ): Promise<void> {
    const id = this.#name();
    let reply: string;
    try {
      using client = await this.#init.server.connect();
      reply = await talk(client, id);
      await client.send("QUIT\r\n").catch(() => {});
    } catch {
      return this.#broken(id);
    }
    this.#told(id, reply.startsWith("250"));
  }

  #told(id: string, isTaken: boolean): void {
    if (isTaken) {
      this.ends.taken++;
      this.#init.ledger.acknowledge(id);
    } else {
      this.ends.refused++;
    }
  }

  #broken(id: string): void {
    this.ends.broken++;
    this.#init.ledger.abandon(id);
  }

  #name(): string {
    return `s${++this.#last}`;
  }
}

function contentOf(id: string, lines: number): string {
  return `From: me@soak.test\r\nX-Soak: ${id}\r\n\r\n` +
    `${"0123456789".repeat(7)}\r\n`.repeat(lines);
}
