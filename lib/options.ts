/**
 * Checks the options that a program passes: names, types, words and ranges, by
 * one set of rules beside each options type. A name or a value that is not valid
 * is an error when the object is made; it never becomes a default.
 *
 * Never shows the value of a secret, or of an unknown option: that may be a
 * secret with a misspelt name. Runs once for each object.
 */

import { printable } from "./log.ts";
import { nearest } from "./spelling.ts";

/** Place of a value. */
export interface Place {
  /** Full name of the option, as `limits.maxSize`; `""` for the object of options. */
  readonly path: string;
  /** Class or function that takes the options, as `MaildirStore`; `""` for the server. */
  readonly of: string;
  /** Whether values are secrets. */
  readonly secret: boolean;
}

/** The rule for the value of an option. */
export interface Rule {
  /** The rule in words, as `a whole number from 0`. */
  readonly want: string;
  /** Whether the option must be given. */
  readonly required?: boolean;
  /** Whether an error never shows the value. */
  readonly isSecret?: boolean;
  /**
   * Checks a value.
   *
   * @throws {TypeError} If the value is of the wrong kind
   * @throws {RangeError} If the value is a number out of range
   */
  check(value: unknown, at: Place): void;
}

/**
 * The rules for an options type: one for each of its names. A name that is
 * missing here, or is not in `T`, does not compile.
 */
export type Rules<T> = { readonly [Name in keyof Required<T>]: Rule };

/** Most characters of a value that an error shows. */
const SHOWN = 60;

/** The value as an error shows it. */
function shown(value: unknown): string {
  if (typeof value === "string") {
    // A text in place of a certificate may contain its key.
    if (value.includes("-----BEGIN ")) return "(a text in PEM)";
    const text = value.length > SHOWN ? `${value.slice(0, SHOWN)}...` : value;
    return JSON.stringify(printable(text));
  }
  if (typeof value === "function") return "(a function)";
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) return value.length === 0 ? "[]" : "(an array)";
  if (typeof Reflect.get(value, "then") === "function") return "(a promise)";
  return "(an object)";
}

/** The error for a value that a rule rejects. */
export function optionError(
  at: Place,
  value: unknown,
  wanted: { readonly want: string; readonly meant?: string | undefined },
): TypeError | RangeError {
  const { path, of, secret } = at;
  const what = path === ""
    ? `the options ${secret ? "given" : shown(value)}`
    : secret
    ? path
    : `${path} ${shown(value)}`;
  const forgotten = typeof value === "object" && value !== null &&
    typeof Reflect.get(value, "then") === "function";
  const text = `Cannot use ${what}${
    of === "" ? "" : ` of ${of}`
  }: want ${wanted.want}${
    wanted.meant === undefined ? "" : `, did you mean "${wanted.meant}"?`
  }${forgotten ? ", did you forget await?" : ""}`;
  return typeof value === "number" && /\bnumber\b/.test(wanted.want)
    ? new RangeError(text)
    : new TypeError(text);
}

/** The error for an unknown name. */
export function unknownOption(
  at: Place,
  name: string,
  facts: {
    /** All known names. */
    readonly known: readonly string[];
    /** The name that was probably meant, if there is one. */
    readonly meant?: string | undefined;
    /** The value, if it can be shown. */
    readonly value?: number | boolean | undefined;
  },
): TypeError {
  const { known, meant, value } = facts;
  const path = inside(at, printable(name.slice(0, SHOWN))).path;
  return new TypeError(
    `Cannot use ${path}${value === undefined ? "" : ` ${value}`}${
      at.of === "" ? "" : ` of ${at.of}`
    }: no such option, ${
      meant === undefined
        ? `want one of ${known.join(", ")}`
        : `did you mean "${inside(at, meant).path}"?`
    }`,
  );
}

/** The value if it cannot be a secret, else `undefined`. */
function harmless(value: unknown): number | boolean | undefined {
  return typeof value === "number" || typeof value === "boolean"
    ? value
    : undefined;
}

/** The name that was probably meant: one spelt alike, or one that is the beginning of the other. */
function meantName(
  name: string,
  known: readonly string[],
): string | undefined {
  const lower = name.toLowerCase();
  return nearest(name, known) ??
    known.find((one) => lower.startsWith(one.toLowerCase()));
}

function inside(at: Place, name: string): Place {
  return { ...at, path: at.path === "" ? name : `${at.path}.${name}` };
}

/** Whether a value can be an object of options: not a list, a collection or a promise. */
export function isOptions(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null &&
    !(Symbol.iterator in value) && !(value instanceof Date) &&
    !(value instanceof URL) && !(value instanceof RegExp) &&
    !(value instanceof Boolean) && !(value instanceof Number) &&
    !(value instanceof Error) && !ArrayBuffer.isView(value) &&
    typeof Reflect.get(value, "then") !== "function";
}

/**
 * Checks an object of options. A name whose value is `undefined` counts as
 * missing.
 *
 * @param of Class or function that takes them, as `MaildirStore`; `""` for the server
 * @param example An example for the error, as `{ folder: "./mail" }`
 * @throws {TypeError} If a name is unknown or missing, or a value is of the wrong kind
 * @throws {RangeError} If a number is out of range
 */
export function checkOptions<T>(
  of: string,
  options: unknown,
  rules: Rules<T>,
  example?: string,
): void {
  object(rules, example).check(options, { path: "", of, secret: false });
}

/** The rule for an object of options. */
export function object<T>(rules: Rules<T>, example?: string): Rule {
  const all: Readonly<Record<string, Rule>> = rules;
  const want = example === undefined
    ? "an object of options"
    : `options, as ${example}`;
  return {
    want,
    check(value, at) {
      if (!isOptions(value)) throw optionError(at, value, { want });
      for (const name of Object.keys(value)) {
        if (Object.hasOwn(all, name) || value[name] === undefined) continue;
        const known = Object.keys(all);
        const meant = meantName(name, known);
        throw unknownOption(at, name, {
          known,
          meant,
          value: meant === undefined || all[meant]!.isSecret || at.secret
            ? undefined
            : harmless(value[name]),
        });
      }
      for (const name in all) {
        const rule = all[name]!;
        const given = value[name];
        if (given !== undefined) {
          // A copy would lack it, so the check would not hold for the copy.
          if (!Object.prototype.propertyIsEnumerable.call(value, name)) {
            throw optionError(inside(at, name), given, {
              want:
                "a property of the object itself, neither inherited nor hidden",
            });
          }
          rule.check(given, inside(at, name));
        } else if (rule.required) {
          throw optionError(inside(at, name), given, rule);
        }
      }
    },
  };
}

/** The rule for a value for which `test` is true. */
export function where(
  want: string,
  test: (value: unknown) => boolean,
): Rule {
  return {
    want,
    check(value, at) {
      if (!test(value)) throw optionError(at, value, { want });
    },
  };
}

/** The same rule for an option that must be given. */
export function required(rule: Rule): Rule {
  return { ...rule, required: true };
}

/** The same rule for a secret: no error shows its value. */
export function secret(rule: Rule): Rule {
  return {
    ...rule,
    isSecret: true,
    check: (value, at) => rule.check(value, { ...at, secret: true }),
  };
}

/** Any value. */
export const anything: Rule = { want: "anything", check: () => {} };

/** `true` or `false`. */
export const flag: Rule = where(
  "true or false",
  (value) => typeof value === "boolean",
);

/** A string. */
export function text(want = "a string"): Rule {
  return where(want, (value) => typeof value === "string");
}

/** A function. */
export function callable(want = "a function"): Rule {
  return where(want, (value) => typeof value === "function");
}

/** A number whose range is checked where it is used. */
export const anyNumber: Rule = where(
  "a number",
  (value) => typeof value === "number",
);

/** A path of a file or folder. */
export const path: Rule = where(
  "a path that is not empty",
  (value) => typeof value === "string" && value !== "" && !value.includes("\0"),
);

/** A host to bind or to connect to. */
export const host: Rule = where(
  'a host, as "127.0.0.1"',
  (value) => typeof value === "string" && /^[^\s\p{Cc}]+$/u.test(value),
);

/** This host's own name. White space or brackets would break parsers of the greeting, EHLO and Received. */
export const ownName: Rule = where(
  'a name, as "mx.example.com"',
  (value) =>
    typeof value === "string" && value.length <= 255 &&
    (/^[\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)*$/u.test(value) ||
      /^\[[0-9A-Za-z.:]+\]$/.test(value)),
);

/** The default of {@linkcode ownName}: this machine's name, if the permission to read it is granted. */
export function machineName(): string {
  try {
    return Deno.hostname();
  } catch {
    return "localhost";
  }
}

/** A port to connect to. */
export const port: Rule = whole(1, 65535);

/** A wait in milliseconds, within the range of a timer. */
export const milliseconds: Rule = number(0, 2_147_483_647);

/** A whole number. */
export function whole(least = 0, most: number = Number.MAX_SAFE_INTEGER): Rule {
  return where(
    `a whole number ${range(least, most)}`,
    (value) =>
      Number.isSafeInteger(value) && value as number >= least &&
      value as number <= most,
  );
}

/** A number; may be `Infinity` where `most` is not given. */
export function number(least = 0, most: number = Infinity): Rule {
  return where(
    `a number ${range(least, most)}`,
    (value) => typeof value === "number" && value >= least && value <= most,
  );
}

function range(least: number, most: number): string {
  return most >= Number.MAX_SAFE_INTEGER
    ? `from ${least}`
    : `from ${least} to ${most}`;
}

/** One of several words. */
export function oneOf(...words: readonly string[]): Rule {
  const quoted = words.map((word) => `"${word}"`);
  const last = quoted.pop();
  const want = quoted.length === 0
    ? `${last}`
    : `${quoted.join(", ")} or ${last}`;
  return {
    want,
    check(value, at) {
      if (typeof value === "string" && words.includes(value)) return;
      const meant = typeof value === "string"
        ? meantName(value, words)
        : undefined;
      throw optionError(at, value, { want, meant });
    },
  };
}

/** A list. */
export function list(
  rule: Rule,
  want: string = `an array, each ${rule.want}`,
): Rule {
  return {
    want,
    check(value, at) {
      if (!Array.isArray(value)) throw optionError(at, value, { want });
      for (let index = 0; index < value.length; index++) {
        rule.check(value[index], { ...at, path: `${at.path}[${index}]` });
      }
    },
  };
}

/** An object with these methods, of any class. */
export function having(want: string, ...methods: readonly string[]): Rule {
  return where(want, (value) => has(value, methods));
}

/** Whether a value is an object with these methods. */
export function has(value: unknown, methods: readonly string[]): boolean {
  return typeof value === "object" && value !== null &&
    methods.every((name) => typeof Reflect.get(value, name) === "function");
}

/** One of several rules, chosen by the kind of the value: a string, a list, or an object. */
export function either(
  kinds: {
    readonly text?: Rule;
    readonly list?: Rule;
    readonly object?: Rule;
  },
  want: string,
): Rule {
  return {
    want,
    check(value, at) {
      const rule = typeof value === "string"
        ? kinds.text
        : Array.isArray(value)
        ? kinds.list
        : typeof value === "object" && value !== null
        ? kinds.object
        : undefined;
      if (rule === undefined) throw optionError(at, value, { want });
      rule.check(value, at);
    },
  };
}

/** An `AbortSignal`. */
export const abortSignal: Rule = where(
  "an AbortSignal",
  (value) => value instanceof AbortSignal,
);
