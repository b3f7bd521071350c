/**
 * Fuzz of the sending machine against servers that answer by the rules, nearly
 * so, or at random. Whatever they answer, the machine sends only the commands
 * that were ordered and the content that was given, framed so that no part of
 * the content can be taken for a command.
 */

import type { ClientEffect } from "../../lib/protocol/client/state.ts";
import { ClientProtocol } from "../../lib/protocol/client/protocol.ts";
import { ClientOracle } from "./client_oracle.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";
import { bytesOf, textOf } from "../support/bytes.ts";

/** More effects than one session can have: the machine runs in a circle. */
const MOST_EFFECTS = 20_000;

/** Sessions with hostile servers. */
export const clientTarget: FuzzTarget = {
  name: "client",
  check: (random) => new Session(random).run(),
};

/** Replies by what they answer; a server's next one is mostly of the right kind. */
const REPLIES = {
  greeting: ["220 x ESMTP\r\n", "220-x\r\n220 y\r\n", "554 No\r\n"],
  hello: [
    "250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE 1000\r\n250 STARTTLS\r\n",
    "250-x\r\n250-__proto__ 1\r\n250-constructor\r\n250 AUTH=PLAIN LOGIN\r\n",
    "250-x\r\n250 PIPELINING\r\n",
    "250 x\r\n",
    "502 What\r\n",
  ],
  ok: ["250 2.0.0 Ok\r\n", "250-2.1.0 a\r\n250 2.1.0 b\r\n", "250\r\n"],
  no: ["550 5.1.1 No\r\n", "451 4.3.0 Later\r\n", "421 4.3.2 Gone\r\n"],
  data: ["354 Go\r\n", "354-a\r\n354 b\r\n"],
  auth: ["334 \r\n", "334 AAAA\r\n", "334 !\r\n", "235 2.7.0 In\r\n"],
  odd: [
    ...["250-a\r\n550 b\r\n", "999 x\r\n", "\r\n", "250 x\n250 y\r\n", "25"],
    ...["354 Go\r\n250 Ok\r\n", `250 ${"x".repeat(3000)}\r\n`, "250-x\r\n"],
    ...["220 Go\r\n250 injected\r\n", "250 \0\x1b[2J\r\n", "\x16\x03\x01"],
  ],
} as const;
const KINDS = Object.keys(REPLIES) as (keyof typeof REPLIES)[];

const LINES = ["", ".", "..", ".x", "text", "QUIT", "MAIL FROM:<evil@x>"];
const ENDS = ["\r\n", "\r\n", "\n", "\r", "\r\r\n", "\n\r", "\0\r\n", "\r\n\r"];

/** A reply with no bytes behind it: they would count as sent under TLS. */
const ONE_REPLY = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\r?\n$/;

class Session {
  readonly #random: Random;
  readonly #lmtp: boolean;
  readonly #client: ClientProtocol;
  readonly #oracle = new ClientOracle();
  #waiting: Uint8Array = new Uint8Array(0);
  /** Replies of the server since the last order. */
  #heard = "";
  #content: Uint8Array[] = [];
  #orders = 6;

  constructor(random: Random) {
    this.#random = random;
    this.#lmtp = chance(random, 4);
    this.#client = new ClientProtocol({
      hostname: "me.test",
      lmtp: this.#lmtp,
    });
  }

  /** Runs the session to its end, or until the machine has had its orders. */
  run(): void {
    this.#client.open();
    for (let left = MOST_EFFECTS; left > 0; left--) {
      const effect = this.#client.next();
      if (!this.#carryOut(effect)) return;
    }
    throw new Error("The machine runs in circles");
  }

  #carryOut(effect: ClientEffect): boolean {
    switch (effect.kind) {
      case "write":
        this.#oracle.written(textOf(effect.bytes));
        return true;
      case "read":
        this.#read(effect.phase);
        return true;
      case "content":
        this.#give();
        return true;
      case "challenge":
        this.#client.respond(
          chance(this.#random, 4) ? undefined : bytesOf("secret"),
        );
        return true;
      case "startTls":
        if (!ONE_REPLY.test(this.#heard)) {
          throw new Error(`Begins TLS after ${JSON.stringify(this.#heard)}`);
        }
        this.#oracle.checkOver();
        // Under TLS it would be no part of the handshake.
        this.#waiting = new Uint8Array(0);
        this.#client.secured();
        return true;
      case "done":
        this.#oracle.checkDone(this.#client.outcomes);
        return this.#order();
      case "failed":
        this.#oracle.checkFailed();
        return false;
    }
  }

  #read(phase: string): void {
    const random = this.#random;
    if (this.#waiting.length === 0) {
      if (chance(random, 60)) return this.#client.end();
      if (chance(random, 100)) {
        return this.#client.fail("timeout", "Waited too long");
      }
      this.#waiting = bytesOf(this.#replies(phase));
    }
    const length = chance(random, 2)
      ? this.#waiting.length
      : 1 + random(this.#waiting.length);
    const part = this.#waiting.slice(0, length);
    this.#heard += textOf(part);
    this.#waiting = this.#waiting.slice(length);
    this.#client.receive(part);
    // The caller may reuse the bytes at once.
    part.fill(0x58);
  }

  #replies(phase: string): string {
    const random = this.#random;
    const text = pick(random, REPLIES[this.#kind(phase)]);
    if (!chance(random, 12)) return text;
    return mutate(random, text) || "\r\n";
  }

  #kind(phase: string): keyof typeof REPLIES {
    const random = this.#random;
    if (chance(random, 15)) return "no";
    if (chance(random, 40)) return pick(random, KINDS);
    if (phase === "greeting" || phase === "hello" || phase === "data") {
      return phase;
    }
    return phase === "authenticate" ? "auth" : "ok";
  }

  /** Gives the machine a possible next order; `false` when there is nothing left. */
  #order(): boolean {
    const random = this.#random;
    const { state } = this.#client;
    if (state === "closed" || this.#orders-- === 0) return false;
    this.#heard = "";
    const choice = state === "refused" ? 0 : random(20);
    if (choice < 2) this.#client.quit();
    else if (choice < 4) this.#client.startTls();
    else if (choice < 6) {
      const initial = bytesOf("i".repeat(random(600)));
      this.#client.authenticate(
        "PLAIN",
        chance(random, 2) ? initial : undefined,
      );
    } else this.#transaction();
    return true;
  }

  #transaction(): void {
    const random = this.#random;
    const framing = this.#lmtp
      ? "data"
      : pick(random, ["data", "bdat", "binary"] as const);
    const recipients = [];
    for (let left = random(4); left >= 0; left--) {
      recipients.push({ path: `<r${left}@b.test>` });
    }
    const from = pick(random, ["<>", "<a@b.test>", '<"a b"@b.test>']);
    this.#content = [];
    for (let left = random(6); left > 0; left--) {
      this.#content.push(bytesOf(content(random)));
    }
    this.#oracle.begin({
      framing,
      commands: [
        `MAIL FROM:${from}`,
        ...recipients.map(({ path }) => `RCPT TO:${path}`),
      ],
      content: this.#content.map(textOf).join(""),
    });
    this.#client.transaction({
      from,
      recipients,
      framing,
      eager: chance(random, 3),
    });
  }

  #give(): void {
    this.#oracle.contentWanted(this.#heard);
    const piece = this.#content.shift();
    if (piece !== undefined) return this.#client.content(piece);
    this.#oracle.contentEnded();
    this.#client.endContent();
  }
}

function content(random: Random): string {
  if (chance(random, 30)) return "x".repeat(40_000);
  let text = "";
  for (let left = random(6); left > 0; left--) {
    text += pick(random, LINES) + pick(random, ENDS);
  }
  return chance(random, 3) ? mutate(random, text) : text;
}
