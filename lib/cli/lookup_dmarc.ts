/**
 * `cli.ts lookup dmarc`: the DMARC record that applies to a domain, explained, and
 * what is wrong with it. Stands alone: the record has its own words and layout.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc9989#section-4.7 | RFC 9989 section 4.7}
 */

import { printableJson } from "../log.ts";
import {
  type DmarcLookup,
  type DmarcRecord,
  type DmarcStep,
  lookupDmarc,
} from "../trust/mod.ts";
import type { LookupTools } from "./relay_settings.ts";
import { EX_TEMPFAIL, oneLine } from "./output.ts";

/**
 * Prints the record; resolves with the exit code: 0 if a record applies and nothing
 * is wrong with it, 1 if none applies or something is wrong, 75 if no answer came.
 *
 * @param name The domain, without `_dmarc.`
 */
export async function lookupDmarcRecord(
  name: string,
  { dns, json, output }: LookupTools,
): Promise<number> {
  const found = await lookupDmarc(name.replace(/^_dmarc\./i, ""), { dns });
  if (json) output.out(`${printableJson(asJson(found))}\n`);
  else for (const line of describe(found)) output.out(`${oneLine(line)}\n`);
  if (found.status === "failed") {
    output.err(`${oneLine(found.reason ?? "No answer")}\n`);
    return EX_TEMPFAIL;
  }
  if (found.status === "none") {
    output.err(`${oneLine(found.domain)}: no DMARC record applies\n`);
    return 1;
  }
  return found.findings.some(({ level }) => level === "wrong") ? 1 : 0;
}

/** The lookup as plain values. */
function asJson(found: DmarcLookup): unknown {
  const { steps, record, ...rest } = found;
  return {
    ...rest,
    asked: steps.map(({ domain }) => `_dmarc.${domain}`),
    record: record?.text,
    tags: record &&
      [...record.tags].map(([tag, value]) => ({
        tag,
        value,
        meaning: meaningOf(tag, value, record),
      })),
  };
}

function* describe(found: DmarcLookup): Generator<string> {
  const { domain, record, recordAt, organization } = found;
  for (const step of found.steps) yield `${stepText(step)}`;
  if (record !== undefined) {
    yield "";
    yield `applies to ${domain}: the record at _dmarc.${recordAt}`;
    if (organization !== undefined) {
      yield `organizational domain: ${organization}`;
    }
    for (const [tag, value] of record.tags) {
      yield `  ${tag}=${value}: ${meaningOf(tag, value, record)}`;
    }
    const { policies, testing } = record;
    if (policies !== undefined) yield asksFor(found, policies, testing);
  }
  if (found.findings.length > 0) yield "";
  for (const { level, text } of found.findings) yield `${level}: ${text}`;
}

function stepText({ domain, texts, failure }: DmarcStep): string {
  const what = failure !== undefined
    ? "no answer"
    : texts.length === 0
    ? "no DMARC record"
    : texts.join(" | ");
  return `_dmarc.${domain}: ${what}`;
}

function asksFor(
  { domain, recordAt }: DmarcLookup,
  policies: NonNullable<DmarcRecord["policies"]>,
  testing: boolean,
): string {
  const { p, sp, np } = policies;
  const what = domain === recordAt
    ? p
    : sp === np
    ? sp
    : `${sp} if the domain exists, ${np} if not`;
  return `policy for ${domain}: ${what}${testing ? ", less one step" : ""}`;
}

const POLICY_WORDS: Readonly<Record<string, string>> = {
  none: "nothing is asked for",
  quarantine: "mail that fails is suspicious",
  reject: "mail that fails is to be refused",
};
const REPORTS: Readonly<Record<string, string>> = {
  0: "if nothing vouches for the message",
  1: "if any of SPF and DKIM does not",
  d: "if a signature fails",
  s: "if SPF fails",
};

/** What the tags mean, from their value in lower case. */
const MEANINGS: Readonly<
  Record<string, (value: string, record: DmarcRecord) => string | undefined>
> = {
  v: () => "a DMARC record",
  p: (value) => POLICY_WORDS[value],
  sp: (value) =>
    POLICY_WORDS[value] && `for domains below it: ${POLICY_WORDS[value]}`,
  np: (value) =>
    POLICY_WORDS[value] &&
    `for domains below it that do not exist: ${POLICY_WORDS[value]}`,
  adkim: (value) => alignment(value, "the domain of a signature"),
  aspf: (value) => alignment(value, "the domain of MAIL FROM"),
  t: (value) =>
    value === "y"
      ? "a test: one step less than the policy is asked for"
      : value === "n"
      ? "the policy is meant"
      : undefined,
  psd: (value) =>
    ({
      y: "a public suffix: the organizations are one label below it",
      n: "the organizational domain, whatever is above it",
      u: "nothing is said of public suffixes",
    })[value],
  rua: (_, { rua }) => `${rua.length} valid addresses for aggregate reports`,
  ruf: (_, { ruf }) => `${ruf.length} valid addresses for failure reports`,
  fo: (value) => {
    const all = value.split(":").map((one) => REPORTS[one.trim()]);
    return all.includes(undefined)
      ? undefined
      : `failure reports ${all.join(", ")}`;
  },
  pct: () => "obsolete, without effect",
  rf: () => "obsolete, without effect",
  ri: () => "obsolete, without effect",
};

function alignment(value: string, what: string): string | undefined {
  if (value === "s") return `${what} must be that of From`;
  return value === "r"
    ? `${what} must have the organizational domain of that of From`
    : undefined;
}

function meaningOf(tag: string, value: string, record: DmarcRecord): string {
  if (!Object.hasOwn(MEANINGS, tag)) return "unknown, without effect";
  return MEANINGS[tag]!(value.toLowerCase(), record) ??
    "not valid, without effect";
}
