/**
 * One run of the receiving machine: carries out its effects, records what a peer
 * or a handler sees, and checks the state after every effect.
 */

import type { ServerAsk } from "../../lib/protocol/server/effects.ts";
import { ServerProtocol } from "../../lib/protocol/server/protocol.ts";
import { type ProfileInit, testProfile } from "../support/dialogue.ts";
import { decide } from "./server_dialogues.ts";
import { textOf } from "../support/bytes.ts";
import { seeded } from "../support/random.ts";

/** More effects than one read can have: the machine runs in a circle. */
const MOST_EFFECTS = 10_000;
/** Bytes of one write: 16 KiB of replies that gathered, and the reply that was one too many. */
const MOST_WRITTEN = 20_000;

/** One run. */
export class ServerRun {
  /** The machine. */
  readonly machine: ServerProtocol;
  /** All bytes written, one character a byte. */
  output = "";
  /** Questions and changes, in order, without the bodies. */
  readonly events: string[] = [];
  /** The bodies of the messages that were complete and not refused. */
  readonly bodies: string[] = [];
  /** How often TLS began. */
  handshakes = 0;
  /** Whether the machine has closed. */
  closed = false;
  readonly #random: (limit: number) => number;
  readonly #maxRecipients: number;
  #body = "";

  /** @param decisions Seeds the answers to the questions */
  constructor(init: ProfileInit, decisions: number) {
    this.machine = new ServerProtocol(testProfile(init));
    this.machine.transportChanged({ tls: false, mechanisms: ["PLAIN"] });
    this.machine.impersonationAllowed(init.xclient === true);
    this.#maxRecipients = init.maxRecipients ?? 5;
    this.#random = seeded(decisions);
    this.#run();
  }

  /** Hands over a copy of `bytes` and carries out the effects. */
  feed(bytes: Uint8Array): void {
    if (this.closed) return;
    this.machine.receive(bytes.slice());
    this.#run();
  }

  #run(): void {
    for (let left = MOST_EFFECTS; left > 0; left--) {
      const effect = this.machine.next();
      this.#checkState();
      switch (effect.effect) {
        case "read":
          return;
        case "write":
          if (effect.bytes.length > MOST_WRITTEN) {
            throw new Error(`Wrote ${effect.bytes.length} bytes at once`);
          }
          this.output += textOf(effect.bytes);
          break;
        case "body":
          this.#body += textOf(effect.bytes);
          break;
        case "ask":
          this.#ask(effect);
          break;
        case "startTls":
          this.handshakes++;
          this.events.push("startTls");
          this.machine.tlsStarted();
          break;
        case "xclient":
          this.events.push(JSON.stringify(effect));
          break;
        case "drop":
        case "reset":
          this.#body = "";
          this.events.push(effect.effect);
          break;
        case "close":
          this.events.push(`close ${effect.reason}`);
          this.#checkClosed();
          return;
      }
    }
    throw new Error("The machine runs in circles");
  }

  #ask(ask: ServerAsk): void {
    this.events.push(JSON.stringify(ask));
    if (ask.ask === "message") this.bodies.push(this.#body);
    if (ask.ask === "message" || ask.ask === "messageStart") this.#body = "";
    const number = this.#random(120);
    if (ask.ask === "connect") return this.machine.answer();
    if (
      (ask.ask === "auth" || ask.ask === "authLine") && number % 2 === 0
    ) return this.machine.challenge("AAAA");
    this.machine.answer(decide(number));
  }

  #checkClosed(): void {
    this.closed = true;
    const again = this.machine.next();
    if (again.effect !== "close" || this.machine.state.phase !== "closed") {
      throw new Error(`After its end the machine says "${again.effect}"`);
    }
  }

  /** Asserts that facts which the machine holds in several places agree. */
  #checkState(): void {
    const { phase, reading, envelope, helo } = this.machine.state;
    const count = envelope?.recipients.length ?? 0;
    const inTransaction = phase === "mail" || phase === "rcpt" ||
      phase === "bdat" || phase === "bdat-lost";
    const agrees = phase === "closed" ||
      (inTransaction === (envelope !== undefined) &&
        (phase !== "rcpt" || count > 0) &&
        (phase !== "mail" || count === 0) &&
        (reading !== "data" || count > 0) &&
        (phase !== "ready" || helo !== undefined) &&
        count <= this.#maxRecipients);
    if (agrees) return;
    throw new Error(
      `State makes no sense: ${phase}, ${reading}, ${count} recipients`,
    );
  }
}

/** Every reply is three digits, a separator and at most 512 bytes with its CRLF (RFC 5321 section 4.5.3.1.5). */
export function checkReplies(output: string): void {
  if (output === "") return;
  if (!output.endsWith("\r\n")) throw new Error("A reply has no end");
  let code = "";
  for (const line of output.slice(0, -2).split("\r\n")) {
    const isLine = /^[2-5][0-5]\d[ -][\x20-\x7e]*$/.test(line);
    if (!isLine || line.length > 510) {
      throw new Error(`Malformed reply line ${JSON.stringify(line)}`);
    }
    if (code !== "" && !line.startsWith(code)) {
      throw new Error(`A reply changes its code: ${JSON.stringify(line)}`);
    }
    code = line[3] === "-" ? line.slice(0, 3) : "";
  }
  if (code !== "") throw new Error("A reply of several lines has no last");
}
