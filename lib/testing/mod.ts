/**
 * Tools for the tests of a program that uses SMTP: a real server on a free port
 * or a server in memory, which both collect the messages they get; a client that
 * sends exactly what the test wants; and a DNS that answers from a function
 * instead of a name server.
 *
 * @example What a program sent
 * ```ts
 * import { startTestServer } from "@smtp/server/testing";
 *
 * await using server = await startTestServer();
 * await using client = await server.connect();
 * // Here your program sends its mail to server.address and server.port.
 * await client.script(`
 *   S: 220
 *   C: HELO client.example
 *   S: 250
 *   C: MAIL FROM:<me@client.example>
 *   S: 250
 *   C: RCPT TO:<you@example.com>
 *   S: 250
 *   C: DATA
 *   S: 354
 *   C: Subject: hello
 *   C:
 *   C: It works.
 *   C: .
 *   S: 250
 * `);
 * const message = await server.nextMessage();
 * console.assert(message.headers.get("Subject") === "hello");
 * ```
 *
 * {@linkcode startTestServer} takes all options of a server, handlers among them.
 * {@linkcode connectInMemory} does without the socket, for tests of handlers.
 * {@linkcode testDns} answers questions to the DNS, {@linkcode memoryPair} is a
 * connection in memory.
 *
 * @example A handler, without a socket
 * ```ts
 * import { connectInMemory } from "@smtp/server/testing";
 *
 * await using session = await connectInMemory({
 *   handlers: { onRcptTo: (_session, address) => address.localPart === "you" },
 * });
 * await session.client.expect(220);
 * await session.client.expect(250, "EHLO client.example");
 * await session.client.expect(250, "MAIL FROM:<>");
 * await session.client.expect(550, "RCPT TO:<nobody@example.com>");
 * ```
 *
 * @module
 */

import { memoryPair, type MemoryTransport } from "../net/memory_transport.ts";
import { KIND_RULE } from "../net/listen_options.ts";
import type { ListenerKind } from "../protocol/listener_kind.ts";
import type { SocketAddress, TlsInfo } from "../net/transport.ts";
import {
  checkOptions,
  number,
  object,
  required,
  type Rules,
  text,
  where,
  whole,
} from "../options.ts";
import { SmtpServer } from "../server/server.ts";
import type { SmtpServerOptions } from "../server/options.ts";
import { type CollectedMessage, MemoryStore } from "../store/memory_store.ts";
import type { MessageStore } from "../message/message.ts";
import {
  ScriptedClient,
  type ScriptedClientOptions,
} from "./scripted_client.ts";
import type { DnsClientOptions } from "../dns/client.ts";
import { type DnsResolver, withSeams } from "../dns/seams.ts";

export { ScriptedClient, type ScriptedClientOptions };
export { memoryPair, type MemoryTransport };
export type { DnsResolver } from "../dns/seams.ts";

const NEXT_RULES: Rules<{ timeoutMs: unknown }> = { timeoutMs: number() };

/**
 * The messages that a server under test has received.
 *
 * @example No message so far
 * ```ts
 * import { startTestServer } from "@smtp/server/testing";
 *
 * await using inbox = await startTestServer();
 * console.assert(inbox.messages.length === 0);
 * ```
 */
export class TestInbox {
  readonly #store: MemoryStore;

  /**
   * Made by {@linkcode startTestServer} and {@linkcode connectInMemory}.
   *
   * @param store Collects the messages
   */
  constructor(store: MemoryStore) {
    this.#store = store;
  }

  /** The collected messages, oldest first: a copy of the list. */
  get messages(): readonly CollectedMessage[] {
    return this.#store.messages;
  }

  /**
   * The next message that this method has not returned yet; waits for one if
   * necessary.
   *
   * @throws {Deno.errors.TimedOut} If the wait runs out
   *
   * @example Wait for a message
   * ```ts
   * import { startTestServer } from "@smtp/server/testing";
   *
   * await using server = await startTestServer();
   * try {
   *   await server.nextMessage({ timeoutMs: 1 });
   * } catch (error) {
   *   console.assert(error instanceof Deno.errors.TimedOut);
   * }
   * ```
   */
  async nextMessage(
    options: {
      /**
       * Longest wait, in ms.
       *
       * @default {5000}
       */
      timeoutMs?: number | undefined;
    } = {},
  ): Promise<CollectedMessage> {
    checkOptions("nextMessage", options, NEXT_RULES);
    const { timeoutMs = 5000 } = options;
    const controller = new AbortController();
    const timer = setTimeout(
      () =>
        controller.abort(
          new Deno.errors.TimedOut(
            `Cannot get a message: none arrived in ${timeoutMs} ms`,
          ),
        ),
      timeoutMs,
    );
    try {
      return await this.#store.next({ signal: controller.signal });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Drops all messages. */
  clear(): void {
    this.#store.clear();
  }
}

/**
 * A server for tests that listens on a free port. {@linkcode startTestServer}
 * makes it; disposing of it stops it.
 *
 * @example The URL for the program under test
 * ```ts
 * import { startTestServer, type TestServer } from "@smtp/server/testing";
 *
 * const url = ({ address, port }: TestServer) => `smtp://${address}:${port}`;
 * await using server = await startTestServer();
 * console.assert(url(server).startsWith("smtp://127.0.0.1:"));
 * ```
 */
export class TestServer extends TestInbox implements AsyncDisposable {
  /** The server under test. */
  readonly server: SmtpServer;
  /** IP address of the first listener. */
  readonly address: string;
  /** Port of the first listener. */
  readonly port: number;

  /**
   * Made by {@linkcode startTestServer}.
   *
   * @param server A server that has started
   * @param store Collects its messages
   */
  constructor(server: SmtpServer, store: MemoryStore) {
    super(store);
    this.server = server;
    const [first] = server.addresses;
    this.address = first?.address ?? "";
    this.port = first?.port ?? 0;
  }

  /**
   * Connects a client to the first listener.
   *
   * @throws {Deno.errors.TimedOut} If the wait runs out
   */
  connect(options: ScriptedClientOptions = {}): Promise<ScriptedClient> {
    return ScriptedClient.connect(this, options);
  }

  /** Stops the server at once, without waiting for its sessions. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
  }
}

/**
 * Starts a real server on a free port of 127.0.0.1, named `test.example`. It
 * collects every message it accepts. With the option `store` it keeps a message
 * there first. It does not collect a message for which a handler chooses another
 * store. Requires `allow-net`.
 *
 * @param options Options of {@linkcode SmtpServer}
 *
 * @example Test a handler over a socket
 * ```ts
 * import { startTestServer } from "@smtp/server/testing";
 *
 * await using server = await startTestServer({
 *   handlers: { onRcptTo: (_session, address) => address.localPart === "you" },
 * });
 * await using client = await server.connect();
 * await client.expect(220);
 * await client.expect(250, "HELO client.example");
 * await client.expect(250, "MAIL FROM:<>");
 * await client.expect(550, "RCPT TO:<nobody@example.com>");
 * ```
 */
export async function startTestServer(
  options: SmtpServerOptions = {},
): Promise<TestServer> {
  const store = new MemoryStore();
  const server = new SmtpServer({
    listen: "127.0.0.1:0",
    hostname: "test.example",
    ...options,
    store: keepingBoth(options.store, store),
  });
  await server.start();
  return new TestServer(server, store);
}

/**
 * Options of {@linkcode connectInMemory}: those of the server, and the facts of its client.
 *
 * @example A test that takes any inbox
 * ```ts
 * import {
 *   connectInMemory,
 *   type InMemoryOptions,
 *   type ScriptedClientOptions,
 *   startTestServer,
 *   type TestInbox,
 * } from "@smtp/server/testing";
 *
 * const isEmpty = (inbox: TestInbox) => inbox.messages.length === 0;
 * const options: InMemoryOptions = { kind: "lmtp", replyTimeoutMs: 1000 };
 * await using session = await connectInMemory(options);
 * console.assert(isEmpty(session));
 *
 * await using server = await startTestServer();
 * const patience: ScriptedClientOptions = { timeoutMs: 1000 };
 * await using client = await server.connect(patience);
 * await client.expect(220);
 * console.assert(isEmpty(server));
 * ```
 */
export interface InMemoryOptions extends Omit<SmtpServerOptions, "listen"> {
  /**
   * Kind of the listener that the client seems to connect to.
   *
   * @default {"smtp"}
   */
  kind?: ListenerKind | undefined;
  /**
   * Address that the client seems to have.
   *
   * @default {{ address: "192.0.2.1", port: 40000 }}
   */
  clientAddress?: SocketAddress | undefined;
  /** The encryption that the connection seems to have. Default: none. */
  tls?: TlsInfo | undefined;
  /**
   * Longest wait of the client for a reply, in ms.
   *
   * @default {5000}
   */
  replyTimeoutMs?: number | undefined;
}

const OWN_RULES: Rules<
  Omit<InMemoryOptions, keyof SmtpServerOptions>
> = {
  kind: KIND_RULE,
  clientAddress: object<SocketAddress>({
    address: required(text("an IP address")),
    port: required(whole(0, 65535)),
  }, '{ address: "192.0.2.1", port: 40000 }'),
  tls: where("an object", (value) => typeof value === "object"),
  replyTimeoutMs: number(),
};

/**
 * A session in memory, with both of its ends. {@linkcode connectInMemory} makes
 * it; disposing of it closes it.
 *
 * @example Wait for the end of the session
 * ```ts
 * import { connectInMemory, type InMemorySession } from "@smtp/server/testing";
 *
 * async function quit({ client, ended }: InMemorySession): Promise<void> {
 *   await client.expect(220);
 *   await client.expect(221, "QUIT");
 *   await ended;
 * }
 * await using session = await connectInMemory();
 * await quit(session);
 * ```
 */
export class InMemorySession extends TestInbox implements AsyncDisposable {
  /** The client's end. */
  readonly client: ScriptedClient;
  /** The server. It has no other connection. */
  readonly server: SmtpServer;
  /** Resolves when the server has ended the session, `onDisconnect` included. */
  readonly ended: Promise<void>;

  /**
   * Made by {@linkcode connectInMemory}.
   *
   * @param ends Both ends of the connection
   * @param store Collects the messages
   */
  constructor(
    ends: {
      readonly client: ScriptedClient;
      readonly server: SmtpServer;
      readonly ended: Promise<void>;
    },
    store: MemoryStore,
  ) {
    super(store);
    this.client = ends.client;
    this.server = ends.server;
    this.ended = ends.ended;
  }

  /** Closes the connection and waits until the server has ended the session. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    await this.server[Symbol.asyncDispose]();
  }
}

/**
 * Runs one session in memory: the whole server without a socket, a port or a
 * permission. It collects messages as {@linkcode startTestServer} does.
 *
 * @param options Options of {@linkcode SmtpServer}, and the facts of the client
 *
 * @example Test a handler in memory
 * ```ts
 * import { connectInMemory } from "@smtp/server/testing";
 *
 * await using session = await connectInMemory({
 *   clientAddress: { address: "203.0.113.9", port: 40000 },
 *   handlers: {
 *     onConnect: ({ remoteAddress }) => !remoteAddress.startsWith("203.0.113."),
 *   },
 * });
 * await session.client.expect(554);
 * await session.client.expectClosed();
 * ```
 */
export async function connectInMemory(
  options: InMemoryOptions = {},
): Promise<InMemorySession> {
  const { kind, clientAddress, tls, replyTimeoutMs, ...rest } = options;
  const own = { kind, clientAddress, tls, replyTimeoutMs };
  checkOptions("connectInMemory", own, OWN_RULES);
  const store = new MemoryStore();
  const server = new SmtpServer({
    hostname: "test.example",
    ...rest,
    listen: [],
    store: keepingBoth(options.store, store),
  });
  await server.start();
  const [inner, outer] = memoryPair({
    ...(clientAddress === undefined ? {} : { client: clientAddress }),
    ...(tls === undefined ? {} : { tls }),
  });
  const ended = server.serve(inner, { kind });
  const client = new ScriptedClient(outer, { timeoutMs: replyTimeoutMs });
  return new InMemorySession({ client, server, ended }, store);
}

/** A store that keeps a message in `first`, if given, then in `collected`. */
function keepingBoth(
  first: MessageStore | undefined,
  collected: MemoryStore,
): MessageStore {
  if (first === undefined) return collected;
  return {
    kind: first.kind,
    async save(message, options) {
      await first.save(message, options);
      await collected.save(message);
    },
    ...(first.hasRoom !== undefined && {
      hasRoom: (address, size) => first.hasRoom!(address, size),
    }),
    async close() {
      await first.close?.();
      await collected.close();
    },
  };
}

/**
 * Options of a `DnsClient`, or the option `dns` of a server, with a function
 * that answers every query.
 *
 * @param resolver Returns the records, as `Deno.resolveDns` does. The name has a
 * final dot; for a record that does not exist the function throws
 * `Deno.errors.NotFound`
 * @param options The other options, such as `timeoutMs`
 *
 * @example A domain without mail
 * ```ts
 * import { DnsClient } from "@smtp/server/dns";
 * import { testDns } from "@smtp/server/testing";
 *
 * const dns = new DnsClient(
 *   testDns(() => Promise.reject(new Deno.errors.NotFound("None"))),
 * );
 * console.assert((await dns.mx("example.com")).status === "none");
 * ```
 */
export function testDns(
  resolver: DnsResolver,
  options: DnsClientOptions = {},
): DnsClientOptions {
  return withSeams({ nameServers: ["127.0.0.1"], ...options }, { resolver });
}
