/** DER: lengths, tags and malformed input (ITU-T X.690). */

import { assertEquals, assertThrows } from "@std/assert";
import {
  integer,
  namedBits,
  oid,
  oidText,
  readValues,
  sequence,
  time,
  value,
} from "../../lib/tls/der.ts";

const hex = (bytes: Uint8Array) => bytes.toHex();

Deno.test("integer() writes the shortest form that is not negative", () => {
  const rows: [number[], string][] = [
    [[0], "020100"],
    [[], "020100"],
    [[0x7f], "02017f"],
    [[0x80], "02020080"],
    [[0, 0, 1], "020101"],
    [[0, 0xff], "020200ff"],
  ];
  for (const [bytes, want] of rows) {
    assertEquals(hex(integer(Uint8Array.from(bytes))), want);
  }
});

Deno.test("oid() and oidText() agree", () => {
  const rows = [
    ["2.5.29.17", "0603551d11"],
    ["1.2.840.113549.1.1.11", "06092a864886f70d01010b"],
    ["1.3.6.1.5.5.7.3.1", "06082b06010505070301"],
    ["1.3.101.112", "06032b6570"],
  ] as const;
  for (const [dotted, want] of rows) {
    assertEquals(hex(oid(dotted)), want);
    assertEquals(oidText(oid(dotted).subarray(2)), dotted);
  }
});

Deno.test("namedBits() leaves zero bits at the end out", () => {
  assertEquals(hex(namedBits([])), "030100");
  assertEquals(hex(namedBits([0])), "03020780");
  assertEquals(hex(namedBits([0, 2])), "030205a0");
  assertEquals(hex(namedBits([8])), "0303070080");
});

Deno.test("time() changes its form in 2050", () => {
  const rows = [
    ["2026-11-23T19:12:42.500Z", "170d3236313132333139313234325a"],
    ["2049-12-31T23:59:59Z", "170d3439313233313233353935395a"],
    ["2050-01-01T00:00:00Z", "180f32303530303130313030303030305a"],
  ] as const;
  for (const [at, want] of rows) assertEquals(hex(time(new Date(at))), want);
});

Deno.test("value() and readValues() agree on lengths", () => {
  for (const size of [0, 1, 127, 128, 255, 256, 65535, 65536]) {
    const content = new Uint8Array(size).fill(1);
    const [outer, ...rest] = readValues(sequence(value(0x04, content)));
    const [inner] = readValues(outer!.content);
    assertEquals(rest.length, 0);
    assertEquals(inner?.tag, 0x04);
    assertEquals(inner?.content.length, size);
  }
});

Deno.test("readValues() throws on every cut of a value", () => {
  const whole = sequence(value(0x04, new Uint8Array(300)));
  for (let size = 1; size < whole.length; size++) {
    assertThrows(() => readValues(whole.subarray(0, size)), SyntaxError);
  }
  for (const bad of ["3080", "308500000000", "1f0101", "30"]) {
    assertThrows(() => readValues(Uint8Array.fromHex(bad)), SyntaxError);
  }
});

Deno.test("readValues() throws nothing but SyntaxError on random bytes", () => {
  let seed = 20_480_001;
  for (let round = 0; round < 10_000; round++) {
    const bytes = Uint8Array.from({ length: round % 40 }, () => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return seed >>> 16;
    });
    try {
      readValues(bytes);
    } catch (error) {
      assertEquals((error as Error).name, "SyntaxError");
    }
  }
});
