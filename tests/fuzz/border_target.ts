/**
 * Fuzz of the border between clear text and TLS, on sockets: any bytes
 * where TLS must begin, in any pieces, on each way to TLS that a server has, and
 * from a server behind its 220. No exception escapes, no thread is lost, and an
 * honest session by the same way works afterwards.
 */

import { createServer } from "node:net";
import { SmtpClient } from "../../lib/client/client.ts";
import type { LogRecord } from "../../lib/log.ts";
import { DenoTransport } from "../../lib/net/deno_transport.ts";
import { memoryPair } from "../../lib/net/memory_transport.ts";
import { NodeTransport } from "../../lib/net/node_transport.ts";
import { upgradeClient, upgradeServer } from "../../lib/net/tls_upgrade.ts";
import { CertificateSet } from "../../lib/tls/set.ts";
import { openSession, startServer, TestClient } from "../support/server.ts";
import { certificate, secure } from "../support/tls.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";
import { bytesOf, concat } from "../support/bytes.ts";
import { within } from "../support/wait.ts";

/** The border, on both sides. */
export const borderTarget: FuzzTarget = {
  name: "border",
  cost: 40,
  async start() {
    world = await World.open();
    return () => world.close();
  },
  async check(random) {
    if (chance(random, 4)) await attackClient(random);
    else await attackServer(random);
    if (world.faults.length > 0) {
      throw new Error(world.faults.splice(0).join("\n"));
    }
  },
};

const PROXY = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";

/** One way to TLS. */
interface Way {
  readonly port: number;
  /** The first bytes of the connection. */
  readonly front: string;
  /** The client's lines before STARTTLS; none where TLS comes first. */
  readonly hello: "EHLO" | "LHLO" | undefined;
}

/** The servers of a run, and what has gone wrong with them. */
class World {
  readonly ways: Way[] = [];
  readonly faults: string[] = [];
  /** A whole ClientHello. */
  clientHello: Uint8Array = new Uint8Array(0);
  readonly hop: Deno.TcpListener = Deno.listen({
    hostname: "127.0.0.1",
    port: 0,
  });
  readonly #ends: (() => Promise<unknown> | void)[] = [];

  static async open(): Promise<World> {
    const world = new World();
    world.#watch();
    world.clientHello = await clientHello();
    const chosen = new CertificateSet([], {
      choose: async () => await Promise.resolve(certificate),
    });
    for (const threads of [0, 2]) {
      for (const front of ["", PROXY]) {
        await world.#serve(threads, front, certificate);
      }
    }
    await world.#serve(0, "", chosen);
    await world.#serve(0, PROXY, chosen);
    for (const hello of ["EHLO", undefined] as const) {
      await world.#serveByNode(hello, new CertificateSet([certificate]));
      await world.#serveByNode(hello, chosen);
    }
    return world;
  }

  /** Records the errors that would end the process. */
  #watch(): void {
    const note = (event: Event, error: unknown) => {
      event.preventDefault();
      this.faults.push(error instanceof Error ? error.stack! : String(error));
    };
    const onError = (event: ErrorEvent) => note(event, event.error);
    const onRejection = (event: PromiseRejectionEvent) =>
      note(event, event.reason);
    globalThis.addEventListener("error", onError);
    globalThis.addEventListener("unhandledrejection", onRejection);
    this.#ends.push(() => {
      globalThis.removeEventListener("error", onError);
      globalThis.removeEventListener("unhandledrejection", onRejection);
    });
  }

  readonly #log = ({ level, message, error }: LogRecord) => {
    if (level === "error") this.faults.push(`${message}: ${error}`);
  };

  async #serve(
    threads: number,
    front: string,
    certificate: NonNullable<Parameters<typeof startServer>[0]>["certificate"],
  ): Promise<void> {
    const server = await startServer({
      certificate,
      threads,
      listen: ["127.0.0.1:0", "127.0.0.1:0/lmtp", "127.0.0.1:0/smtps"],
      limits: { exempt: ["127.0.0.0/8", "192.0.2.0/24"] },
      ...front && { proxyProtocol: ["127.0.0.1"] },
      log: this.#log,
    });
    this.#ends.push(() => server.stop({ graceMs: 0 }));
    for (const [index, hello] of HELLOS.entries()) {
      this.ways.push({ port: server.addresses[index]!.port, front, hello });
    }
  }

  /** Serves connections of `node:net`, as a program may. */
  async #serveByNode(
    hello: Way["hello"],
    certificates: CertificateSet,
  ): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      openSession({
        transport: new NodeTransport(socket),
        profile: { startTls: hello === undefined ? "none" : "allowed" },
        implicitTls: hello === undefined,
        limits: { timeoutMs: 60_000 },
        secure: (transport) =>
          upgradeServer(transport, {
            certificates,
            handshakeTimeoutMs: 30_000,
          }),
        log: this.#log,
      });
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    server.listen(0, "127.0.0.1", resolve);
    await promise;
    this.#ends.push(() =>
      new Promise<void>((resolve) => server.close(() => resolve()))
    );
    const { port } = server.address() as { port: number };
    this.ways.push({ port, front: "", hello });
  }

  async close(): Promise<void> {
    this.hop.close();
    for (const end of this.#ends.reverse()) await end();
  }
}

const HELLOS = ["EHLO", "LHLO", undefined] as const;
let world: World;

/** The client's first lines under TLS. */
async function clientHello(): Promise<Uint8Array> {
  const [near, far] = memoryPair();
  const options = { serverName: "mx.test", handshakeTimeoutMs: 30_000 };
  const failed = upgradeClient(near, options).catch(() => {});
  const buffer = new Uint8Array(4096);
  const count = await far.read(buffer);
  far.close();
  await failed;
  return buffer.slice(0, count ?? 0);
}

// Bytes where TLS must begin.

/** Sizes at which some buffer is full, and any others up to 200 KB. */
function size(random: Random): number {
  const about = pick(random, [1, 10, 4086, 8182, 16_384, 65_536, 0]);
  return about === 0 ? random(200_000) : about + random(20);
}

function part(random: Random): Uint8Array {
  switch (random(6)) {
    case 0:
      return new Uint8Array(size(random)).fill(random(256));
    case 1:
      return bytesOf("NOOP\r\n".repeat(1 + size(random) / 6));
    case 2:
      return bytesOf("EHLO x\r\nMAIL FROM:<a@b.test>\r\n");
    case 3:
      return world.clientHello;
    case 4:
      return bytesOf(
        mutate(random, String.fromCharCode(...world.clientHello)),
      );
    default:
      // A record of some kind and length, true or not.
      return concat([
        Uint8Array.of(20 + random(5), 3, random(5), random(256), random(256)),
        new Uint8Array(random(2) * size(random)).fill(random(256)),
      ]);
  }
}

function parts(random: Random): Uint8Array {
  return concat(Array.from({ length: random(4) }, () => part(random)));
}

/** Writes in up to four pieces, at once or a turn of the event loop apart, until the other side closes. */
async function writePieces(
  conn: Deno.Conn,
  bytes: Uint8Array,
  random: Random,
): Promise<void> {
  const near = () => random(Math.min(bytes.length, 100) + 1);
  const cuts = Array.from(
    { length: random(4) },
    () => chance(random, 2) ? near() : random(bytes.length + 1),
  ).sort((a, b) => a - b);
  const isSlow = chance(random, 2);
  let at = 0;
  try {
    for (const end of [...cuts, bytes.length]) {
      while (at < end) at += await conn.write(bytes.subarray(at, end));
      if (isSlow) await new Promise((resolve) => setTimeout(resolve, 0));
    }
  } catch {
    // The other side has closed.
  }
}

/** Reads all there is until the other side closes. */
async function drain(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(65_536);
  try {
    while (await conn.read(buffer) !== null);
  } catch {
    // A reset ends it, too, and so does this side.
  }
}

// The receiving side.

async function attackServer(random: Random): Promise<void> {
  const way = pick(random, world.ways);
  const { port, front, hello } = way;
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  let start = front;
  if (hello !== undefined) {
    // A client that speaks before the greeting is refused.
    await conn.write(bytesOf(front));
    await within(conn.read(new Uint8Array(1024)), "the greeting");
    start = `${hello} x\r\nSTARTTLS\r\n`;
  }
  const reading = drain(conn);
  const bytes = concat([bytesOf(start), parts(random)]);
  await within(writePieces(conn, bytes, random), "what is written");
  if (chance(random, 2)) await conn.closeWrite().catch(() => {});
  if (chance(random, 2)) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  conn.close();
  await reading;
  await honest(way);
}

/** An honest session. */
async function honest({ port, front, hello }: Way): Promise<void> {
  const transport = new DenoTransport(
    await Deno.connect({ hostname: "127.0.0.1", port }),
  );
  if (front !== "") await transport.write(bytesOf(front));
  if (hello !== undefined) {
    const plain = new TestClient(transport);
    await plain.reply();
    await plain.expect([`${hello} x`, "250"], ["STARTTLS", "220"]);
  }
  using secured = await secure(transport);
  if (hello === undefined) await secured.client.reply();
  await secured.client.expect([`${hello ?? "EHLO"} x`, "250"], ["QUIT", "221"]);
}

// The sending side.

async function attackClient(random: Random): Promise<void> {
  const { port } = world.hop.addr as Deno.NetAddr;
  const serving = hop(random);
  const client = SmtpClient.connect({
    host: "127.0.0.1",
    port,
    hostname: "me.test",
    security: "required",
    timeouts: { tls: 2000 },
  });
  const [result] = await Promise.allSettled([client, within(serving, "hop")]);
  if (result.status === "fulfilled") {
    result.value.close();
    throw new Error("Took what is no TLS for TLS");
  }
}

/** A server that goes on in the clear behind its 220. */
async function hop(random: Random): Promise<void> {
  const conn = await world.hop.accept();
  const buffer = new Uint8Array(4096);
  try {
    await conn.write(bytesOf("220 hop.test\r\n"));
    await conn.read(buffer);
    await conn.write(bytesOf("250-hop.test\r\n250 STARTTLS\r\n"));
    await conn.read(buffer);
    const bytes = concat([bytesOf("220 Go\r\n"), parts(random)]);
    const reading = drain(conn);
    await writePieces(conn, bytes, random);
    await conn.closeWrite().catch(() => {});
    await reading;
  } catch {
    // The client has closed.
  }
  conn.close();
}
