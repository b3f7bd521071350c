/**
 * Next hops as an attacker runs them, and the name server that leads to them: one
 * without 8BITMIME, one that answers 334 for ever, and addresses that accept a
 * connection and send nothing.
 */

import { startWireServer, type WireServer } from "../support/dns.ts";

/** Where mail for the next server that behaves goes. */
export const SINK = "127.0.2.1";
const OLD = "127.0.2.2";
const CHALLENGING = "127.0.2.3";
/** Silent addresses. */
export const SILENT = 40;
/** Address records of a name server's answer. */
const TYPE_A = 1;

/** Where a domain's mail goes. */
function addressOf(name: string): string | undefined {
  const [, number] = /^s(\d+)\.silent\.test$/.exec(name) ?? [];
  if (number !== undefined) return `127.77.0.${number}`;
  return {
    "far.test": SINK,
    "old.test": OLD,
    "challenge.test": CHALLENGING,
  }[name];
}

/** Hosts of hostile domains. */
export class HostileHops implements AsyncDisposable {
  readonly #listeners: Deno.TcpListener[] = [];
  readonly #conns = new Set<Deno.Conn>();
  readonly #running: Promise<void>[] = [];
  readonly #names: WireServer;
  readonly #port: number;
  /** Messages that the old server took. */
  taken = 0;

  /**
   * @param names The name server that leads to them
   * @param port The port of all of them
   */
  constructor(names: WireServer, port: number) {
    this.#names = names;
    this.#port = port;
    this.#listen(OLD, (conn) => this.#old(conn));
    this.#listen(CHALLENGING, challenge);
    for (let number = 1; number <= SILENT; number++) {
      this.#listen(`127.77.0.${number}`, readAll);
    }
  }

  /** Starts them all on one port. */
  static async start(port: number): Promise<HostileHops> {
    const names = await startWireServer((name) => (question) =>
      answer(question, addressOf(name.toLowerCase()))
    );
    return new HostileHops(names, port);
  }

  /** The name server, as `--dns` takes it. */
  get nameServer(): string {
    return this.#names.nameServer;
  }

  /** Where the server is that answers 334 to everything. */
  get challenging(): { readonly host: string; readonly port: number } {
    return { host: CHALLENGING, port: this.#port };
  }

  #listen(hostname: string, serve: (conn: Deno.Conn) => Promise<void>): void {
    const listener = Deno.listen({ hostname, port: this.#port });
    this.#listeners.push(listener);
    this.#running.push((async () => {
      for await (const conn of listener) {
        this.#conns.add(conn);
        serve(conn).catch(() => {}).finally(() => {
          this.#conns.delete(conn);
          close(conn);
        });
      }
    })());
  }

  /** Knows no extension, and takes all mail. */
  async #old(conn: Deno.Conn): Promise<void> {
    const say = sayer(conn);
    const decoder = new TextDecoder("latin1");
    const buffer = new Uint8Array(65536);
    await say("220 old.test");
    let inContent = false;
    let rest = "";
    for (;;) {
      const count = await conn.read(buffer);
      if (count === null) return;
      rest += decoder.decode(buffer.subarray(0, count));
      if (inContent) {
        if (rest.endsWith("\r\n.\r\n")) {
          this.taken++;
          inContent = false;
          rest = "";
          await say("250 Taken");
        } else rest = rest.slice(-5);
        continue;
      }
      const lines = rest.split("\r\n");
      rest = lines.pop()!;
      for (const line of lines) {
        inContent = line === "DATA";
        if (inContent) rest = "\r\n";
        if (line.startsWith("EHLO")) await say("502 What");
        else await say(inContent ? "354 Go on" : "250 Ok");
        if (line === "QUIT") return;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    for (const conn of this.#conns) close(conn);
    await Promise.all(this.#running);
    await this.#names[Symbol.asyncDispose]();
  }
}

function sayer(conn: Deno.Conn): (line: string) => Promise<unknown> {
  return (line) => conn.write(new TextEncoder().encode(`${line}\r\n`));
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It was closed already.
  }
}

/** Takes what comes and says nothing. */
async function readAll(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(4096);
  while (await conn.read(buffer) !== null);
}

/** Offers AUTH and answers every line with 334. */
async function challenge(conn: Deno.Conn): Promise<void> {
  const say = sayer(conn);
  const buffer = new Uint8Array(4096);
  await say("220 challenge.test");
  for (;;) {
    const count = await conn.read(buffer);
    if (count === null) return;
    const said = new TextDecoder().decode(buffer.subarray(0, count));
    await say(
      said.startsWith("EHLO")
        ? "250-challenge.test\r\n250 AUTH PLAIN LOGIN CRAM-MD5"
        : "334 aGVsbG8=",
    );
  }
}

/** An answer with the address, to a question of that type; else one without records. */
function answer(
  question: Uint8Array,
  address: string | undefined,
): Uint8Array {
  const type = question[question.length - 3];
  const record = address !== undefined && type === TYPE_A
    ? [
      ...[0xc0, 12, 0, TYPE_A, 0, 1, 0, 0, 0, 60, 0, 4],
      ...address.split(".").map(Number),
    ]
    : [];
  const bytes = new Uint8Array([...question, ...record]);
  // An answer, recursion available; one question, no additional records.
  bytes[2] = 0x81;
  bytes[3] = 0x80;
  bytes.set([0, 1, 0, record.length > 0 ? 1 : 0, 0, 0, 0, 0], 4);
  return bytes;
}
