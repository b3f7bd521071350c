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

/** The fields that name a thing over several records; they come first. */
const IDS = ["id", "relay", "recipient"] as const;

/** The fields that hold one address. */
const ADDRESSES: ReadonlySet<string> = new Set([
  ...["from", "to", "recipient", "original"],
]);

/** The delays of a delivery, in their order. */
export const DELAYS = ["queue", "dns", "connect", "transfer"] as const;

/**
 * The line of a record, without its end:
 * `2026-11-30T12:11:57+01:00 info message session=... id=... from=<a@b.example> msg="..."`.
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
  for (const name of IDS) {
    const value = fields[name];
    if (value !== undefined) text += ` ${name}=${valueText(name, value)}`;
  }
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined || (IDS as readonly string[]).includes(name)) {
      continue;
    }
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
  return name.replace(/[^\w.-]/g, "_");
}

/** A value behind its name. */
function valueText(name: string, value: LogValue): string {
  if (typeof value === "string") {
    return word(ADDRESSES.has(name) ? `<${value}>` : value);
  }
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) return word(value.join(","));
  const numbers = value as Readonly<Record<string, number>>;
  return name === "delays"
    ? DELAYS.map((step) => numbers[step] ?? 0).join("/")
    : word(Object.entries(numbers).map((pair) => pair.join(":")).join(","));
}

/** The text itself, or in quotes if it would read as more than one word. */
function word(text: string): string {
  return text === "" || /[\s"=\\]/.test(text) || printable(text) !== text
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
