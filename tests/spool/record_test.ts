/** The record of a queued message: encoded, decoded, and each field checked. */

import { assert, assertEquals } from "@std/assert";
import {
  decodeJournalLine,
  decodeRecordHead,
  encodeJournalLine,
  encodeRecordHead,
  isSpoolId,
  packProgress,
  unpackProgress,
} from "../../lib/spool/record.ts";
import {
  applyChange,
  initialProgress,
  type SpoolChange,
} from "../../lib/spool/envelope.ts";
import { addition } from "../support/queue/fixtures.ts";

const { envelope } = addition("a1", { to: ["größe@exämple.org", "b@one.org"] });
const login = { username: "u", password: "p" };

Deno.test("decodeRecordHead() reads what encodeRecordHead() wrote", () => {
  const bytes = encodeRecordHead({ envelope, login });
  const content = new TextEncoder().encode("content");
  const head = decodeRecordHead(new Uint8Array([...bytes, ...content]));
  assertEquals(head, { envelope, login, length: bytes.length });
});

Deno.test("decodeRecordHead() wants more, or says what is wrong, and never guesses", () => {
  const bytes = encodeRecordHead({ envelope });
  for (let length = 0; length < bytes.length; length++) {
    const head = decodeRecordHead(bytes.subarray(0, length));
    assert("want" in head && head.want > length);
  }
  for (let at = 0; at < bytes.length - 1; at++) {
    const bad = bytes.slice();
    bad[at] = bad[at]! ^ 1;
    const head = decodeRecordHead(bad);
    assert(!("envelope" in head), `A wrong byte at ${at} was taken`);
  }
  const garbage = new Uint8Array(100).fill(65);
  assertEquals(decodeRecordHead(garbage), { fault: "No record head line" });
});

Deno.test("decodeJournalLine() reads what encodeJournalLine() wrote, and nothing else", () => {
  const line = {
    kind: "change",
    id: "a",
    change: { kind: "hold", held: true },
  } as const;
  const text = encodeJournalLine(line);
  assert(text.endsWith("}\n"));
  assertEquals(decodeJournalLine(text.trimEnd()), line);
  for (let at = 0; at < text.length - 1; at++) {
    const bad = text.slice(0, at) + "#" + text.slice(at + 1, -1);
    assertEquals(decodeJournalLine(bad), undefined);
    assertEquals(decodeJournalLine(text.slice(0, at)), undefined);
  }
});

const CHANGES: readonly SpoolChange[] = [
  {
    kind: "result",
    results: [{
      index: 1,
      status: "failed",
      attempts: 2,
      nextTryAt: 5,
      answer: { at: 1, text: "No", isReply: true, status: "5.1.1" },
    }],
  },
  { kind: "reported", indices: [1] },
  { kind: "hold", held: true },
  { kind: "retry", at: 77 },
  { kind: "delay-reported" },
  { kind: "route", route: { smarthost: { host: "x" } } },
  { kind: "tag", tag: [1, null] },
];

Deno.test("applyChange() twice is the same as once, and survives packing", () => {
  const progress = initialProgress(envelope);
  assertEquals(packProgress(progress), undefined);
  for (const change of CHANGES) {
    applyChange(progress, change);
    const once = structuredClone(progress);
    applyChange(progress, change);
    assertEquals(progress, once);
    const packed = JSON.parse(JSON.stringify(packProgress(progress) ?? null));
    assertEquals(unpackProgress(envelope, packed ?? undefined), progress);
  }
});

Deno.test("applyChange() passes over recipients that there are not", () => {
  const progress = initialProgress(envelope);
  applyChange(progress, { kind: "reported", indices: [7, -1] });
  applyChange(progress, {
    kind: "result",
    results: [{ index: 9, status: "failed", attempts: 1, nextTryAt: 0 }],
  });
  assertEquals(progress, initialProgress(envelope));
});

Deno.test("isSpoolId() takes letters, digits and hyphens", () => {
  const good = ["a", "A-1", "x".repeat(100)];
  const bad = ["", "a.b", "../a", "a/b", "ä", "a\n", "x".repeat(101)];
  assertEquals(good.map(isSpoolId), good.map(() => true));
  assertEquals(bad.map(isSpoolId), bad.map(() => false));
});
