/**
 * `cli.ts lookup spf`: the SPF record of a domain, explained term by term, what is
 * wrong with it, and what it says of one client. Stands alone: the record has its
 * own words and layout.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7208#section-4.6.4 | RFC 7208 section 4.6.4}
 */

import { printableJson } from "../log.ts";
import { canonicalIp } from "../dns/mod.ts";
import {
  checkSpf,
  lookupSpf as lookUp,
  type SpfLookup,
  type SpfResult,
} from "../trust/mod.ts";
import { one, parseOption, type RawSettings } from "./arguments.ts";
import { EX_TEMPFAIL, oneLine } from "./output.ts";
import type { LookupTools } from "./relay_settings.ts";

/**
 * Prints the record; resolves with the exit code: 0 if there is one and nothing is
 * wrong with it, 1 if not, 75 if no answer came.
 */
export async function lookupSpf(
  name: string,
  { dns, raw, json, output }: LookupTools,
): Promise<number> {
  const client = clientOf(raw, name);
  const found = await lookUp(name, { dns });
  const result = client && await checkSpf(client, { dns });
  if (json) output.out(`${printableJson({ ...found, check: result })}\n`);
  else {
    for (const line of describe(found, result)) {
      output.out(`${oneLine(line)}\n`);
    }
  }
  if (found.status === "failed" || result?.result === "temperror") {
    output.err(`${oneLine(found.reason ?? result?.reason ?? "No answer")}\n`);
    return EX_TEMPFAIL;
  }
  if (found.status === "none") {
    output.err(`${oneLine(found.domain)}: no SPF record\n`);
    return 1;
  }
  return found.findings.some(({ level }) => level === "wrong") ? 1 : 0;
}

/** The client in `--ip`, `--from` and `--helo`; `undefined` without `--ip`. */
function clientOf(
  raw: RawSettings,
  name: string,
): Parameters<typeof checkSpf>[0] | undefined {
  const ip = ipOf(raw);
  if (ip === undefined) return undefined;
  return {
    ip,
    from: one(raw, "from") ?? `postmaster@${name}`,
    helo: one(raw, "helo") ?? name,
    receiver: "unknown",
  };
}

/** The address in `--ip`; `undefined` without it. */
export function ipOf(raw: RawSettings): string | undefined {
  const given = one(raw, "ip");
  return given && parseOption("ip", () => {
    const address = canonicalIp(given);
    if (address !== undefined) return address;
    throw new SyntaxError(`Cannot use "${given}": want an IP address`);
  });
}

function* describe(
  found: SpfLookup,
  result: SpfResult | undefined,
): Generator<string> {
  const { text, terms, asks, voids, findings } = found;
  if (text !== undefined) {
    yield text;
    yield "";
    for (const term of terms) {
      const count = term.asks ? " (asks)" : "";
      yield `${
        "  ".repeat(term.depth + 1)
      }${term.text}: ${term.meaning}${count}`;
    }
    yield "";
    yield `${asks} of 10 terms ask the DNS, ${voids} of 2 answers are void`;
  }
  if (result !== undefined) {
    const by = result.mechanism === undefined ? "" : ` by ${result.mechanism}`;
    const why = result.reason === undefined ? "" : `: ${result.reason}`;
    yield `the client gets ${result.result}${by}${why}`;
    if (result.explanation !== undefined) yield `  ${result.explanation}`;
  }
  for (const { level, text } of findings) yield `${level}: ${text}`;
}
