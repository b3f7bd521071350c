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
import { hint, reasonOf, RunError, UsageError } from "./output.ts";

/** Settings, and the places of those that come from a file. */
export interface PlacedSettings {
  /** Names and values. */
  readonly raw: RawSettings;
  /** The place of each setting that comes from a file: `smtp.json:3: maxSize`. */
  readonly places: ReadonlyMap<string, string>;
}

/**
 * The settings of the command line, and those of the file of `--config` that the
 * command line does not have.
 *
 * @param given The settings of the command line
 * @param options The options of the command that the file is for
 * @throws {UsageError} If the file cannot be read or used
 */
export async function placedSettings(
  given: RawSettings,
  options: Options,
): Promise<PlacedSettings> {
  const [file, another] = given.get("config") ?? [];
  if (another !== undefined) throw new UsageError("--config: want it once");
  if (file === undefined) return { raw: given, places: new Map() };
  if (file === "") throw new UsageError("--config: want a value");
  let text: string;
  try {
    text = await readSmallFile(file);
  } catch (error) {
    throw new UsageError(`--config ${file}: ${reasonOf(error)}`);
  }
  const { raw, places } = parseConfig(text, { file, options });
  return {
    raw: new Map([...raw, ...given]),
    places: new Map([...places].filter(([name]) => !given.has(name))),
  };
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
 * A message about `--name`. If the setting comes from a file, its place there
 * replaces the name: `smtp.json:3: maxSize -1: want ...`.
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

/** The error, with the place of a setting that comes from a file. */
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
