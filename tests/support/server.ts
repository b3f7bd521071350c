/**
 * Sessions and servers for tests: a client that speaks line by line and whose
 * waits have deadlines, a session over a pair in memory, a server on a free port.
 */

import { assert, assertEquals } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import { DenoTransport } from "../../lib/net/deno_transport.ts";
import { memoryPair } from "../../lib/net/memory_transport.ts";
import type { Transport } from "../../lib/net/transport.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { Connection } from "../../lib/session/connection.ts";
import type { SessionContext } from "../../lib/session/context.ts";
import { askedOf, type SmtpHandlers } from "../../lib/session/handlers.ts";
import type { SmtpSession } from "../../lib/session/session.ts";
import { Delays } from "../../lib/session/delays.ts";
import {
  type LimitOptions,
  limitsOf,
} from "../../lib/session/limit_options.ts";
import { AddressLimiter } from "../../lib/session/limits.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { type ProfileInit, testProfile } from "./dialogue.ts";
import { bytesOf, textOf } from "./bytes.ts";
import { within } from "./wait.ts";

/** What a client connects to: a server, or another process. */
interface Listening {
  readonly addresses: readonly {
    readonly address: string;
    readonly port: number;
    readonly path?: string;
  }[];
}

/** A client that sends given lines and returns reply lines. */
export class TestClient implements Disposable {
  readonly #transport: Transport;
  readonly #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(65536);
  #text = "";
  #ended = false;

  /** @param transport The client's end */
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Connects to a server of this machine. */
  static async connect(
    server: Listening,
    index = 0,
  ): Promise<TestClient> {
    const { address, port, path } = server.addresses[index]!;
    const conn: Deno.Conn = await within<Deno.Conn>(
      path === undefined
        ? Deno.connect({ hostname: address, port })
        : Deno.connect({ transport: "unix", path }),
      "a connection",
    );
    return new TestClient(new DenoTransport(conn));
  }

  /** Sends text, one character a byte. */
  async send(text: string): Promise<void> {
    await within(this.#transport.write(bytesOf(text)), "a write");
  }

  /** The next reply: its lines, separated by a line feed. */
  async reply(): Promise<string> {
    const lines: string[] = [];
    do {
      lines.push(await this.#line());
    } while (/^\d{3}-/.test(lines.at(-1)!));
    return lines.join("\n");
  }

  /** Sends a line and gives the reply to it. */
  async say(line: string): Promise<string> {
    await this.send(`${line}\r\n`);
    return await this.reply();
  }

  /** Sends each line and asserts the beginning of its reply. */
  async expect(...dialogue: [line: string, want: string][]): Promise<void> {
    for (const [line, want] of dialogue) {
      const reply = await this.say(line);
      assertEquals(reply.slice(0, want.length), want, `${line}: ${reply}`);
    }
  }

  /** Reads the greeting, says HELO and sends an envelope. */
  async envelope(...recipients: string[]): Promise<void> {
    await this.reply();
    await this.expect(["HELO client.test", "250"], [
      "MAIL FROM:<a@b.test>",
      "250",
    ]);
    for (const recipient of recipients.length > 0 ? recipients : ["c@d.test"]) {
      await this.expect([`RCPT TO:<${recipient}>`, "250"]);
    }
  }

  /** Sends a message by DATA and gives the last reply. */
  async data(content: string): Promise<string> {
    await this.expect(["DATA", "354"]);
    await this.send(`${content}\r\n.\r\n`);
    return await this.reply();
  }

  /** All text up to the end of the connection, be that a close or a reset. */
  async rest(): Promise<string> {
    while (!this.#ended) await this.#fill();
    const { length } = this.#text;
    const rest = this.#text.slice(0, length);
    this.#text = "";
    return rest;
  }

  async #line(): Promise<string> {
    for (;;) {
      const end = this.#text.indexOf("\r\n");
      if (end >= 0) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 2);
        return line;
      }
      if (this.#ended) {
        throw new Error(`The connection ended within "${this.#text}"`);
      }
      await this.#fill();
    }
  }

  async #fill(): Promise<void> {
    try {
      const count = await within(
        this.#transport.read(this.#buffer),
        "the server",
      );
      if (count === null) this.#ended = true;
      else this.#text += textOf(this.#buffer.subarray(0, count));
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
      this.#ended = true;
    }
  }

  /** Closes; with replies unread that is a reset. */
  close(): void {
    this.#transport.close();
  }

  /** Closes. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** The parts of a session that a test chooses; the others have defaults. */
export interface SessionInit
  extends Partial<Omit<SessionContext, "profile" | "store" | "limits">> {
  /** Limits that differ from the defaults. */
  readonly limits?: LimitOptions;
  /** The address that the client is admitted as. Default: the peer of its connection. */
  readonly address?: string;
  /** What differs from the test profile. */
  readonly profile?: ProfileInit;
  /** Where messages go. */
  readonly store?: SessionContext["store"];
  /** The server's end, where it is no pair in memory. */
  readonly transport?: Transport;
}

/** A session over a pair in memory. */
export interface TestSession extends AsyncDisposable {
  /** The other end. */
  readonly client: TestClient;
  /** The session as handlers see it. */
  readonly session: SmtpSession;
  /** The connection under test. */
  readonly connection: Connection;
  /** The log. */
  readonly records: LogRecord[];
  /** Ends when the session has. */
  readonly done: Promise<void>;
}

/** Which questions the handlers answer, as a server finds out. */
function asksOf(init: SessionInit): NonNullable<ProfileInit["asks"]> {
  const { handlers = {}, isLocal } = init;
  const asked = askedOf(handlers);
  return isLocal === undefined ? asked : { ...asked, rcpt: true };
}

/** Starts a session over a pair in memory. */
export function openSession(init: SessionInit = {}): TestSession {
  const records: LogRecord[] = [];
  const [serverEnd, clientEnd] = memoryPair();
  const { profile, transport = serverEnd, address, ...rest } = init;
  const { kind = profile?.kind ?? "smtp" } = rest;
  const limits = limitsOf({ timeoutMs: 60_000, ...init.limits });
  const counts = init.counts ??
    new AddressLimiter(limits, { now: () => init.now?.() ?? 0 });
  const ticket = counts.admit(address ?? transport.remote.address);
  assert(typeof ticket === "number", `Not admitted: ${ticket}`);
  let lastId = 0;
  const context: SessionContext = {
    kind,
    implicitTls: false,
    authentication: undefined,
    profile: testProfile({
      kind,
      maxSize: 1_000_000,
      asks: asksOf(init),
      ...profile,
    }),
    hostname: "mx.test",
    handlers: {},
    store: new MemoryStore(),
    addReceived: false,
    body: { memoryLimit: 65536 },
    log: (record) => records.push(record),
    verbose: true,
    debug: true,
    nextId: () => `ID${++lastId}`,
    now: () => 0,
    delays: new Delays(),
    earlyTalkers: "refuse",
    ...rest,
    limits,
    counts,
  };
  const connection = new Connection(transport, context, { ticket });
  const done = connection.run();
  const client = new TestClient(clientEnd);
  return {
    client,
    session: connection.session,
    connection,
    records,
    done,
    async [Symbol.asyncDispose]() {
      client.close();
      init.transport?.close();
      await within(done, "the end of the session");
    },
  };
}

/** Starts a server on a free port of the loopback address. */
export async function startServer(
  options: SmtpServerOptions = {},
): Promise<SmtpServer> {
  const server = new SmtpServer({
    listen: "127.0.0.1:0",
    hostname: "mx.test",
    store: new MemoryStore(),
    log: () => {},
    ...options,
  });
  await server.start();
  return server;
}

/** Handlers that record their calls, in order. */
export function noting(
  calls: string[],
  handlers: SmtpHandlers = {},
): SmtpHandlers {
  return {
    onReset: () => void calls.push("reset"),
    onDisconnect: (_session, reason) => void calls.push(`end ${reason}`),
    onStateChange: (_session, state, previous) =>
      void calls.push(`${previous} > ${state}`),
    ...handlers,
  };
}
