/**
 * `cli.ts lookup dkim`: the key records of selectors, and what is wrong with them.
 * Stands alone: the record has its own words and layout.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-3.6.2 | RFC 6376 section 3.6.2}
 */

import { printableJson } from "../log.ts";
import { type DkimLookup, lookupDkim as lookUp } from "../trust/mod.ts";
import { EX_TEMPFAIL, oneLine, UsageError } from "./output.ts";
import type { LookupTools } from "./relay_settings.ts";

/** Between the selector and the domain. */
const MIDDLE = "._domainkey.";

/**
 * Prints the records; resolves with the exit code: 0 if all are there and nothing is
 * wrong with them, 1 if not, 75 if no answer came.
 *
 * @param name `SELECTOR._domainkey.DOMAIN`, or a domain with `--selector`
 * @throws {UsageError} If there is no selector
 */
export async function lookupDkim(
  name: string,
  { dns, raw, json, output }: LookupTools,
): Promise<number> {
  const selectors = raw.get("selector") ?? [];
  const isWhole = name.toLowerCase().includes(MIDDLE);
  if (!isWhole && selectors.length === 0) {
    throw new UsageError(
      `Cannot look up the DKIM key of ${name}: want --selector, or SELECTOR${MIDDLE}DOMAIN`,
    );
  }
  const names = isWhole
    ? [name]
    : selectors.map((selector) => `${selector}${MIDDLE}${name}`);
  const found = await Promise.all(names.map((one) => lookUp(one, { dns })));
  if (json) output.out(`${printableJson(found)}\n`);
  for (const one of found) {
    if (!json) {
      for (const line of describe(one)) output.out(`${oneLine(line)}\n`);
    }
    if (one.status === "none") {
      output.err(`${oneLine(one.name)}: no key record\n`);
    }
    if (one.status === "failed") output.err(`${oneLine(one.reason ?? "")}\n`);
  }
  if (found.some(({ status }) => status === "failed")) return EX_TEMPFAIL;
  const isGood = found.every(({ status, findings }) =>
    status === "found" && !findings.some(({ level }) => level === "wrong")
  );
  return isGood ? 0 : 1;
}

function* describe(
  { name, texts, type, bits, findings }: DkimLookup,
): Generator<string> {
  for (const text of texts) yield `${name}: ${text}`;
  if (type !== undefined) yield `  ${type} key of ${bits} bits`;
  for (const { level, text } of findings) yield `  ${level}: ${text}`;
}
