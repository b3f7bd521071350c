/**
 * Fuzz of what comes before a session: PROXY headers and the argument of
 * XCLIENT, whole and in pieces, beside a second opinion on the text of version 1.
 */

import { canonicalIp } from "../../lib/protocol/ip.ts";
import {
  type ProxyEndpoint,
  ProxyHeaderReader,
} from "../../lib/protocol/proxy_header.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import { parseXclient } from "../../lib/protocol/xclient.ts";
import { proxyBlock, tlv, withChecksum } from "../support/proxy.ts";
import { pieces } from "../support/random.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";
import { bytesOf, concat, textOf } from "../support/bytes.ts";

/** PROXY headers and XCLIENT arguments. */
export const frontTarget: FuzzTarget = {
  name: "front",
  check(random) {
    checkHeader(random);
    checkXclient(random);
  },
};

const ADDRESSES = [
  ...["192.0.2.1", "0.0.0.0", "255.255.255.255", "::", "::ffff:192.0.2.1"],
  ...["2001:db8::1", "1:2:3:4:5:6:7:8", "192.0.2.256", "fe80::1%1", "x"],
];
const PORTS = ["0", "25", "65535", "65536", "025", "-1", ""];

// PROXY headers.

function checkHeader(random: Random): void {
  const made = chance(random, 2) ? bytesOf(line(random)) : block(random);
  const isKept = chance(random, 3);
  const text = isKept ? textOf(made) : mutate(random, textOf(made));
  const bytes = bytesOf(text);
  const whole = new ProxyHeaderReader();
  const status = whole.read(bytes);
  const used = whole.position;
  if (isKept && made[0] === 13 && status !== "header") {
    throw new Error(`Read ${status}: ${bytes.toHex()}`);
  }
  let got = "more";
  const cut = new ProxyHeaderReader();
  let seen = 0;
  const longest = 1 + random(40);
  for (const piece of pieces(bytes, { seed: random(2 ** 31), longest })) {
    got = cut.read(piece);
    seen += cut.position;
    if (got !== "more") break;
  }
  const same = JSON.stringify(cut.header) === JSON.stringify(whole.header);
  if (got !== status || seen !== used || !same) {
    throw new Error(`Read ${got}, and ${status} at once: ${bytes.toHex()}`);
  }
  checkAddresses(whole);
  if (text.startsWith("PROXY ")) checkLine(text, whole);
}

function line(random: Random): string {
  const protocol = pick(random, ["TCP4", "TCP6", "UNKNOWN", "UDP4"]);
  const from = pick(random, ADDRESSES);
  const to = chance(random, 2) ? from : pick(random, ADDRESSES);
  const ports = `${pick(random, PORTS)} ${pick(random, PORTS)}`;
  return `PROXY ${protocol} ${from} ${to} ${ports}\r\nEHLO x\r\n`;
}

function block(random: Random): Uint8Array {
  const [family, size] = pick(random, [[0, 0], [1, 12], [2, 36], [3, 216]]);
  const parts = [bytesOf(noise(random, size!))];
  for (let left = random(4); left > 0; left--) {
    // Any type but that of the checksum, which comes last.
    const type = pick(random, [1, 2, 4, 5, 0x20, 0x30, 0xe0, 0xff]);
    parts.push(tlv(type, noise(random, random(40))));
  }
  const isSummed = chance(random, 2);
  if (isSummed) parts.push(tlv(3, "\0\0\0\0"));
  const header = proxyBlock({
    command: 0x20 | random(2),
    protocol: family! << 4 | random(3),
    bytes: concat(parts),
  });
  const whole = isSummed ? withChecksum(header) : header;
  return concat([whole, bytesOf(noise(random, random(20)))]);
}

function noise(random: Random, length: number): string {
  return String.fromCharCode(...Array.from({ length }, () => random(256)));
}

function checkAddresses({ header }: ProxyHeaderReader): void {
  if (header?.family === "unix") return;
  for (const end of [header?.source, header?.destination]) {
    if (end === undefined) continue;
    const isRight = canonicalIp(end.address) === end.address &&
      Number.isInteger(end.port) && end.port >= 0 && end.port <= 65535;
    if (!isRight) throw new Error(`Took ${JSON.stringify(end)}`);
  }
}

/** Cut at its spaces and compared, where the reader has one expression. */
function checkLine(text: string, { header }: ProxyHeaderReader): void {
  const end = text.indexOf("\r\n");
  const words = text.slice(0, Math.max(end, 0)).split(" ");
  const [, protocol, from = "", to = "", fromPort, toPort, ...more] = words;
  const isBare = /[\r\n]/.test(text.slice(0, Math.max(end, 0)));
  const isPort = (port = "") =>
    String(Number(port)) === port && Number(port) <= 65535 && /^\d/.test(port);
  const isOf = (address: string) =>
    canonicalIp(address) !== undefined &&
    address.includes(":") === (protocol === "TCP6");
  const isTcp = (protocol === "TCP4" || protocol === "TCP6") &&
    more.length === 0 && isOf(from) && isOf(to) && isPort(fromPort) &&
    isPort(toPort);
  const isGood = end >= 0 && end <= 105 && !isBare &&
    (isTcp || protocol === "UNKNOWN");
  if (isGood !== (header !== undefined)) {
    throw new Error(`Took or refused ${JSON.stringify(text)}`);
  }
  if (isGood && isTcp) {
    checkEnd(header?.source, from, Number(fromPort));
    checkEnd(header?.destination, to, Number(toPort));
  }
}

function checkEnd(
  got: ProxyEndpoint | undefined,
  ...[address, port]: [string, number]
): void {
  const plain = canonicalIp(address)?.replace(/^::ffff:(?=.*\.)/, "");
  if (got?.address === plain && got?.port === port) return;
  throw new Error(`Took ${JSON.stringify(got)} for "${address} ${port}"`);
}

// XCLIENT.

const VALUES = [
  ...["[UNAVAILABLE]", "[tempunavail]", "IPV6:2001:db8::1", "a.b", "ESMTP"],
  ...[
    "a+2Bb",
    "a+0D+0Ab",
    "+C3+BC",
    "+FF",
    "+",
    "x".repeat(256),
    "x".repeat(99),
  ],
  ...ADDRESSES,
  ...PORTS,
];
const NAMES = [
  ...["NAME", "addr", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"],
  ...["__proto__", "constructor", "toString", ""],
];

function checkXclient(random: Random): void {
  const made: string[] = [];
  for (let left = 1 + random(4); left > 0; left--) {
    made.push(`${pick(random, NAMES)}=${pick(random, VALUES)}`);
  }
  const argument = mutate(random, made.join(" "));
  const result = parseXclient(argument);
  if (result instanceof SmtpReply) {
    if (result.code === 501) return;
    throw new Error(`Refused by ${result}: ${JSON.stringify(argument)}`);
  }
  const { addr, destaddr, port, destport, ...texts } = result;
  for (const address of [addr, destaddr]) {
    if (address === undefined || address === "[UNAVAILABLE]") continue;
    if (canonicalIp(address) !== address) throw new Error(`Took "${address}"`);
  }
  for (const number of [port, destport]) {
    if (number === undefined || number === "[UNAVAILABLE]") continue;
    if (!(number >= 0 && number <= 65535)) throw new Error(`Took ${number}`);
  }
  for (const text of Object.values(texts)) {
    if (text === undefined) continue;
    // deno-lint-ignore no-control-regex
    if (/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(text) || text.length > 255) {
      throw new Error(`Took ${JSON.stringify(text)}`);
    }
  }
}
