/**
 * A log record as one line of text for people and grep, or as one JSON object.
 * Touches neither clock nor output: the caller gives the time, and writes.
 *
 * Danger: records quote what peers said. Every text of a record goes through
 * {@linkcode printableJson} or {@linkcode printable}; without that a peer writes
 * lines of its own, or commands to a terminal.
 */

import {
  type LogLevel,
  type LogRecord,
  type LogValue,
  printable,
  printableJson,
  printableStack,
} from "../log.ts";

/** How a line looks on a terminal. */
export interface TextLook {
  /** Whether the line of a warning or an error has a colour. */
  readonly colours: boolean;
  /** Whether an error may take several lines: a person reads them. */
  readonly terminal: boolean;
}

/** Escape sequences of a terminal that begin a line of each level. */
const COLOURS: Readonly<Record<LogLevel, string>> = {
  debug: "\x1b[2m",
  info: "",
  warn: "\x1b[33m",
  error: "\x1b[31m",
};

/**
 * The fields by which people look for a message come first, the two addresses
 * side by side: one `grep` finds what became of mail from one to the other.
 */
const FIRST = ["id", "relay", "from", "recipient"] as const;
const IS_FIRST: ReadonlySet<string> = new Set(FIRST);

/** The fields that hold addresses. */
const ADDRESSES: ReadonlySet<string> = new Set(["from", "to", "recipient"]);

/** The delays of a delivery, in their order. */
export const DELAYS = ["queue", "dns", "connect", "transfer"] as const;

/**
 * The line of a record, without its end:
 * `2026-11-30T12:11:57+01:00 info message session=... id=... from=<a@b.example> recipient=<c@d.example> msg="..."`.
 *
 * @param time Milliseconds since 1970
 */
export function formatText(
  record: LogRecord,
  time: number,
  look: TextLook = { colours: false, terminal: false },
): string {
  const { level, event, message, session, error } = record;
  const fields: Readonly<Record<string, LogValue | undefined>> =
    record.fields ?? {};
  let text = `${localTime(time)} ${level} ${printable(event)}`;
  if (session !== undefined) text += ` session=${word(session)}`;
  for (const name of FIRST) {
    const value = fields[name];
    if (value !== undefined) text += ` ${name}=${valueText(name, value)}`;
  }
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined || IS_FIRST.has(name)) continue;
    text += ` ${key(name)}=${valueText(name, value)}`;
  }
  text += ` msg=${printableJson(message)}`;
  if (error !== undefined) {
    text += look.terminal
      ? `\n    ${printableStack(error)}`
      : ` error=${printableJson(error)}`;
  }
  const colour = look.colours ? COLOURS[level] : "";
  return colour === "" ? text : `${colour}${text}\x1b[0m`;
}

/** The names that a JSON line has of its own. */
const OWN: ReadonlySet<string> = new Set([
  ...["time", "level", "event", "message", "session", "error"],
]);

/**
 * The record as one JSON object, without a line end. The fields stand beside
 * `time`, `level`, `event`, `message`, `session` and `error`; a field of one of
 * these names gets a line in front of it: `_time`.
 *
 * @param time Milliseconds since 1970
 */
export function formatJson(record: LogRecord, time: number): string {
  const { level, event, message, session, error } = record;
  const line: Record<string, unknown> = {
    time: new Date(time).toISOString(),
    ...{ level, event, message, session },
  };
  for (const [name, value] of Object.entries(record.fields ?? {})) {
    line[OWN.has(name) || name === "__proto__" ? `_${name}` : name] = value;
  }
  line["error"] = error;
  return printableJson(line);
}

/** The name of a field as one word. */
function key(name: string): string {
  return PLAIN_KEY.test(name) ? name : name.replace(/[^\w.-]/g, "_");
}

const PLAIN_KEY = /^[\w.-]+$/;

/** A value behind its name. */
function valueText(name: string, value: LogValue): string {
  if (typeof value === "string") {
    return ADDRESSES.has(name) ? addresses([value]) : word(value);
  }
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) {
    return ADDRESSES.has(name) ? addresses(value) : word(value.join(","));
  }
  const numbers = value as Readonly<Record<string, number>>;
  return name === "delays"
    ? DELAYS.map((step) => numbers[step] ?? 0).join("/")
    : word(Object.entries(numbers).map((pair) => pair.join(":")).join(","));
}

/** Most values: visible ASCII without quotes, `=` and backslash. */
const PLAIN = /^[!#-<>-[\]-~]+$/;

/** The text itself, or in quotes if it would read as more than one word. */
function word(text: string): string {
  if (PLAIN.test(text)) return text;
  return text === "" || /[\s"=\\]/.test(text) || printable(text) !== text
    ? printableJson(text)
    : text;
}

/** Most addresses; `=` stands in those of mailing lists, and reads as no field behind `<`. */
const PLAIN_ADDRESS = /^[!#-+\-.-;=?-[\]-~]*$/;

/** Addresses in angle brackets, in quotes if one could read as several. */
function addresses(all: readonly string[]): string {
  const text = `<${all.join(">,<")}>`;
  if (all.every((one) => PLAIN_ADDRESS.test(one))) return text;
  return all.some((one) => /[\s"\\<>,]/.test(one) || printable(one) !== one)
    ? printableJson(text)
    : text;
}

/** The second of {@linkcode lastText}: busy logs have many lines in one. */
let lastSecond = NaN;
let lastText = "";

/** The local date and time with the offset from UTC, as `2026-11-30T12:11:57+01:00`. */
function localTime(time: number): string {
  const second = Math.floor(time / 1000);
  if (second === lastSecond) return lastText;
  const offset = -new Date(time).getTimezoneOffset();
  const shifted = new Date(second * 1000 + offset * 60_000).toISOString();
  const minutes = Math.abs(offset);
  const hours = `${Math.floor(minutes / 60)}`.padStart(2, "0");
  const rest = `${minutes % 60}`.padStart(2, "0");
  lastSecond = second;
  lastText = `${shifted.slice(0, 19)}${offset < 0 ? "-" : "+"}${hours}:${rest}`;
  return lastText;
}
