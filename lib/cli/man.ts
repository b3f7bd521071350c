/**
 * `cli.ts man [COMMAND]`: writes the manual page of the program or of a command,
 * made from the tables of options, in the man macros of troff.
 */

import { type CommandName, COMMON, type Options, PROGRAM } from "./option.ts";
import { COMMANDS } from "./options.ts";
import {
  ENVIRONMENT,
  FORMS,
  LISTS,
  meaning,
  wrapped,
  written,
} from "./help.ts";
import { hint, type Output, UsageError } from "./output.ts";

/** Runs the command; resolves with the exit code. */
export function man(
  [name, extra]: readonly string[],
  version: string,
  output: Output,
): Promise<number> {
  const names = Object.keys(COMMANDS) as CommandName[];
  const command = names.find((known) => known === name);
  if (extra !== undefined || (name !== undefined && command === undefined)) {
    throw new UsageError(
      `Cannot run man ${[name, extra].join(" ").trim()}: want a command${
        hint(name ?? "", names)
      }`,
    );
  }
  output.out(pageOf(version, command));
  return Promise.resolve(0);
}

/** A text as troff, in short lines: nothing in it is a macro. */
function plain(text: string): string {
  return wrapped(escaped(text), 0).replace(/^\./gm, "\\&.");
}

/** A text as troff: nothing in it is an escape. */
function escaped(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-")
    .replaceAll("^", "\\(ha").replaceAll("~", "\\(ti")
    .replaceAll("'", "\\(aq").replaceAll("`", "\\(ga");
}

/** A text in bold. */
function bold(text: string): string {
  return `\\fB${escaped(text)}\\fR`;
}

/** The first letter in upper case, and a period at the end. */
function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}${
    text.endsWith(".") ? "" : "."
  }`;
}

function optionLines(options: Options): string[] {
  return Object.entries(options).flatMap(([name, option]) => [
    ".TP",
    bold(written(name, option)),
    plain(sentence(meaning(option))),
    ...Object.entries(option.values ?? {}).flatMap((
      [value, means],
    ) => [".br", `${bold(value)}: ${escaped(means)}`]),
  ]);
}

function callLines(
  calls: readonly (readonly [call: string, does: string])[],
): string[] {
  return calls.flatMap(([call, does]) => [
    ".TP",
    bold(`${PROGRAM} ${call}`),
    plain(sentence(does)),
  ]);
}

/** The name of the page of a command, or of the program. */
function pageName(name: CommandName | undefined): string {
  return name === undefined ? PROGRAM : `${PROGRAM}-${name}`;
}

/** The page of a command, or without a name of the program. */
function pageOf(version: string, name: CommandName | undefined): string {
  const command = COMMANDS[name ?? "serve"];
  const title = pageName(name);
  const does = name === undefined
    ? "SMTP server that receives, keeps and relays mail"
    : command.brief[0]![1];
  const commands = Object.values(COMMANDS).flatMap(({ brief }) => brief);
  const sections = Object.entries({
    ...command.sections,
    "Options of every command": COMMON,
  });
  const pages = [undefined, ...Object.keys(COMMANDS) as CommandName[]];
  const others = pages.filter((other) => other !== name);
  const isServer = command === COMMANDS.serve;
  const lines = [
    `.\\" Made by ${PROGRAM} man; the tables of options have the texts.`,
    `.TH ${title.toUpperCase()} 8 "" "@smtp/server ${version}" "System Manager's Manual"`,
    ".SH NAME",
    `${escaped(title)} \\- ${escaped(does)}`,
    ".SH SYNOPSIS",
    ...command.calls.flatMap(([call], index) => [
      ...index === 0 ? [] : [".br"],
      bold(`${PROGRAM} ${call}`),
    ]),
    ".SH DESCRIPTION",
    ...name === undefined
      ? ["The commands are:", ...callLines(commands)]
      : callLines(command.calls),
    ...command.notes === undefined ? [] : [".PP", plain(command.notes)],
    ".SH OPTIONS",
    ...sections.flatMap(([heading, options]) => [
      `.SS ${escaped(heading)}`,
      ...optionLines(options),
    ]),
    ...isServer ? [".PP", plain(FORMS)] : [],
    ".SH ENVIRONMENT",
    plain(isServer ? `${ENVIRONMENT} ${LISTS}` : ENVIRONMENT),
    ".SH EXIT STATUS",
    plain(sentence(command.exitCodes)),
    ".SH EXAMPLES",
    ...callLines(command.examples),
    ".SH SEE ALSO",
    ...others.map((other, index) =>
      `.BR ${escaped(pageName(other))} (8)${
        index < others.length - 1 ? "," : ""
      }`
    ),
  ];
  return `${lines.join("\n")}\n`;
}
