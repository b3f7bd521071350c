/**
 * Strict base64 for AUTH (RFC 4648 sections 3 and 4, RFC 4954 section
 * 4).
 */

import { assertEquals } from "@std/assert";
import { decodeBase64Strict, encodeBase64 } from "../../lib/sasl/encoding.ts";
import { seededFraction } from "../support/random.ts";
import { utf8Text } from "../support/bytes.ts";

const ROWS: readonly { input: string; want: string | undefined }[] = [
  { input: "", want: "" },
  { input: "YQ==", want: "a" },
  { input: "YWI=", want: "ab" },
  { input: "YWJj", want: "abc" },
  { input: "YQ", want: undefined },
  { input: "YQ=", want: undefined },
  { input: "YR==", want: undefined },
  { input: "YWJ=", want: undefined },
  { input: " YQ==", want: undefined },
  { input: "YQ==\r\n", want: undefined },
  { input: "Y Q==", want: undefined },
  { input: "YQ==YQ==", want: undefined },
  { input: "=", want: undefined },
  { input: "====", want: undefined },
  { input: "*", want: undefined },
  { input: "-_8=", want: undefined },
  { input: "é===", want: undefined },
];

for (const { input, want } of ROWS) {
  Deno.test(`decodeBase64Strict() reads ${JSON.stringify(input)}`, () => {
    const bytes = decodeBase64Strict(input);
    assertEquals(bytes === undefined ? undefined : utf8Text(bytes), want);
  });
}

Deno.test("decodeBase64Strict() gives back what encodeBase64() wrote", () => {
  const random = seededFraction(1);
  for (let length = 0; length < 100; length++) {
    const bytes = Uint8Array.from({ length }, () => random() * 256);
    assertEquals(decodeBase64Strict(encodeBase64(bytes)), bytes);
  }
});
