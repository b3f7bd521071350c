/**
 * The machine-readable part of a notice: the fields of a message/delivery-status
 * or, where an address needs it, of a message/global-delivery-status. Pure text
 * making.
 *
 * Danger: ENVID, ORCPT, addresses and replies come from strangers. Each may
 * hold line ends once it is decoded, and would add fields of its own; so every
 * value passes through one function that lets no control character through.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3464#section-2 | RFC 3464 section 2},
 * {@link https://www.rfc-editor.org/rfc/rfc3461#section-6.3 | RFC 3461 section 6.3},
 * {@link https://www.rfc-editor.org/rfc/rfc6533#section-3 | RFC 6533 section 3}
 */

import { isAscii } from "../protocol/text.ts";
import { formatDate } from "../protocol/trace.ts";
import type { RcptParameters } from "../protocol/parameters.ts";
import type { RecipientAnswer } from "./stored_envelope.ts";

/** Characters of a line before it is folded (RFC 5322 section 2.1.1). */
const WANTED = 78;
/** Octets of a line that no folding can shorten further (RFC 5321 section 4.5.3.1.6). */
const LIMIT = 900;
const encoder = new TextEncoder();

/** What is said of one recipient. */
export interface StatusRecipient {
  /** The forward-path without brackets. */
  readonly address: string;
  /** NOTIFY and ORCPT. */
  readonly parameters: RcptParameters;
  /** What happened. */
  readonly action: "failed" | "delayed" | "delivered" | "relayed";
  /** What was last heard. */
  readonly answer: RecipientAnswer;
  /** Until when it is tried, in milliseconds since 1970; delayed only. */
  readonly retryUntil?: number;
}

/** What is said of the message and its recipients. */
export interface DeliveryStatus {
  /** Name of the host that reports. */
  readonly reportingMta: string;
  /** ENVID of the message, decoded. */
  readonly envid?: string | undefined;
  /** When the message was accepted, in milliseconds since 1970. */
  readonly arrivedAt: number;
  /** The recipients. */
  readonly recipients: readonly StatusRecipient[];
}

/** Whether the fields hold what only a message/global-delivery-status may hold. */
export function needsGlobalStatus(status: DeliveryStatus): boolean {
  return status.recipients.some(({ address, parameters }) =>
    !isAscii(address) || !isAscii(parameters.orcpt?.address ?? "")
  );
}

/** Prints the fields, with CRLF line ends. */
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
  // The host that reported the status (RFC 3464 section 2.3.5), if one did.
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
  for (const word of printable(value, global).split(" ")) {
    if (word === "") continue;
    if (line.length + 1 + word.length > WANTED && line !== `${name}:`) {
      text += `${line}\r\n`;
      line = "";
    }
    line += ` ${word}`;
  }
  return `${text}${line}\r\n`;
}

/** The text without control characters, without what the part may not hold, and bounded. */
export function printable(text: string, utf8: boolean): string {
  // deno-lint-ignore no-control-regex
  const clean = text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, " ");
  if (!utf8) return clean.slice(0, LIMIT).replace(/[^\x20-\x7e]/gu, "?");
  // Octets count, and none may be cut off its character.
  const { read } = encoder.encodeInto(clean, new Uint8Array(LIMIT));
  return clean.slice(0, read);
}
