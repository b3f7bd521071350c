/**
 * Connections that end badly: reset in every state, dropped by the thousand,
 * half-closed. They leave nothing behind and disturb no other session, and
 * acknowledged messages are kept.
 *
 * The promise of SECURITY.md: "250 means kept".
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2.5 | RFC 5321 section 4.2.5}
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { once } from "node:events";
import net from "node:net";
import tls from "node:tls";
import type { LogRecord } from "../../lib/log.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { heapInUse, openFiles } from "../support/memory.ts";
import { givenHandlers } from "../../lib/server/options.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until, within } from "../support/wait.ts";

const CERTIFICATE = await Certificate.selfSigned({ names: ["mx.test"] });
const ENVELOPE = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";
const LARGE = `${"x".repeat(998)}\r\n`.repeat(400);

/** A raw connection: counts the bytes that it has received. */
class Peer {
  readonly #socket: net.Socket;
  #received = "";

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("error", () => {});
    socket.on("data", (bytes: Uint8Array) => {
      this.#received += new TextDecoder().decode(bytes);
    });
  }

  static async connect(server: SmtpServer): Promise<Peer> {
    const { address, port } = server.addresses[0]!;
    const socket = net.connect({
      host: address,
      port,
      allowHalfOpen: true,
    });
    await within(once(socket, "connect"), "a connection");
    return new Peer(socket);
  }

  /** The encrypted connection over this one. */
  async encrypt(): Promise<Peer> {
    const socket = tls.connect({
      socket: this.#socket,
      rejectUnauthorized: false,
    });
    await within(once(socket, "secureConnect"), "TLS");
    return new Peer(socket);
  }

  get received(): string {
    return this.#received;
  }

  async send(text: string): Promise<void> {
    await within(
      new Promise<void>((resolve) => {
        this.#socket.write(text, "latin1", () => resolve());
      }),
      "a write",
    );
  }

  /** Waits for so many replies: lines that are the last of theirs. */
  async replies(count: number): Promise<void> {
    const seen = () => this.#received.match(/^\d{3} /gm)?.length ?? 0;
    await until(() => seen() >= count || this.#socket.destroyed);
  }

  /** Stops reading. */
  deafen(): void {
    this.#socket.pause();
  }

  /** Ends this direction only. */
  finish(): void {
    this.#socket.end();
  }

  /** Waits until the other direction has ended. */
  async ended(): Promise<string> {
    if (!this.#socket.readableEnded && !this.#socket.destroyed) {
      await within(
        Promise.race([once(this.#socket, "end"), once(this.#socket, "close")]),
        "the end",
      );
    }
    return this.#received;
  }

  /** Sends a reset. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** A server, its log records, and the files that sessions leave behind. */
async function watched(
  options: Parameters<typeof startServer>[0] = {},
): Promise<{
  readonly server: SmtpServer;
  readonly records: LogRecord[];
  readonly store: MemoryStore;
  readonly ends: string[];
  readonly leftovers: () => string[];
  [Symbol.asyncDispose](): Promise<void>;
}> {
  const records: LogRecord[] = [];
  const ends: string[] = [];
  const store = new MemoryStore();
  const temporaryFolder = await Deno.makeTempDir({ prefix: "smtp-faults-" });
  const { handlers: _, ...rest } = options;
  const server = await startServer({
    store,
    temporaryFolder,
    memoryLimit: 1000,
    certificate: CERTIFICATE,
    allowInsecureAuth: true,
    accounts: { find: () => undefined },
    handlers: {
      ...givenHandlers(options),
      onDisconnect: (_session, reason) => void ends.push(reason),
    },
    log: (record) => records.push(record),
    ...rest,
  });
  return {
    server,
    records,
    store,
    ends,
    leftovers: () =>
      [...Deno.readDirSync(temporaryFolder)].map((entry) => entry.name),
    async [Symbol.asyncDispose]() {
      await server.stop({ graceMs: 0 });
      await Deno.remove(temporaryFolder, { recursive: true });
    },
  };
}

/** The lines before the reset, and the number of replies to wait for. */
const STATES: readonly (readonly [
  name: string,
  text: string,
  replies: number,
  then?: string,
])[] = [
  ["at once", "", 0],
  ["after the greeting", "", 1],
  ["in a command", "EHL", 1],
  ["after EHLO", "EHLO x\r\n", 2],
  ["in AUTH", "EHLO x\r\nAUTH PLAIN\r\n", 3],
  ["after STARTTLS", "EHLO x\r\nSTARTTLS\r\n", 3],
  ["in the handshake", "EHLO x\r\nSTARTTLS\r\n", 3, "\x16\x03\x01\x02"],
  ["after MAIL", "EHLO x\r\nMAIL FROM:<a@b>\r\n", 3],
  ["after RCPT", ENVELOPE, 4],
  ["after DATA", `${ENVELOPE}DATA\r\n`, 5],
  ["in a header", `${ENVELOPE}DATA\r\nSubj`, 4],
  ["in a body", `${ENVELOPE}DATA\r\nSubject: a\r\n\r\nb\r\n`, 5],
  ["in a large body", `${ENVELOPE}DATA\r\n${LARGE}`, 5],
  ["before the last dot", `${ENVELOPE}DATA\r\nSubject: a\r\n\r\nb\r\n.\r`, 5],
  ["in a chunk", `${ENVELOPE}BDAT 500000\r\n${LARGE}`, 4],
  ["between chunks", `${ENVELOPE}BDAT 5\r\nhello`, 5],
  ["in replies nobody reads", `EHLO x\r\n${"HELP\r\n".repeat(20_000)}`, 0],
];

for (const [name, text, replies, then] of STATES) {
  Deno.test(`a reset ${name} leaves nothing behind`, async () => {
    await using watch = await watched();
    const { server, records, store, ends, leftovers } = watch;
    const peer = await Peer.connect(server);
    if (replies > 0 || text !== "") await peer.replies(1);
    if (replies === 0) peer.deafen();
    const sent = peer.send(text).catch(() => {});
    if (replies > 0) await peer.replies(replies);
    if (replies > 0) await sent;
    if (then !== undefined) await peer.send(then);
    peer.reset();
    await until(() => ends.length === 1 && server.sessions.length === 0);
    assertEquals(records.filter(({ level }) => level === "error"), []);
    assertEquals(store.messages.length, 0);
    assertEquals(leftovers(), []);
    using client = await TestClient.connect(server);
    await client.envelope();
    assertStringIncludes(await client.data("Subject: a\r\n\r\nb"), "250");
  });
}

for (
  const [name, text] of [
    ["idle", "EHLO x\r\n"],
    ["in a body", `${ENVELOPE}DATA\r\n${LARGE}`],
  ] as const
) {
  Deno.test(`a reset under TLS, ${name}, leaves nothing behind`, async () => {
    await using watch = await watched();
    const { server, records, ends, leftovers } = watch;
    const plain = await Peer.connect(server);
    await plain.replies(1);
    await plain.send("EHLO x\r\n");
    await plain.replies(2);
    await plain.send("STARTTLS\r\n");
    await plain.replies(3);
    const peer = await plain.encrypt();
    await peer.send(text);
    await peer.replies(1);
    plain.reset();
    peer.close();
    await until(() => ends.length === 1 && server.sessions.length === 0);
    assertEquals(records.filter(({ level }) => level === "error"), []);
    assertEquals(leftovers(), []);
  });
}

Deno.test("a reset while a message is being kept loses nothing that is kept", async () => {
  const entered = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  await using watch = await watched({
    handlers: {
      async onMessage() {
        entered.resolve();
        await gate.promise;
      },
    },
  });
  const peer = await Peer.connect(watch.server);
  await peer.replies(1);
  await peer.send(`${ENVELOPE}DATA\r\nSubject: a\r\n\r\nb\r\n.\r\n`);
  await within(entered.promise, "the handler");
  peer.reset();
  gate.resolve();
  await until(() => watch.server.sessions.length === 0);
  assertEquals(watch.store.messages.length, 1);
  assertEquals(watch.records.filter(({ level }) => level === "error"), []);
});

Deno.test("a client that sends all and half-closes gets every reply", async () => {
  await using watch = await watched();
  const peer = await Peer.connect(watch.server);
  await peer.replies(1);
  await peer.send(`${ENVELOPE}DATA\r\nSubject: a\r\n\r\nb\r\n.\r\nQUIT\r\n`);
  peer.finish();
  const text = await peer.ended();
  assertEquals(
    text.match(/^\d{3}(?= )/gm)?.join(" "),
    "220 250 250 250 354 250 221",
  );
  peer.close();
  assertEquals(watch.store.messages.length, 1);
  await until(() => watch.ends.length === 1);
});

Deno.test("a client that half-closes without QUIT keeps what was acknowledged", async () => {
  await using watch = await watched();
  const peer = await Peer.connect(watch.server);
  await peer.replies(1);
  await peer.send(
    `${ENVELOPE}DATA\r\nSubject: a\r\n\r\nb\r\n.\r\n${ENVELOPE}DATA\r\nSubj`,
  );
  peer.finish();
  const text = await peer.ended();
  assertEquals(text.match(/^250 2\.0\.0/gm)?.length, 1);
  peer.close();
  assertEquals(watch.store.messages.length, 1);
  await until(() => watch.ends.length === 1);
  assertEquals(watch.ends, ["disconnected"]);
  assertEquals(watch.leftovers(), []);
});

Deno.test("a client that half-closes and stays holds no session", async () => {
  await using watch = await watched();
  const peers: Peer[] = [];
  for (let number = 0; number < 50; number++) {
    const peer = await Peer.connect(watch.server);
    peers.push(peer);
    peer.finish();
  }
  await until(() =>
    watch.ends.length === 50 && watch.server.sessions.length === 0
  );
  for (const peer of peers) peer.close();
});

/** Connects and drops so often, some at a time, each after a different while. */
async function connectAndDrop(
  server: SmtpServer,
  times: number,
): Promise<void> {
  const { address, port } = server.addresses[0]!;
  const says = [
    "",
    "EHLO x\r\n",
    ENVELOPE,
    `${ENVELOPE}DATA\r\nSubject: a\r\n`,
  ];
  let left = times;
  const worker = async () => {
    while (left-- > 0) {
      using conn = await Deno.connect({ hostname: address, port });
      await conn.write(new TextEncoder().encode(says[left % says.length]!));
    }
  };
  await Promise.all(Array.from({ length: 20 }, worker));
  await until(() => server.sessions.length === 0);
}

Deno.test("10,000 connects and drops cost no memory and no descriptor", async () => {
  await using server = await startServer({ store: new MemoryStore() });
  using witness = await TestClient.connect(server);
  await witness.envelope();
  await witness.data("Subject: before\r\n\r\nText");
  await witness.say("QUIT");
  await connectAndDrop(server, 1000);
  const before = { heap: await heapInUse(), files: openFiles() };
  await connectAndDrop(server, 10_000);
  const { files } = before;
  // A socket is closed a moment after its session has ended.
  if (files !== undefined) await until(() => openFiles()! <= files + 2);
  const grown = await heapInUse() - before.heap;
  // Less than a byte of each hundred that a session holds.
  assert(grown < 2_000_000, `${grown} bytes more`);
  using client = await TestClient.connect(server);
  await client.envelope();
  assertStringIncludes(await client.data("Subject: after\r\n\r\nText"), "250");
});

Deno.test("resets right behind STARTTLS cost no memory", async () => {
  let ended = 0;
  await using server = await startServer({
    certificate: CERTIFICATE,
    handlers: { onDisconnect: () => void ended++ },
  });
  const drop = async (times: number) => {
    const all = ended + times;
    for (let number = 0; number < times; number++) {
      using client = await TestClient.connect(server);
      await client.reply();
      // With the replies unread, closing is a reset.
      await client.send("EHLO x\r\nSTARTTLS\r\n");
    }
    await until(() => ended === all);
  };
  await drop(50);
  const before = await heapInUse();
  await drop(300);
  const grown = await heapInUse() - before;
  assert(grown < 1_500_000, `${grown} bytes more`);
});
