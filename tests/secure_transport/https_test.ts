/**
 * Requests over HTTPS whose server is slow, dishonest or out of date: each ends
 * within its limit, with an error that says why.
 */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { DnsQuerier } from "../../lib/dns/outcome.ts";
import {
  HttpsError,
  type HttpsOptions,
  readAnswer,
  requestHttps,
} from "../../lib/secure_transport/https.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { bytesOf, textOf } from "../support/bytes.ts";
import made from "./data/certificates.json" with { type: "json" };

const HOST = "mta-sts.dest.test";
const certificate = await Certificate.selfSigned({ names: [HOST] });
const dns: DnsQuerier = {
  query: (type) =>
    Promise.resolve(
      (type === "A"
        ? { status: "found", records: ["127.0.0.1"] }
        : { status: "none", why: "no-such-record" }) as never,
    ),
};

/** Asks a web server of this machine. */
async function ask(
  answer: (request: Request) => Response,
  options: Partial<HttpsOptions> & { readonly served?: Certificate } = {},
): Promise<string> {
  const { served = certificate, ...rest } = options;
  await using server = Deno.serve({
    ...{ hostname: "127.0.0.1", port: 0, onListen: () => {} },
    ...{
      cert: served.toPem(),
      key: served.keyPem(),
      onError: () => new Response(),
    },
  }, answer);
  const { port } = server.addr as Deno.NetAddr;
  const { status, body } = await requestHttps({ host: HOST, path: "/x" }, {
    ...{ dns, port, trusted: [served], allowLoopback: true },
    ...rest,
  });
  return `${status} ${textOf(body)}`;
}

Deno.test("The answer of a web server is read", async () => {
  assertEquals(await ask(() => new Response("hello")), "200 hello");
});

Deno.test("An address that means this machine is not asked", async () => {
  for (const address of ["127.0.0.1", "::1", "0.0.0.0", "::"]) {
    const here: DnsQuerier = {
      query: () =>
        Promise.resolve({ status: "found", records: [address] } as never),
    };
    const options = { dns: here, allowLoopback: false };
    const error = await assertRejects(
      () => ask(() => new Response("secret"), options),
      HttpsError,
    );
    assertMatch(error.message, /has no address/);
  }
});

Deno.test("A body that never ends is given up at the limit of time", async () => {
  const slow = () => new Response(new ReadableStream());
  const error = await assertRejects(
    () => ask(slow, { timeoutMs: 200 }),
    HttpsError,
  );
  assertMatch(error.message, /did not answer within 200 ms/);
});

Deno.test("The signal ends a request", async () => {
  const stop = new AbortController();
  const slow = () => {
    stop.abort();
    return new Response(new ReadableStream());
  };
  await assertRejects(() => ask(slow, { signal: stop.signal }), HttpsError);
  await assertRejects(() => ask(slow, { signal: stop.signal }), HttpsError);
});

Deno.test("An expired certificate is not taken", async () => {
  const served = Certificate.parse(made.expired, { key: made.expiredKey });
  const error = await assertRejects(
    () => ask(() => new Response("hello"), { served }),
    HttpsError,
  );
  assertEquals(error.isCertificate, true);
  assertMatch(error.message, /expired|not trusted/);
});

/** Reads an answer that comes a byte at a time. */
async function read(text: string): Promise<string> {
  let rest = bytesOf(text);
  const { status, body } = await readAnswer({
    read(buffer) {
      if (rest.length === 0) return Promise.resolve(null);
      buffer[0] = rest[0]!;
      rest = rest.subarray(1);
      return Promise.resolve(1);
    },
  }, 10);
  return `${status} ${textOf(body)}`;
}

const HEAD = "HTTP/1.1 200 OK\r\n";

Deno.test("Bodies end by length, by chunks or with the connection", async () => {
  assertEquals(await read(`${HEAD}Content-Length: 3\r\n\r\nabcde`), "200 abc");
  assertEquals(await read(`${HEAD}\r\nabc`), "200 abc");
  const chunked = `${HEAD}Transfer-Encoding: Chunked\r\n\r\n`;
  assertEquals(
    await read(`${chunked}2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n`),
    "200 abc",
  );
});

const FAULTS: readonly (readonly [what: string, text: string])[] = [
  ["what is no HTTP", "220 mx.test ESMTP\r\n"],
  ["a header without an end", `${HEAD}${"a: b\r\n".repeat(5000)}`],
  ["a line without an end", `${HEAD}${"a".repeat(20_000)}`],
  ["a field without a name", `${HEAD}: x\r\n\r\n`],
  ["a body that is cut off", `${HEAD}Content-Length: 5\r\n\r\nab`],
  ["a body over the limit", `${HEAD}\r\n${"a".repeat(11)}`],
  ["a length over the limit", `${HEAD}Content-Length: 11\r\n\r\n`],
  ["a length that is no number", `${HEAD}Content-Length: -1\r\n\r\n`],
  ["a chunk over the limit", `${HEAD}Transfer-Encoding: chunked\r\n\r\nb\r\n`],
  [
    "a chunk of a wrong size",
    `${HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n`,
  ],
  ["an unknown encoding", `${HEAD}Transfer-Encoding: gzip\r\n\r\n`],
];

for (const [what, text] of FAULTS) {
  Deno.test(`An answer with ${what} is refused`, async () => {
    await assertRejects(() => read(text), HttpsError);
  });
}
