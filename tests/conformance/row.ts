/**
 * A row of the table: an examination of a running server, and the comparison of
 * its finding with the wanted one.
 */

/** The server under examination. */
export interface Subject {
  /** Its port on 127.0.0.1. */
  readonly port: number;
  /** The first of its processes. */
  readonly pid: number;
  /** The content of the next message it delivers, one character a byte. */
  readonly delivered: () => Promise<string>;
}

/** The finding of a row. */
export interface Finding {
  /** In a few words. */
  readonly seen: string;
  /** Whether it is what is wanted. */
  readonly good: boolean;
}

/** A row of the table. */
export interface Row {
  /** The action, as Markdown. */
  readonly name: string;
  /** The wanted answer, as Markdown. */
  readonly target: string;
  /** Whether it measures time, which a busy machine may spoil. */
  readonly timed?: boolean;
  /** Examines the server. */
  readonly look: (subject: Subject) => Promise<Finding>;
}

/** The median of numbers. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

/** A reply code, or what stands for it, as it is shown. */
export function shown(code: number | string): string {
  return code === "silent" ? "no answer" : `${code}`;
}
