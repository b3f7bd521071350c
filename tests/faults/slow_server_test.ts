/**
 * Slow mail servers: a byte now and then, a reply without end, content that the
 * server does not read. Each attempt has its time limit; the message stays in the
 * queue and is delivered once the server is well again.
 *
 * The promise of SECURITY.md: "Every wait has an end".
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2 | RFC 5321 section 4.5.3.2}
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import type { ClientTimeouts } from "../../lib/client/session.ts";
import { startServer, TestClient } from "../support/server.ts";
import { Pauses, within } from "../support/wait.ts";

/** Time limit of the client at the faulty step, in ms. A slow byte takes a tenth of it. */
const LIMIT_MS = 200;
const DRIP_MS = LIMIT_MS / 10;

/** How a server fails to reply. */
type Manner =
  | "drips"
  | "never ends a reply"
  | "never ends a line"
  | "says nothing"
  | "reads nothing";

const REPLIES: Readonly<Record<string, string>> = {
  greeting: "220 slow.test ESMTP",
  EHLO: "250-slow.test\r\n250 SIZE 99999999",
  MAIL: "250 2.1.0 Sender ok",
  RCPT: "250 2.1.5 Recipient ok",
  DATA: "354 Go on",
  end: "250 2.0.0 Taken",
  QUIT: "221 2.0.0 Bye",
  RSET: "250 2.0.0 Reset",
};

/** A server whose first connection goes wrong at a step. */
class SlowServer implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #conns = new Set<Deno.Conn>();
  readonly #running: Promise<void>;
  readonly #step: string;
  readonly #manner: Manner;
  readonly #pauses = new Pauses();
  /** Connections so far. */
  connections = 0;
  /** Contents that were taken. */
  readonly taken: string[] = [];

  constructor(step: string, manner: Manner) {
    this.#step = step;
    this.#manner = manner;
    this.#running = this.#accept();
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  async #accept(): Promise<void> {
    const sessions: Promise<void>[] = [];
    for await (const conn of this.#listener) {
      const isFirst = this.connections++ === 0;
      this.#conns.add(conn);
      sessions.push(this.#serve(conn, isFirst).catch(() => {}));
    }
    await Promise.all(sessions);
  }

  async #serve(conn: Deno.Conn, isFirst: boolean): Promise<void> {
    const say = async (step: string) => {
      const reply = `${REPLIES[step] ?? "502 What"}\r\n`;
      if (isFirst && step === this.#step) await this.#misbehave(conn, reply);
      await conn.write(new TextEncoder().encode(reply));
    };
    try {
      await say("greeting");
      let content: string[] | undefined;
      for await (const line of linesOf(conn)) {
        if (content !== undefined) {
          if (line !== ".") {
            content.push(line);
            continue;
          }
          this.taken.push(content.join("\r\n"));
          content = undefined;
          await say("end");
          continue;
        }
        const verb = line.split(" ")[0]!;
        if (verb === "DATA") {
          content = [];
          if (isFirst && this.#manner === "reads nothing") {
            await conn.write(new TextEncoder().encode("354 Go on\r\n"));
            return await this.#until(conn);
          }
        }
        await say(verb);
      }
    } finally {
      this.#conns.delete(conn);
      conn.close();
    }
  }

  /** Never ends by itself. */
  async #misbehave(conn: Deno.Conn, reply: string): Promise<never> {
    if (this.#manner === "says nothing") await this.#until(conn);
    const piece = {
      "drips": reply.slice(0, 1),
      "never ends a reply": `${reply.slice(0, 3)}-${"x".repeat(60)}\r\n`,
      "never ends a line": `${reply.slice(0, 3)}-${"x".repeat(60)}`,
    }[this.#manner as "drips"];
    const bytes = new TextEncoder().encode(piece);
    for (let at = 0;; at++) {
      // A reply that drips is made of the right bytes, as far as they go.
      const byte = reply.charCodeAt(Math.min(at, 9));
      await conn.write(
        this.#manner === "drips" ? new Uint8Array([byte]) : bytes,
      );
      await this.#pauses.wait(DRIP_MS);
    }
  }

  /** Waits until the client has gone. */
  async #until(conn: Deno.Conn): Promise<never> {
    while (this.#conns.has(conn)) await this.#pauses.wait(DRIP_MS);
    throw new Deno.errors.Interrupted("The client has gone");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.#pauses.end();
    for (const conn of this.#conns) {
      try {
        conn.close();
      } catch {
        // It was closed already.
      }
    }
    await this.#running;
  }
}

async function* linesOf(conn: Deno.Conn): AsyncGenerator<string> {
  const buffer = new Uint8Array(65536);
  let rest = "";
  for (;;) {
    const count = await conn.read(buffer);
    if (count === null) return;
    const lines = (rest + new TextDecoder().decode(buffer.subarray(0, count)))
      .split("\r\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

/** The limit that a step is under. */
const LIMIT_OF: Readonly<Record<string, keyof ClientTimeouts>> = {
  greeting: "greeting",
  EHLO: "hello",
  MAIL: "mail",
  RCPT: "rcpt",
  DATA: "data",
  body: "body",
  end: "dataEnd",
};

const STEPS = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "end"];
const MANNERS: readonly Manner[] = [
  "drips",
  "never ends a reply",
  "never ends a line",
  "says nothing",
];
const ROWS: readonly (readonly [step: string, manner: Manner])[] = [
  ...STEPS.flatMap((step) => MANNERS.map((manner) => [step, manner] as const)),
  ["body", "reads nothing"],
];

for (const [step, manner] of ROWS) {
  Deno.test(`a mail server that ${manner} at ${step} delays a message, no more`, async () => {
    const records: LogRecord[] = [];
    await using slow = new SlowServer(step, manner);
    const done = Promise.withResolvers<void>();
    await using near = await startServer({
      log: (record) => records.push(record),
      relay: {
        from: ["127.0.0.1"],
        smarthosts: [{ host: "127.0.0.1", port: slow.port }],
        // The limits of the other steps leave room for a busy machine.
        timeouts: {
          [LIMIT_OF[step]!]: step === "body" ? 10 * LIMIT_MS : LIMIT_MS,
        },
        schedule: "1ms",
      },
      handlers: { onRelayDone: () => done.resolve() },
    });
    using client = await TestClient.connect(near);
    await client.envelope("you@dest.test");
    // More than the buffers of a connection that is not read hold.
    const lines = manner === "reads nothing" ? 8500 : 1;
    const content = `Subject: a\r\n${`\r\n${"y".repeat(990)}`.repeat(lines)}`;
    assertStringIncludes(await client.data(content), "250");
    await within(done.promise, "the delivery");
    assert(slow.connections >= 2, `${slow.connections} connections`);
    // A server that took the message without a reply gets it again.
    if (step === "end") assert(slow.taken.length >= 2);
    else assertEquals(slow.taken.length, 1);
    const tries = records.filter(({ event }) => event === "delivery");
    const first = tries.find(({ fields }) => fields?.["result"] === "deferred");
    assert(first !== undefined, JSON.stringify(tries));
    assertEquals(records.filter(({ level }) => level === "error"), []);
  });
}
