/**
 * A bar that shows how far long work has come, on a terminal and nowhere else.
 */

import { formatSize } from "./format.ts";

/** Milliseconds between two pictures. */
const REDRAW_MS = 100;
/** Work that is done sooner than this shows no bar, in ms. */
const PATIENCE_MS = 500;
const WIDTH = 24;

/** Shows how many octets of a known number are done. */
export class ProgressBar {
  readonly #total: number;
  readonly #write: ((text: string) => void) | undefined;
  #done = 0;
  #next = performance.now() + PATIENCE_MS;
  #isShown = false;

  /**
   * @param total All octets
   * @param write Takes text for the terminal; `undefined` where there is none
   */
  constructor(total: number, write: ((text: string) => void) | undefined) {
    this.#total = total;
    this.#write = write;
  }

  /** Counts octets that are done. */
  add(octets: number): void {
    this.#done += octets;
    if (this.#write === undefined || performance.now() < this.#next) return;
    this.#next = performance.now() + REDRAW_MS;
    this.#isShown = true;
    const part = this.#total === 0 ? 1 : Math.min(1, this.#done / this.#total);
    const full = Math.round(part * WIDTH);
    const bar = "█".repeat(full) + "░".repeat(WIDTH - full);
    this.#write(
      `\r${bar} ${Math.floor(part * 100)} % of ${formatSize(this.#total)}`,
    );
  }

  /** Begins again, as a second try does. */
  restart(): void {
    this.#done = 0;
  }

  /** Takes the bar away. */
  end(): void {
    if (this.#isShown) this.#write?.("\r\x1b[K");
    this.#isShown = false;
  }
}
