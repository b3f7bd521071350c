/**
 * `cli.ts queue`: shows the messages in a spool and acts on them, with or without
 * a running server. Which messages is `queue_filter.ts`, their text
 * `queue_text.ts`.
 */

import {
  controlSpool,
  inspectSpool,
  type SpoolAction,
  spoolContent,
  type SpoolEntry,
  SpoolError,
} from "../queue/mod.ts";
import { flag, one, type RawSettings, wholeNumber, word } from "./arguments.ts";
import { DEFAULT_SPOOL, QUEUE_ACTIONS, QUEUE_ORDERS } from "./option.ts";
import { printableJson } from "../log.ts";
import { type QueueFilter, queueFilter } from "./queue_filter.ts";
import {
  countText,
  jsonLine,
  listLines,
  nextTryAt,
  safeLines,
  showLines,
} from "./queue_text.ts";
import { ProgressBar } from "./progress.ts";
import {
  hint,
  oneLine,
  type Output,
  RunError,
  terminalWidth,
  UsageError,
} from "./output.ts";

/** Characters collected for one write. */
const SLICE = 65536;

/** Messages from which on an action looks long. */
const MANY = 1000;

/** A call of `queue`, read and checked. */
interface Call {
  readonly folder: string;
  readonly json: boolean;
  /** The messages that are named, or `"all"`. */
  readonly ids: readonly string[] | "all";
  readonly filter: QueueFilter;
}

/**
 * Runs `queue`; resolves with the exit code.
 *
 * @throws {UsageError} If the arguments are not `list`, or an action and messages
 * @throws {RunError} If the spool cannot be used, or has no such message
 */
export async function queue(
  args: readonly string[],
  raw: RawSettings,
  output: Output,
): Promise<number> {
  const [action = "list", ...ids] = args;
  const acted = QUEUE_ACTIONS.find((known) => known === action);
  const isKnown = action === "show" || acted !== undefined;
  const isList = action === "list" && ids.length === 0;
  if (!isList && (!isKnown || ids.length === 0)) {
    throw new UsageError(
      `Cannot run queue ${
        args.join(" ")
      }: want "list", or "show", "retry", "hold", "release" or "remove" and a message or "all"${
        isKnown ? "" : hint(action, ["list", "show", ...QUEUE_ACTIONS])
      }`,
    );
  }
  const isAll = isList || ids.includes("all");
  if (isAll && ids.length > 1) {
    throw new UsageError(
      `Cannot run queue ${args.join(" ")}: want messages or "all", not both`,
    );
  }
  const filter = queueFilter(raw);
  if (!isAll && filter.given.length > 0) {
    throw new UsageError(
      `${
        filter.given[0]
      }: chooses among all messages, want "all" in place of "${ids[0]}"`,
    );
  }
  for (const name of ["sort", "limit"].filter((name) => raw.has(name))) {
    if (!isList) throw new UsageError(`--${name}: is for queue list only`);
  }
  const call: Call = {
    folder: one(raw, "spool") ?? DEFAULT_SPOOL,
    json: flag(raw, "json"),
    ids: isAll ? "all" : [...new Set(ids)],
    filter,
  };
  if (flag(raw, "content")) return await content(call, action, output);
  if (isList) return await list(call, raw, output);
  if (acted === undefined) return await show(call, output);
  return await act(call, acted, output);
}

type Order = typeof QUEUE_ORDERS[number];

/** What the list is sorted by, the least first. */
const ORDERS: Readonly<Record<Order, (entry: SpoolEntry) => number>> = {
  age: ({ envelope }) => envelope.acceptedAt,
  next: ({ progress }) =>
    progress.held
      ? Infinity
      : nextTryAt(progress.recipients) ?? Number.MAX_VALUE,
  size: ({ envelope }) => -envelope.size,
};

async function list(
  call: Call,
  raw: RawSettings,
  output: Output,
): Promise<number> {
  const key = ORDERS[word(raw, "sort", QUEUE_ORDERS) ?? "age"];
  const limit = wholeNumber(raw, "limit", { least: 1 });
  const now = Date.now();
  const entries = chosen(await read(call.folder), call.filter, now)
    .sort((one, other) => compare(key(one), key(other)));
  write(
    output,
    call.json ? entries.slice(0, limit).map(jsonLine) : listLines(entries, {
      ...{ now, limit, width: terminalWidth() },
      isChosen: call.filter.given.length > 0,
    }),
  );
  return 0;
}

/** Compares two numbers that may be infinite. */
function compare(one: number, other: number): number {
  return one === other ? 0 : one < other ? -1 : 1;
}

/** The messages that the filter chooses. */
function chosen(
  entries: ReadonlyMap<string, SpoolEntry>,
  filter: QueueFilter,
  now: number,
): SpoolEntry[] {
  return [...entries.values()].filter((entry) => filter.matches(entry, now));
}

async function show(
  { folder, ids, filter, json }: Call,
  output: Output,
): Promise<number> {
  const entries = await read(folder);
  const now = Date.now();
  const shown = ids === "all"
    ? chosen(entries, filter, now)
    : ids.map((id) => entries.get(id) ?? failUnknown(id, folder));
  const options = { now, width: Infinity };
  write(
    output,
    shown.values().flatMap(function* (entry, index): Generator<string> {
      if (json) return void (yield jsonLine(entry));
      if (index > 0) yield "\n";
      yield* showLines(entry, options);
    }),
  );
  return 0;
}

/** Writes the content of one message: unchanged, or on a terminal what is safe there. */
async function content(
  { folder, ids, json }: Call,
  action: string,
  output: Output,
): Promise<number> {
  if (action !== "show" || ids === "all" || ids.length !== 1 || json) {
    throw new UsageError(
      "--content: want queue show and one message, without --json",
    );
  }
  const [id] = ids;
  if (!(await read(folder)).has(id!)) failUnknown(id!, folder);
  const chunks = spoolContent(folder, id!);
  const shown = Deno.stdout.isTerminal() ? safeLines(chunks) : chunks;
  try {
    for await (const piece of shown) output.out(piece);
  } catch (error) {
    throw failure(error, folder);
  }
  return 0;
}

async function act(
  { folder, ids, filter, json }: Call,
  action: SpoolAction,
  output: Output,
): Promise<number> {
  const isChosen = filter.given.length > 0;
  const named = isChosen || ids !== "all"
    ? await namedMessages({ folder, ids, filter }, action)
    : ids;
  await checkFolder(folder);
  let bar: ProgressBar | undefined;
  const onProgress = (done: number, total: number) => {
    bar ??= new ProgressBar({
      ...{ total, shown: countText(total), isLong: total > MANY },
      write: Deno.stderr.isTerminal() ? output.err : undefined,
    });
    bar.restart();
    bar.add(done);
  };
  let outcome: Outcome;
  try {
    outcome = await controlSpool(folder, { action, id: named, onProgress });
  } catch (error) {
    throw failure(error, folder);
  } finally {
    bar?.end();
  }
  if (outcome === "unknown" && ids !== "all") failUnknown(ids[0]!, folder);
  const count = !isChosen
    ? undefined
    : outcome === "unknown"
    ? 0
    : named.length;
  output.out(
    json
      ? `${printableJson({ action, id: nameOf(ids), outcome, count })}\n`
      : `${action} ${[nameOf(ids)].flat().join(" ")}: ${
        count === 0 ? "no message fits" : TEXTS[outcome]
      }${count ? `, ${countText(count)}` : ""}\n`,
  );
  return 0;
}

/** The messages of a call as they are shown: a name, names, or `all`. */
function nameOf(ids: Call["ids"]): string | readonly string[] {
  return ids !== "all" && ids.length === 1 ? ids[0]! : ids;
}

/** The names of the messages that an action is for. */
async function namedMessages(
  { folder, ids, filter }: Pick<Call, "folder" | "ids" | "filter">,
  action: SpoolAction,
): Promise<readonly string[]> {
  const entries = await read(folder);
  if (ids !== "all") {
    // All or nothing: a mistyped name must not go unnoticed among others.
    return ids.filter((id) => entries.has(id) || failUnknown(id, folder));
  }
  // A retry of a named message would release it.
  const isKept = action === "retry" && !filter.isHeld;
  return chosen(entries, filter, Date.now())
    .filter(({ progress }) => !(isKept && progress.held))
    .map(({ envelope }) => envelope.id);
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

function failUnknown(id: string, folder: string): never {
  throw new RunError(
    `There is no message "${oneLine(id)}" in spool "${folder}"`,
  );
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
