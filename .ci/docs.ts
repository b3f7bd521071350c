/**
 * Writes the chapter on the command line, made from the table of options, into
 * the module documentation of cli.ts, between its marks.
 *
 * ```sh
 * deno task docs
 * ```
 */

import {
  type CommandName,
  COMMON,
  type Option,
  type Options,
} from "../lib/cli/option.ts";
import { COMMANDS, keyOf } from "../lib/cli/options.ts";
import { FORMS, meaning, written } from "../lib/cli/help.ts";

const FILE = new URL("../cli.ts", import.meta.url);
const OPEN = " * <!-- options -->\n";
const CLOSE = " * <!-- end of options -->\n";

/** A text as plain Markdown in a cell of a table. */
function cell(text: string): string {
  return text.replace(/[|*_<>[\]]/g, "\\$&");
}

/** A text as code in a cell of a table. */
function code(text: string): string {
  return `\`${text.replaceAll("|", "\\|")}\``;
}

/** What an option is called, and what it means. */
function row(name: string, option: Option): string {
  const values = Object.entries(option.values ?? {})
    .map(([value, means]) => `${code(value)} ${cell(means)}`);
  const means = [cell(meaning(option)), ...values].join("; ");
  return `| ${code(written(name, option))} | ${means} |`;
}

/** The same for the server: with the name in a file, and whether SIGHUP takes it. */
function serverRow(name: string, option: Option): string {
  const key = keyOf(name, option);
  const shown = key === undefined ? "" : code(key);
  const reload = option.isReloaded ? "reload" : "";
  return `${row(name, option)} ${shown} | ${reload} |`;
}

function table(options: Options): string[] {
  return [
    ...["| option | means |", "|---|---|"],
    ...Object.entries(options).map(([name, it]) => row(name, it)),
  ];
}

function serverTable(options: Options): string[] {
  return [
    ...["| option | means | in a file | SIGHUP |", "|---|---|---|---|"],
    ...Object.entries(options).map(([name, it]) => serverRow(name, it)),
  ];
}

/** The chapter, a line each. */
function chapter(): string[] {
  const lines: string[] = [];
  for (const name of Object.keys(COMMANDS) as CommandName[]) {
    const { calls, sections, notes, exitCodes } = COMMANDS[name];
    lines.push(`## ${name}`, "", "| call | does |", "|---|---|");
    for (const [call, does] of calls) {
      lines.push(`| ${code(`cli.ts ${call}`)} | ${cell(does)} |`);
    }
    const rows = name === "serve" ? serverTable : table;
    for (const [title, options] of Object.entries(sections)) {
      // The table says it for the only section of a command.
      const heading = title === "Options" ? [] : [`### ${title}`, ""];
      lines.push("", ...heading, ...rows(options));
    }
    lines.push("", ...notes === undefined ? [] : [notes]);
    lines.push(`Exit code: ${exitCodes}`, "");
  }
  lines.push("## Options of every command", "", ...table(COMMON), "", FORMS);
  return lines;
}

/** The source of cli.ts with the chapter of the table as it is now. */
export function withChapter(source: string): string {
  const from = source.indexOf(OPEN) + OPEN.length;
  const to = source.indexOf(CLOSE);
  if (from < OPEN.length || to < from) {
    throw new Error(`Cannot find ${OPEN.trim()} and its end in cli.ts`);
  }
  const text = chapter().map((line) => ` * ${line}`.trimEnd() + "\n").join("");
  return source.slice(0, from) + text + source.slice(to);
}

if (import.meta.main) {
  await Deno.writeTextFile(FILE, withChapter(await Deno.readTextFile(FILE)));
}
