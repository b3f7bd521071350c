/**
 * `cli.ts queue`: shows what waits in a spool and acts on it, beside a running
 * server or without one.
 */

import {
  type ControlOutcome,
  controlSpool,
  inspectSpool,
} from "../spool/control.ts";
import { type SpoolAction, SpoolError } from "../spool/spool.ts";
import type { SpoolEntry } from "../spool/envelope.ts";
import { jsonLine, listLines, showLines } from "./queue_text.ts";
import { flag, one, type RawSettings } from "./raw_settings.ts";
import { DEFAULT_SPOOL, QUEUE_ACTIONS } from "./options.ts";
import type { Output } from "./serve.ts";
import { printableJson } from "../log.ts";
import { hint, oneLine, RunError, UsageError } from "./usage.ts";

/** Characters that go out in one write. */
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
  const acted = QUEUE_ACTIONS.find((it) => it === action);
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
  let outcome: ControlOutcome;
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

const TEXTS: Readonly<Record<ControlOutcome, string>> = {
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

/** A mistyped folder must not look like an empty queue. */
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

/** The columns to fill; lines are cut for a person only. */
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
