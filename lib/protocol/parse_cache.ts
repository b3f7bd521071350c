/**
 * What was parsed lately, found again by its bytes or its text: clients say the
 * same things again and again. Finding a command line costs a third of decoding
 * and parsing it, finding an address a tenth. Both caches are bounded.
 *
 * Never holds what a client may want to keep to itself: AUTH is not remembered.
 * An address is remembered only where no parameters followed it.
 */

import type { KnownCommand } from "./command.ts";
import type { Address } from "./address.ts";

const LF = 10;

/** Lines that are remembered; a power of two. */
const PLACES = 512;

/** Longest line that is remembered, in bytes with its CRLF, and longest argument, in characters. */
const LONGEST = 128;

/** One line that is remembered. */
interface Line {
  /** Its bytes with CRLF. */
  readonly octets: Uint8Array;
  /** What it says. */
  readonly command: KnownCommand;
}

/** Remembers commands by the bytes of their lines. */
export class RecentLines {
  /** Bytes of the line looked for last, with its CRLF; 0 for one that is not whole, or too long. */
  length = 0;
  readonly #lines: (Line | undefined)[] = Array(PLACES).fill(undefined);
  #place = 0;

  /** The command whose line begins `input` at `start`, if it is whole and remembered. */
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
      const octet = input[at++]!;
      hash = (Math.imul(hash, 31) + octet) | 0;
      if (octet === LF) break;
    }
    this.length = at - start;
    this.#place = (hash ^ (hash >>> 9)) & (PLACES - 1);
    const line = this.#lines[this.#place];
    if (line === undefined || line.octets.length !== this.length) {
      return undefined;
    }
    const { octets } = line;
    for (let index = 0; index < octets.length; index++) {
      if (octets[index] !== input[start + index]) return undefined;
    }
    return line.command;
  }

  /**
   * Remembers the command whose line begins `input` at `start`, after it was
   * looked for in vain.
   */
  keep(input: Uint8Array, start: number, command: KnownCommand): void {
    if (this.length === 0 || command.verb === "AUTH") return;
    const octets = input.slice(start, start + this.length);
    this.#lines[this.#place] = { octets, command };
  }
}

/** Arguments that are remembered. */
const MOST = 512;

/** Remembers addresses by argument. */
export class RecentAddresses {
  readonly #addresses = new Map<string, Address>();

  /** The address that the argument had, `undefined` if it is not remembered. */
  find(argument: string): Address | undefined {
    return this.#addresses.get(argument);
  }

  /** Remembers the address of an argument; forgets the oldest for it. */
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
