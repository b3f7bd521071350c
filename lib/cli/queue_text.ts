/**
 * A spool's messages as text for people and as JSON for programs. Pure: the
 * time and the width of the terminal are handed in.
 *
 * Sizes, ages and columns as people read them. Pure.
 */

import type { RecipientProgress, SpoolEntry } from "../spool/envelope.ts";
import { printableJson } from "../log.ts";
import { oneLine } from "./usage.ts";

/** How to write. */
export interface QueueTextOptions {
  /** Now, in milliseconds since 1970. */
  readonly now: number;
  /** Columns of the terminal; `Infinity` where lines are not cut. */
  readonly width: number;
}

/** Recipients of one message in the list; of the others only the number is told. */
const MAX_LISTED = 5;

/** The lines of `queue list`, each with its line feed. */
export function* listLines(
  entries: Iterable<SpoolEntry>,
  options: QueueTextOptions,
): Generator<string> {
  let count = 0;
  let octets = 0;
  for (const entry of entries) {
    if (count === 0) {
      yield row("AGE", "SIZE", "NEXT TRY", "MESSAGE AND SENDER");
    }
    count++;
    octets += entry.envelope.size;
    yield* messageLines(entry, options);
  }
  yield count === 0
    ? "The queue is empty\n"
    : `${count} message${count === 1 ? "" : "s"}, ${formatSize(octets)}\n`;
}

function* messageLines(
  entry: SpoolEntry,
  { now, width }: QueueTextOptions,
): Generator<string> {
  const { envelope, progress } = entry;
  const line = row(
    formatAge(now - envelope.acceptedAt),
    formatSize(envelope.size),
    nextTry(entry, now),
    `${envelope.id} <${oneLine(envelope.from)}>`,
  );
  yield `${fit(line.trimEnd(), width)}\n`;
  const pending = [...progress.recipients.entries()].filter(([, { status }]) =>
    status === "pending"
  );
  for (const [index, recipient] of pending.slice(0, MAX_LISTED)) {
    const { address } = envelope.recipients[index]!;
    yield `${fit(`    ${oneLine(address)}${saying(recipient)}`, width)}\n`;
  }
  const more = pending.length - MAX_LISTED;
  if (more > 0) yield `    and ${more} more\n`;
}

function row(...cells: [string, string, string, string]): string {
  const [age, size, next, message] = cells;
  return `${age.padEnd(7)} ${size.padEnd(10)} ${next.padEnd(9)} ${message}\n`;
}

function nextTry({ progress }: SpoolEntry, now: number): string {
  if (progress.held) return "held";
  const at = nextTryAt(progress.recipients);
  if (at === undefined) return "-";
  return at <= now ? "now" : `in ${formatAge(at - now)}`;
}

function nextTryAt(
  recipients: readonly RecipientProgress[],
): number | undefined {
  let next: number | undefined;
  for (const { status, nextTryAt } of recipients) {
    if (status !== "pending") continue;
    next = next === undefined ? nextTryAt : Math.min(next, nextTryAt);
  }
  return next;
}

function saying({ answer }: RecipientProgress): string {
  return answer === undefined ? "" : `: ${oneLine(answer.text)}`;
}

/** The lines of `queue show`. */
export function* showLines(
  { envelope, progress }: SpoolEntry,
  { now }: QueueTextOptions,
): Generator<string> {
  const accepted = new Date(envelope.acceptedAt).toISOString();
  const age = formatAge(now - envelope.acceptedAt);
  yield `message    ${envelope.id}${progress.held ? " (held)" : ""}\n`;
  yield `from       <${oneLine(envelope.from)}>\n`;
  yield `size       ${formatSize(envelope.size)}\n`;
  yield `accepted   ${accepted} (${age} ago)\n`;
  const { smarthost, security } = progress.route ?? envelope.options;
  if (smarthost !== undefined) {
    yield `smarthost  ${oneLine(smarthost.host)}:${smarthost.port ?? 25}\n`;
  }
  if (security !== undefined) yield `security   ${security}\n`;
  for (const [index, recipient] of progress.recipients.entries()) {
    const { address } = envelope.recipients[index]!;
    const { status, attempts, nextTryAt, answer } = recipient;
    yield `to         <${oneLine(address)}>\n`;
    yield `  status   ${status}, ${attempts} tr${
      attempts === 1 ? "y" : "ies"
    }\n`;
    if (status === "pending") {
      yield `  next     ${new Date(nextTryAt).toISOString()}\n`;
    }
    if (answer === undefined) continue;
    const from = answer.remoteMta === undefined
      ? ""
      : ` (${oneLine(answer.remoteMta)})`;
    yield `  answer   ${oneLine(answer.text)}${from}\n`;
  }
}

/** A message as one line of JSON. No secret is in it: an entry holds none. */
export function jsonLine({ envelope, progress }: SpoolEntry): string {
  const at = nextTryAt(progress.recipients);
  return printableJson({
    id: envelope.id,
    from: envelope.from,
    size: envelope.size,
    acceptedAt: new Date(envelope.acceptedAt),
    held: progress.held,
    nextTryAt: at === undefined ? null : new Date(at),
    ...(progress.route ?? envelope.options).smarthost === undefined
      ? {}
      : { smarthost: (progress.route ?? envelope.options).smarthost },
    tag: progress.tag,
    recipients: progress.recipients.map((recipient, index) => ({
      address: envelope.recipients[index]!.address,
      status: recipient.status,
      attempts: recipient.attempts,
      nextTryAt: recipient.status === "pending"
        ? new Date(recipient.nextTryAt)
        : null,
      answer: recipient.answer?.text ?? null,
      remoteMta: recipient.answer?.remoteMta ?? null,
    })),
  }) + "\n";
}

const UNITS: readonly (readonly [name: string, ms: number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

/** A length of time in its largest unit, as `"5 min"`; `"0 s"` for less than one second. */
export function formatAge(ms: number): string {
  for (const [name, size] of UNITS) {
    if (ms >= size) return `${Math.floor(ms / size)} ${name}`;
  }
  return "0 s";
}

/** Bytes, as `"4.1 KiB"`. */
export function formatSize(octets: number): string {
  if (octets < 1024) return `${octets} B`;
  let value = octets / 1024;
  for (const unit of ["KiB", "MiB", "GiB"]) {
    if (value < 1023.95 || unit === "GiB") return `${value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return "";
}

/** A text cut to a width, with a sign that it was. */
export function fit(text: string, width: number): string {
  return text.length <= width
    ? text
    : `${text.slice(0, Math.max(0, width - 1))}…`;
}

const SIZE = /^(\d{1,15}(?:\.\d{1,6})?) ?([kmgt]?)(i?b?)$/i;

/**
 * The bytes of a size: `4096`, `10k`, `10M`, `1.5GiB`. k, M, G and T are powers
 * of 1024, with or without `i` and `iB`; `kB`, `MB`, `GB` and `TB` are powers of 1000.
 * `NaN` where the text is no size; may have a fraction.
 */
export function parseSize(text: string): number {
  const match = SIZE.exec(text);
  if (match === null) return NaN;
  const [, digits, unit, rest] = match;
  const power = " kmgt".indexOf(unit!.toLowerCase() || " ");
  if (power === 0 && /i/i.test(rest!)) return NaN;
  const base = /^b$/i.test(rest!) ? 1000 : 1024;
  return Number(digits) * base ** power;
}
