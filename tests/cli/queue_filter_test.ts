/** Which messages `queue` means: patterns are plain globs, whatever their signs. */

import { assertEquals } from "@std/assert";
import { domainOf, fits, queueFilter } from "../../lib/cli/queue_filter.ts";
import { initialProgress, type SpoolEntry } from "../../lib/spool/envelope.ts";

const NOW = Date.UTC(2026, 0, 10);
const DAY = 86_400_000;

function entry(
  from: string,
  to: readonly string[],
  { days = 0, held = false }: {
    readonly days?: number;
    readonly held?: boolean;
  } = {},
): SpoolEntry {
  const envelope = {
    ...{ id: "a1", from, parameters: {}, size: 1, options: {} },
    recipients: to.map((address) => ({ address, parameters: {} })),
    acceptedAt: NOW - days * DAY,
  };
  const progress = initialProgress(envelope);
  progress.held = held;
  return { envelope, progress };
}

Deno.test("fits() takes * for any text, ? for a character, and the rest as it is", () => {
  const rows: readonly (readonly [string, string, boolean])[] = [
    ["bob@dest.test", "bob@dest.test", true],
    ["bob@dest.test", "bob", false],
    ["bob@dest.test", "*@dest.test", true],
    ["bob@dest.test", "b?b@*", true],
    ["bob@dest.test", "*", true],
    ["bob@dest.test", "***", true],
    ["bob@dest.test", "?", false],
    ["bob@dest.test", "bob@dest?test", true],
    ["bobXdest.test", "bob.dest.test", false],
    ["", "", true],
    ["", "*", true],
    ["", "?", false],
    // Signs of regular expressions are themselves.
    ["bob+x@dest.test", "bob+x@*", true],
    ["bobbx@dest.test", "bob+x@*", false],
    ["a|b@dest.test", "a|b@*", true],
    ["b@dest.test", "a|b@*", false],
    ["(a)@dest.test", "(a)@*", true],
    ["[ab]@dest.test", "[ab]@*", true],
    ["a@dest.test", "[ab]@*", false],
    ["\\d@dest.test", "\\d@*", true],
    ["1@dest.test", "\\d@*", false],
    ["^a$@dest.test", "^a$@*", true],
    [".*@dest.test", ".*@*", true],
    ["bob@dest.test", ".*", false],
    ["aXbXc", "a*b*c", true],
    ["abcabd", "*abd", true],
    ["abcabc", "*abd", false],
  ];
  for (const [text, pattern, want] of rows) {
    assertEquals(fits(text, pattern), want, `${text} ${pattern}`);
  }
  // A pattern that a regular expression would need hours for.
  assertEquals(fits("a".repeat(5000), `${"a*".repeat(500)}b`), false);
});

Deno.test("queueFilter() chooses by sender, waiting recipient, domain, age and hold", () => {
  const half = entry("news@a.test", ["bob@done.test", "eve@b\u00fccher.test"]);
  half.progress.recipients[0]!.status = "delivered";
  const dsn = entry("", ["ann@Dest.Test"], { days: 4, held: true });
  const odd = entry("x", ["postmaster", "no domain@"], { days: 1 });
  const all = [half, dsn, odd];
  const rows: readonly (readonly [
    Record<string, readonly string[]>,
    readonly SpoolEntry[],
  ])[] = [
    [{}, all],
    [{ from: ["NEWS@*"] }, [half]],
    [{ from: [""] }, [dsn]],
    [{ from: ["<>"] }, [dsn]],
    [{ from: ["", "x"] }, [dsn, odd]],
    [{ from: ["<news@a.test>"] }, [half]],
    [{ to: ["bob@*"] }, []],
    [{ to: ["eve@*", "ann@*"] }, [half, dsn]],
    [{ domain: ["done.test"] }, []],
    [{ domain: ["b\u00fccher.test"] }, [half]],
    [{ domain: ["xn--bcher-kva.test"] }, [half]],
    [{ domain: ["dest.test"] }, [dsn]],
    [{ domain: ["*.test"] }, [half, dsn]],
    [{ domain: ["test"] }, []],
    [{ older: ["3d"] }, [dsn]],
    [{ older: ["4d"] }, []],
    [{ older: ["3600"] }, [dsn, odd]],
    [{ held: ["yes"] }, [dsn]],
    [{ held: ["no"] }, [half, odd]],
    // All kinds have to fit, and domain and recipient the same recipient.
    [{ older: ["1h"], held: ["no"] }, [odd]],
    [{ to: ["eve@*"], domain: ["done.test"] }, []],
  ];
  for (const [raw, want] of rows) {
    const filter = queueFilter(new Map(Object.entries(raw)));
    const chosen = all.filter((one) => filter.matches(one, NOW));
    assertEquals(
      chosen.map((one) => all.indexOf(one)),
      want.map((one) => all.indexOf(one)),
      JSON.stringify(raw),
    );
    assertEquals(filter.given, Object.keys(raw).map((name) => `--${name}`));
  }
  assertEquals(domainOf("a@b@\u001b[31m"), "\u001b[31m");
});
