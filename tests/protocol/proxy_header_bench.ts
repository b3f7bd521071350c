/** The speed of PROXY headers. Each connection has one, so microseconds are enough. */

import { ProxyHeaderReader } from "../../lib/protocol/proxy_header.ts";
import { proxyBlock, tlv, withChecksum } from "../support/proxy.ts";
import { bytesOf, concat } from "../support/bytes.ts";

const ENDS = bytesOf("\xc0\0\x02\x07\xc6\x33\x64\x02\x9c\x40\0\x19");
const HEADERS: readonly [name: string, header: Uint8Array][] = [
  ["version 1", bytesOf("PROXY TCP4 192.0.2.7 198.51.100.2 40000 25\r\n")],
  ["version 2", proxyBlock({ bytes: ENDS })],
  [
    "version 2, 64 KiB with a checksum",
    withChecksum(proxyBlock({
      bytes: concat([
        ENDS,
        tlv(0xe0, "x".repeat(65_000)),
        tlv(3, "\0\0\0\0"),
      ]),
    })),
  ],
];

for (const [name, header] of HEADERS) {
  Deno.bench(`ProxyHeaderReader reads ${name}`, () => {
    if (new ProxyHeaderReader().read(header) !== "header") {
      throw new Error("No header");
    }
  });
}
