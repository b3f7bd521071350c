/**
 * The check of what a program gives as options: names, types, words and ranges,
 * from one description that stands beside each options type. A name or a value
 * that is not understood is an error when the object is made, never a default.
 *
 * Never shows the value of a secret, or of an option that it does not know: that
 * may be a secret with a misspelt name. Runs once for each object.
 */

import { printable } from "./log.ts";
import { nearest } from "./spelling.ts";

/** Where a value stands. */
export interface Place {
  /** The option's whole name, as `limits.maxSize`; `""` for the options themselves. */
  readonly path: string;
  /** What takes the options, as `MaildirStore`; `""` for the server. */
  readonly of: string;
  /** Whether values are secrets. */
  readonly secret: boolean;
}

/** What an option must be. */
export interface Rule {
  /** In words, as `a whole number from 0`. */
  readonly want: string;
  /** Whether it must be given. */
  readonly required?: boolean;
  /** Whether its value is never shown. */
  readonly isSecret?: boolean;
  /**
   * Checks a value.
   *
   * @throws {TypeError} If it is of the wrong kind
   * @throws {RangeError} If it is a number that does not fit
   */
  check(value: unknown, at: Place): void;
}

/**
 * The description of an options type: a rule for each of its names. A name that
 * is missing here, or is not in `T`, does not compile.
 */
export type Rules<T> = { readonly [Name in keyof Required<T>]: Rule };

/** The longest value that an error shows, in characters. */
const SHOWN = 60;

/** A value as an error shows it. */
function shown(value: unknown): string {
  if (typeof value === "string") {
    // A text in place of a certificate may have its key in it.
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

/** The error for a value that a rule does not take. */
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

/** The error for a name that is not known. */
export function unknownOption(
  at: Place,
  name: string,
  facts: {
    /** The names that there are. */
    readonly known: readonly string[];
    /** The one that is meant, where that is clear. */
    readonly meant?: string | undefined;
    /** What was given, where it can be shown. */
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

/** A value that says nothing to a stranger, or `undefined`. */
function harmless(value: unknown): number | boolean | undefined {
  return typeof value === "number" || typeof value === "boolean"
    ? value
    : undefined;
}

/** The name that is meant: one spelt alike, or one that the other begins with. */
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

/** Whether it can be an object of options, and not a list, a collection, a promise. */
export function isOptions(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null &&
    !(Symbol.iterator in value) && !(value instanceof Date) &&
    !(value instanceof URL) && !(value instanceof RegExp) &&
    !(value instanceof Boolean) && !(value instanceof Number) &&
    !(value instanceof Error) && !ArrayBuffer.isView(value) &&
    typeof Reflect.get(value, "then") !== "function";
}

/**
 * Checks an object of options; a name whose value is `undefined` counts as not
 * given.
 *
 * @param of What takes them, as `MaildirStore`; `""` for the server
 * @param options What was given
 * @param rules What they must be
 * @param example How they look, as `{ folder: "./mail" }`
 * @throws {TypeError} If a name is not known, missing, or its value of the wrong kind
 * @throws {RangeError} If a number does not fit
 */
export function checkOptions<T>(
  of: string,
  options: unknown,
  rules: Rules<T>,
  example?: string,
): void {
  object(rules, example).check(options, { path: "", of, secret: false });
}

/** An object of options. */
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
          // A copy would be without it: what was checked would not hold.
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

/** A value that a test takes. */
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

/** The same, but not to be left out. */
export function required(rule: Rule): Rule {
  return { ...rule, required: true };
}

/** The same, and no error shows its value. */
export function secret(rule: Rule): Rule {
  return {
    ...rule,
    isSecret: true,
    check: (value, at) => rule.check(value, { ...at, secret: true }),
  };
}

/** Anything at all. */
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

/** An own name: white space or brackets would be taken apart by those who read a greeting, EHLO or Received. */
export const ownName: Rule = where(
  'a name, as "mx.example.com"',
  (value) =>
    typeof value === "string" && value.length <= 255 &&
    (/^[\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)*$/u.test(value) ||
      /^\[[0-9A-Za-z.:]+\]$/.test(value)),
);

/** A port to connect to. */
export const port: Rule = whole(1, 65535);

/** A wait in milliseconds that a timer can hold. */
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

/** A number; `Infinity` where no `most` is told. */
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

/** An object that has these methods, whoever made it. */
export function having(want: string, ...methods: readonly string[]): Rule {
  return where(want, (value) => has(value, methods));
}

/** Whether a value is an object that has these methods. */
export function has(value: unknown, methods: readonly string[]): boolean {
  return typeof value === "object" && value !== null &&
    methods.every((name) => typeof Reflect.get(value, name) === "function");
}

/** What fits the kind of the value: a string, a list, or an object. */
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
