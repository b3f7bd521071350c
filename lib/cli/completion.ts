/**
 * `cli.ts completion bash|zsh|fish`: writes a script that completes command
 * lines of the program in a shell. The scripts contain the table of options and
 * never call the program: completion starts no process. The names of messages are
 * those of the files in the spool that hold one message.
 */

import {
  type CommandName,
  COMMON,
  DEFAULT_SPOOL,
  type Option,
  type Options,
  PROGRAM,
  QUEUE_ACTIONS,
  SHELLS,
} from "./option.ts";
import { COMMANDS, optionsOf } from "./options.ts";
import { meaning } from "./help.ts";
import { hint, type Output, UsageError } from "./output.ts";

type Shell = typeof SHELLS[number];

/** The possible values of an option. */
type Value =
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "files" | "folders" | "other" };

/** The words of the table that name a file or folder. */
const PLACES: Readonly<Record<string, "files" | "folders">> = {
  FILE: "files",
  "FILE.json": "files",
  MODULE: "files",
  DIR: "folders",
  PATH: "files",
};

/** An option as a shell completes it. */
interface Completed {
  readonly name: string;
  readonly option: Option;
  /** Text that the user types: `--max-size`, `--chunking=no`. */
  readonly typed: string;
  /** Its possible values; `undefined` for a flag. */
  readonly value: Value | undefined;
}

/** A command as a shell completes it. */
interface CompletedCommand {
  readonly name: CommandName;
  readonly does: string;
  readonly options: readonly Completed[];
  readonly words: readonly string[];
  readonly takesFile: boolean;
}

const NAMES = Object.keys(COMMANDS) as CommandName[];

/** Every command but `serve`: its name may be omitted, and it comes last. */
const OTHERS: readonly CommandName[] = NAMES.filter((name) => name !== "serve");

/** Runs the command; resolves with the exit code. */
export function completion(
  [shell, program = PROGRAM, extra]: readonly string[],
  output: Output,
): Promise<number> {
  const known = SHELLS.find((name) => name === shell);
  if (known === undefined || extra !== undefined) {
    throw new UsageError(
      `Cannot run ${
        ["completion", ...shell === undefined ? [] : [shell]].join(" ")
      }: want bash, zsh or fish${hint(shell ?? "", SHELLS)}`,
    );
  }
  // The name becomes part of a script.
  if (!/^\w[\w.-]*$/.test(program)) {
    throw new UsageError(
      `Cannot complete "${program}": want the name of a program, without a folder`,
    );
  }
  output.out(SCRIPTS[known](program));
  return Promise.resolve(0);
}

/** The script of each shell. */
const SCRIPTS: Readonly<Record<Shell, (program: string) => string>> = {
  bash,
  zsh,
  fish,
};

function valueOf(option: Option): Value | undefined {
  const { form, word = "", choices, values } = option;
  if (form === "flag") return undefined;
  if (choices !== undefined) return { kind: "words", words: choices };
  if (values !== undefined) {
    // The user chooses the text after the colon.
    const words = Object.keys(values).map((word) => word.replace(/:.*/, ":"));
    return { kind: "words", words: [...new Set(words)] };
  }
  return { kind: PLACES[word] ?? "other" };
}

function completed(options: Options): Completed[] {
  return Object.entries(options).map(([name, option]) => ({
    name,
    option,
    typed: option.word === "=no" ? `--${name}=no` : `--${name}`,
    value: valueOf(option),
  }));
}

function commandOf(name: CommandName): CompletedCommand {
  const { brief, words = [], takesFile = false } = COMMANDS[name];
  return {
    name,
    does: brief[0]![1],
    options: completed({ ...optionsOf(name), ...COMMON }),
    words: name === "serve" ? [...OTHERS, "serve", "help"] : words,
    takesFile,
  };
}

const ALL: readonly CompletedCommand[] = NAMES.map(commandOf);

/** The words that may follow `help`. */
const HELP_WORDS = NAMES.join(" ");

/** What is done with messages of the queue that are named. */
const MESSAGE_ACTIONS: readonly string[] = ["show", ...QUEUE_ACTIONS];

/** A text in the single quotes of a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The arms of a \`case\` by command and option: what completes the value. */
function valueArms(
  act: (value: Value) => string,
): string {
  return ALL.flatMap(({ name, options }) =>
    options.flatMap(({ name: option, value }) =>
      value === undefined
        ? []
        : [`    "${name} --${option}") ${act(value)} ;;\n`]
    )
  ).join("");
}

/** The arms of a \`case\` by command. */
function commandArms(act: (command: CompletedCommand) => string): string {
  return ALL.map((command) => `      ${command.name}) ${act(command)} ;;\n`)
    .join("");
}

function bash(program: string): string {
  const name = `_${program.replace(/\W/g, "_")}`;
  const words = (list: string) => `choices="${list}"`;
  const values = valueArms((value) =>
    value.kind === "words"
      ? words(value.words.join(" "))
      : { files: "kind=-f", folders: "kind=-d", other: "return" }[value.kind]
  );
  const options = commandArms((command) =>
    words(command.options.map(({ typed }) => typed).join(" "))
  );
  const firsts = commandArms((command) =>
    `choices="${command.words.join(" ")}"${command.takesFile ? " kind=-f" : ""}`
  );
  return `# Completes ${program} in bash: ${program} completion bash
${name}() {
  local current="\${COMP_WORDS[COMP_CWORD]}"
  local previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local command=serve choices="" kind=""
  COMPREPLY=()
  ${name}_messages() {
    local at file spool="\${SMTP_SPOOL:-${DEFAULT_SPOOL}}"
    for ((at = 1; at < COMP_CWORD; at++)); do
      [ "\${COMP_WORDS[at]}" = --spool ] || continue
      spool="\${COMP_WORDS[at+1]}"
      [ "$spool" != "=" ] || spool="\${COMP_WORDS[at+2]}"
    done
    choices=all
    for file in "$spool"/messages/*; do
      file="\${file##*/}"
      case "$file" in
        *[!A-Za-z0-9-]*) ;;
        *) choices="$choices $file" ;;
      esac
    done
  }
  # Bash splits --option=value into three words, and any word at a colon.
  if [ "$current" = "=" ]; then
    current=""
  elif [ "$previous" = "=" ] && [ "$COMP_CWORD" -gt 2 ]; then
    previous="\${COMP_WORDS[COMP_CWORD-2]}"
  elif [ "$current" = ":" ]; then
    current="" previous=":"
  fi
  if [ "$COMP_CWORD" -gt 1 ]; then
    case "\${COMP_WORDS[1]}" in
      ${[...NAMES, "help"].join("|")}) command="\${COMP_WORDS[1]}" ;;
    esac
  fi
  case "$command $previous" in
${values}    *" :") kind=-f ;;
    *)
      if [ "$command" = help ]; then
        choices="${HELP_WORDS}"
      else case "$current" in
        -*) case "$command" in
${options}        esac ;;
        *) case "$command" in
${firsts}        esac
        if [ "$command" = serve ] && [ "$COMP_CWORD" -gt 1 ]; then choices=""; fi
        if [ "$command" != serve ] && [ "$COMP_CWORD" -gt 2 ]; then choices=""; fi
        case "$command \${COMP_WORDS[2]}" in
          ${
    MESSAGE_ACTIONS.map((action) => `"queue ${action}"`).join("|")
  }) if [ "$COMP_CWORD" -gt 2 ]; then ${name}_messages; fi ;;
        esac ;;
      esac fi ;;
  esac
  local IFS=$' \\t\\n'
  [ -z "$choices" ] || COMPREPLY=($(compgen -W "$choices" -- "$current"))
  if [ -n "$kind" ]; then
    IFS=$'\\n'
    COMPREPLY+=($(compgen "$kind" -- "$current"))
    compopt -o filenames 2>/dev/null
  fi
  case "\${COMPREPLY[0]}" in
    *:) compopt -o nospace 2>/dev/null ;;
  esac
}
complete -F ${name} ${program}
`;
}

function zsh(program: string): string {
  const described = (list: readonly (readonly [string, string])[]) =>
    list.map(([word, text]) => quoted(`${word}:${text}`)).join(" ");
  const values = valueArms((value) =>
    value.kind === "words"
      ? `compadd -S '' -- ${value.words.join(" ")}; return`
      : {
        files: "_files; return",
        folders: "_files -/; return",
        other: "return",
      }[
        value.kind
      ]
  );
  const options = commandArms((command) =>
    `choices=(${
      described(
        command.options.map(({ typed, option }) => [typed, meaning(option)]),
      )
    })`
  );
  const firsts = commandArms((command) =>
    command.name === "serve"
      ? "choices=()"
      : `choices=(${command.words.join(" ")})${
        command.takesFile ? "; _files" : ""
      }`
  );
  const commands = described([
    ...ALL.map((command) => [command.name, command.does] as const),
    ["help", "what a command takes"],
  ]);
  return `#compdef ${program}
# Completes ${program} in zsh: ${program} completion zsh
_${program}() {
  local current="$words[CURRENT]" previous="$words[CURRENT-1]" command=serve
  local -a choices
  if [[ "$current" == --*=* ]]; then
    previous="\${current%%=*}"
    compset -P '*='
  fi
  if (( CURRENT > 2 )); then
    case "$words[2]" in
      (${[...NAMES, "help"].join("|")}) command="$words[2]" ;;
    esac
  fi
  case "$command $previous" in
${values}  esac
  if [[ "$current" == -* ]]; then
    case "$command" in
${options}    esac
  elif (( CURRENT == 2 )); then
    choices=(${commands})
  elif [[ "$command" == help ]]; then
    choices=(${HELP_WORDS})
  elif (( CURRENT > 3 )) && [[ "$command" == queue ]]; then
    case "$words[3]" in
      (${MESSAGE_ACTIONS.join("|")})
        local spool="\${SMTP_SPOOL:-${DEFAULT_SPOOL}}" at=\${words[(I)--spool]}
        (( at == 0 )) || spool="$words[at+1]"
        local -a files=($spool/messages/*(N:t))
        choices=(all \${files:#*[^A-Za-z0-9-]*}) ;;
    esac
  elif (( CURRENT == 3 )); then
    case "$command" in
${firsts}    esac
  else
    _files
  fi
  _describe ${program} choices
}
if [[ "$funcstack[1]" == "_${program}" ]]; then
  _${program} "$@"
else
  compdef _${program} ${program}
fi
`;
}

function fish(program: string): string {
  const text = (raw: string) =>
    `'${raw.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const line = (...rest: readonly string[]) =>
    `complete -c ${program} ${rest.join(" ")}\n`;
  const value = (taken: Value | undefined) =>
    taken === undefined
      ? ""
      : taken.kind === "words"
      ? `-x -a ${text(taken.words.join(" "))} `
      : {
        files: "-r -F ",
        folders: "-x -a '(__fish_complete_directories)' ",
        other: "-x ",
      }[taken.kind];
  const isServe = `not __fish_seen_subcommand_from ${OTHERS.join(" ")} help`;
  const lines = ALL.flatMap((command) => {
    const when = text(
      command.name === "serve"
        ? isServe
        : `__fish_seen_subcommand_from ${command.name}`,
    );
    return [
      line(
        "-n __fish_use_subcommand -a",
        command.name,
        "-d",
        text(command.does),
      ),
      ...command.options.map(({ name, option, value: its }) =>
        line(
          ...["-n", when, "-l", name],
          ...option.short === undefined ? [] : ["-s", option.short.slice(1)],
          `${value(its)}-d ${text(meaning(option))}`,
        )
      ),
      ...command.name === "serve" || command.words.length === 0
        ? []
        : [line("-n", when, "-a", text(command.words.join(" ")))],
      ...command.takesFile ? [line("-n", when, "-F")] : [],
    ];
  });
  const messages = `__${program.replace(/\W/g, "_")}_messages`;
  lines.push(line(
    "-n",
    text(
      `__fish_seen_subcommand_from queue; and __fish_seen_subcommand_from ${
        MESSAGE_ACTIONS.join(" ")
      }`,
    ),
    "-a",
    text(`(${messages})`),
  ));
  return `# Completes ${program} in fish: ${program} completion fish
function ${messages}
  set -l spool ${DEFAULT_SPOOL}
  set -q SMTP_SPOOL; and set spool $SMTP_SPOOL
  set -l words (commandline -opc)
  set -l at (contains -i -- --spool $words)
  and set -q words[(math $at + 1)]; and set spool $words[(math $at + 1)]
  echo all
  for file in $spool/messages/*
    string replace -r ".*/" "" -- $file | string match -r '^[A-Za-z0-9-]+$'
  end
end
${line("-f")}${lines.join("")}${
    line("-n __fish_use_subcommand -a help -d 'what a command takes'")
  }${line("-n '__fish_seen_subcommand_from help' -a", text(HELP_WORDS))}`;
}
