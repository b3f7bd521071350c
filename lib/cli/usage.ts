/**
 * What the command line cannot use or do: the errors behind exit codes 2 and 1,
 * and how they become the one line that the user gets.
 */

import { printable } from "../log.ts";
import { nearest } from "../spelling.ts";

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
