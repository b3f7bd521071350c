/**
 * DNS packets: the question, the response code, and bytes that are not an
 * answer (RFC 1035 section 4.1, RFC 2308).
 */

import { assertEquals } from "@std/assert";
import { encodeQuestion, readVerdict } from "../../lib/dns/verdict.ts";
import { seeded } from "../support/random.ts";

const ASKED = encodeQuestion({ type: "MX", name: "example.com" }, {
  id: 0xbeef,
});
const POINTER = [0xc0, 12];
const MX_RECORD = [
  ...POINTER,
  0,
  15,
  0,
  1,
  0,
  0,
  0,
  60,
  0,
  4,
  0,
  10,
  ...POINTER,
];
const CNAME_RECORD = [1, 97, 0, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, ...POINTER];

/** An answer to ASKED: flags as bytes 2 and 3, then records. */
function answer(
  flags: readonly [number, number],
  records: readonly (readonly number[])[] = [],
): Uint8Array {
  const bytes = [...ASKED, ...records.flat()];
  [bytes[2], bytes[3]] = flags;
  bytes[7] = records.length;
  return new Uint8Array(bytes);
}

Deno.test("encodeQuestion() writes header, name, type and class", () => {
  const want = [
    ...[0xbe, 0xef, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    ...[7, 101, 120, 97, 109, 112, 108, 101, 3, 99, 111, 109, 0],
    ...[0, 15, 0, 1],
  ];
  assertEquals([...ASKED], want);
});

Deno.test("readVerdict() tells why there are no records", () => {
  const rows: [name: string, input: Uint8Array, want: unknown][] = [
    ["NXDOMAIN", answer([0x81, 0x83]), { kind: "no-such-name" }],
    ["no data", answer([0x81, 0x80]), { kind: "no-such-record" }],
    ["no data, authoritative", answer([0x84, 0]), { kind: "no-such-record" }],
    ["alias without data", answer([0x81, 0x80], [CNAME_RECORD]), {
      kind: "no-such-record",
    }],
    ["records", answer([0x81, 0x80], [MX_RECORD]), { kind: "records" }],
    ["alias, then records", answer([0x81, 0x80], [CNAME_RECORD, MX_RECORD]), {
      kind: "records",
    }],
    ["cut off", answer([0x83, 0x80]), { kind: "records" }],
    ["record cut off", answer([0x81, 0x80], [MX_RECORD.slice(0, 7)]), {
      kind: "records",
    }],
    ["FORMERR", answer([0x81, 0x81]), {
      kind: "server-failure",
      code: "FORMERR",
    }],
    ["SERVFAIL", answer([0x81, 0x82]), {
      kind: "server-failure",
      code: "SERVFAIL",
    }],
    ["REFUSED", answer([0x81, 0x85]), {
      kind: "server-failure",
      code: "REFUSED",
    }],
    ["unknown code", answer([0x81, 0x8b]), {
      kind: "server-failure",
      code: "code 11",
    }],
    ["referral", answer([0x80, 0]), {
      kind: "server-failure",
      code: "a referral",
    }],
  ];
  for (const [name, input, want] of rows) {
    assertEquals<unknown>(readVerdict(input, ASKED), want, name);
  }
});

Deno.test("readVerdict() takes an error that leaves the question out", () => {
  const bytes = answer([0x81, 0x82]).slice(0, 12);
  bytes[5] = 0;
  assertEquals(readVerdict(bytes, ASKED)?.kind, "server-failure");
  bytes[3] = 0x83;
  assertEquals(readVerdict(bytes, ASKED), undefined);
});

Deno.test("readVerdict() takes a question echoed in other letter case", () => {
  const bytes = answer([0x81, 0x83]);
  bytes[13] = "E".charCodeAt(0);
  assertEquals(readVerdict(bytes, ASKED)?.kind, "no-such-name");
});

Deno.test("readVerdict() ignores what is no answer to the question", () => {
  const rows: [name: string, change: (bytes: Uint8Array) => void][] = [
    ["other id", (bytes) => bytes[1] = 0],
    ["a question", (bytes) => bytes[2] = 1],
    ["other opcode", (bytes) => bytes[2] = 0xa1],
    ["two questions", (bytes) => bytes[5] = 2],
    ["other name", (bytes) => bytes[13] = 0x78],
    ["other type", (bytes) => bytes[bytes.length - 3] = 1],
    ["other class", (bytes) => bytes[bytes.length - 1] = 3],
  ];
  for (const [name, change] of rows) {
    const bytes = answer([0x81, 0x83]);
    change(bytes);
    assertEquals(readVerdict(bytes, ASKED), undefined, name);
  }
  for (let length = 0; length < ASKED.length; length++) {
    const bytes = answer([0x81, 0x83]).slice(0, length);
    assertEquals(readVerdict(bytes, ASKED), undefined);
  }
});

Deno.test("readVerdict() never throws and always ends", () => {
  const random = seeded(1035);
  for (let round = 0; round < 10_000; round++) {
    const bytes = answer([0x81, 0x80], [CNAME_RECORD, MX_RECORD]);
    for (let at = random(6); at >= 0; at--) {
      bytes[2 + random(bytes.length - 2)] = random(256);
    }
    readVerdict(bytes.subarray(0, random(bytes.length + 1)), ASKED);
  }
});
