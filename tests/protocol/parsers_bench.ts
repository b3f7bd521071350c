/** The speed of the parsers of paths, parameters, headers and replies. A run is 100 of them. */

import { parsePath } from "../../lib/protocol/address.ts";
import { ReplyReader } from "../../lib/protocol/client/replies.ts";
import { MessageHeaders } from "../../lib/protocol/headers.ts";
import { bytesOf } from "../support/bytes.ts";

const PATHS: readonly [name: string, path: string][] = [
  ["plain", "<someone@mail.example.com>"],
  ["quoted local part", '<"some one"@mail.example.com>'],
  ["address literal", "<someone@[192.0.2.1]>"],
  ["UTF-8", "<grüße@müller.example>"],
];

for (const [name, path] of PATHS) {
  Deno.bench(`100 paths, ${name}`, { group: "paths" }, () => {
    for (let times = 0; times < 100; times++) {
      parsePath(path, 0, { kind: "forward", utf8: true });
    }
  });
}

const HEADERS = bytesOf(
  "Received: from a.example ([192.0.2.1])\r\n\tby b.example with ESMTPS id 1;" +
    "\r\n\tThu, 01 Jan 2026 00:00:00 +0000\r\nFrom: Ann <ann@a.example>\r\n" +
    "To: Bob <bob@b.example>\r\nSubject: The subject of an ordinary mail\r\n" +
    "Message-ID: <1@a.example>\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\n",
);

Deno.bench("100 header blocks", { group: "headers" }, () => {
  for (let times = 0; times < 100; times++) MessageHeaders.parse(HEADERS);
});

Deno.bench("100 header blocks, one field asked for", {
  group: "headers",
}, () => {
  for (let times = 0; times < 100; times++) {
    MessageHeaders.parse(HEADERS).get("Subject");
  }
});

const REPLIES = bytesOf("250-mx.example\r\n250-PIPELINING\r\n250 SIZE\r\n");
const reader = new ReplyReader();

Deno.bench("100 replies of three lines", { group: "replies" }, () => {
  for (let times = 0; times < 100; times++) {
    reader.push(REPLIES);
    reader.next();
  }
});
