/**
 * The border between clear text and TLS: bytes in the clear where TLS begins
 * reach a TLS layer that may not have started. They end that session and no
 * other, on every way to TLS: STARTTLS, TLS from the first byte,
 * behind a proxy's header, on threads, and on the sending side.
 *
 * The promise of SECURITY.md: "No exception ends the process".
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3207#section-4 | RFC 3207 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc8314#section-3.3 | RFC 8314 section 3.3}
 */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { SmtpClient } from "../../lib/client/client.ts";
import { SmtpClientError } from "../../lib/client/error.ts";
import type { LogRecord } from "../../lib/log.ts";
import { DenoTransport } from "../../lib/net/deno_transport.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { startServer, TestClient } from "../support/server.ts";
import { certificate, secure } from "../support/tls.ts";
import { bytesOf } from "../support/bytes.ts";
import { within } from "../support/wait.ts";

const PROXY = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";

/** The start of a record that claims more than it has, and of one that is too long. */
const RECORDS = ["\x16\x03\x01\x40\x00\x01\x00", "\x16\x03\x01\xff\xff"];

/** Bytes that are no TLS and about as many as a buffer of the session holds. */
const SMALL = [
  "x",
  "x".repeat(4086),
  "x".repeat(4087),
  "EHLO x\r\nMAIL FROM:<a@b.test>\r\n",
];
/** Bytes that are no TLS and go beyond every buffer. */
const LARGE = [
  "x".repeat(200_000),
  "\0".repeat(70_000),
  "EHLO x\r\n".repeat(25_000),
  ...RECORDS.map((record) => record + "\x01".repeat(100_000)),
];

/** Sends all at once; with `untilEnd`, waits until the server has closed. */
async function attack(
  server: SmtpServer,
  index: number,
  how: {
    front: string;
    hello: string | undefined;
    text: string;
    untilEnd: boolean;
  },
): Promise<void> {
  const { address, port } = server.addresses[index]!;
  using conn = await Deno.connect({ hostname: address, port });
  const buffer = new Uint8Array(65536);
  const read = () => conn.read(buffer).catch(() => null);
  const { front, hello, text, untilEnd } = how;
  if (hello !== undefined) {
    if (front !== "") await conn.write(bytesOf(front));
    await within(read(), "the greeting");
    await conn.write(bytesOf(`${hello} x\r\n`));
    await within(read(), "a reply");
  }
  const bytes = bytesOf(
    `${hello === undefined ? front : "STARTTLS\r\n"}${text}`,
  );
  // A server that has refused resets the connection: the rest is not read.
  const writing = (async () => {
    for (let sent = 0; sent < bytes.length;) {
      sent += await conn.write(bytes.subarray(sent));
    }
  })().catch(() => {});
  await within(writing, "the server to take or refuse what is sent");
  if (untilEnd) {
    while (await within(read(), "the end of the session") !== null);
  } else if (hello !== undefined) await within(read(), "the reply to STARTTLS");
}

/** An honest session over TLS. */
async function honest(
  server: SmtpServer,
  index: number,
  { front, isImplicit }: { front: string; isImplicit: boolean },
): Promise<void> {
  const { address, port, kind } = server.addresses[index]!;
  const transport = new DenoTransport(
    await Deno.connect({ hostname: address, port }),
  );
  if (front !== "") await transport.write(bytesOf(front));
  const hello = kind === "lmtp" ? "LHLO client.test" : "EHLO client.test";
  if (!isImplicit) {
    const plain = new TestClient(transport);
    await plain.reply();
    await plain.expect([hello, "250"], ["STARTTLS", "220 2.0.0"]);
  }
  using secured = await secure(transport);
  if (isImplicit) await secured.client.reply();
  await secured.client.expect([hello, "250"], ["QUIT", "221"]);
}

/** Log records about faults of the server itself. */
function faults(records: readonly LogRecord[]): string[] {
  return records.filter(({ level }) => level === "error")
    .map(({ message }) => message);
}

async function attackAll(
  options: SmtpServerOptions,
  front: string,
): Promise<void> {
  const records: LogRecord[] = [];
  await using server = await startServer({
    certificate,
    listen: ["127.0.0.1:0", "127.0.0.1:0/lmtp", "127.0.0.1:0/smtps"],
    limits: { exempt: ["127.0.0.0/8", "192.0.2.0/24"] },
    log: (record) => records.push(record),
    ...options,
  });
  for (const [index, hello] of ["EHLO", "LHLO", undefined].entries()) {
    const isImplicit = hello === undefined;
    for (const text of [...SMALL, ...LARGE]) {
      await attack(server, index, {
        ...{ front, hello, text },
        untilEnd: isImplicit ? text.length > 4 : LARGE.includes(text),
      });
    }
    await honest(server, index, { front, isImplicit });
  }
  assertEquals(faults(records), []);
}

for (const threads of [0, 2]) {
  for (const front of ["", PROXY]) {
    const name = `with ${threads} threads${front && " behind a proxy"}`;
    Deno.test(`SmtpServer ${name} ends a session that goes on in the clear where TLS begins, and no other`, async () => {
      await attackAll({
        threads,
        ...front && { proxyProtocol: ["127.0.0.1"] },
      }, front);
    });
  }
}

// The sending side.

/** A server that answers STARTTLS with `reply` and goes on with these bytes. */
async function hop(
  listener: Deno.TcpListener,
  pieces: readonly string[],
): Promise<void> {
  using conn = await listener.accept();
  const buffer = new Uint8Array(4096);
  await conn.write(bytesOf("220 hop.test\r\n"));
  await conn.read(buffer);
  await conn.write(bytesOf("250-hop.test\r\n250 STARTTLS\r\n"));
  await conn.read(buffer);
  try {
    for (const piece of pieces) {
      const bytes = bytesOf(piece);
      for (let sent = 0; sent < bytes.length;) {
        sent += await conn.write(bytes.subarray(sent));
      }
    }
    while (await conn.read(buffer) !== null);
  } catch {
    // The client has closed.
  }
}

Deno.test("SmtpClient gives up a server that goes on in the clear where TLS begins", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  for (const text of [...SMALL.filter(({ length }) => length > 4), ...LARGE]) {
    for (const pieces of [[`220 Go\r\n${text}`], ["220 Go\r\n", text]]) {
      const served = hop(listener, pieces);
      await assertRejects(
        () =>
          SmtpClient.connect({
            host: "127.0.0.1",
            port,
            hostname: "me.test",
            security: "required",
          }),
        SmtpClientError,
      );
      await within(served, "the hop to see the end");
    }
  }
});

/** Records of a handshake that never ends: the platform would keep them all. */
const ENDLESS_RECORD = bytesOf(
  "\x16\x03\x03\x40\x00\x02\x00\xff\xff" + "a".repeat(16_380),
);

/** Sends records until the other side closes; how many bytes it took. */
async function sendRecords(conn: Deno.Conn): Promise<number> {
  let sent = 0;
  try {
    while (sent < 256 * 1024 * 1024) sent += await conn.write(ENDLESS_RECORD);
  } catch {
    // Closed.
  }
  return sent;
}

Deno.test("SmtpClient gives up a server whose TLS handshake has no end", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    using conn = await listener.accept();
    const buffer = new Uint8Array(4096);
    await conn.write(bytesOf("220 hop.test\r\n"));
    await conn.read(buffer);
    await conn.write(bytesOf("250-hop.test\r\n250 STARTTLS\r\n"));
    await conn.read(buffer);
    await conn.write(bytesOf("220 Go\r\n"));
    await conn.read(buffer);
    return await sendRecords(conn);
  })();
  const error = await assertRejects(
    () =>
      SmtpClient.connect({
        host: "127.0.0.1",
        port: listener.addr.port,
        security: "required",
      }),
    SmtpClientError,
  );
  assertMatch(error.message, /without end/);
  assert(await within(serving, "the hop to see the end") < 64 * 1024 * 1024);
});

Deno.test("SmtpServer ends a TLS handshake without end on every way to TLS", async () => {
  await using server = await startServer({
    certificate,
    listen: ["127.0.0.1:0", "127.0.0.1:0/smtps"],
  });
  for (const [index, isImplicit] of [false, true].entries()) {
    const { address, port } = server.addresses[index]!;
    using conn = await Deno.connect({ hostname: address, port });
    if (!isImplicit) {
      const buffer = new Uint8Array(4096);
      await conn.read(buffer);
      await conn.write(bytesOf("STARTTLS\r\n"));
      await conn.read(buffer);
    }
    const taken = await within(sendRecords(conn), "the server to close");
    assert(taken < 64 * 1024 * 1024, `${taken} bytes`);
    await honest(server, index, { front: "", isImplicit });
  }
});
