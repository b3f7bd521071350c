/**
 * The list of commands with two cursors, sent and answered, and the bytes to
 * write. Matches replies to commands and keeps the order of the bytes; decides
 * nothing.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2920#section-3.1 | RFC 2920 section 3.1}
 */

import { concat } from "../bytes.ts";
import type { ClientCommand } from "./transaction.ts";
import type { ClientVerb } from "./state.ts";

/** Largest merged write, in bytes. */
const MAX_MERGED = 65536;
const encoder = new TextEncoder();

/** The commands of the current order. */
export class CommandPipeline {
  #commands: ClientCommand[] = [];
  #sent = 0;
  #answered = 0;
  #lines = "";
  #out: Uint8Array[] = [];

  /** Number of commands sent and not answered. */
  get inFlight(): number {
    return this.#sent - this.#answered;
  }

  /** Number of commands answered. */
  get answered(): number {
    return this.#answered;
  }

  /** Number of commands sent. */
  get sent(): number {
    return this.#sent;
  }

  /** The oldest unanswered command, sent or not. */
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

  /** Removes all commands, for a new order. */
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

  /** Adds commands whose bytes have already been written. All earlier ones must have been sent. */
  pushSent(verb: "BDAT" | "dataEnd", count: number, index = 0): void {
    for (let at = 0; at < count; at++) {
      this.#commands.push({ verb, line: "", index });
    }
    this.#sent += count;
  }

  /** Sends the next command. The greeting is only a wait and has no line. */
  send(): void {
    const { verb, line } = this.#commands[this.#sent++]!;
    if (verb !== "greeting") this.#lines += `${line}\r\n`;
  }

  /** Removes the commands not yet sent. */
  dropUnsent(): void {
    this.#commands.length = this.#sent;
  }

  /** The reply to the oldest command has arrived. */
  answer(): void {
    this.#answered++;
  }

  /** Adds bytes to write, after any command lines. */
  write(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#flushLines();
    this.#out.push(piece);
  }

  /** Removes and returns the next bytes to write; joins small pieces to save packets. */
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
