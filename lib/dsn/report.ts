/**
 * The DSN itself: a multipart/report with a text for people, fields for programs
 * (message/delivery-status, or the global form if an address needs it), and the
 * message or its header block. Pure: the input decides every byte of the output.
 *
 * Danger: ENVID, ORCPT, addresses and replies come from strangers. Each may
 * hold line ends once it is decoded, and would add fields of its own; so every
 * value passes through one function that lets no control character through.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3464 | RFC 3464},
 * {@link https://www.rfc-editor.org/rfc/rfc3461#section-6.3 | RFC 3461 section 6.3},
 * {@link https://www.rfc-editor.org/rfc/rfc6522 | RFC 6522},
 * {@link https://www.rfc-editor.org/rfc/rfc6533 | RFC 6533},
 * {@link https://www.rfc-editor.org/rfc/rfc3834 | RFC 3834},
 * {@link https://www.rfc-editor.org/rfc/rfc2852#section-5 | RFC 2852 section 5} (Deliver-By-Date),
 * {@link https://www.rfc-editor.org/rfc/rfc4865#section-5 | RFC 4865 section 5} (Future-Release-Request)
 */

import { concat, isAscii } from "../protocol/bytes.ts";
import { asciiMailbox } from "../protocol/domain.ts";
import { foldLongLines, MAX_LINE, WANTED_LINE } from "../protocol/folding.ts";
import { findHeaderEnd } from "../protocol/headers.ts";
import { formatDate } from "../protocol/trace.ts";
import type { DsnKind } from "./policy.ts";
import type { RcptParameters } from "../protocol/parameters.ts";
import type { RecipientAnswer } from "../spool/envelope.ts";

/** Bytes of a value, which may have no blank to fold at: with its name it fits a line (RFC 5321 section 4.5.3.1.6). */
const LIMIT = 900;
const encoder = new TextEncoder();
const latin1 = new TextDecoder("latin1");

/** The input of {@linkcode makeDsn}. */
export interface DsnInit {
  readonly kind: DsnKind;
  /** The reverse-path of the message, without brackets: the DSN goes there. */
  readonly to: string;
  /** The address in the From field. */
  readonly from: string;
  /** The date of the DSN, in milliseconds since 1970. */
  readonly now: number;
  /** A unique name of letters and digits, for the Message-ID and the boundary. */
  readonly unique: string;
  readonly status: DeliveryStatus;
  /** Whether the message came with SMTPUTF8. */
  readonly smtpUtf8: boolean;
  /** The bytes to return: the header block, or the whole message. */
  readonly returned: Uint8Array;
  /** Whether {@linkcode DsnInit.returned} is the whole message. */
  readonly isWhole: boolean;
}

/** A DSN, to be sent with the null reverse-path. */
export interface Dsn {
  /** The bytes, with CRLF line ends. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Whether it must be sent with SMTPUTF8. */
  readonly smtpUtf8: boolean;
  /** Whether it must be sent with BODY=8BITMIME. */
  readonly eightBit: boolean;
}

/** The status of one recipient. */
export interface StatusRecipient {
  /** The forward-path without brackets. */
  readonly address: string;
  /** NOTIFY and ORCPT. */
  readonly parameters: RcptParameters;
  readonly action: "failed" | "delayed" | "delivered" | "relayed";
  /** The last answer. */
  readonly answer: RecipientAnswer;
  /** When the message expires, in milliseconds since 1970; delayed only. */
  readonly retryUntil?: number;
}

/** The status of the message and its recipients. */
export interface DeliveryStatus {
  /** The name of the host that reports. */
  readonly reportingMta: string;
  /** ENVID of the message, decoded. */
  readonly envid?: string | undefined;
  /** When the message was accepted, in milliseconds since 1970. */
  readonly arrivedAt: number;
  /** When it was to be delivered by, in milliseconds since 1970 (RFC 2852). */
  readonly deliverBy?: number | undefined;
  /** What HOLDFOR or HOLDUNTIL asked for, as `"for; 60"` (RFC 4865). */
  readonly release?: string | undefined;
  readonly recipients: readonly StatusRecipient[];
}

export function makeDsn(given: DsnInit): Dsn {
  const init = inAscii(given);
  const { status, returned } = init;
  const global = needsGlobalStatus(status);
  const eightBit = returned.some((byte) => byte > 127);
  const isEightBit = eightBit || global || !isAscii(explain(init));
  const boundary = freeBoundary(init);
  const start = [
    headerFields(init, { boundary, isEightBit }),
    "This is a report in parts for mail programs.\r\n",
    part(boundary, textType(init), explain(init)),
    part(
      boundary,
      global
        ? ["message/global-delivery-status", "8bit"]
        : ["message/delivery-status", "7bit"],
      formatDeliveryStatus(status),
    ),
    part(boundary, returnedType(init, { global, eightBit }), ""),
  ].join("");
  const bytes = concat([
    encoder.encode(start),
    returned,
    encoder.encode(`\r\n--${boundary}--\r\n`),
  ]);
  return {
    bytes,
    // UTF-8 within the parts needs 8BITMIME only; in the envelope and the
    // header block it needs SMTPUTF8.
    smtpUtf8: !isAscii(init.to) || !isAscii(init.from),
    eightBit: isEightBit,
  };
}

/** The input with A-labels in all addresses whose local part is ASCII, and with the long lines of the returned header folded. */
function inAscii(init: DsnInit): DsnInit {
  const { status, returned } = init;
  const end = init.isWhole ? findHeaderEnd(returned, 0) : returned.length;
  const head = end < 0 ? returned.length : end;
  return {
    ...init,
    to: asciiMailbox(init.to),
    from: asciiMailbox(init.from),
    status: {
      ...status,
      reportingMta: asciiMailbox(status.reportingMta),
      recipients: status.recipients.map(asciiRecipient),
    },
    returned: concat([
      foldLongLines(returned.subarray(0, head), MAX_LINE),
      returned.subarray(head),
    ]),
  };
}

function asciiRecipient(recipient: StatusRecipient): StatusRecipient {
  const { address, parameters } = recipient;
  const { orcpt } = parameters;
  if (isAscii(address) && isAscii(orcpt?.address ?? "")) return recipient;
  const original = orcpt && asciiMailbox(orcpt.address);
  const isChanged = original !== undefined && original !== orcpt!.address;
  return {
    ...recipient,
    address: asciiMailbox(address),
    parameters: isChanged
      ? { ...parameters, orcpt: { type: "rfc822", address: original } }
      : parameters,
  };
}

/** A boundary that does not occur in the returned bytes: their sender may have guessed it. */
function freeBoundary({ unique, returned }: DsnInit): string {
  const text = latin1.decode(returned);
  let boundary = `=_${unique}`;
  while (text.includes(`--${boundary}`)) boundary += "_";
  return boundary;
}

function headerFields(
  init: DsnInit,
  form: { readonly boundary: string; readonly isEightBit: boolean },
): string {
  const { reportingMta } = init.status;
  return [
    `Date: ${formatDate(init.now, 0)}`,
    `From: Mail delivery <${valueText(init.from, true)}>`,
    `To: <${valueText(init.to, true)}>`,
    `Subject: ${SUBJECTS[init.kind]}`,
    `Message-ID: <${init.unique}@${valueText(reportingMta, false)}>`,
    "Auto-Submitted: auto-replied",
    "MIME-Version: 1.0",
    `Content-Type: multipart/report; report-type=${
      needsGlobalStatus(init.status)
        ? "global-delivery-status"
        : "delivery-status"
    };`,
    `\tboundary="${form.boundary}"`,
    `Content-Transfer-Encoding: ${form.isEightBit ? "8bit" : "7bit"}`,
    "",
    "",
  ].join("\r\n");
}

const SUBJECTS: Readonly<Record<DsnKind, string>> = {
  failed: "Your message could not be delivered",
  delayed: "Your message is delayed",
  succeeded: "Your message has been delivered",
};

type PartType = readonly [type: string, encoding: string];

function part(boundary: string, type: PartType, content: string): string {
  return `\r\n--${boundary}\r\nContent-Type: ${type[0]}\r\n` +
    `Content-Transfer-Encoding: ${type[1]}\r\n\r\n${content}`;
}

function textType(init: DsnInit): PartType {
  return isAscii(explain(init))
    ? ["text/plain; charset=us-ascii", "7bit"]
    : ["text/plain; charset=utf-8", "8bit"];
}

function returnedType(
  init: DsnInit,
  needs: { readonly global: boolean; readonly eightBit: boolean },
): PartType {
  const utf8 = init.smtpUtf8 && (needs.global || needs.eightBit);
  const type = init.isWhole
    ? (utf8 ? "message/global" : "message/rfc822")
    : (utf8 ? "message/global-headers" : "text/rfc822-headers");
  return [type, needs.eightBit ? "8bit" : "7bit"];
}

/** The text for people. */
function explain(init: DsnInit): string {
  const host = valueText(init.status.reportingMta, false);
  const lines = [
    `This is the mail server at ${host}.`,
    "",
    ...introduction(init),
  ];
  for (const { address, answer, retryUntil } of init.status.recipients) {
    // Only a reply is attributed to the host; a failure found here is not.
    const source = answer.isReply && answer.remoteMta !== undefined
      ? `${answer.remoteMta} said: `
      : "";
    lines.push("", `  ${valueText(address, true)}`);
    lines.push(`    ${valueText(source + answer.text, false)}`);
    if (retryUntil !== undefined) {
      lines.push(`    Tried until ${formatDate(retryUntil, 0)}`);
    }
  }
  const what = init.isWhole ? "your message" : "the header of your message";
  lines.push("", `A report for mail programs and ${what} follow.`);
  return `${lines.join("\r\n")}\r\n`;
}

/** What the notice is about. */
function introduction({ kind, status }: DsnInit): readonly string[] {
  const { deliverBy, recipients } = status;
  if (deliverBy === undefined) return INTRODUCTIONS[kind];
  const time = formatDate(deliverBy, 0);
  if (kind === "succeeded") {
    return recipients.some(({ action }) => action === "relayed")
      ? [
        "Your message has been delivered to the recipients below, or passed on",
        `to another server. It was to be delivered by ${time}.`,
      ]
      : INTRODUCTIONS[kind];
  }
  return [...INTRODUCTIONS[kind], `It was to be delivered by ${time}.`];
}

const INTRODUCTIONS: Readonly<Record<DsnKind, readonly string[]>> = {
  failed: [
    "Your message could not be delivered to the recipients below.",
    "Nothing further will be tried.",
  ],
  delayed: [
    "Your message could not be delivered yet to the recipients below.",
    "You need not send it again: the server goes on trying.",
  ],
  succeeded: [
    "Your message has been delivered to the recipients below, or passed on",
    "to a server from which no further report can be expected.",
  ],
};

/** Whether an address needs message/global-delivery-status. */
function needsGlobalStatus(status: DeliveryStatus): boolean {
  return status.recipients.some(({ address, parameters }) =>
    !isAscii(address) || !isAscii(parameters.orcpt?.address ?? "")
  );
}

/** Formats the fields, with CRLF line ends. */
export function formatDeliveryStatus(status: DeliveryStatus): string {
  const global = needsGlobalStatus(status);
  const groups = [messageFields(status)];
  for (const recipient of status.recipients) {
    groups.push(recipientFields(recipient, global));
  }
  return groups.map((fields) =>
    fields.map(([name, value]) => field(name, value, global)).join("")
  ).join("\r\n");
}

type Field = readonly [name: string, value: string];

function messageFields(status: DeliveryStatus): Field[] {
  const fields: Field[] = [];
  if (status.envid !== undefined) {
    fields.push(["Original-Envelope-Id", status.envid]);
  }
  fields.push(["Reporting-MTA", `dns; ${status.reportingMta}`]);
  fields.push(["Arrival-Date", formatDate(status.arrivedAt, 0)]);
  const { deliverBy, release } = status;
  if (deliverBy !== undefined) {
    fields.push(["Deliver-By-Date", formatDate(deliverBy, 0)]);
  }
  if (release !== undefined) {
    fields.push(["Future-Release-Request", release]);
  }
  return fields;
}

function recipientFields(recipient: StatusRecipient, global: boolean): Field[] {
  const { address, action, answer, retryUntil } = recipient;
  const { orcpt } = recipient.parameters;
  const fields: Field[] = [];
  if (orcpt !== undefined && orcpt.address !== "") {
    fields.push(["Original-Recipient", `${orcpt.type}; ${orcpt.address}`]);
  }
  const type = global && !isAscii(address) ? "utf-8" : "rfc822";
  fields.push(["Final-Recipient", `${type}; ${address}`]);
  fields.push(["Action", action], ["Status", answer.status]);
  // The host that reported the status, if a host did (RFC 3464 section 2.3.5).
  if (answer.isReply && answer.remoteMta !== undefined) {
    fields.push(["Remote-MTA", `dns; ${answer.remoteMta}`]);
  }
  const origin = answer.isReply ? "smtp" : "x-local";
  fields.push(["Diagnostic-Code", `${origin}; ${answer.text}`]);
  fields.push(["Last-Attempt-Date", formatDate(answer.at, 0)]);
  if (retryUntil !== undefined) {
    fields.push(["Will-Retry-Until", formatDate(retryUntil, 0)]);
  }
  return fields;
}

/** One field, folded at blanks. */
function field(name: string, value: string, global: boolean): string {
  let line = `${name}:`;
  let text = "";
  for (const word of valueText(value, global).split(" ")) {
    if (word === "") continue;
    if (line.length + 1 + word.length > WANTED_LINE && line !== `${name}:`) {
      text += `${line}\r\n`;
      line = "";
    }
    line += ` ${word}`;
  }
  return `${text}${line}\r\n`;
}

/**
 * A DSN with less of the message in it: the header block instead of the whole
 * message, or nothing of it. `undefined` if the bytes are not a DSN of
 * {@linkcode makeDsn}, or a DSN that returns nothing.
 */
export function reduceDsn(
  report: Uint8Array,
): Uint8Array<ArrayBuffer> | undefined {
  const text = latin1.decode(report);
  const boundary = /\r\n\tboundary="(=_[^"\r\n]+)"\r\n/.exec(text)?.[1];
  if (boundary === undefined || !text.includes(AUTOMATIC)) return undefined;
  const last = text.lastIndexOf(`\r\n--${boundary}\r\n`);
  const part = PART.exec(text.slice(last));
  if (last < 0 || part === null) return undefined;
  const start = encoder.encode(`\r\n--${boundary}\r\n`).length;
  const end = encoder.encode(`\r\n--${boundary}--\r\n`);
  const before = report.subarray(0, last);
  const [whole, type, encoding] = part;
  if (type!.endsWith("headers")) return concat([before, end]);
  const body = report.subarray(last + whole.length);
  const header = findHeaderEnd(body, 0);
  if (header < 0) return concat([before, end]);
  const headersType = type === "message/global"
    ? "message/global-headers"
    : "text/rfc822-headers";
  return concat([
    report.subarray(0, last + start),
    encoder.encode(
      `Content-Type: ${headersType}\r\n` +
        `Content-Transfer-Encoding: ${encoding}\r\n\r\n`,
    ),
    body.subarray(0, Math.max(0, header - 2)),
    end,
  ]);
}

/** The beginning of the part that returns the message. */
const PART =
  /^\r\n--[^\r\n]+\r\nContent-Type: (message\/rfc822|message\/global|text\/rfc822-headers|message\/global-headers)\r\nContent-Transfer-Encoding: ([78]bit)\r\n\r\n/;
const AUTOMATIC = "\r\nAuto-Submitted: auto-replied\r\n";

/**
 * The one function of the "Danger:" above: replaces control characters by blanks
 * and, in an ASCII part, all other characters by "?", and cuts the text to
 * `LIMIT`. Not the filter of `log.ts`, which keeps the length and all letters.
 */
function valueText(text: string, utf8: boolean): string {
  // deno-lint-ignore no-control-regex
  const clean = text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, " ");
  if (!utf8) return clean.slice(0, LIMIT).replace(/[^\x20-\x7e]/gu, "?");
  // The limit is in bytes, and must not cut a character in two.
  const { read } = encoder.encodeInto(clean, new Uint8Array(LIMIT));
  return clean.slice(0, read);
}
