/**
 * The output of `queue list` and `queue show`: columns, ages, sizes, and JSON
 * lines.
 */

import { assertEquals } from "@std/assert";
import {
  fit,
  formatAge,
  jsonLine,
  listLines,
  showLines,
} from "../../lib/cli/queue_text.ts";
import { formatSize } from "../../lib/cli/output.ts";
import { initialProgress, type SpoolEntry } from "../../lib/spool/envelope.ts";

const NOW = Date.UTC(2026, 0, 2, 12);
const OPTIONS = { now: NOW, width: Infinity };

function entry(id: string, to: readonly string[]): SpoolEntry {
  const envelope = {
    id,
    from: "ann@example.com",
    parameters: {},
    recipients: to.map((address) => ({ address, parameters: {} })),
    size: 4200,
    acceptedAt: NOW - 2 * 3_600_000,
    options: {},
  };
  return { envelope, progress: initialProgress(envelope) };
}

Deno.test("formatAge() and formatSize() use the largest unit that fits", () => {
  const ages = [0, 999, 1000, 61_000, 3_600_000, 90_000_000];
  assertEquals(ages.map(formatAge), [
    "0 s",
    "0 s",
    "1 s",
    "1 min",
    "1 h",
    "1 d",
  ]);
  const sizes = [0, 1023, 1024, 1024 ** 2 - 1, 1024 ** 2, 5 * 1024 ** 4];
  assertEquals(sizes.map(formatSize), [
    "0 B",
    "1023 B",
    "1.0 KiB",
    "1.0 MiB",
    "1.0 MiB",
    "5120.0 GiB",
  ]);
  assertEquals([fit("abc", 3), fit("abcd", 3), fit("a", 0)], [
    "abc",
    "ab…",
    "…",
  ]);
});

Deno.test("listLines() shows age, size, next try and last answer", () => {
  const one = entry("a1", ["bob@dest.test", "eve@dest.test"]);
  const [bob, eve] = one.progress.recipients;
  bob!.nextTryAt = NOW + 300_000;
  bob!.answer = {
    at: NOW,
    text: "450 4.7.1 Try\x1b[31m later",
    isReply: true,
    status: "4.7.1",
    remoteMta: "mx.dest.test",
  };
  eve!.status = "delivered";
  const held = entry("a2", ["1", "2", "3", "4", "5", "6", "7"]);
  held.progress.held = true;
  assertEquals(
    [...listLines([one, held], OPTIONS)].join(""),
    [
      "AGE     SIZE       NEXT TRY  MESSAGE AND SENDER\n",
      "2 h     4.1 KiB    in 5 min  a1 <ann@example.com>\n",
      "    bob@dest.test: 450 4.7.1 Try [31m later\n",
      "2 h     4.1 KiB    held      a2 <ann@example.com>\n",
      "    1\n    2\n    3\n    4\n    5\n    and 2 more\n",
      "2 messages, 8.2 KiB\n",
    ].join(""),
  );
  const narrow = [...listLines([one], { now: NOW, width: 20 })];
  assertEquals(narrow[2], "    bob@dest.test: …\n");
  assertEquals([...listLines([], OPTIONS)], ["The queue is empty\n"]);
});

Deno.test("showLines() shows every recipient", () => {
  const one = entry("a1", ["bob@dest.test"]);
  assertEquals(
    [...showLines(one, OPTIONS)].join(""),
    [
      "message    a1\n",
      "from       <ann@example.com>\n",
      "size       4.1 KiB\n",
      "accepted   2026-01-02T10:00:00.000Z (2 h ago)\n",
      "to         <bob@dest.test>\n",
      "  status   pending, 0 tries\n",
      "  next     2026-01-02T10:00:00.000Z\n",
    ].join(""),
  );
});

Deno.test("showLines() shows what the sender asked for", () => {
  const { envelope, progress } = entry("a1", []);
  const { acceptedAt } = envelope;
  const asked: SpoolEntry = {
    progress,
    envelope: {
      ...envelope,
      parameters: {
        ...{ holdFor: 60, requireTls: true },
        by: { seconds: 3600, mode: "return" },
      },
      options: { idleWaitMs: 60_000, deliverBy: acceptedAt + 3_600_000 },
    },
  };
  const lines = [...showLines(asked, OPTIONS)].slice(4);
  assertEquals(lines, [
    "released   2026-01-02T10:01:00.000Z\n",
    "deliver by 2026-01-02T11:00:00.000Z, else it is returned\n",
    "tls        required all its way (REQUIRETLS)\n",
  ]);
  const free: SpoolEntry = {
    progress,
    envelope: { ...envelope, options: { declinesTls: true } },
  };
  assertEquals(
    [...showLines(free, OPTIONS)].at(-1),
    "tls        not needed (TLS-Required: No)\n",
  );
});

Deno.test("jsonLine() is one line with everything but secrets", () => {
  const line = jsonLine(entry("a1", ["bob@dest.test"]));
  assertEquals(line.indexOf("\n"), line.length - 1);
  assertEquals(JSON.parse(line), {
    id: "a1",
    from: "ann@example.com",
    size: 4200,
    acceptedAt: "2026-01-02T10:00:00.000Z",
    held: false,
    nextTryAt: "2026-01-02T10:00:00.000Z",
    recipients: [{
      address: "bob@dest.test",
      status: "pending",
      attempts: 0,
      nextTryAt: "2026-01-02T10:00:00.000Z",
      answer: null,
      remoteMta: null,
    }],
  });
});

Deno.test("No answer of another server reaches a terminal unfiltered, as text or JSON", () => {
  const one = entry("a1", ["bob@dest.test"]);
  const evil = "450 4.1.1 \u009b31m \u202eevil \u2066x\u2028y\x1b[2J";
  one.progress.recipients[0]!.answer = {
    at: NOW,
    text: evil,
    isReply: true,
    status: "4.1.1",
    remoteMta: "mx\u202e.test",
  };
  // deno-lint-ignore no-control-regex
  const unfiltered = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/;
  const json = jsonLine(one);
  for (
    const text of [
      [...listLines([one], OPTIONS)].join(""),
      [...showLines(one, OPTIONS)].join(""),
      json,
    ]
  ) {
    assertEquals(unfiltered.exec(text), null);
  }
  assertEquals(JSON.parse(json).recipients[0].answer, evil);
});
