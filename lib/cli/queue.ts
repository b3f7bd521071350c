/**
 * `cli.ts queue`: shows the messages in a spool and acts on them, with or without
 * a running server. First the commands, which read the spool; then their output,
 * as text for people and as JSON for programs. The functions of the output are
 * pure: time and width of the terminal are arguments.
 */

import {
  controlSpool,
  inspectSpool,
  type RecipientProgress,
  type SpoolAction,
  type SpoolEntry,
  SpoolError,
} from "../queue/mod.ts";
import { flag, one, type RawSettings } from "./arguments.ts";
import { DEFAULT_SPOOL, QUEUE_ACTIONS } from "./option.ts";
import { printableJson } from "../log.ts";
import {
  formatSize,
  hint,
  oneLine,
  type Output,
  RunError,
  UsageError,
} from "./output.ts";

/** Characters collected for one write. */
const SLICE = 65536;

/**
 * Runs `queue`; resolves with the exit code.
 *
 * @throws {UsageError} If the arguments are not `list`, or an action and a message
 * @throws {RunError} If the spool cannot be used, or has no such message
 */
export async function queue(
  args: readonly string[],
  raw: RawSettings,
  output: Output,
): Promise<number> {
  const [action = "list", id, extra] = args;
  const folder = one(raw, "spool") ?? DEFAULT_SPOOL;
  const json = flag(raw, "json");
  if (action === "list" && id === undefined) {
    return await list(folder, json, output);
  }
  const acted = QUEUE_ACTIONS.find((known) => known === action);
  const isKnown = action === "show" || acted !== undefined;
  if (!isKnown || id === undefined || extra !== undefined) {
    throw new UsageError(
      `Cannot run queue ${
        args.join(" ")
      }: want "list", or "show", "retry", "hold", "release" or "remove" and a message or "all"${
        isKnown ? "" : hint(action, ["list", "show", ...QUEUE_ACTIONS])
      }`,
    );
  }
  if (acted === undefined) return await show(folder, { id, json }, output);
  return await act(folder, { action: acted, id, json }, output);
}

async function list(
  folder: string,
  json: boolean,
  output: Output,
): Promise<number> {
  const entries = (await read(folder)).values();
  write(
    output,
    json ? entries.map(jsonLine) : listLines(entries, {
      now: Date.now(),
      width: terminalWidth(),
    }),
  );
  return 0;
}

async function show(
  folder: string,
  { id, json }: { readonly id: string; readonly json: boolean },
  output: Output,
): Promise<number> {
  const entries = await read(folder);
  const entry = entries.get(id);
  const shown = id === "all" ? [...entries.values()] : entry ? [entry] : [];
  if (shown.length === 0 && id !== "all") throw unknown(id, folder);
  const options = { now: Date.now(), width: Infinity };
  for (const [index, one] of shown.entries()) {
    if (json) output.out(jsonLine(one));
    else {
      if (index > 0) output.out("\n");
      write(output, showLines(one, options));
    }
  }
  return 0;
}

async function act(
  folder: string,
  request: {
    readonly action: SpoolAction;
    readonly id: string;
    readonly json: boolean;
  },
  output: Output,
): Promise<number> {
  const { action, id, json } = request;
  await checkFolder(folder);
  let outcome: Outcome;
  try {
    outcome = await controlSpool(folder, { action, id });
  } catch (error) {
    throw failure(error, folder);
  }
  if (outcome === "unknown" && id !== "all") throw unknown(id, folder);
  output.out(
    json
      ? `${printableJson({ action, id, outcome })}\n`
      : `${action} ${id}: ${TEXTS[outcome]}\n`,
  );
  return 0;
}

type Outcome = Awaited<ReturnType<typeof controlSpool>>;

const TEXTS: Readonly<Record<Outcome, string>> = {
  done: "done",
  asked: "asked of the running server",
  unknown: "the queue is empty",
};

async function read(
  folder: string,
): Promise<ReadonlyMap<string, SpoolEntry>> {
  await checkFolder(folder);
  try {
    return await inspectSpool(folder);
  } catch (error) {
    throw failure(error, folder);
  }
}

/** Throws if there is no such folder: a mistyped one must not look like an empty queue. */
async function checkFolder(folder: string): Promise<void> {
  try {
    if ((await Deno.stat(folder)).isDirectory) return;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw failure(error, folder);
  }
  throw new RunError(`There is no spool "${folder}": want --spool DIR`);
}

function failure(error: unknown, folder: string): RunError {
  const { message, cause } = error as Error;
  const reason = error instanceof SpoolError && cause instanceof Error
    ? `${message}: ${cause.message}`
    : message;
  return new RunError(`Cannot use spool "${folder}": ${reason}`);
}

function unknown(id: string, folder: string): RunError {
  return new RunError(
    `There is no message "${oneLine(id)}" in spool "${folder}"`,
  );
}

/** Columns of the terminal; `Infinity` if the output is not a terminal. */
function terminalWidth(): number {
  if (!Deno.stdout.isTerminal()) return Infinity;
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 80;
  }
}

/** Writes many lines in few writes. */
function write(output: Output, lines: Iterable<string>): void {
  let text = "";
  for (const line of lines) {
    text += line;
    if (text.length < SLICE) continue;
    output.out(text);
    text = "";
  }
  if (text !== "") output.out(text);
}

/** Facts for the text of the queue. */
export interface QueueTextOptions {
  /** Current time, in ms since 1970. */
  readonly now: number;
  /** Columns of the terminal; `Infinity` to cut no line. */
  readonly width: number;
}

/** Most recipients of one message that the list names; it counts the others. */
const MAX_LISTED = 5;

/** The lines of `queue list`, each with its line feed. */
export function* listLines(
  entries: Iterable<SpoolEntry>,
  options: QueueTextOptions,
): Generator<string> {
  let count = 0;
  let bytes = 0;
  for (const entry of entries) {
    if (count === 0) {
      yield row("AGE", "SIZE", "NEXT TRY", "MESSAGE AND SENDER");
    }
    count++;
    bytes += entry.envelope.size;
    yield* messageLines(entry, options);
  }
  yield count === 0
    ? "The queue is empty\n"
    : `${count} message${count === 1 ? "" : "s"}, ${formatSize(bytes)}\n`;
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
