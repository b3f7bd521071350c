/**
 * Addresses that were parsed lately, by the argument they stood in. Servers see
 * the same senders and recipients again and again; looking one up costs a tenth
 * of parsing it. Bounded, and only for arguments without parameters.
 */

import type { Address } from "./address.ts";

/** Arguments that are remembered. */
const MOST = 512;

/** Longest argument that is remembered, in characters. */
const LONGEST = 128;

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
