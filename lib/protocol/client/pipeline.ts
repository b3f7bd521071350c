/**
 * The list of commands with its two cursors, sent and answered, and the bytes
 * that wait to be written. Owns which command a reply belongs to and in which
 * order bytes leave; decides nothing.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2920#section-3.1 | RFC 2920 section 3.1}
 */

import { concat } from "../bytes.ts";
import type { ClientCommand } from "./transaction.ts";
import type { ClientVerb } from "./state.ts";

/** Writes up to this size are merged, in bytes. */
const MAX_MERGED = 65536;
const encoder = new TextEncoder();

/** Commands on their way. */
export class CommandPipeline {
  #commands: ClientCommand[] = [];
  #sent = 0;
  #answered = 0;
  #lines = "";
  #out: Uint8Array[] = [];

  /** Commands sent and not answered. */
  get inFlight(): number {
    return this.#sent - this.#answered;
  }

  /** Commands answered so far. */
  get answered(): number {
    return this.#answered;
  }

  /** Commands sent so far. */
  get sent(): number {
    return this.#sent;
  }

  /** The oldest command without an answer, sent or not. */
  get oldest(): ClientCommand | undefined {
    return this.#commands[this.#answered];
  }

  /** The next command to send. */
  get unsent(): ClientCommand | undefined {
    return this.#commands[this.#sent];
  }

  /** Whether command lines wait to be written. */
  get hasLines(): boolean {
    return this.#lines !== "";
  }

  /** Forgets all commands: a new order begins. */
  clear(): void {
    this.#commands = [];
    this.#sent = this.#answered = 0;
  }

  /** Adds a command to send. */
  push(verb: ClientVerb, line: string): void {
    this.#commands.push({ verb, line, index: 0 });
  }

  /** Adds commands to send. */
  pushAll(commands: readonly ClientCommand[]): void {
    this.#commands.push(...commands);
  }

  /** Adds commands whose bytes are on their way already. All others must be sent. */
  pushSent(verb: "BDAT" | "dataEnd", count: number, index = 0): void {
    for (let at = 0; at < count; at++) {
      this.#commands.push({ verb, line: "", index });
    }
    this.#sent += count;
  }

  /** Sends the next command. The greeting is a wait and has no line. */
  send(): void {
    const { verb, line } = this.#commands[this.#sent++]!;
    if (verb !== "greeting") this.#lines += `${line}\r\n`;
  }

  /** Drops what is not sent. */
  dropUnsent(): void {
    this.#commands.length = this.#sent;
  }

  /** Takes the oldest command off: its reply is here. */
  answer(): ClientCommand {
    return this.#commands[this.#answered++]!;
  }

  /** Adds bytes to write, after the lines that wait. */
  write(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#flushLines();
    this.#out.push(piece);
  }

  /** Takes what is to be written next; small pieces together, for a packet less. */
  takeOut(): Uint8Array | undefined {
    this.#flushLines();
    let bytes = this.#out.shift();
    while (bytes) {
      const more = this.#out[0];
      if (!more || bytes.length + more.length > MAX_MERGED) break;
      bytes = concat([bytes, more]);
      this.#out.shift();
    }
    return bytes;
  }

  #flushLines(): void {
    if (this.#lines === "") return;
    this.#out.push(encoder.encode(this.#lines));
    this.#lines = "";
  }
}
