/**
 * Log records as the lines that Postfix writes for the same events, so that
 * pflogsumm, fail2ban's filter `postfix` and the like read them. One record may
 * become several lines or none.
 *
 * The queue id of all lines of a message is its id, with `x` for each dash:
 * these programs take letters and digits only. The number in brackets is that of
 * the session, since Postfix has one process for a connection; a line of no
 * session has the process id.
 *
 * Remembers for some sessions and messages what Postfix writes later than a
 * record has it: a bounded number, the oldest forgotten first.
 *
 * Danger: these programs search in lines for `from=<`, `reject:` and addresses
 * in brackets. A peer's text must pass through {@linkcode free} or
 * {@linkcode within}; otherwise a peer bans other addresses, and adds mail that never was.
 */

import { type LogRecord, printable } from "../log.ts";
import {
  deliveryStatus,
  free,
  listOf,
  numberOf,
  queueId,
  seconds,
  splitDelays,
  syslogTime,
  textOf,
  within,
} from "./postfix_words.ts";
import { ENDS, refusalLines } from "./postfix_refusals.ts";

/** Sessions, and messages, that are remembered. */
const MOST_REMEMBERED = 10_000;

/** What is remembered of a session. */
export interface SessionNote {
  /** The client, as `unknown[192.0.2.1]`. */
  client: string;
  /** The mechanism of the login. */
  mechanism?: string | undefined;
  logins: number;
  failedLogins: number;
  /** The last command that a record has named. */
  verb: string;
  /** Whether a line has said already that the session was ended. */
  isEnded: boolean;
}

/** One line: the program of Postfix that would write it, and its text. */
export type Line = readonly [program: string, text: string];

/** Writes records as lines of Postfix's log. */
export class PostfixLines {
  readonly #host: string;
  readonly #process: number;
  readonly #sessions = new Map<string, SessionNote>();
  /** The message of each queue id that differs from it. */
  readonly #messages = new Map<string, string>();
  /** The parts of a message that are in the queue, if it has several; its last one ends it. */
  readonly #parts = new Map<string, number>();
  /** Deliveries to stores, until the record of their message comes. */
  readonly #stored = new Map<string, LogRecord[]>();

  /** @param options `hostname`: behind the time; `process`: in brackets where no session is */
  constructor(
    options: { readonly hostname: string; readonly process: number },
  ) {
    this.#host = options.hostname.replace(/[^\w.-]/g, "_") || "localhost";
    this.#process = options.process;
  }

  /** The lines of a record, each with its end; `""` for none. */
  lines(record: LogRecord, time: number): string {
    const { session } = record;
    const number = session === undefined ? this.#process : numberOfId(session);
    const start = `${syslogTime(time)} ${this.#host} postfix/`;
    let text = "";
    for (const [program, said] of this.#of(record)) {
      text += `${start}${program}[${number}]: ${printable(said)}\n`;
    }
    return text;
  }

  #of(record: LogRecord): readonly Line[] {
    const { event, level } = record;
    switch (event) {
      case "connect":
        return this.#connect(record);
      case "auth":
        return this.#auth(record);
      case "refused":
        return refusalLines(record, this.#note(record));
      case "message":
        return this.#message(record);
      case "stored":
        return this.#store(record);
      case "delivery":
        return this.#delivery(record);
      case "bounce":
      case "notice":
        return this.#notice(record);
      case "removed":
      case "held":
      case "released":
        return this.#action(record);
      case "dialogue":
        return this.#dialogue(record);
      case "disconnect":
        return this.#disconnect(record);
    }
    const program = record.session === undefined ? "master" : "smtpd";
    const why = record.error?.split("\n", 1)[0];
    const said = free(why ? `${record.message}: ${why}` : record.message);
    return level === "warn" || level === "error"
      ? [[program, `warning: ${said}`]]
      : [[program, said]];
  }

  // Sessions.

  /** The note of the record's session, a new one for a new session. */
  #note(record: LogRecord): SessionNote {
    const { session } = record;
    const known = session === undefined
      ? undefined
      : this.#sessions.get(session);
    const address = textOf(record, "address");
    const name = textOf(record, "name");
    if (known !== undefined) {
      if (address !== undefined) known.client = clientOf(address, name);
      return known;
    }
    const note: SessionNote = {
      client: clientOf(address, name),
      logins: 0,
      failedLogins: 0,
      verb: "CONNECT",
      isEnded: false,
    };
    if (session !== undefined) remember(this.#sessions, session, note);
    return note;
  }

  #connect(record: LogRecord): readonly Line[] {
    return [["smtpd", `connect from ${this.#note(record).client}`]];
  }

  #auth(record: LogRecord): readonly Line[] {
    const note = this.#note(record);
    const mechanism = within(textOf(record, "mechanism") || "unknown");
    const user = within(textOf(record, "user") ?? "");
    note.verb = "AUTH";
    if (textOf(record, "result") === "accepted") {
      note.logins++;
      note.mechanism = mechanism;
      return [];
    }
    const reason = textOf(record, "reason") ?? record.message;
    if (/given up|cancel/i.test(reason)) {
      return [[
        "smtpd",
        `warning: ${note.client}: SASL ${mechanism} authentication aborted`,
      ]];
    }
    note.failedLogins++;
    const why = free(reason).replace(/^Log-?in failed: /i, "");
    return [[
      "smtpd",
      `warning: ${note.client}: SASL ${mechanism} authentication failed: ${why}, sasl_username=${user}`,
    ]];
  }

  #dialogue(record: LogRecord): readonly Line[] {
    const side = textOf(record, "side") === "client" ? "<" : ">";
    const line = free(textOf(record, "line") ?? "");
    return [["smtpd", `${side} ${this.#note(record).client}: ${line}`]];
  }

  #disconnect(record: LogRecord): readonly Line[] {
    const note = this.#note(record);
    const { client, verb, logins, failedLogins, isEnded } = note;
    if (record.session !== undefined) this.#sessions.delete(record.session);
    const reason = textOf(record, "reason") ?? "";
    const lines: Line[] = [];
    const state = textOf(record, "verb") ?? verb;
    const how = ENDS[reason];
    if (how !== undefined && !isEnded) {
      lines.push(["smtpd", `${how} ${within(state)} from ${client}`]);
    }
    const attempts = logins + failedLogins;
    const auth = attempts === 0
      ? ""
      : ` auth=${logins}${failedLogins > 0 ? `/${attempts}` : ""}`;
    lines.push(["smtpd", `disconnect from ${client}${auth}`]);
    return lines;
  }

  // Messages.

  /** The queue id of a record's message. */
  #queueId(record: LogRecord): string {
    const id = textOf(record, "id");
    const relay = textOf(record, "relay");
    if (id !== undefined) {
      if (relay !== undefined && relay !== id) {
        remember(this.#messages, relay, id);
      }
      return queueId(id);
    }
    return queueId(this.#messages.get(relay ?? "") ?? relay ?? "unknown");
  }

  #message(record: LogRecord): readonly Line[] {
    const note = this.#note(record);
    note.verb = "DATA";
    const id = textOf(record, "id");
    if (id === undefined) return [];
    const queue = this.#queueId(record);
    const queued = listOf(record, "queued");
    for (const relay of queued) {
      if (relay !== id) remember(this.#messages, relay, id);
    }
    if (queued.length > 1) remember(this.#parts, queue, queued.length);
    const user = textOf(record, "user");
    const login = user === undefined || user === ""
      ? ""
      : `${
        note.mechanism === undefined ? "" : `, sasl_method=${note.mechanism}`
      }, sasl_username=${within(user)}`;
    const from = within(textOf(record, "from") ?? "");
    const recipients = numberOf(record, "recipients") ?? 1;
    const messageId = textOf(record, "messageId")?.replace(/^<|>$/g, "") ?? "";
    const kept = this.#stored.get(id) ?? [];
    this.#stored.delete(id);
    const took = numberOf(record, "ms") ?? 0;
    return [
      ["smtpd", `${queue}: client=${note.client}${login}`],
      ["cleanup", `${queue}: message-id=<${within(messageId)}>`],
      [
        "qmgr",
        `${queue}: from=<${from}>, size=${
          numberOf(record, "size") ?? 0
        }, nrcpt=${recipients} (queue active)`,
      ],
      ...kept.map((one) => storedLine(one, queue, took)),
      ...(kept.length > 0 && queued.length === 0
        ? [["qmgr", `${queue}: removed`] as const]
        : []),
    ];
  }

  #store(record: LogRecord): readonly Line[] {
    const id = textOf(record, "id") ?? "";
    if (!isKept(record)) return [storedLine(record, queueId(id), 0)];
    const others = this.#stored.get(id);
    if (others !== undefined) others.push(record);
    else remember(this.#stored, id, [record]);
    return [];
  }

  #delivery(record: LogRecord): readonly Line[] {
    const queue = this.#queueId(record);
    const result = textOf(record, "result") ?? "";
    const status = deliveryStatus(result);
    const host = textOf(record, "host");
    const address = textOf(record, "address");
    const port = numberOf(record, "port") ?? 25;
    const at = host === undefined
      ? undefined
      : `${within(host)}[${within(address ?? "unknown")}]`;
    const reply = textOf(record, "reply");
    const said = free(
      reply || record.error?.split("\n", 1)[0] || record.message,
    );
    const reason = status !== "sent" && at !== undefined && reply
      ? `host ${at} said: ${said}`
      : said;
    const delays = splitDelays(record.fields?.["delays"]);
    return [[
      "smtp",
      `${queue}: to=<${within(textOf(record, "recipient") ?? "")}>, relay=${
        at === undefined ? "none" : `${at}:${port}`
      }, delay=${seconds(delays.reduce((sum, one) => sum + one, 0))}, delays=${
        delays.map(seconds).join("/")
      }, dsn=${enhanced(record, status)}, status=${status} (${reason})`,
    ]];
  }

  #notice(record: LogRecord): readonly Line[] {
    const queue = this.#queueId(record);
    const kind = textOf(record, "kind") ?? "";
    const notice = textOf(record, "notice");
    const what = /delay/i.test(kind)
      ? "delay"
      : /success|relayed|delivered/i.test(kind)
      ? "delivery status"
      : "non-delivery";
    const to = notice === undefined
      ? `to=<${within(textOf(record, "to") ?? "")}>`
      : queueId(notice);
    const lines: Line[] = [[
      "bounce",
      `${queue}: sender ${what} notification: ${to}`,
    ]];
    if (notice !== undefined) {
      const size = numberOf(record, "size") ?? 0;
      lines.push([
        "qmgr",
        `${to}: from=<>, size=${size}, nrcpt=1 (queue active)`,
      ]);
    }
    return lines;
  }

  #action(record: LogRecord): readonly Line[] {
    const queue = this.#queueId(record);
    const { event } = record;
    if (event === "held") return [["postsuper", `${queue}: placed on hold`]];
    if (event === "released") {
      return [["postsuper", `${queue}: released from hold`]];
    }
    this.#messages.delete(textOf(record, "relay") ?? "");
    const parts = this.#parts.get(queue) ?? 1;
    this.#parts.delete(queue);
    if (parts > 1) {
      this.#parts.set(queue, parts - 1);
      return [];
    }
    const isByHand = textOf(record, "by") !== "queue";
    return [[isByHand ? "postsuper" : "qmgr", `${queue}: removed`]];
  }
}

/** Remembers a value, and forgets the oldest if there are too many. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.set(key, value);
  if (map.size <= MOST_REMEMBERED) return;
  const [oldest] = map.keys();
  map.delete(oldest!);
}

/** A client as Postfix writes it; a transport without addresses is this machine. */
function clientOf(
  address: string | undefined,
  name: string | undefined,
): string {
  if (address === undefined || address === "unknown") return "unknown[unknown]";
  if (!/^[0-9a-f.:]+(?:%\w+)?$/i.test(address)) return "localhost[127.0.0.1]";
  const known = name !== undefined && /^[\w.-]+$/.test(name) ? name : "unknown";
  return `${known}[${address}]`;
}

/** A number for the brackets of a session's lines, the same for all of them. */
function numberOfId(id: string): number {
  let hash = 0;
  for (let at = 0; at < id.length; at++) {
    hash = (hash * 31 + id.charCodeAt(at)) % 4_000_000;
  }
  return hash + 1;
}

/** Whether a recipient has the message: a store has it, or the program wants none. */
function isKept(record: LogRecord): boolean {
  return textOf(record, "result") !== "failed";
}

function storedLine(record: LogRecord, queue: string, took: number): Line {
  const result = textOf(record, "result") ?? "";
  const store = within(textOf(record, "store") ?? "store");
  const to = within(textOf(record, "recipient") ?? "");
  const status = isKept(record) ? "sent" : "deferred";
  const said = status === "deferred"
    ? free(textOf(record, "reason") ?? record.message)
    : SENT[result] ?? `delivered to ${store}`;
  const delay = seconds(took);
  return [
    "virtual",
    `${queue}: to=<${to}>, relay=virtual, delay=${delay}, delays=0/0/0/${delay}, dsn=${
      enhanced(record, status)
    }, status=${status} (${said})`,
  ];
}

/** What became of a message that no store has. */
const SENT: Readonly<Record<string, string | undefined>> = {
  discarded: "discarded",
  handled: "left to the program",
};

/** Enhanced status codes by their first digit. */
const ENHANCED = {
  2: /\b2\.\d{1,3}\.\d{1,3}\b/,
  4: /\b4\.\d{1,3}\.\d{1,3}\b/,
  5: /\b5\.\d{1,3}\.\d{1,3}\b/,
} as const;

/** The enhanced status code of a delivery. */
function enhanced(record: LogRecord, status: string): string {
  const digit = status === "sent" ? 2 : status === "bounced" ? 5 : 4;
  const given = `${record.fields?.["status"] ?? ""} ${
    record.fields?.["reply"] ?? ""
  }`;
  return ENHANCED[digit].exec(given)?.[0] ?? `${digit}.0.0`;
}
