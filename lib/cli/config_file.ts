/**
 * The configuration file: JSON, read with the line of each setting, so an error
 * names file, line and key. An error never quotes a file that is not JSON: it may
 * be another file, with secrets in it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8259 | RFC 8259}
 */

import { readSmallFile } from "../server/mod.ts";
import type { OptionForm, Options } from "./option.ts";
import { keyOf } from "./options.ts";
import { flagOf, type RawSettings } from "./arguments.ts";
import {
  CONFIG_VARIABLE,
  unknownVariables,
  type Variables,
  variableSettings,
} from "./environment.ts";
import { hint, reasonOf, RunError, UsageError } from "./output.ts";

/** Settings, and the places of those that do not come from the command line. */
export interface PlacedSettings {
  /** Names and values. */
  readonly raw: RawSettings;
  /**
   * The place of each setting that comes from the environment or a file:
   * `SMTP_MAX_SIZE`, `smtp.json:3: maxSize`.
   */
  readonly places: ReadonlyMap<string, string>;
  /** Sentences on variables that have no effect. */
  readonly notes?: readonly string[];
}

/** Where settings come from beside the command line. */
export interface SettingSources {
  /** The options of the server, for the file. */
  readonly options: Options;
  /** The options that variables may set. */
  readonly byVariable: Options;
  /** The variables of the process. */
  readonly variables: Variables;
}

/**
 * The settings of the command line, those of the environment that the command
 * line does not have, and those of the file of `--config` that neither has.
 *
 * @param given The settings of the command line
 * @throws {UsageError} If a variable or the file cannot be read or used
 */
export async function placedSettings(
  given: RawSettings,
  { options, byVariable, variables }: SettingSources,
): Promise<PlacedSettings> {
  const notes = unknownVariables(variables, options);
  const environment = variableSettings(variables, byVariable);
  const file = await readConfig(given, { options, variables });
  const raw = new Map([...file.raw, ...environment.raw, ...given]);
  const places = new Map([...file.places, ...environment.places]);
  for (const name of given.keys()) places.delete(name);
  return { raw, places, notes };
}

/** The settings of the configuration file, if one is named. */
async function readConfig(
  given: RawSettings,
  { options, variables }: Pick<SettingSources, "options" | "variables">,
): Promise<PlacedSettings> {
  const [named, another] = given.get("config") ?? [];
  if (another !== undefined) throw new UsageError("--config: want it once");
  if (named === "") throw new UsageError("--config: want a value");
  const file = named ?? variables.get(CONFIG_VARIABLE);
  if (file === undefined) return { raw: new Map(), places: new Map() };
  try {
    return parseConfig(await readSmallFile(file), { file, options });
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const by = named === undefined ? CONFIG_VARIABLE : "--config";
    throw new UsageError(`${by} ${file}: ${reasonOf(error)}`);
  }
}

/**
 * Reads a configuration file: the names of the command line in camelCase;
 * values are strings, numbers, booleans or arrays of these.
 *
 * @throws {UsageError} If it is not a JSON object, a name is unknown or given
 * twice, or a value has the wrong type
 */
export function parseConfig(
  text: string,
  from: { readonly file: string; readonly options: Options },
): PlacedSettings {
  const { file, options } = from;
  const names = new Map<string, string>();
  for (const [name, option] of Object.entries(options)) {
    const key = keyOf(name, option);
    if (key !== undefined) names.set(key, name);
  }
  const raw = new Map<string, readonly string[]>();
  const places = new Map<string, string>();
  for (const { key, value, line } of new JsonReader(text, file).entries()) {
    const at = `${file}:${line}`;
    const name = names.get(key);
    if (name === undefined) {
      throw new UsageError(
        `${at}: unknown setting "${key}"${hint(key, names.keys())}`,
      );
    }
    const { form } = options[name]!;
    if (raw.has(name)) throw new UsageError(`${at}: ${key}: given twice`);
    const values = valuesOf(form, value);
    if (values === undefined) {
      throw new UsageError(`${at}: ${key}: want ${WANTED[form]}`);
    }
    if (form === "flag") flagOf(`${at}: ${key}`, values);
    raw.set(name, values);
    places.set(name, `${at}: ${key}`);
  }
  return { raw, places };
}

/**
 * A message about `--name`. If the setting comes from a file or a variable, its
 * place there replaces the name: `smtp.json:3: maxSize -1: want ...`.
 */
export function placed(
  message: string,
  places: PlacedSettings["places"],
): string {
  const name = /^--([a-z-]+)/.exec(message)?.[1] ?? "";
  const place = places.get(name);
  return place === undefined
    ? message
    : `${place}${message.slice("--".length + name.length)}`;
}

/** The error, with the place of a setting that does not come from the command line. */
export function atItsPlace(
  error: unknown,
  places: PlacedSettings["places"],
): unknown {
  if (error instanceof UsageError || error instanceof RunError) {
    error.message = placed(error.message, places);
  }
  return error;
}

/** The values of a setting of each form in a configuration file. */
const WANTED: Readonly<Record<OptionForm, string>> = {
  one: "a string or a number",
  many: "a string, or an array of at least one",
  flag: "true or false",
};

/** The values of a setting as texts of the command line; `undefined` if they do not fit its form. */
function valuesOf(
  form: OptionForm,
  value: unknown,
): readonly string[] | undefined {
  if (form === "flag") {
    const fits = ["boolean", "string", "number"].includes(typeof value);
    return fits ? [String(value)] : undefined;
  }
  const values = form === "many" && Array.isArray(value) ? value : [value];
  const fit = values.length > 0 &&
    values.every((item) =>
      typeof item === "string" || (form === "one" && typeof item === "number")
    );
  return fit ? values.map(String) : undefined;
}

const BLANKS = /[ \t\r\n]*/y;
// deno-lint-ignore no-control-regex
const STRING = /"(?:[^"\\\x00-\x1f]|\\.)*"/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;
/** Most levels of objects and arrays; no setting needs two. */
const MAX_DEPTH = 100;

/** Reads the members of a JSON object, each with its line. */
class JsonReader {
  readonly #text: string;
  readonly #file: string;
  #at = 0;

  constructor(text: string, file: string) {
    this.#text = text.replace(/^\ufeff/, "");
    this.#file = file;
  }

  *entries(): Generator<{ key: string; value: unknown; line: number }> {
    if (!/^\s*\{/.test(this.#text)) {
      this.#value(0);
      throw new UsageError(`--config ${this.#file}: want a JSON object`);
    }
    yield* this.#members(0);
    this.#match(BLANKS);
    if (this.#at < this.#text.length) this.#fail("the end of the file");
  }

  *#members(
    depth: number,
  ): Generator<{ key: string; value: unknown; line: number }> {
    this.#punctuation("{");
    if (this.#skip("}")) return;
    do {
      this.#match(BLANKS);
      const line = this.#line();
      const key = this.#string() ?? this.#fail("a name in double quotes");
      if (!this.#skip(":")) this.#fail('":"');
      yield { key, value: this.#value(depth + 1), line };
    } while (this.#skip(","));
    if (!this.#skip("}")) this.#fail('"," or "}"');
  }

  #value(depth: number): unknown {
    if (depth > MAX_DEPTH) this.#fail("fewer levels");
    this.#match(BLANKS);
    const next = this.#text[this.#at];
    if (next === "{") {
      const entries = [...this.#members(depth)];
      return Object.fromEntries(entries.map(({ key, value }) => [key, value]));
    }
    if (next === "[") return this.#array(depth);
    if (next === '"') {
      return this.#string() ?? this.#fail("the end of the text");
    }
    const literal = this.#match(NUMBER) ?? this.#match(WORD);
    return literal === undefined
      ? this.#fail("a value")
      : JSON.parse(literal) as unknown;
  }

  #array(depth: number): unknown[] {
    this.#punctuation("[");
    const values: unknown[] = [];
    if (this.#skip("]")) return values;
    do values.push(this.#value(depth + 1)); while (this.#skip(","));
    if (!this.#skip("]")) this.#fail('"," or "]"');
    return values;
  }

  /** A text in quotes; `undefined` if there is no such text. */
  #string(): string | undefined {
    const before = this.#at;
    const quoted = this.#match(STRING);
    if (quoted === undefined) return undefined;
    try {
      return JSON.parse(quoted) as string;
    } catch {
      this.#at = before;
      return this.#fail("a text without unknown escapes");
    }
  }

  #punctuation(sign: string): void {
    if (!this.#skip(sign)) this.#fail(`"${sign}"`);
  }

  #skip(sign: string): boolean {
    this.#match(BLANKS);
    const isThere = this.#text[this.#at] === sign;
    if (isThere) this.#at++;
    return isThere;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text)?.[0];
    this.#at += match?.length ?? 0;
    return match;
  }

  #line(): number {
    return this.#text.slice(0, this.#at).split("\n").length;
  }

  #fail(want: string): never {
    throw new UsageError(
      `${this.#file}:${this.#line()}: it is not JSON, want ${want}`,
    );
  }
}
