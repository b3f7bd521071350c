/**
 * The speed of DATA bodies. Each run decodes one MiB in reads of 64 KiB:
 * 1,000,000 divided by the microseconds of a run is MiB a second. Target: 200
 * MiB/s on ordinary mail, 50 on the worst row.
 */

import {
  type BareNewlinePolicy,
  DataDecoder,
} from "../../lib/protocol/data_decoder.ts";
import { arenaBuffers } from "../../lib/protocol/body_scanner.ts";
import { bytesOf } from "../support/bytes.ts";

const MIB = 1 << 20;
const READ = 65536;

function fill(line: string): Uint8Array<ArrayBuffer> {
  return bytesOf(line.repeat(Math.ceil(MIB / line.length))).slice(0, MIB);
}

const INPUTS: readonly [name: string, mail: Uint8Array<ArrayBuffer>][] = [
  [
    "78-byte lines",
    fill(`${"The quick brown fox, ".repeat(4).slice(0, 76)}\r\n`),
  ],
  ["base64", fill(`${"QUJDRGVmZ2hpSktMbW5vcA+/".repeat(4).slice(0, 76)}\r\n`)],
  ["dotted lines", fill("..\r\n")],
  ["lines of a dot and a letter", fill(".x\r\n")],
  ["2-character lines", fill("ab\r\n")],
  ["one endless line", fill("x")],
  ["bare LFs", fill("ab\n")],
];

const buffer = arenaBuffers()[0] ?? new Uint8Array(READ);

function bench(name: string, policy: BareNewlinePolicy): void {
  for (const [kind, mail] of INPUTS) {
    if (kind === "bare LFs" && policy === "reject" && name !== "plain") {
      continue;
    }
    const place = name === "plain" ? new Uint8Array(READ) : buffer;
    Deno.bench(`${kind}, ${policy}`, { group: `${name} buffer` }, () => {
      const decoder = new DataDecoder(policy);
      for (let at = 0; at < MIB; at += READ) {
        place.set(mail.subarray(at, at + READ));
        decoder.decode(place, 0, READ);
      }
    });
  }
}

bench("session", "reject");
bench("session", "normalize");
bench("plain", "reject");
