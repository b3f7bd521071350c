/**
 * What a user of the command line gets: standard output and standard error, the
 * errors behind exit codes 1 and 2, each as one line, and sizes as people read
 * them.
 */

import { printable } from "../log.ts";
import { nearest } from "../spelling.ts";

const encoder = new TextEncoder();

/** Where the command writes: standard output and standard error. */
export interface Output {
  /** Writes to standard output. */
  out(text: string): void;
  /** Writes to standard error. */
  err(text: string): void;
}

/** The output of this process. */
export const processOutput: Output = {
  out: (text) => writeAll(Deno.stdout, text),
  err: (text) => writeAll(Deno.stderr, text),
};

/**
 * Writes all of a text. A reader that is gone, as `head` when it has seen
 * enough, is no reason to stop serving.
 */
function writeAll(
  to: { writeSync(bytes: Uint8Array): number },
  text: string,
): void {
  let bytes = encoder.encode(text);
  try {
    while (bytes.length > 0) bytes = bytes.subarray(to.writeSync(bytes));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/** A wrong use of the command line; its message is the one line that the user gets. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}

/** The known name that a mistyped one was meant to be, as a hint behind an error; empty where none is near. */
export function hint(name: string, known: Iterable<string>): string {
  const meant = nearest(name, known);
  return meant === undefined || meant === name
    ? ""
    : ` (did you mean ${meant}?)`;
}

/** A text as one line: what a user gave, or a library said, may have several. */
export function oneLine(text: string): string {
  return printable(text);
}

/** The most characters of a complaint: it may quote what was given. */
const MOST_CHARACTERS = 2000;

/** The message of an error as the one line that the user gets. */
export function complaint(error: Error): string {
  const line = oneLine(error.message);
  return line.length > MOST_CHARACTERS
    ? `${line.slice(0, MOST_CHARACTERS)}...`
    : line;
}

/** Why a file cannot be used, without the call of the platform and the path that it adds. */
export function reasonOf(error: unknown): string {
  return (error as Error).message.replace(/ \(os error \d+\).*/s, "");
}

/** What the command line was asked for cannot be done; its message is the one line, the exit code 1. */
export class RunError extends Error {
  override readonly name: string = "RunError";
}

/** Bytes, as `"4.1 KiB"`. */
export function formatSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes / 1024;
  for (const unit of ["KiB", "MiB", "GiB"]) {
    if (value < 1023.95 || unit === "GiB") return `${value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return "";
}
