/**
 * The words of Postfix's log: times, ids, delays, and a peer's text in a form
 * that no reader takes for a field or an address.
 */

import { type LogRecord, type LogValue, printable } from "../log.ts";
import { DELAYS } from "./text.ts";

const MONTHS = [
  ...["Jan", "Feb", "Mar", "Apr", "May", "Jun"],
  ...["Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
] as const;

/** The second of {@linkcode lastText}: busy logs have many lines in one. */
let lastSecond = NaN;
let lastText = "";

/** The local time as syslog has it: `Nov 30 12:11:57`. */
export function syslogTime(time: number): string {
  const second = Math.floor(time / 1000);
  if (second === lastSecond) return lastText;
  lastSecond = second;
  const at = new Date(time);
  const two = (number: number) => `${number}`.padStart(2, "0");
  const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two);
  return lastText = `${MONTHS[at.getMonth()]} ${
    `${at.getDate()}`.padStart(2)
  } ${clock.join(":")}`;
}

/** An id as a queue id of Postfix: letters and digits, an `x` for each dash. */
export function queueId(id: string): string {
  return id.replace(/[^0-9A-Za-z]/g, "x");
}

/** A number of milliseconds as Postfix writes seconds: two digits of them. */
export function seconds(ms: number): string {
  const value = Math.max(0, ms) / 1000;
  if (value >= 10) return String(Math.round(value));
  const digits = value >= 1 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

/**
 * The delays of a delivery in ms as Postfix splits them: before the queue
 * manager, in it, the connection with its DNS, the transfer.
 */
export function splitDelays(value: LogValue | undefined): readonly number[] {
  const known = typeof value === "object" && !Array.isArray(value)
    ? value as Readonly<Record<string, number>>
    : {};
  const [queue = 0, dns = 0, connect = 0, transfer = 0] = DELAYS.map((step) => {
    const ms = Number(known[step] ?? 0);
    return Number.isFinite(ms) ? ms : 0;
  });
  return [queue, 0, dns + connect, transfer];
}

/** The status of a delivery by Postfix's words. */
export function deliveryStatus(
  result: string,
): "sent" | "deferred" | "bounced" {
  if (result === "failed") return "bounced";
  return result === "deferred" ? "deferred" : "sent";
}

/** A text between brackets or behind `=`: without brackets, blanks and what ends a field. */
export function within(text: string): string {
  return printable(text).replace(/[<>\[\],;\s]/g, "?");
}

/** A peer's text at the end of a line, which must not look like a field or an address. */
export function free(text: string): string {
  return printable(text).replace(/=</g, "=(").replace(/\[/g, "(")
    .replace(/\]/g, ")").replace(/\b(reject|hold|discard|warning):/gi, "$1;");
}

/** A field that is a text or a number. */
export function textOf(
  { fields }: LogRecord,
  name: string,
): string | undefined {
  const value = fields?.[name];
  return typeof value === "string" || typeof value === "number"
    ? String(value)
    : undefined;
}

/** A field that is a number. */
export function numberOf(
  { fields }: LogRecord,
  name: string,
): number | undefined {
  const value = fields?.[name];
  return typeof value === "number" ? value : undefined;
}

/** A field that is a list; a single text is a list of one. */
export function listOf({ fields }: LogRecord, name: string): readonly string[] {
  const value = fields?.[name];
  if (typeof value === "string" && value !== "") return [value];
  return Array.isArray(value) ? value : [];
}
