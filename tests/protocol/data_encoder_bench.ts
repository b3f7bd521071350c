/**
 * The speed of content for sending. Each run encodes one MiB in chunks of 64
 * KiB: 1,000,000 divided by the microseconds of a run is MiB a second.
 */

import { DataEncoder } from "../../lib/protocol/data_encoder.ts";
import { bytesOf } from "../support/bytes.ts";

const MIB = 1 << 20;
const CHUNK = 65536;

const LINES: readonly [name: string, line: string][] = [
  ["78-byte lines", `${"The quick brown fox, ".repeat(4).slice(0, 76)}\r\n`],
  ["lines of a dot and a letter", ".x\r\n"],
  ["2-character lines", "ab\r\n"],
  ["one endless line", "x"],
  ["bare LFs", `${"x".repeat(76)}\n`],
];

for (const [name, line] of LINES) {
  const mail = bytesOf(line.repeat(Math.ceil(MIB / line.length))).slice(0, MIB);
  for (const framing of ["data", "bdat"] as const) {
    Deno.bench(`${name}, ${framing}`, { group: framing }, () => {
      const encoder = new DataEncoder({ framing });
      for (let at = 0; at < MIB; at += CHUNK) {
        encoder.encode(mail.slice(at, at + CHUNK));
      }
      encoder.finish();
    });
  }
}
