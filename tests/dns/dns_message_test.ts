/**
 * DNS messages: the question, the answer, and bytes that are not an answer
 * (RFC 1035 section 4.1, RFC 2308, RFC 6698 section 2.1, RFC 6891).
 */

import { assertEquals } from "@std/assert";
import {
  type DnsMessage,
  encodeQuestion,
  readMessage,
  verdictOf,
} from "../../lib/dns/dns_message.ts";
import type { DnsRecordType } from "../../lib/dns/outcome.ts";
import { seeded } from "../support/random.ts";

const ASKED = ask("MX");
const POINTER = [0xc0, 12];

function ask(type: DnsRecordType, edns = false): Uint8Array {
  return encodeQuestion({ type, name: "example.com" }, { id: 0xbeef, edns });
}

/** A record: its owner, type and data; class IN, TTL 60. */
function record(
  type: number,
  data: readonly number[],
  owner: readonly number[] = POINTER,
  ttl: readonly number[] = [0, 0, 0, 60],
): number[] {
  return [...owner, 0, type, 0, 1, ...ttl, 0, data.length, ...data];
}

const MX_RECORD = record(15, [0, 10, ...POINTER]);
const A_NAME = [1, 97, 0];
const B_NAME = [1, 98, 0];

/** An answer to `asked`: flags as bytes 2 and 3, then records. */
function answer(
  flags: readonly [number, number],
  records: readonly (readonly number[])[] = [],
  asked = ASKED,
): Uint8Array {
  const bytes = [...asked.subarray(0, 29), ...records.flat()];
  [bytes[2], bytes[3]] = flags;
  bytes[7] = records.length;
  bytes[11] = 0;
  return new Uint8Array(bytes);
}

/** The message of records to a question of a type. */
function read(
  type: DnsRecordType,
  ...records: readonly (readonly number[])[]
): DnsMessage {
  const asked = ask(type);
  return readMessage(answer([0x81, 0x80], records, asked), asked)!;
}

function kind(input: Uint8Array): unknown {
  const message = readMessage(input, ASKED);
  if (message === undefined) return undefined;
  const verdict = verdictOf(message);
  return verdict.kind === "server-failure" ? verdict.code : verdict.kind;
}

Deno.test("encodeQuestion() writes header, name, type and class, and asks for AD", () => {
  const head = [0xbe, 0xef, 1, 0x20, 0, 1, 0, 0, 0, 0, 0];
  const rest = [
    ...[7, 101, 120, 97, 109, 112, 108, 101, 3, 99, 111, 109, 0],
    ...[0, 15, 0, 1],
  ];
  assertEquals([...ASKED], [...head, 0, ...rest]);
  assertEquals([...ask("MX", true)], [
    ...[...head, 1, ...rest],
    // OPT of the root, 1232 bytes, nothing else.
    ...[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0],
  ]);
});

Deno.test("readMessage() and verdictOf() tell why there are no records", () => {
  const alias = record(5, A_NAME);
  const rows: [name: string, input: Uint8Array, want: string][] = [
    ["NXDOMAIN", answer([0x81, 0x83]), "no-such-name"],
    ["no data", answer([0x81, 0x80]), "no-such-record"],
    ["no data, authoritative", answer([0x84, 0]), "no-such-record"],
    ["alias without data", answer([0x81, 0x80], [alias]), "no-such-record"],
    ["records", answer([0x81, 0x80], [MX_RECORD]), "records"],
    [
      "alias, then records",
      answer([0x81, 0x80], [alias, record(15, [0, 1, 0], A_NAME)]),
      "records",
    ],
    [
      "records, then alias",
      answer([0x81, 0x80], [record(15, [0, 1, 0], A_NAME), alias]),
      "records",
    ],
    [
      "records of another name",
      answer([0x81, 0x80], [record(15, [0, 1, 0], B_NAME)]),
      "the records of another name",
    ],
    ["cut off", answer([0x83, 0x80]), "records"],
    [
      "record cut off",
      answer([0x81, 0x80], [MX_RECORD.slice(0, 7)]),
      "a malformed message",
    ],
    [
      "aliases in a circle",
      answer([0x81, 0x80], [
        record(5, A_NAME),
        record(5, B_NAME, A_NAME),
        record(5, A_NAME, B_NAME),
      ]),
      "aliases in a circle",
    ],
    [
      "an alias of itself",
      answer([0x81, 0x80], [record(5, POINTER)]),
      [
        "aliases in a circle",
      ][0]!,
    ],
    ["FORMERR", answer([0x81, 0x81]), "FORMERR"],
    ["SERVFAIL", answer([0x81, 0x82]), "SERVFAIL"],
    ["REFUSED", answer([0x81, 0x85]), "REFUSED"],
    ["unknown code", answer([0x81, 0x8b]), "code 11"],
    ["referral", answer([0x80, 0]), "a referral"],
  ];
  for (const [name, input, want] of rows) {
    assertEquals(kind(input), want, name);
  }
});

Deno.test("readMessage() reads flags, TTL and the end of the aliases", () => {
  const bytes = answer([0x83, 0xa0], [
    record(5, A_NAME, POINTER, [0, 0, 0, 90]),
    record(5, [1, 66, 0], A_NAME, [0, 0, 0, 30]),
    record(15, [0, 10, 0], B_NAME, [0, 1, 0, 0]),
    // Another name's record does not count.
    record(15, [0, 10, 0], [1, 99, 0], [0, 0, 0, 1]),
  ]);
  const message = readMessage(bytes, ASKED)!;
  assertEquals(message, {
    rcode: 0,
    authentic: true,
    truncated: true,
    referral: false,
    malformed: false,
    stray: false,
    circle: false,
    records: [{ preference: 10, exchange: "." }],
    ttl: 30,
    canonicalName: "b",
  });
  const none = readMessage(answer([0x81, 0x80]), ASKED)!;
  assertEquals([none.authentic, none.ttl], [false, 0]);
  assertEquals(none.canonicalName, "example.com");
  const negative = record(15, [0, 10, 0], POINTER, [0x80, 0, 0, 1]);
  assertEquals(read("MX", negative).ttl, 0);
});

Deno.test("readMessage() takes the upper bits of the response code from EDNS", () => {
  const asked = ask("MX", true);
  const opt = [0, 0, 41, 4, 0xd0, 1, 0, 0, 0, 0, 0];
  const bytes = answer([0x81, 0x80], [opt], asked);
  bytes[7] = 0;
  bytes[11] = 1;
  const message = readMessage(bytes, asked)!;
  assertEquals(message.rcode, 16);
  assertEquals(verdictOf(message), {
    kind: "server-failure",
    code: "BADVERS",
  });
  // In the answer section it is no such record.
  bytes[7] = 1;
  bytes[11] = 0;
  assertEquals(readMessage(bytes, asked)!.rcode, 0);
});

Deno.test("readMessage() reads the data of each type", () => {
  const host = [2, 77, 88, ...POINTER];
  const rows: [type: DnsRecordType, code: number, data: number[], unknown][] = [
    ["A", 1, [192, 0, 2, 1], "192.0.2.1"],
    [
      "AAAA",
      28,
      [0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 1],
      [
        "2001:db8:0:0:0:0:0:1",
      ][0],
    ],
    ["CNAME", 5, host, "mx.example.com"],
    ["NS", 2, host, "mx.example.com"],
    ["PTR", 12, host, "mx.example.com"],
    ["MX", 15, [1, 2, ...host], {
      preference: 258,
      exchange: "mx.example.com.",
    }],
    ["TXT", 16, [2, 97, 98, 0, 1, 0xff], ["ab", "", "\xff"]],
    ["TXT", 16, [0], [""]],
    ["TLSA", 52, [3, 1, 1, 0xab, 0xcd], {
      usage: 3,
      selector: 1,
      matching: 1,
      data: "abcd",
    }],
  ];
  for (const [type, code, data, want] of rows) {
    assertEquals<unknown>(read(type, record(code, data)).records, [want], type);
    // Data that ends early or late is malformed, and the other record counts.
    for (const bad of [data.slice(0, -1), []]) {
      if (type === "TLSA" && bad.length > 3) continue;
      assertEquals<unknown>(
        read(type, record(code, bad), record(code, data)).records,
        [undefined, want],
        `${type} of ${bad.length} bytes`,
      );
    }
    if (type === "TXT" || type === "TLSA") continue;
    const long = read(type, record(code, [...data, 0]));
    assertEquals(long.records, [undefined], `${type}, too long`);
  }
});

Deno.test("readMessage() keeps the labels of a name apart", () => {
  const name = (...bytes: number[]) => read("NS", record(2, bytes)).records[0];
  assertEquals(name(3, 97, 0x2e, 98, 0), "a\\.b");
  assertEquals(name(3, 97, 0x5c, 98, 0), "a\\\\b");
  assertEquals(name(3, 97, 0, 98, 0), "a\0b");
  assertEquals(name(2, 65, 0xc4, 0), "a\xc4");
  assertEquals(name(0), "");
});

Deno.test("readMessage() follows pointers backwards only, and to an end", () => {
  // The data of the first record is at 29 + 12.
  const at = 41;
  const rows: [name: string, data: number[]][] = [
    ["to itself", [0xc0, at]],
    ["to its own label", [1, 97, 0xc0, at]],
    ["forwards", [0xc0, at + 2, 0]],
    ["past the end", [0xff, 0xff]],
    ["cut off", [0xc0]],
    ["a label of 64 bytes", [64, ...Array(64).fill(97), 0]],
    ["a label of another kind", [0x80, 97, 0]],
    ["no end", [1, 97]],
    ["over 255 bytes", Array.from({ length: 130 }, () => [1, 97]).flat()],
  ];
  for (const [name, data] of rows) {
    assertEquals(read("NS", record(2, data)).records, [undefined], name);
  }
  // 127 labels are the most.
  const longest = [...Array.from({ length: 127 }, () => [1, 97]).flat(), 0];
  const [text] = read("NS", record(2, longest)).records;
  assertEquals(text, Array(127).fill("a").join("."));
  const tooLong = [1, 97, ...longest];
  assertEquals(read("NS", record(2, tooLong)).records, [undefined]);
});

Deno.test("readMessage() takes an error that leaves the question out", () => {
  const bytes = answer([0x81, 0x82]).slice(0, 12);
  bytes[5] = 0;
  assertEquals(kind(bytes), "SERVFAIL");
  bytes[3] = 0x83;
  assertEquals(kind(bytes), undefined);
});

Deno.test("readMessage() takes a question echoed in other letter case", () => {
  const bytes = answer([0x81, 0x83]);
  bytes[13] = "E".charCodeAt(0);
  assertEquals(kind(bytes), "no-such-name");
});

Deno.test("readMessage() ignores what is no answer to the question", () => {
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
    assertEquals(kind(bytes), undefined, name);
  }
});

Deno.test("readMessage() takes no part of an answer for the whole", () => {
  const whole = answer([0x81, 0x80], [MX_RECORD, record(5, A_NAME)]);
  for (let length = 0; length < whole.length; length++) {
    const want = length < ASKED.length ? undefined : "a malformed message";
    assertEquals(kind(whole.slice(0, length)), want, `${length} bytes`);
  }
  assertEquals(kind(whole), "records");
});

Deno.test("readMessage() reads 6000 records of chained pointers to an end", () => {
  const records: number[] = [];
  const count = 5000;
  for (let index = 0; index < count; index++) {
    const at = 29 + records.length;
    // Each name points to the one before.
    const to = index === 0 ? 12 : at - 12;
    const owner = to < 0x4000 ? [0xc0 | (to >> 8), to & 0xff] : POINTER;
    records.push(...owner, 0, 15, 0, 1, 0, 0, 0, 60, 0, 0);
  }
  const bytes = answer([0x81, 0x80], [records]);
  bytes[6] = count >> 8;
  bytes[7] = count & 0xff;
  assertEquals(kind(bytes), "a malformed message");
});

Deno.test("readMessage() never throws and always ends", () => {
  const random = seeded(1035);
  const records = [
    record(5, A_NAME),
    MX_RECORD,
    record(16, [3, 97, 98, 99]),
    record(52, [3, 1, 1, 7]),
  ];
  for (let round = 0; round < 10_000; round++) {
    const bytes = answer([0x81, 0x80], records);
    for (let at = random(6); at >= 0; at--) {
      bytes[2 + random(bytes.length - 2)] = random(256);
    }
    const message = readMessage(
      bytes.subarray(0, random(bytes.length + 1)),
      ASKED,
    );
    if (message !== undefined) verdictOf(message);
  }
});
