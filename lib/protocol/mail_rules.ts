/**
 * The rules for the parts of a message that a program hands over: addresses,
 * parameters and content. The client and the queue check the same parts with
 * them.
 */

import {
  list,
  object,
  oneOf,
  optionError,
  required,
  type Rule,
  type Rules,
  text,
  where,
  whole,
} from "../options.ts";
import { Address } from "./address.ts";
import type { MailParameters, RcptParameters } from "./parameters.ts";
import { isDeliverBy, MAX_HOLD, parseReleaseTime } from "./timing.ts";

/** The rule for an address or the text of one. */
export const ADDRESS_RULE: Rule = where(
  'an address, as "ann@example.com"',
  (value) => typeof value === "string" || value instanceof Address,
);

const MAIL_RULES: Rules<MailParameters> = {
  size: whole(),
  body: oneOf("7BIT", "8BITMIME", "BINARYMIME"),
  smtpUtf8: where("true", (value) => value === true),
  ret: oneOf("FULL", "HDRS"),
  envid: text(),
  auth: text(),
  holdFor: whole(1, MAX_HOLD),
  holdUntil: where(
    'a date and time, as "2027-01-01T08:00:00Z"',
    (value) =>
      typeof value === "string" && parseReleaseTime(value) !== undefined,
  ),
  by: where(
    '{ seconds, mode: "return" | "notify" }, with seconds above 0 for "return"',
    isDeliverBy,
  ),
  requireTls: where("true", (value) => value === true),
};

/** The rule for the parameters of MAIL inside other options. */
export const MAIL_PARAMETERS_RULE: Rule = object(
  MAIL_RULES,
  '{ body: "8BITMIME" }',
);

const RCPT_RULES: Rules<RcptParameters> = {
  notify: list(oneOf("NEVER", "SUCCESS", "FAILURE", "DELAY")),
  orcpt: object({ type: required(text()), address: required(text()) }),
};
const DESTINATION_WANT =
  'an address, as "bob@example.com", or { address, parameters }';
const DESTINATION_RULE = object(
  { address: required(ADDRESS_RULE), parameters: object(RCPT_RULES) },
  '{ address: "bob@example.com" }',
);

/** The rule for a list of recipients, with or without parameters. */
export const DESTINATIONS_RULE: Rule = list({
  want: DESTINATION_WANT,
  check(value, at) {
    if (typeof value === "string" || value instanceof Address) return;
    if (typeof value !== "object" || value === null) {
      throw optionError(at, value, { want: DESTINATION_WANT });
    }
    DESTINATION_RULE.check(value, at);
  },
}, 'an array of addresses, as ["bob@example.com"]');

/** The rule for content. */
export const CONTENT_RULE: Rule = where(
  "the content as a string, a Uint8Array, a stream of them or a function that opens one",
  (value) =>
    typeof value === "string" || typeof value === "function" ||
    value instanceof Uint8Array ||
    typeof value === "object" && value !== null &&
      Symbol.asyncIterator in value,
);
