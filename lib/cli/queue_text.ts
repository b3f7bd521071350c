/**
 * The messages of a spool as text for people and as JSON for programs. Pure: time
 * and width of the terminal are arguments. What other servers said passes through
 * the filter for terminals.
 */

import type { RecipientProgress, SpoolEntry } from "../queue/mod.ts";
import { printable, printableJson } from "../log.ts";
import { formatSize, oneLine } from "./output.ts";

/** Facts for the text of the queue. */
export interface QueueTextOptions {
  /** Current time, in ms since 1970. */
  readonly now: number;
  /** Columns of the terminal; `Infinity` to cut no line. */
  readonly width: number;
  /** Most messages that the list shows; it counts the others. */
  readonly limit?: number | undefined;
  /** Whether the messages are chosen among others. */
  readonly isChosen?: boolean;
}

/** Most recipients of one message that the list names; it counts the others. */
const MAX_LISTED = 5;

/** A number of messages. */
export function countText(count: number): string {
  return `${count} message${count === 1 ? "" : "s"}`;
}

/** The lines of `queue list`, each with its line feed. */
export function* listLines(
  entries: Iterable<SpoolEntry>,
  options: QueueTextOptions,
): Generator<string> {
  const { limit = Infinity, isChosen = false } = options;
  let count = 0;
  let bytes = 0;
  for (const entry of entries) {
    if (count === 0) {
      yield row("AGE", "SIZE", "NEXT TRY", "MESSAGE AND SENDER");
    }
    count++;
    bytes += entry.envelope.size;
    if (count <= limit) yield* messageLines(entry, options);
  }
  if (count === 0) {
    yield isChosen ? "No message fits\n" : "The queue is empty\n";
    return;
  }
  const shown = count > limit ? `${limit} of ` : "";
  yield `${shown}${countText(count)}, ${formatSize(bytes)}\n`;
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
    yield `${fit(`    ${oneLine(address)}${answerOf(recipient)}`, width)}\n`;
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

/** When the next recipient is tried, in ms since 1970; `undefined` if none waits. */
export function nextTryAt(
  recipients: readonly RecipientProgress[],
): number | undefined {
  let next: number | undefined;
  for (const { status, nextTryAt } of recipients) {
    if (status !== "pending") continue;
    next = next === undefined ? nextTryAt : Math.min(next, nextTryAt);
  }
  return next;
}

function answerOf({ answer }: RecipientProgress): string {
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
  const { smarthost, smarthosts = [], security } = progress.route ??
    envelope.options;
  for (const hop of [smarthost, ...smarthosts]) {
    if (hop === undefined) continue;
    yield `smarthost  ${oneLine(hop.host)}:${hop.port ?? 25}\n`;
  }
  if (security !== undefined) yield `security   ${security}\n`;
  yield* wishes(envelope);
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

/** What the sender asked for: times and TLS. */
function* wishes(
  { parameters, options, acceptedAt }: SpoolEntry["envelope"],
): Generator<string> {
  const { holdFor, holdUntil, by, requireTls } = parameters;
  const { deliverBy, idleWaitMs = 0, declinesTls } = options;
  if (holdFor !== undefined || holdUntil !== undefined) {
    yield `released   ${new Date(acceptedAt + idleWaitMs).toISOString()}\n`;
  }
  if (by !== undefined && deliverBy !== undefined) {
    const after = by.mode === "return" ? "returned" : "reported as late";
    yield `deliver by ${
      new Date(deliverBy).toISOString()
    }, else it is ${after}\n`;
  }
  if (requireTls) yield "tls        required all its way (REQUIRETLS)\n";
  if (declinesTls) yield "tls        not needed (TLS-Required: No)\n";
}

/** Characters of a line that are collected before they are shown: it may not end. */
const LONGEST_LINE = 4096;

/** The lines of a content, safe on a terminal. */
export async function* safeLines(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  let isOpen = false;
  const safe = (line: string) => printable(line.replace(/\r$/, ""));
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) yield `${safe(line)}\n`;
    isOpen = rest !== "" || (isOpen && lines.length === 0);
    if (rest.length <= LONGEST_LINE) continue;
    yield printable(rest);
    rest = "";
  }
  rest += decoder.decode();
  if (isOpen || rest !== "") yield `${safe(rest)}\n`;
}

/** A message as one line of JSON. It has no secret: an entry holds no secret. */
export function jsonLine({ envelope, progress }: SpoolEntry): string {
  const at = nextTryAt(progress.recipients);
  const { smarthost, smarthosts } = progress.route ?? envelope.options;
  return printableJson({
    id: envelope.id,
    from: envelope.from,
    size: envelope.size,
    acceptedAt: new Date(envelope.acceptedAt),
    held: progress.held,
    nextTryAt: at === undefined ? null : new Date(at),
    ...(smarthost === undefined ? {} : { smarthost }),
    ...(smarthosts === undefined ? {} : { smarthosts }),
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

/** A time span in its largest unit, as `"5 min"`; `"0 s"` below one second. */
export function formatAge(ms: number): string {
  for (const [name, size] of UNITS) {
    if (ms >= size) return `${Math.floor(ms / size)} ${name}`;
  }
  return "0 s";
}

/** A text cut to a width; `…` marks the cut. */
export function fit(text: string, width: number): string {
  return text.length <= width
    ? text
    : `${text.slice(0, Math.max(0, width - 1))}…`;
}
