/**
 * Refusals in the words of Postfix, by which fail2ban's filter tells a client
 * that tries addresses or looks for an open relay from one that mistypes a
 * command.
 *
 * Stands alone because its table of words belongs to those programs, not to this
 * server.
 */

import type { LogRecord } from "../log.ts";
import { free, textOf, within } from "./postfix_words.ts";

/** The part of what is known of a session that a refusal reads and sets. */
interface Refused {
  readonly client: string;
  verb: string;
  isEnded: boolean;
}

/** Postfix's warnings about the limits of a client, by the name of the limit here. */
const LIMITS: Readonly<Record<string, string | undefined>> = {
  maxConnections: "Connection concurrency",
  maxConnectionsPerIp: "Connection concurrency",
  connectionsPerMinute: "Connection rate",
  messagesPerMinute: "Message delivery request rate",
  recipientsPerMinute: "Recipient address rate",
};

/** The beginning of the line of a session that ended for a reason. */
export const ENDS: Readonly<Record<string, string | undefined>> = {
  disconnected: "lost connection after",
  errors: "too many errors after",
  timeout: "timeout after",
  early: "improper command pipelining after",
  tls: "lost connection after",
};

/** The lines of a refusal. */
export function refusalLines(
  record: LogRecord,
  note: Refused,
): readonly (readonly [string, string])[] {
  const { client } = note;
  const verb = textOf(record, "verb")?.toUpperCase() ?? "";
  const limit = textOf(record, "limit");
  const reply = textOf(record, "reply") ?? "";
  const reason = textOf(record, "reason") ?? "";
  const ended = ENDS[reason];
  if (/^[A-Z]{4,8}$/.test(verb)) note.verb = verb;
  const line = (text: string) => [["smtpd", text]] as const;
  if (reason === "tls") {
    note.verb = "STARTTLS";
    return line(`SSL_accept error from ${client}: ${free(record.message)}`);
  }
  if (ended !== undefined) {
    note.isEnded = true;
    return line(`${ended} ${note.verb} from ${client}`);
  }
  if (limit !== undefined && limit !== "") {
    const most = /at most (\d+)/.exec(reply || record.message)?.[1] ?? "1";
    const what = LIMITS[limit] ?? within(limit);
    return line(
      `warning: ${what} limit exceeded: ${most} from ${client} for service smtp`,
    );
  }
  const said = /^(\d{3})(?:[ -]([245]\.\d{1,3}\.\d{1,3}))? ?(.*)$/s.exec(reply);
  if (said === null) return line(`${client}: ${free(record.message)}`);
  const [, code = "", dsn = `${code[0]}.0.0`, text = ""] = said;
  const from = within(textOf(record, "from") ?? "");
  const to = within(textOf(record, "recipient") ?? "");
  const helo = within(textOf(record, "helo") ?? "");
  const facts = { verb, code, dsn, text, to, from, helo, client };
  const why = rejection(facts);
  if (why === undefined) {
    return line(`${client}: ${within(verb) || "line"}: ${free(reply)}`);
  }
  const where = verb === ""
    ? "CONNECT"
    : AFTER_DATA.has(verb)
    ? "END-OF-MESSAGE"
    : verb;
  return line(
    `NOQUEUE: reject: ${where} from ${client}: ${code} ${dsn} ${why}; from=<${from}> to=<${to}> proto=ESMTP helo=<${helo}>`,
  );
}

/** Verbs whose refusal is that of a whole message. */
const AFTER_DATA: ReadonlySet<string> = new Set(["DATA", "BDAT", "."]);

/** What is known of a refusal. */
interface Refusal {
  readonly verb: string;
  readonly code: string;
  readonly dsn: string;
  readonly text: string;
  readonly to: string;
  readonly from: string;
  readonly helo: string;
  readonly client: string;
}

/** The text of a rejection; `undefined` if the client only broke the protocol. */
function rejection(refusal: Refusal): string | undefined {
  const { verb, code, dsn, to, from, helo, client } = refusal;
  const text = free(refusal.text).replaceAll(";", ",");
  // Syntax, order, and what the client must do first.
  if (code < "510" && code >= "500") return undefined;
  if (/\.5\.\d+$/.test(dsn) || code === "530" || code === "538") {
    return undefined;
  }
  if (isListed(refusal.text) && dsn.endsWith(".7.1")) {
    const [, address = ""] = /\[(.*)\]$/.exec(client) ?? [];
    return `Service unavailable; Client host [${address}] blocked using ${text}`;
  }
  switch (verb) {
    case "RCPT":
      if (/relay/i.test(text) && dsn.startsWith("5.7.")) {
        return `<${to}>: Relay access denied`;
      }
      return dsn === "5.1.1"
        ? `<${to}>: Recipient address rejected: User unknown (${text})`
        : `<${to}>: Recipient address rejected: ${text}`;
    case "VRFY":
    case "EXPN":
      return dsn === "5.1.1"
        ? `<${to}>: Recipient address rejected: User unknown (${text})`
        : undefined;
    case "MAIL":
      return /\.1\.8$/.test(dsn)
        ? `<${from}>: Sender address rejected: Domain not found (${text})`
        : `<${from}>: Sender address rejected: ${text}`;
    case "HELO":
    case "EHLO":
    case "LHLO":
      return `<${helo}>: Helo command rejected: ${text}`;
    case "":
      return `<${client}>: ${text}`;
    default:
      return AFTER_DATA.has(verb)
        ? `<END-OF-MESSAGE>: End-of-data rejected: ${text}`
        : undefined;
  }
}

/** Whether the text says that the client is on a blocklist. */
function isListed(text: string): boolean {
  return /\b(?:block(?:ed|list\w*)|dnsbl|rbl|listed)\b/i.test(text);
}
