/**
 * The output of the command line: standard output and standard error, the exit
 * codes, the errors for 1 and 2, each as one line, and sizes in readable form.
 * Stands alone: every command uses it.
 */

import { printable } from "../log.ts";
import { nearest } from "../spelling.ts";

const encoder = new TextEncoder();

/** The output of a command: standard output and standard error. */
export interface Output {
  /** Writes to standard output; bytes go there unchanged. */
  out(text: string | Uint8Array): void;
  /** Writes to standard error. */
  err(text: string): void;
}

/** The output of this process. */
export const processOutput: Output = {
  out: (text) => writeAll(Deno.stdout, text),
  err: (text) => writeAll(Deno.stderr, text),
};

/**
 * Writes all of a text. If the reader is gone, as `head` is when it has read
 * enough, the server goes on.
 */
function writeAll(
  to: { writeSync(bytes: Uint8Array): number },
  text: string | Uint8Array,
): void {
  let bytes = typeof text === "string" ? encoder.encode(text) : text;
  try {
    while (bytes.length > 0) bytes = bytes.subarray(to.writeSync(bytes));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/** Failure of a command, exit code 1. The user sees its message as one line. */
export class RunError extends Error {
  override readonly name: string = "RunError";
}

/** Wrong use of the command line, exit code 2. The user sees its message as one line. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}

/** Exit code if a later try may succeed: no name server answered, or a recipient was deferred. */
export const EX_TEMPFAIL = 75;

/** A hint for an error: the known name that a mistyped one was meant to be; empty if no name is near. */
export function hint(name: string, known: Iterable<string>): string {
  const meant = nearest(name, known);
  return meant === undefined || meant === name
    ? ""
    : ` (did you mean ${meant}?)`;
}

/** A text as one line: a text of a user or of a library may have several. */
export function oneLine(text: string): string {
  return printable(text);
}

/** Most characters of a complaint: it may quote an argument. */
const MOST_CHARACTERS = 2000;

/** The message of an error as the one line that the user sees. */
export function complaint(error: Error): string {
  const line = oneLine(error.message);
  return line.length > MOST_CHARACTERS
    ? `${line.slice(0, MOST_CHARACTERS)}...`
    : line;
}

/** The reason why a file cannot be used, without the system call and the path that the platform adds. */
export function reasonOf(error: unknown): string {
  return (error as Error).message.replace(/ \(os error \d+\).*/s, "");
}

/** A number of bytes, as `"4.1 KiB"`. */
export function formatSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes / 1024;
  for (const unit of ["KiB", "MiB", "GiB"]) {
    if (value < 1023.95 || unit === "GiB") return `${value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return "";
}

/** Columns of the terminal; `Infinity` if the output is not a terminal. */
export function terminalWidth(): number {
  if (!Deno.stdout.isTerminal()) return Infinity;
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 80;
  }
}
