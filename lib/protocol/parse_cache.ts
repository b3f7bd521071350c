/**
 * Caches of parsed command lines and addresses: clients send the same text
 * again and again. Finding a command line here costs a third of decoding and
 * parsing it, finding an address a tenth. Both caches are bounded.
 *
 * Never holds a client's secrets: AUTH is not cached. An address is cached only
 * if no parameters followed it.
 */

import type { KnownCommand } from "./command.ts";
import type { Address } from "./address.ts";

const LF = 10;

/** Most cached lines; a power of two. */
const PLACES = 512;

/** Longest cached line, in bytes with its CRLF, and longest cached argument, in characters. */
const LONGEST = 128;

/** One cached line. */
interface Line {
  /** Its bytes, CRLF included. */
  readonly bytes: Uint8Array;
  /** The parsed command. */
  readonly command: KnownCommand;
}

/** Caches commands by the bytes of their lines. */
export class RecentLines {
  /**
   * Length of the line of the last search, in bytes with its CRLF; 0 if it was
   * incomplete or too long.
   */
  length = 0;
  readonly #lines: (Line | undefined)[] = Array(PLACES).fill(undefined);
  #place = 0;

  /** The command of the line at `start`, if the line is complete and cached. */
  find(
    input: Uint8Array,
    start: number,
    end: number,
  ): KnownCommand | undefined {
    const stop = end - start > LONGEST ? start + LONGEST : end;
    this.length = 0;
    let hash = 0;
    let at = start;
    for (;;) {
      if (at === stop) return undefined;
      const byte = input[at++]!;
      hash = (Math.imul(hash, 31) + byte) | 0;
      if (byte === LF) break;
    }
    this.length = at - start;
    this.#place = (hash ^ (hash >>> 9)) & (PLACES - 1);
    const line = this.#lines[this.#place];
    if (line === undefined || line.bytes.length !== this.length) {
      return undefined;
    }
    const { bytes } = line;
    for (let index = 0; index < bytes.length; index++) {
      if (bytes[index] !== input[start + index]) return undefined;
    }
    return line.command;
  }

  /**
   * Caches the command of the line at `start`, after
   * {@linkcode RecentLines.find} did not find it.
   */
  keep(input: Uint8Array, start: number, command: KnownCommand): void {
    if (this.length === 0 || command.verb === "AUTH") return;
    const bytes = input.slice(start, start + this.length);
    this.#lines[this.#place] = { bytes, command };
  }
}

/** Most cached arguments. */
const MOST = 512;

/** Caches addresses by argument. */
export class RecentAddresses {
  readonly #addresses = new Map<string, Address>();

  /** The address of the argument, `undefined` if it is not cached. */
  find(argument: string): Address | undefined {
    return this.#addresses.get(argument);
  }

  /** Caches the address of an argument, in place of the oldest entry if the cache is full. */
  keep(argument: string, address: Address): void {
    if (argument.length > LONGEST) return;
    if (this.#addresses.size >= MOST) {
      for (const oldest of this.#addresses.keys()) {
        this.#addresses.delete(oldest);
        break;
      }
    }
    this.#addresses.set(argument, address);
  }
}
