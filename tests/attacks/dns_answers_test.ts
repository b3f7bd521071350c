/**
 * Forged answers from name servers: any owner of a zone can publish them, and any
 * host can guess a port. A packet that does not match the question is ignored. A
 * record is checked before it becomes a host to connect to, a name in a log, or
 * an order of hosts.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5452#section-9.1 | RFC 5452 section 9.1}
 */

import { assertEquals } from "@std/assert";
import { readAnswer } from "../../lib/dns/records.ts";
import {
  encodeQuestion,
  readMessage,
  verdictOf,
} from "../../lib/dns/dns_message.ts";

const question = { type: "MX", name: "victim.test" } as const;
const asked = encodeQuestion(question, { id: 0x1234, edns: false });

function kindOf(bytes: Uint8Array): string | undefined {
  const message = readMessage(bytes, asked);
  return message && verdictOf(message).kind;
}

/** The question sent back as an answer, changed. */
function forged(change: (bytes: Uint8Array) => Uint8Array | void): Uint8Array {
  const bytes = asked.slice();
  bytes[2] = 0x85;
  bytes[3] = 0x83;
  return change(bytes) ?? bytes;
}

Deno.test("A forged datagram says nothing of the question", () => {
  assertEquals(kindOf(forged(() => {})), "no-such-name");
  const forgeries: Readonly<Record<string, Uint8Array>> = {
    "another number": forged((bytes) => void (bytes[1]! ^= 1)),
    "a question, no answer": forged((bytes) => void (bytes[2] = 0x05)),
    "another kind of answer": forged((bytes) => void (bytes[2] = 0xa5)),
    "another name": forged((bytes) => void (bytes[13]! ^= 1)),
    "another type": forged((bytes) => void (bytes[asked.length - 3] = 1)),
    "no question": forged((bytes) => void (bytes[5] = 0)),
    "two questions": forged((bytes) => void (bytes[5] = 2)),
    "half a question": forged((bytes) => bytes.slice(0, -3)),
    "half a header": forged((bytes) => bytes.slice(0, 5)),
    "nothing": forged(() => new Uint8Array(0)),
  };
  for (const [name, bytes] of Object.entries(forgeries)) {
    assertEquals(kindOf(bytes), undefined, name);
  }
});

Deno.test("An answer that points into itself, or past its end, is read to an end", () => {
  for (let byte = 0; byte < 256; byte++) {
    const bytes = forged((packet) => {
      packet[3] = 0x80;
      packet[6] = packet[7] = 0xff;
      return new Uint8Array([...packet, ...new Uint8Array(64).fill(byte)]);
    });
    assertEquals(kindOf(bytes), "server-failure", `${byte}`);
  }
});

const EXCHANGES: readonly unknown[] = [
  ...["mx.test\r\nRSET", "mx test", "mx\0.test", "a..b", "-a.test", "a_-.test"],
  ...[
    "192.0.2.1:25",
    "[192.0.2.300]",
    "x".repeat(64),
    `${"a.".repeat(127)}b`,
    null,
  ],
  ...["\ud800.test", "mx.test/../x", "mx.test:25", "user@mx.test", 7, {}, []],
];

Deno.test("What is neither a host name nor an address is no mail exchanger", () => {
  for (const exchange of EXCHANGES) {
    const outcome = readAnswer(question, [
      { preference: 0, exchange },
      { preference: 10, exchange: "good.test." },
    ]);
    assertEquals(outcome, {
      status: "found",
      records: [{ preference: 10, exchange: "good.test" }],
    }, JSON.stringify(exchange));
  }
});

Deno.test("A preference that is no number of 16 bits gives no record a place", () => {
  for (const preference of [NaN, -1, 65536, 0.5, Infinity, "0", null]) {
    const outcome = readAnswer(question, [
      { preference, exchange: "bad.test." },
      { preference: 65535, exchange: "good.test." },
    ]);
    assertEquals(outcome, {
      status: "found",
      records: [{ preference: 65535, exchange: "good.test" }],
    }, `${preference}`);
  }
});
