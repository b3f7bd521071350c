/**
 * Settings by environment variables: `SMTP_` and the name of an option of `serve`
 * in upper case, as `SMTP_MAX_SIZE` for `--max-size`. Reads only the variables
 * that the process may read, and never asks for a permission. No text of this
 * file quotes a value: it may be a secret.
 */

import type { Option, Options } from "./option.ts";
import { isFlagWord, WANT_FLAG } from "./arguments.ts";
import { hint, UsageError } from "./output.ts";

/** What begins the name of every variable. */
const PREFIX = "SMTP_";

/** The variable that names the configuration file. */
export const CONFIG_VARIABLE = "SMTP_CONFIG";

/** Names and values of environment variables. */
export type Variables = ReadonlyMap<string, string>;

/** The variable of an option; `undefined` for an option of the command line only. */
export function variableOf(name: string, { key }: Option): string | undefined {
  if (key === null && name !== "config") return undefined;
  return `${PREFIX}${name.toUpperCase().replaceAll("-", "_")}`;
}

/**
 * The variables of this process that begin with `SMTP_`, without empty ones. If
 * the process may read some variables only, those of the options that it may
 * read.
 */
export function processVariables(options: Options): Variables {
  const found = new Map<string, string>();
  const isAllowed = (variable?: string) => {
    const wanted = variable === undefined ? {} : { variable };
    const { state } = Deno.permissions.querySync({ name: "env", ...wanted });
    return state === "granted";
  };
  const names = isAllowed()
    ? Object.keys(Deno.env.toObject())
    : [CONFIG_VARIABLE, ...variablesOf(options).keys()].filter(isAllowed);
  for (const name of names) {
    const value = name.startsWith(PREFIX) ? Deno.env.get(name) : undefined;
    if (value !== undefined && value !== "") found.set(name, value);
  }
  return found;
}

/** The names of options by their variables. */
function variablesOf(options: Options): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(options).flatMap(([name, option]) => {
      const variable = variableOf(name, option);
      return variable === undefined ? [] : [[variable, name] as const];
    }),
  );
}

/** The settings that the variables have, by name, and the variable of each. */
export interface VariableSettings {
  /** Names and values. */
  readonly raw: ReadonlyMap<string, readonly string[]>;
  /** The variable of each setting. */
  readonly places: ReadonlyMap<string, string>;
}

/**
 * Reads the settings of these options from variables.
 *
 * @throws {UsageError} If the value of a flag is not yes or no, or a list is empty
 */
export function variableSettings(
  variables: Variables,
  options: Options,
): VariableSettings {
  const raw = new Map<string, readonly string[]>();
  const places = new Map<string, string>();
  for (const [variable, name] of variablesOf(options)) {
    const text = variables.get(variable);
    if (text === undefined) continue;
    const option = options[name]!;
    const values = option.form === "many" ? listed(text, option) : [text];
    if (values.length === 0) throw new UsageError(`${variable}: want a value`);
    if (option.form === "flag") checkFlag(variable, text);
    raw.set(name, values);
    places.set(name, variable);
  }
  return { raw, places };
}

/** Checks the value of a flag. The error of a variable does not show it. */
function checkFlag(variable: string, text: string): void {
  if (!isFlagWord(text)) throw new UsageError(`${variable}: ${WANT_FLAG}`);
}

/** Words for values that may have blanks and commas in them: one a line. */
const ONE_A_LINE: ReadonlySet<string> = new Set([
  ...["FILE", "NAME:SECRET", "DOMAIN:SELECTOR:KEYFILE"],
]);

/**
 * The values of an option that may be repeated. A text with a line end has one
 * value a line, so that every value can be written; another text is split at
 * blanks and commas, unless its values are files or accounts.
 */
function listed(text: string, { word = "" }: Option): string[] {
  const isByLine = text.includes("\n") || ONE_A_LINE.has(word);
  return text.split(isByLine ? /\r?\n/ : /[\s,]+/)
    .filter((value) => value.trim() !== "");
}

/** A sentence for each variable that begins like a setting without being one. */
export function unknownVariables(
  variables: Variables,
  options: Options,
): string[] {
  const known = new Set([CONFIG_VARIABLE, ...variablesOf(options).keys()]);
  const rests = [...known].map((name) => name.slice(PREFIX.length));
  return [...variables.keys()].filter((name) => !known.has(name)).sort()
    .map((name) => {
      const meant = hint(name.slice(PREFIX.length), rests)
        .replace("mean ", `mean ${PREFIX}`);
      return `${name}: no setting has this name, it has no effect${meant}`;
    });
}
