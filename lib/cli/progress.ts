/**
 * A progress bar on a terminal. Writes nothing until some time has passed, and
 * nothing at all without a terminal.
 */

/** Time between two updates of the bar, in ms. */
const REDRAW_MS = 100;
/** Time before the bar of a long task appears, in ms. */
const FIRST_DRAW_MS = 500;
/** The same for a task that looks short. */
const LATE_DRAW_MS = 2000;
const WIDTH = 24;

/** The task whose progress is shown. */
export interface ProgressTask {
  /** Number of all bytes or messages. */
  readonly total: number;
  /** The number of all, with its unit. */
  readonly shown: string;
  /** Whether it looks long. */
  readonly isLong: boolean;
  /** Takes text for the terminal; `undefined` without a terminal. */
  readonly write: ((text: string) => void) | undefined;
}

/** Shows how many of a known number of bytes or messages are done. */
export class ProgressBar {
  readonly #task: ProgressTask;
  #done = 0;
  #next: number;
  #isShown = false;

  constructor(task: ProgressTask) {
    this.#task = task;
    this.#next = performance.now() +
      (task.isLong ? FIRST_DRAW_MS : LATE_DRAW_MS);
  }

  /** Counts what else is done. */
  add(count: number): void {
    this.#done += count;
    const { total, shown, write } = this.#task;
    if (write === undefined || performance.now() < this.#next) return;
    this.#next = performance.now() + REDRAW_MS;
    this.#isShown = true;
    const part = total === 0 ? 1 : Math.min(1, this.#done / total);
    const full = Math.round(part * WIDTH);
    const bar = "█".repeat(full) + "░".repeat(WIDTH - full);
    write(`\r${bar} ${Math.floor(part * 100)} % of ${shown}`);
  }

  /** Begins again, for a second try. */
  restart(): void {
    this.#done = 0;
  }

  /** Removes the bar. */
  end(): void {
    if (this.#isShown) this.#task.write?.("\r\x1b[K");
    this.#isShown = false;
  }
}
