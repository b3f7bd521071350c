/**
 * Attacks that run beside honest mail, one after the other with a rest between
 * them. No other client may notice them. An attack that the server does not bound
 * is a failure of the run.
 */

import { connect, type Socket } from "node:net";
import { SmtpClient } from "../../lib/client/mod.ts";
import { type HostileHops, SILENT } from "./hops.ts";
import type { ServerProcess } from "./server_process.ts";
import { within } from "../support/wait.ts";
import { bytesOf } from "../support/bytes.ts";

/** An address whose connections begin with a PROXY header. */
export const PROXY_ADDRESS = "127.0.0.2";
const PROXY = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
/** Milliseconds between two attacks. */
const REST_MS = 350;
/** Bytes of content after which a server that has refused it must have hung up. */
const ENOUGH = 64 * 1024 * 1024;
/** How long a connection that says nothing is kept, in ms. */
const SILENCE_MS = 12_000;
/** Lengths of what follows STARTTLS, around the buffers of the session. */
const JUNK = [1, 7, 100, 4085, 4086, 4087, 4088, 16_384, 65_536, 200_000];
/** The beginnings of junk. */
const STARTS = [
  "x",
  "EHLO x\r\n",
  "\x16\x03\x01\x40\x00\x01\x00",
  "\0",
  "\x80",
];

const NESTED = Array.from(
  { length: 30 },
  (_, depth) =>
    `Content-Type: multipart/mixed; boundary=b${depth}\r\n\r\n--b${depth}\r\n`,
).join("");
const LARGE = 3_000_000;

/** Mail that is expensive to convert or to parse, by name. */
const BOMBS: readonly (readonly [to: string, content: () => string])[] = [
  [
    "you@old.test",
    () => `Subject: x\r\n${"a:\r\n".repeat(60_000)}\r\n\xe9\r\n`,
  ],
  ["you@old.test", () => `\r\n${"a:\r\n".repeat(LARGE / 4)}\r\n\xe9\r\n`],
  [
    "you@old.test",
    () => `${NESTED}\r\n${"x\xc3\xa9\r\n".repeat(LARGE / 5)}`,
  ],
  [
    "you@old.test",
    () =>
      `Content-Type: multipart/mixed; boundary=b\r\n\r\n${
        "--b\r\n\r\n\xe9\r\n".repeat(LARGE / 10)
      }`,
  ],
  ["you@near.test", () => `${"a:\r\n".repeat(65_000)}\r\nx\r\n`],
  ["you@far.test", () => `${"a: b\r\n".repeat(43_000)}\r\nx\r\n`],
];

/** What attacks are made with. */
export interface AttacksInit {
  readonly server: ServerProcess;
  readonly hops: HostileHops;
  readonly random: () => number;
}

/** Attacks, in turns. */
export class Attacks {
  readonly #init: AttacksInit;
  readonly #kinds: readonly (readonly [name: string, () => Promise<void>])[];
  readonly #silent = new Set<Socket>();
  /** How often each was made. */
  readonly made: Map<string, number> = new Map();
  /** Attacks that the server did not bound, by name, and how often. */
  readonly unbounded: Map<string, number> = new Map();
  #isOn = false;
  #running: Promise<void> = Promise.resolve();
  #last = 0;

  /** @param init The server that they hit, and the source of chance */
  constructor(init: AttacksInit) {
    this.#init = init;
    this.#kinds = [
      ["clear text behind STARTTLS", () => this.#junkBehindStartTls()],
      ["clear text behind PROXY on smtps", () => this.#junkBehindProxy()],
      ["BDAT without an end", () => this.#endless("BDAT 999999999999999")],
      ["DATA without an end", () => this.#endless("DATA")],
      ["silent handshakes", () => this.#silentHandshakes()],
      ["mail that costs", () => this.#bomb()],
      ["endless challenges", () => this.#challenges()],
      ["silent next hops", () => this.#silentHops()],
      ["a log that nothing reads", () => this.#deafLog()],
    ];
  }

  /** Goes on until `end()`. */
  begin(): void {
    this.#isOn = true;
    this.#running = this.#run();
  }

  /** Ends, with all connections. */
  async end(): Promise<void> {
    this.#isOn = false;
    await this.#running;
    for (const socket of this.#silent) socket.destroy();
    this.#silent.clear();
    this.#init.server.readsLog = true;
  }

  async #run(): Promise<void> {
    while (this.#isOn) {
      const [name, attack] = this.#kinds[this.#last++ % this.#kinds.length]!;
      count(this.made, name);
      try {
        await attack();
      } catch (error) {
        // A server that was killed refuses connections, and a refusal is right.
        const text = `${name}: ${
          error instanceof Error ? error.message : error
        }`;
        if (error instanceof Unbounded) count(this.unbounded, text);
      }
      await new Promise((resolve) => setTimeout(resolve, REST_MS));
    }
  }

  #open(where: { isProxied?: boolean; isTls?: boolean } = {}): Socket {
    const { server } = this.#init;
    const socket = connect({
      host: "127.0.0.1",
      port: where.isTls ? server.tlsPort : server.port,
      ...where.isProxied && { localAddress: PROXY_ADDRESS },
    });
    socket.on("error", () => {});
    return socket;
  }

  #junk(): Uint8Array {
    const { random } = this.#init;
    const pick = <T>(from: readonly T[]) =>
      from[Math.floor(random() * from.length)]!;
    const [start, length] = [pick(STARTS), pick(JUNK)];
    return bytesOf(start.repeat(Math.ceil(length / start.length)))
      .subarray(0, length);
  }

  async #junkBehindStartTls(): Promise<void> {
    const socket = this.#open();
    try {
      await once(socket, "data");
      socket.write("EHLO x\r\n");
      await once(socket, "data");
      socket.write(
        new Uint8Array([...bytesOf("STARTTLS\r\n"), ...this.#junk()]),
      );
      await once(socket, "data");
    } finally {
      this.#keepSilent(socket);
    }
  }

  async #junkBehindProxy(): Promise<void> {
    const socket = this.#open({ isProxied: true, isTls: true });
    await once(socket, "connect");
    socket.write(new Uint8Array([...bytesOf(PROXY), ...this.#junk()]));
    this.#keepSilent(socket);
  }

  /** Endless content after a refusal. */
  async #endless(command: string): Promise<void> {
    const socket = this.#open();
    try {
      await once(socket, "data");
      socket.on("data", () => {});
      socket.write("EHLO x\r\n");
      if (command === "DATA") {
        socket.write("MAIL FROM:<>\r\nRCPT TO:<you@near.test>\r\n");
      }
      socket.write(`${command}\r\n`);
      const piece = bytesOf(`${"x".repeat(998)}\r\n`.repeat(64));
      for (let sent = 0; sent < ENOUGH; sent += piece.length) {
        if (socket.destroyed || !this.#isOn) return;
        if (!socket.write(piece)) {
          await Promise.race([once(socket, "drain"), once(socket, "close")]);
        }
      }
      throw new Unbounded(`${ENOUGH} bytes were taken`);
    } finally {
      socket.destroy();
    }
  }

  async #silentHandshakes(): Promise<void> {
    for (let number = 0; number < 10; number++) {
      const isTls = number % 2 === 0;
      const socket = this.#open({ isTls });
      await once(socket, "connect");
      if (!isTls) socket.write("EHLO x\r\nSTARTTLS\r\n");
      this.#keepSilent(socket);
    }
  }

  /** Sends nothing more, for a while. */
  #keepSilent(socket: Socket): void {
    this.#silent.add(socket);
    const timer = setTimeout(() => socket.destroy(), SILENCE_MS);
    socket.on("data", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      this.#silent.delete(socket);
    });
  }

  async #bomb(): Promise<void> {
    const number = Math.floor(this.#init.random() * BOMBS.length);
    const [to, content] = BOMBS[number]!;
    await this.#mail(to, content());
  }

  async #silentHops(): Promise<void> {
    for (let number = 0; number < 8; number++) {
      const host = 1 + Math.floor(this.#init.random() * SILENT);
      await this.#mail(`you@s${host}.silent.test`, "Subject: x\r\n\r\nx\r\n");
    }
    await this.#mail("you@challenge.test", "Subject: x\r\n\r\nx\r\n");
  }

  /** Mail with the null reverse-path: it causes no DSN. */
  async #mail(to: string, content: string): Promise<void> {
    using client = await this.#init.server.connect();
    await client.reply();
    await client.say("EHLO attack.test");
    await client.say("MAIL FROM:<>");
    await client.say(`RCPT TO:<${to}>`);
    const reply = await client.say("DATA");
    if (!reply.startsWith("354")) return;
    await client.send(`${content}.\r\n`);
    await client.reply();
  }

  /** Our client at a server that answers 334 for ever. */
  async #challenges(): Promise<void> {
    const connecting = SmtpClient.connect({
      ...this.#init.hops.challenging,
      hostname: "soak.test",
      security: "none",
      allowInsecureAuth: true,
      login: { username: "ann", password: "secret" },
    }).then((client) => client.close(), () => {});
    try {
      await within(connecting, "the end of the log-in");
    } catch {
      throw new Unbounded("the log-in does not end");
    }
  }

  async #deafLog(): Promise<void> {
    const { server } = this.#init;
    server.readsLog = false;
    await new Promise((resolve) => setTimeout(resolve, 2000));
    server.readsLog = true;
  }
}

/** The server answers for ever. */
class Unbounded extends Error {}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

/** Waits for an event; rejects when the socket is closed before. */
function once(socket: Socket, name: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  if (socket.destroyed) reject(new Error("Closed"));
  const isHere = () => {
    socket.off("close", isClosed);
    resolve();
  };
  const isClosed = () => {
    socket.off(name, isHere);
    reject(new Error("Closed"));
  };
  socket.once(name, isHere);
  if (name !== "close") socket.once("close", isClosed);
  return within(promise, name);
}
