/**
 * The texts of `--help`, made from the table of options. The table has names and
 * meanings; this file sets them in 80 columns. Stands alone: the script of
 * `deno task docs` and the completion use it as well.
 */

import {
  type Call,
  type Command,
  type CommandName,
  COMMON,
  type Option,
  type Options,
} from "./option.ts";
import { COMMANDS } from "./options.ts";

/** An option as the user writes it: `--listen HOST:PORT`. */
export function written(name: string, option: Option): string {
  const { form, short, choices } = option;
  const word = option.word ?? choices?.join("|") ?? "";
  const long = form === "flag" ? `--${name}${word}` : `--${name} ${word}`;
  return short === undefined ? long : `${long}, ${short}`;
}

/** The full meaning of an option: whether it may be repeated, its help and its default. */
export function meaning({ form, help, default: standard }: Option): string {
  return [
    ...form === "many" ? ["repeatable"] : [],
    help,
    ...standard === undefined ? [] : [`default ${standard}`],
  ].join("; ");
}

/** The forms of flags, sizes and times. */
export const FORMS =
  "An option without a value is on; =no, =false, =off or =0 turns it off. Sizes may end in k, M or G (KiB, MiB, GiB), times in ms, s, m, h or d.";

/** Settings by environment variables. */
export const ENVIRONMENT =
  "Options that the server has may come from the environment: SMTP_ and the name in upper case, as SMTP_MAX_SIZE for --max-size; the command line goes before the environment, and that before --config (SMTP_CONFIG). An empty variable does not count.";

/** The form of lists in variables. */
export const LISTS =
  "In a variable, blanks or commas separate the values of a repeatable option; files and accounts stand one a line, as does any value with a blank in it.";

/** Column in which the explanation begins. */
const COLUMN = 31;
const WIDTH = 80;

/** A text broken into lines of the help's width; all but the first are indented. */
export function wrapped(text: string, indent: number): string {
  const lines: string[] = [];
  let line = "";
  for (const piece of text.split(" ")) {
    if (line !== "" && indent + line.length + 1 + piece.length > WIDTH) {
      lines.push(line);
      line = piece;
    } else line = line === "" ? piece : `${line} ${piece}`;
  }
  return [...lines, line].join(`\n${" ".repeat(indent)}`);
}

/** A line of help: the head, then its explanation on the same or the next line. */
function entry(head: string, text: string): string {
  const gap = head.length + 2 > COLUMN
    ? `\n${" ".repeat(COLUMN)}`
    : " ".repeat(COLUMN - head.length);
  return `${head}${gap}${wrapped(text, COLUMN)}\n`;
}

function optionHelp(name: string, option: Option): string {
  const values = Object.entries(option.values ?? {});
  return entry(`  ${written(name, option)}`, meaning(option)) +
    values.map(([value, text]) =>
      `${" ".repeat(COLUMN)}${value.padEnd(15)} ${text}\n`
    ).join("");
}

function sectionsHelp(sections: Readonly<Record<string, Options>>): string {
  return Object.entries(sections).map(([title, options]) =>
    `${title}\n` +
    Object.entries(options).map(([name, option]) => optionHelp(name, option))
      .join("")
  ).join("");
}

function callsHelp(calls: readonly Call[], indent = ""): string {
  return calls.map(([call, does]) => entry(`${indent}cli.ts ${call}`, does))
    .join("");
}

/** The examples of a command. */
function examplesHelp({ examples }: Command): string {
  return `\nExamples\n${
    examples.map(([call, does]) => `  ${does}\n    cli.ts ${call}\n`).join("")
  }`;
}

/** The end of the help of a command. */
function ending(command: Command, forms: boolean): string {
  const { notes, exitCodes } = command;
  const texts = [
    ...forms ? [FORMS, `${ENVIRONMENT} ${LISTS}`] : [],
    ...notes === undefined ? [] : [notes],
    `Exit code: ${exitCodes}`,
  ].map((text) => `\n${wrapped(text, 0)}\n`).join("");
  return examplesHelp(command) + texts;
}

/** The text of `--help`: of one command, if named, or of the program. */
export function helpOf(name?: CommandName): string {
  const command = COMMANDS[name ?? "serve"];
  const options = sectionsHelp({
    ...command.sections,
    "Options of every command": COMMON,
  });
  const end = ending(command, command === COMMANDS.serve);
  if (name !== undefined) {
    return `${callsHelp(command.calls)}\n${options}${end}`;
  }
  const brief = Object.values(COMMANDS).flatMap(({ brief }) => brief);
  return `SMTP server

${callsHelp([...brief, ["help COMMAND", "what a command takes"]], "  ")}
Options of serve

${options}${end}`;
}
