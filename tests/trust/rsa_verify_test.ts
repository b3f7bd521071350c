/**
 * RSA signatures beside `node:crypto`, and what forgers have tried on others
 * (RFC 8017 section 8.2.2).
 */

import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { readRsaKey, verifyRsa } from "../../lib/trust/rsa_verify.ts";
import { seeded } from "../support/random.ts";

interface Pair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

function makePair(bits: number, publicExponent = 65537): Pair {
  return generateKeyPairSync("rsa", { modulusLength: bits, publicExponent });
}

function derOf(key: KeyObject, type: "spki" | "pkcs1"): Uint8Array {
  return new Uint8Array(key.export({ type, format: "der" }));
}

const usual = makePair(2048);
const usualKey = readRsaKey(derOf(usual.publicKey, "spki")).key!;
const data = new TextEncoder().encode("from:ann@a.test\r\n");

Deno.test("Both forms of a key are read, of 1024 bits and more", () => {
  for (const [bits, exponent] of [[1024, 65537], [1031, 3], [2048, 17]]) {
    const { publicKey, privateKey } = makePair(bits!, exponent);
    const signature = sign("sha256", data, privateKey);
    for (const type of ["spki", "pkcs1"] as const) {
      const { key, fault } = readRsaKey(derOf(publicKey, type));
      assertEquals(fault, undefined);
      assertEquals(key!.bits, bits);
      assertEquals(key!.exponent, BigInt(exponent!));
      assert(verifyRsa(key!, data, signature), `${bits} ${exponent}`);
      assert(!verifyRsa(key!, data.subarray(1), signature));
    }
  }
});

Deno.test("node:crypto agrees about signatures with one byte changed", () => {
  const random = seeded(1);
  const good = new Uint8Array(sign("sha256", data, usual.privateKey));
  for (let left = 200; left > 0; left--) {
    const signature = good.slice();
    if (left % 4 !== 0) signature[random(256)]! ^= 1 << random(8);
    assertEquals(
      verifyRsa(usualKey, data, signature),
      verify("sha256", data, usual.publicKey, signature),
    );
  }
});

Deno.test("A block with other padding than the standard's is no signature", () => {
  const digest = createHash("sha256").update(data).digest("hex");
  const info = "3031300d060960864801650304020105000420";
  const bare = "302f300b0609608648016503040201" + "0420";
  const block = (text: string) => Buffer.from(text, "hex");
  const full = (end: string, filling = "ff") =>
    block(
      "0001" + filling.repeat(256 - 3 - end.length / 2) + "00" + end,
    );
  const blocks: [what: string, block: Uint8Array, good: boolean][] = [
    ["right", full(info + digest), true],
    ["no parameters", full(bare + digest), false],
    ["another filling", full(info + digest, "fe"), false],
    [
      "block type 2",
      block("0002" + full(info + digest).toString("hex").slice(4)),
      false,
    ],
    [
      "short filling and bytes at the end",
      block(
        "0001" + "ff".repeat(8) + "00" + info + digest +
          "00".repeat(256 - 11 - 51),
      ),
      false,
    ],
    ["no digest info", full(digest), false],
    [
      "SHA-1's length",
      full("3021300906052b0e03021a05000414" + digest.slice(0, 40)),
      false,
    ],
  ];
  for (const [what, padded, good] of blocks) {
    assertEquals(padded.length, 256, what);
    const signature = rawSignature(padded);
    assertEquals(verifyRsa(usualKey, data, signature), good, what);
  }
});

Deno.test("A signature has the length of the key, and is below its modulus", () => {
  const good = new Uint8Array(sign("sha256", data, usual.privateKey));
  const longer = new Uint8Array([0, ...good]);
  assert(!verifyRsa(usualKey, data, longer));
  assert(!verifyRsa(usualKey, data, good.subarray(1)));
  assert(!verifyRsa(usualKey, data, new Uint8Array(0)));
  // The same number and the modulus: equal to the right one in the arithmetic.
  for (let at = 0;; at++) {
    const text = new Uint8Array([at]);
    const signature = sign("sha256", text, usual.privateKey).toString("hex");
    const more = BigInt(`0x${signature}`) + usualKey.modulus;
    if (more >= 2n ** 2048n) continue;
    const bytes = Buffer.from(more.toString(16).padStart(512, "0"), "hex");
    assert(!verifyRsa(usualKey, text, new Uint8Array(bytes)));
    break;
  }
});

const faults: [what: string, der: () => Uint8Array, fault: string][] = [
  ["nothing", () => new Uint8Array(0), "The key is no RSA key"],
  [
    "a cut key",
    () => derOf(usual.publicKey, "spki").slice(0, -1),
    "The key is no RSA key",
  ],
  [
    "a byte too many",
    () => new Uint8Array([...derOf(usual.publicKey, "spki"), 0]),
    "The key is no RSA key",
  ],
  [
    "another algorithm",
    () =>
      new Uint8Array(
        generateKeyPairSync("ed25519").publicKey.export({
          type: "spki",
          format: "der",
        }),
      ),
    "The key is no RSA key",
  ],
  [
    "an even modulus",
    () => pkcs1(2n ** 2047n, 65537n),
    "The key's numbers are out of range",
  ],
  [
    "exponent 1",
    () => pkcs1(2n ** 2047n + 1n, 1n),
    "The key's numbers are out of range",
  ],
  [
    "an even exponent",
    () => pkcs1(2n ** 2047n + 1n, 4n),
    "The key's numbers are out of range",
  ],
  [
    "a huge exponent",
    () => pkcs1(2n ** 2047n + 1n, 2n ** 32n + 1n),
    "The key's numbers are out of range",
  ],
  [
    "512 bits",
    () => pkcs1(2n ** 511n + 1n, 65537n),
    "The key has 512 bits, fewer than 1024",
  ],
  [
    "1023 bits",
    () => pkcs1(2n ** 1022n + 1n, 65537n),
    "The key has 1023 bits, fewer than 1024",
  ],
  [
    "8193 bits",
    () => pkcs1(2n ** 8192n + 1n, 65537n),
    "The key has 8193 bits, more than 8192",
  ],
  ["zero", () => pkcs1(0n, 65537n), "The key is no RSA key"],
];

for (const [what, der, fault] of faults) {
  Deno.test(`No RSA key: ${what}`, () => {
    assertEquals(readRsaKey(der()).fault, fault);
  });
}

Deno.test("A key of 8192 bits is a key, and Node takes what we take", () => {
  const { key } = readRsaKey(pkcs1(2n ** 8191n + 1n, 65537n));
  assertEquals(key!.bits, 8192);
  const der = derOf(usual.publicKey, "pkcs1");
  const node = createPublicKey({
    key: Buffer.from(der),
    format: "der",
    type: "pkcs1",
  });
  const jwk = node.export({ format: "jwk" });
  const modulus = Buffer.from(jwk.n as string, "base64url").toString("hex");
  assertEquals(usualKey.modulus, BigInt(`0x${modulus}`));
});

/** The block to the power of the secret exponent, whatever it holds. */
function rawSignature(block: Uint8Array): Uint8Array {
  const { n, d } = usual.privateKey.export({ format: "jwk" });
  const number = (text: unknown) =>
    BigInt(`0x${Buffer.from(String(text), "base64url").toString("hex")}`);
  const modulus = number(n);
  let result = 1n;
  let base = BigInt(`0x${Buffer.from(block).toString("hex")}`);
  for (let left = number(d); left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) result = (result * base) % modulus;
    base = (base * base) % modulus;
  }
  return new Uint8Array(
    Buffer.from(result.toString(16).padStart(512, "0"), "hex"),
  );
}

/** A bare key of two numbers. */
function pkcs1(modulus: bigint, exponent: bigint): Uint8Array {
  const integer = (value: bigint): number[] => {
    let hex = value.toString(16);
    if (hex.length % 2 === 1) hex = `0${hex}`;
    const bytes = [...Buffer.from(hex, "hex")];
    if (bytes[0]! > 0x7f) bytes.unshift(0);
    return [0x02, ...length(bytes.length), ...bytes];
  };
  const length = (size: number): number[] =>
    size < 0x80 ? [size] : [0x82, size >> 8, size & 255];
  const inner = [...integer(modulus), ...integer(exponent)];
  return new Uint8Array([0x30, ...length(inner.length), ...inner]);
}
