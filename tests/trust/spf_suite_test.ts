/**
 * The test suite of openspf for RFC 7208: 16 scenarios, 203 tests. Its zones are
 * answered here as its authors say.
 */

import { assert, assertEquals } from "@std/assert";
import type { DnsQuerier } from "../../lib/dns/outcome.ts";
import { pointerName } from "../../lib/dns/name.ts";
import { checkSpf } from "../../lib/trust/spf.ts";

/** One test of the suite. */
interface Row {
  readonly helo: string;
  readonly host: string;
  readonly mailfrom: string;
  readonly result: string | readonly string[];
  readonly explanation?: string;
}

/** A record of a zone: its type and data, or `"TIMEOUT"` for the others. */
type ZoneRecord = "TIMEOUT" | Readonly<Record<string, unknown>>;

interface Scenario {
  readonly description: string;
  readonly zonedata: Readonly<Record<string, readonly ZoneRecord[]>>;
  readonly tests: Readonly<Record<string, Row>>;
}

const SUITE: readonly Scenario[] = JSON.parse(
  Deno.readTextFileSync(
    new URL("data/spf/rfc7208-tests.json", import.meta.url),
  ),
);

/** Answers from the zones of a scenario. */
function zoneDns({ zonedata }: Scenario): DnsQuerier {
  const zones = new Map(
    Object.entries(zonedata).map(([name, records]) =>
      [name.toLowerCase(), records] as const
    ),
  );
  const query = (type: string, name: string, depth = 0): unknown => {
    const asked = type === "PTR" ? pointerName(name) ?? name : name;
    const records = zones.get(asked.toLowerCase().replace(/\.$/, ""));
    if (records === undefined) {
      return { status: "none", why: "no-such-name" };
    }
    const data = (wanted: string) =>
      records.flatMap((record) =>
        record !== "TIMEOUT" && wanted in record ? [record[wanted]] : []
      );
    let found = data(type);
    // A record of the type SPF stands for a TXT.
    if (type === "TXT" && found.length === 0) found = data("SPF");
    found = found.filter((one) => one !== "NONE");
    if (found.length > 0) return { status: "found", records: found.map(shape) };
    const alias = data("CNAME")[0];
    if (alias !== undefined && depth < 10) {
      return query(type, alias as string, depth + 1);
    }
    if (records.includes("TIMEOUT")) {
      return { status: "failed", code: "timeout", reason: "No answer" };
    }
    return { status: "none", why: "no-such-record" };
  };
  const shape = (value: unknown): unknown => {
    if (!Array.isArray(value)) return value;
    if (typeof value[0] === "number") {
      return { preference: value[0], exchange: value[1] };
    }
    return value.join("");
  };
  return {
    query: (type, name) => Promise.resolve(query(type, name) as never),
  };
}

for (const scenario of SUITE) {
  Deno.test(`SPF suite: ${scenario.description}`, async (t) => {
    const dns = zoneDns(scenario);
    for (const [name, row] of Object.entries(scenario.tests)) {
      await t.step(name, async () => {
        const found = await checkSpf({
          ip: row.host,
          helo: row.helo,
          from: row.mailfrom,
          receiver: "receiver.test",
        }, { dns });
        const wanted = [row.result].flat();
        assert(
          wanted.includes(found.result),
          `${name}: ${JSON.stringify(found)}, want ${wanted}`,
        );
        if (row.explanation !== undefined && row.explanation !== "DEFAULT") {
          assertEquals(found.explanation, row.explanation);
        }
        if (row.explanation === "DEFAULT") {
          assertEquals(found.explanation, undefined);
        }
      });
    }
  });
}

Deno.test("The suite has 203 tests", () => {
  const counts = SUITE.map(({ tests }) => Object.keys(tests).length);
  assertEquals(counts.reduce((sum, count) => sum + count, 0), 203);
});
