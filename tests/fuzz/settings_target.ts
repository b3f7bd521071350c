/**
 * Fuzz of what an operator writes: files of aliases and of addresses, places to
 * listen on, and environment variables. A text is taken, or refused by an error
 * of one line that can be shown; what is taken reads the same again. No error
 * repeats the value of a variable.
 */

import { variableOf, variableSettings } from "../../lib/cli/environment.ts";
import type { Options } from "../../lib/cli/option.ts";
import { UsageError } from "../../lib/cli/output.ts";
import { SERVING } from "../../lib/cli/serve_options.ts";
import { parseLines, parseNamedLists } from "../../lib/files/named_lists.ts";
import { formatHostPort, parseListen } from "../../lib/net/listen_options.ts";
import { parseSenders } from "../../lib/sasl/accounts.ts";
import {
  AliasTable,
  decodeAliases,
  encodeAliases,
} from "../../lib/session/aliases.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";

/** Files, places and variables of an operator. */
export const settingsTarget: FuzzTarget = {
  name: "settings",
  check(random) {
    checkLists(random);
    checkListen(random);
    checkVariables(random);
  },
};

/** Runs a reader; `undefined` if it refuses the text by an error of this class. */
function taken<T>(
  read: () => T,
  refusal: new (message: string) => Error = SyntaxError,
): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof refusal)) throw error;
    // deno-lint-ignore no-control-regex
    if (!/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(error.message)) return;
    throw new Error(`Refused by ${JSON.stringify(error.message)}`);
  }
}

function same(got: unknown, want: unknown, of: string): void {
  const [one, other] = [JSON.stringify(got), JSON.stringify(want)];
  if (one === other) return;
  throw new Error(`Read ${one}, then ${other}, from ${JSON.stringify(of)}`);
}

// Aliases, and the addresses of accounts.

const NAMES = [
  ...["info@a.test", "root", "@a.test", '"a, b: #c"@a.test', "ann+x@a.test"],
  ...["a@[IPv6:2001:db8::1]", "a@[192.0.2.1]", "é@bücher.test", "postmaster"],
  ...["__proto__", "constructor", "ann", "", "a b", "/dev/null", "|cat"],
];
const GLUE = [", ", ",", ",\n ", ", # c\n\t", ",,", " ", ": "];
const ENDS = ["\n", "\r\n", "\n\n", " # comment\n", "\n# comment\n", ""];

function listsText(random: Random): string {
  let text = chance(random, 8) ? "\ufeff" : "";
  for (let left = random(6); left > 0; left--) {
    text += `${pick(random, NAMES)}: ${pick(random, NAMES)}`;
    for (let more = random(3); more > 0; more--) {
      text += pick(random, GLUE) + pick(random, NAMES);
    }
    text += pick(random, ENDS);
  }
  const mutant = chance(random, 4) ? text : mutate(random, text);
  // What is long must not take longer than its length.
  return chance(random, 200) ? mutant.repeat(500) : mutant;
}

function checkLists(random: Random): void {
  const text = listsText(random);
  for (const { content, line } of parseLines(text)) {
    if (content === "" || line < 1) throw new Error(`Read line ${line} of it`);
  }
  const lists = taken(() => parseNamedLists(text, "the file"));
  for (const { name, values } of lists ?? []) {
    if (name === "" || values.length === 0 || values.includes("")) {
      throw new Error(`Took an empty name or value: ${JSON.stringify(text)}`);
    }
    const written = `${name}:${values.join(",")}`;
    // A "#" may begin a comment elsewhere.
    if (written.includes("#")) continue;
    const again = parseNamedLists(written, "the file");
    same(again, [{ name, values, line: 1 }], text);
  }
  const table = taken(() => AliasTable.parse(text));
  const senders = taken(() => parseSenders(text));
  if (lists === undefined && (table ?? senders) !== undefined) {
    throw new Error(`Took what is no list: ${JSON.stringify(text)}`);
  }
  if (table !== undefined) {
    const wire = encodeAliases(table);
    same(encodeAliases(decodeAliases(wire)), wire, text);
    if (table.size > (lists?.length ?? 0)) {
      throw new Error(`Took ${table.size} aliases of ${JSON.stringify(text)}`);
    }
  }
  for (const addresses of senders?.values() ?? []) {
    for (const address of addresses) {
      if (/[^"]*@[^@]+$/.test(address) && !/\p{Cc}/u.test(address)) continue;
      throw new Error(`Took ${JSON.stringify(address)} as an address`);
    }
  }
}

// Places to listen on.

const HOSTS = [
  ...["127.0.0.1", "[::1]", "", "*", "mail.a.test", "[", "bücher.test", "1.2"],
  ...["unix", "UNIX", "[fe80::1%eth0]"],
];
const PATHS = [
  ...["/run/mail", "mail.sock", "@abstract", "/run/a b", "/run/é", "/", ""],
  ...["/run/lmtp", "/x".repeat(54), "é".repeat(54), "../x", "/run/unix:x"],
];
const KINDS = ["", "/smtp", "/lmtp", "/LMTP", "/submission", "/smtps", "/x"];

function checkListen(random: Random): void {
  const place = chance(random, 2)
    ? `unix:${pick(random, PATHS)}`
    : `${pick(random, HOSTS)}:${pick(random, ["0", "25", "65536", "-1", ""])}`;
  const text = mutate(random, place + pick(random, KINDS));
  const listener = taken(() => parseListen(text));
  if (listener === undefined) return;
  const { path, host, port, kind = "smtp", security } = listener;
  const suffix = `/${kind}${security === "implicit" ? "s" : ""}`;
  if (path !== undefined) {
    const { length } = new TextEncoder().encode(path);
    if (length > 107 || /\0|\/$|^$/.test(path)) {
      throw new Error(`Took the path ${JSON.stringify(path)}`);
    }
    if (!/^unix:/i.test(text)) throw new Error(`Took a path of "${text}"`);
    return same(parseListen(`unix:${path}${suffix}`), listener, text);
  }
  if (!(port! >= 0 && port! <= 65535)) throw new Error(`Took port ${port}`);
  const address = formatHostPort({ address: host ?? "", port: port! });
  same(parseListen(address + suffix), listener, text);
}

// Environment variables.

const OPTIONS: Options = Object.assign({}, ...Object.values(SERVING));
const VARIABLES = Object.entries(OPTIONS).flatMap(([name, option]) => {
  const variable = variableOf(name, option);
  return variable === undefined ? [] : [variable];
});
/** A text that no message has unless it repeats a value. */
const SECRET = "zq7zq7";
const VALUES = [
  ...["yes", "no", "1", "a.test b.test", "a.test, b.test", "ann:b\nbob:c d"],
  ...[",", "\n", " ", "/a b\r\n/c", "", "\n\n\u2028"],
];

function checkVariables(random: Random): void {
  const variables = new Map<string, string>();
  for (let left = 1 + random(3); left > 0; left--) {
    const value = mutate(random, pick(random, VALUES));
    variables.set(
      pick(random, VARIABLES),
      chance(random, 3) ? value + SECRET : value,
    );
  }
  const settings = taken(() => {
    try {
      return variableSettings(variables, OPTIONS);
    } catch (error) {
      if (!String(error).includes(SECRET)) throw error;
      throw new Error("Showed the value of a variable", { cause: error });
    }
  }, UsageError);
  for (const [name, values] of settings?.raw ?? []) {
    const variable = settings!.places.get(name)!;
    const text = variables.get(variable)!;
    const isList = OPTIONS[name]!.form === "many";
    for (const value of values) {
      if (
        isList ? text.includes(value) && value.trim() !== "" : text === value
      ) {
        continue;
      }
      throw new Error(`Read ${JSON.stringify(value)} of ${variable}`);
    }
  }
}
