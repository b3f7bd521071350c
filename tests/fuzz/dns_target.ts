/**
 * Fuzz of what comes from name servers: messages on the wire, the records of the
 * platform's resolver, and the names in them.
 */

import { normalizeName } from "../../lib/dns/name.ts";
import {
  DNS_RECORD_TYPES,
  type DnsOutcome,
  type DnsRecordType,
} from "../../lib/dns/outcome.ts";
import { type AnyOutcome, readAnswer } from "../../lib/dns/records.ts";
import {
  encodeQuestion,
  readMessage,
  verdictOf,
} from "../../lib/dns/dns_message.ts";
import { canonicalIp } from "../../lib/protocol/ip.ts";
import { orderAddresses, routeDomain } from "../../lib/delivery/route.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";
import { bytesOf, textOf } from "../support/bytes.ts";

/** Most addresses and hosts that are tried for one domain. */
const MOST_HOSTS = 100;

/** Datagrams, records and names. */
export const dnsTarget: FuzzTarget = {
  name: "dns",
  check(random) {
    checkMessage(random);
    checkRecords(random);
    checkName(random);
  },
};

const NAMES = [
  ...["example.test", "a.b", "_dmarc.example.test", `${"l".repeat(63)}.test`],
];

// Datagrams.

function checkMessage(random: Random): void {
  const type = pick(random, DNS_RECORD_TYPES);
  const question = { type, name: pick(random, NAMES) };
  const id = random(65536);
  const asked = encodeQuestion(question, { id, edns: chance(random, 2) });
  const made = answer(random, asked);
  const text = mutate(random, textOf(made.bytes));
  const message = readMessage(bytesOf(text), asked);
  const verdict = message && verdictOf(message);
  const isIntact = text === textOf(made.bytes);
  if (isIntact && verdict?.kind !== made.kind) {
    throw new Error(`Read ${verdict?.kind}, wanted ${made.kind}: ${hex(text)}`);
  }
  if (message === undefined) return;
  // A forger that does not see the question cannot know its id (RFC 5452 section 9.1).
  if (text.slice(0, 2) !== textOf(asked.subarray(0, 2))) {
    throw new Error(`Took an answer with another number: ${hex(text)}`);
  }
  if (verdict?.kind !== "records" || message.truncated) return;
  const outcome = readAnswer(question, message.records);
  checkOutcome(type, outcome, message.records);
  checkTime(message.ttl);
  const { canonicalName } = message;
  if (canonicalName.split(/(?<!\\)\./).length > 127) {
    throw new Error(`A name of too many labels: ${hex(text)}`);
  }
}

function checkTime(ttl: number): void {
  if (Number.isInteger(ttl) && ttl >= 0 && ttl < 2 ** 31) return;
  throw new Error(`Read a time to live of ${ttl} s`);
}

function hex(text: string): string {
  return bytesOf(text).toHex();
}

function answer(
  random: Random,
  asked: Uint8Array,
): { readonly bytes: Uint8Array; readonly kind: string } {
  const code = pick(random, [0, 0, 0, 0, 3, 2, 5, 11]);
  const count = code === 0 ? random(4) : 0;
  const isLong = asked[11]! > 0;
  const bytes = [...(isLong ? asked.subarray(0, -11) : asked)];
  const type = bytes[bytes.length - 3]!;
  bytes[11] = 0;
  bytes[2] = 0x85;
  bytes[3] = 0x80 | code;
  bytes[7] = count;
  let holdsType = false;
  let isStray = false;
  for (let left = count; left > 0; left--) {
    const ours = chance(random, 3);
    const isHere = chance(random, 2);
    holdsType ||= ours && isHere;
    isStray ||= ours && !isHere;
    const length = random(30);
    bytes.push(...(isHere ? [0xc0, 12] : pick(random, [[1, 97, 0], [0]])));
    bytes.push(0, ours ? type : 46, 0, 1, 0, 0, 0, 60, 0, length);
    for (let at = 0; at < length; at++) bytes.push(random(256));
  }
  const kind = code === 3
    ? "no-such-name"
    : code !== 0
    ? "server-failure"
    : holdsType
    ? "records"
    : isStray
    ? "server-failure"
    : "no-such-record";
  return { bytes: Uint8Array.from(bytes), kind };
}

// Records.

const TEXTS = [
  ...[".", "", "mx.test.", "MX.Test", "192.0.2.1", "::1", "::ffff:1.2.3.4"],
  ...["a b.test", "a\r\nb.test", "a\0.test", "xn--.test", "..", "a..b", "-a.b"],
  ...["__proto__", "constructor", "b\xfccher.test", "\uff41.test", "\ud800.a"],
  ...["x".repeat(300), "1.2.3.999", "0x7f.1", "127.1", "fe80::1%eth0"],
];

function checkRecords(random: Random): void {
  const type = pick(random, DNS_RECORD_TYPES);
  const raw: unknown[] = [];
  for (let left = random(8); left > 0; left--) raw.push(record(random, type));
  if (chance(random, 50)) {
    for (let left = 500; left > 0; left--) raw.push(record(random, type));
  }
  const outcome = readAnswer({ type, name: "example.test" }, raw);
  checkOutcome(type, outcome, raw);
  if (type === "MX") checkRoute(random, outcome as DnsOutcome<never>);
  if (type === "A" || type === "AAAA") {
    const ordered = orderAddresses("h.test", outcome as DnsOutcome<string>);
    if ("length" in ordered && ordered.length > MOST_HOSTS) {
      throw new Error(`${ordered.length} addresses to try`);
    }
  }
}

function record(random: Random, type: DnsRecordType): unknown {
  const text = mutate(random, pick(random, TEXTS));
  if (chance(random, 12)) {
    return pick<unknown>(random, [null, undefined, 7, {}, [], [text], true]);
  }
  if (type === "TXT") return [text, pick(random, TEXTS)];
  if (type !== "MX") return text;
  const preference = pick<unknown>(random, [
    ...[0, 10, 10, 20, 65535, 65536, -1, 0.5, NaN, Infinity, "10", null],
  ]);
  return { preference, exchange: chance(random, 9) ? undefined : text };
}

function checkOutcome(
  type: DnsRecordType,
  outcome: AnyOutcome,
  raw: readonly unknown[],
): void {
  if (outcome.status === "null-mx" && type === "MX" && raw.length > 0) return;
  if (outcome.status === "failed" && outcome.code === "malformed") return;
  if (outcome.status !== "found" || outcome.records.length === 0) {
    throw new Error(`Records became "${outcome.status}"`);
  }
  let last = 0;
  for (const one of outcome.records) {
    if (typeof one === "string") checkText(type, one);
    else if ("exchange" in one) {
      // Some publish an address in place of a host.
      const isAddress = canonicalIp(one.exchange) === one.exchange;
      if (!isAddress) checkText("NS", one.exchange);
      const { preference } = one;
      const isRight = Number.isInteger(preference) && preference >= last &&
        preference <= 65535;
      if (!isRight) throw new Error(`Preference ${preference} after ${last}`);
      last = preference;
    }
  }
}

function checkText(type: DnsRecordType, text: string): void {
  const isRight = type === "TXT" ||
    (type === "A" || type === "AAAA"
      ? canonicalIp(text) === text
      : isHostName(text));
  if (!isRight) throw new Error(`Took ${JSON.stringify(text)} for ${type}`);
}

function isHostName(text: string): boolean {
  return text.length <= 253 &&
    text.split(".").every((label) => /^[a-z0-9_-]{1,63}$/.test(label));
}

function checkRoute(random: Random, mx: DnsOutcome<never>): void {
  const route = routeDomain("example.test", {
    mx,
    ownNames: ["mx.test"],
    random: () => random(1000) / 1000,
  });
  if ("reply" in route) return;
  if (route.hosts.length === 0 || route.hosts.length > MOST_HOSTS) {
    throw new Error(`${route.hosts.length} hosts to try`);
  }
}

// Names.

function checkName(random: Random): void {
  const text = mutate(random, pick(random, [...NAMES, ...TEXTS]));
  const name = normalizeName(text);
  if (name === undefined) return;
  if (!isHostName(name) || normalizeName(name) !== name) {
    throw new Error(`${JSON.stringify(text)} became ${JSON.stringify(name)}`);
  }
}
