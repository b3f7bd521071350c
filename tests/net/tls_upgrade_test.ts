/**
 * STARTTLS upgrades: handshake, time limit, certificates of both sides, no
 * clear text after them (RFC 3207 sections 4 to 6).
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { upgradeClient, upgradeServer } from "../../lib/net/tls_upgrade.ts";
import type { Transport } from "../../lib/net/transport.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { CertificateSet, CertificateSource } from "../../lib/tls/set.ts";
import { connPair, connTransport } from "../support/tls.ts";

const LIMIT = { handshakeTimeoutMs: 60_000 };
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const certificate = await Certificate.selfSigned({ names: ["mail.example"] });
const other = await Certificate.selfSigned({
  names: ["*.example.org"],
  algorithm: "ed25519",
});

/** Reads `count` bytes, or up to the end. */
async function readText(transport: Transport, count: number): Promise<string> {
  const buffer = new Uint8Array(4096);
  let text = "";
  while (text.length < count) {
    const size = await transport.read(buffer);
    if (size === null) break;
    text += decoder.decode(buffer.subarray(0, size));
  }
  return text;
}

/** Closes one end, waits until the other has seen it, and closes that. */
async function closeBoth(one: Transport, two: Transport): Promise<void> {
  one.close();
  assertEquals(await two.read(new Uint8Array(10)), null);
  two.close();
}

/** The error of a rejected promise. */
function reasonOf(result: PromiseSettledResult<unknown>): Error {
  return result.status === "rejected" ? result.reason : new Error("Fulfilled");
}

Deno.test("upgradeServer() and upgradeClient() talk to each other", async () => {
  const { client, server } = await connPair();
  const [secured, upgraded] = await Promise.all([
    upgradeServer(connTransport(server), {
      certificates: certificate,
      ...LIMIT,
    }),
    upgradeClient(connTransport(client), {
      serverName: "mail.example",
      trusted: [certificate],
      ...LIMIT,
    }),
  ]);
  const { transport } = upgraded;
  assertEquals(upgraded.authorizationError, undefined);
  assertEquals(upgraded.certificate.fingerprint, certificate.fingerprint);
  assertEquals(secured.tls?.protocol, "TLSv1.3");
  assertEquals(secured.tls?.serverName, "mail.example");
  assertEquals(secured.tls?.peerCertificate, undefined);
  assertEquals(secured.tls?.authorized, false);
  assert(secured.tls?.cipher.startsWith("TLS_"));
  assertEquals(transport.tls?.peerCertificate, certificate.der);
  assertEquals(transport.tls?.authorized, true);
  assertEquals(secured.remote.port, transport.local.port);

  await transport.write(encoder.encode("EHLO client.example\r\n"));
  assertEquals(await readText(secured, 21), "EHLO client.example\r\n");
  await secured.write(encoder.encode("250 mail.example\r\n"));
  assertEquals(await readText(transport, 18), "250 mail.example\r\n");
  await closeBoth(secured, transport);
});

Deno.test("upgradeServer() serves a Deno.startTls client", async () => {
  const { client, server } = await connPair();
  const [secured, conn] = await Promise.all([
    upgradeServer(connTransport(server), {
      certificates: certificate,
      ...LIMIT,
    }),
    (async () => {
      const conn = await Deno.startTls(client, {
        hostname: "mail.example",
        caCerts: [certificate.toPem()],
      });
      await conn.handshake();
      return conn;
    })(),
  ]);
  await conn.write(encoder.encode("NOOP\r\n"));
  assertEquals(await readText(secured, 6), "NOOP\r\n");
  await secured.write(encoder.encode("250 OK\r\n"));
  const buffer = new Uint8Array(100);
  assertEquals(await conn.read(buffer), 8);
  secured.close();
  // Without close_notify this read would fail.
  assertEquals(await conn.read(buffer), null);
  conn.close();
});

Deno.test("upgradeServer() carries bodies whole in both directions", async () => {
  const { client, server } = await connPair();
  const [secured, { transport }] = await Promise.all([
    upgradeServer(connTransport(server), {
      certificates: certificate,
      ...LIMIT,
    }),
    upgradeClient(connTransport(client), {
      serverName: "mail.example",
      ...LIMIT,
    }),
  ]);
  const body = new Uint8Array(3_000_000);
  for (let at = 0; at < body.length; at++) body[at] = at * 7 + (at >> 8);
  for (const [from, to] of [[transport, secured], [secured, transport]]) {
    const sent = (async () => {
      for (let at = 0, size = 1; at < body.length; at += size, size *= 3) {
        size = Math.min(size, body.length - at);
        await from!.write(body.slice(at, at + size));
      }
    })();
    const got = new Uint8Array(body.length);
    for (let at = 0; at < got.length;) {
      const count = await to!.read(got.subarray(at, at + 50_000));
      assert(count !== null && count > 0);
      at += count ?? got.length;
    }
    await sent;
    assertEquals(got, body);
  }
  await closeBoth(transport, secured);
});

Deno.test("upgradeServer() makes a writer wait for a peer that does not read", async () => {
  const { client, server } = await connPair();
  const [secured, { transport }] = await Promise.all([
    upgradeServer(connTransport(server), {
      certificates: certificate,
      ...LIMIT,
    }),
    upgradeClient(connTransport(client), {
      serverName: "mail.example",
      ...LIMIT,
    }),
  ]);
  const chunk = new Uint8Array(1 << 20);
  let taken = 0;
  const writing = (async () => {
    for (;; taken++) await secured.write(chunk);
  })();
  const outcome = assertRejects(() => writing);
  // Once the peer's buffers are full, it accepts no more bytes.
  for (let before = -1; before !== taken;) {
    before = taken;
    for (let turn = 0; turn < 200; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  assert(taken < 32, `${taken} MiB taken`);
  secured.close();
  await outcome;
  transport.close();
});

Deno.test("upgradeServer() makes a peer wait for a reader that does not read", async () => {
  const { client, server } = await connPair();
  const [secured, { transport }] = await Promise.all([
    upgradeServer(connTransport(server), {
      certificates: certificate,
      ...LIMIT,
    }),
    upgradeClient(connTransport(client), {
      serverName: "mail.example",
      ...LIMIT,
    }),
  ]);
  const chunk = new Uint8Array(1 << 20);
  let taken = 0;
  const outcome = assertRejects(async () => {
    for (;; taken++) await transport.write(chunk);
  });
  for (let before = -1; before !== taken;) {
    before = taken;
    for (let turn = 0; turn < 200; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  assert(taken < 32, `${taken} MiB taken`);
  transport.close();
  await outcome;
  secured.close();
});

Deno.test("upgradeServer() picks the certificate by server name", async () => {
  const set = new CertificateSet([certificate, other], {
    choose: (name) =>
      Promise.resolve(name === "late.example" ? other : undefined),
  });
  const want: [string, Certificate][] = [
    ["mail.example", certificate],
    ["mx.example.org", other],
    ["late.example", other],
    ["unknown.example", certificate],
    ["192.0.2.1", certificate],
  ];
  for (const [serverName, expected] of want) {
    const { client, server } = await connPair();
    const [secured, upgraded] = await Promise.all([
      upgradeServer(connTransport(server), { certificates: set, ...LIMIT }),
      upgradeClient(connTransport(client), { serverName, ...LIMIT }),
    ]);
    assertEquals(upgraded.certificate.fingerprint, expected.fingerprint);
    assertEquals(
      secured.tls?.serverName,
      serverName === "192.0.2.1" ? undefined : serverName,
    );
    await closeBoth(secured, upgraded.transport);
  }
});

Deno.test("upgradeServer() ends the handshake for a name without a certificate", async () => {
  const { client, server } = await connPair();
  const set = new CertificateSet([certificate], { fallback: null });
  const [secured, upgraded] = await Promise.allSettled([
    upgradeServer(connTransport(server), { certificates: set, ...LIMIT }),
    upgradeClient(connTransport(client), {
      serverName: "no.example",
      ...LIMIT,
    }),
  ]);
  assertEquals(upgraded.status, "rejected");
  assertEquals(
    reasonOf(secured).message,
    'Cannot complete the TLS handshake: No certificate for the name "no.example"',
  );
});

Deno.test("upgradeServer() uses what is in the source when the handshake begins", async () => {
  const source = new CertificateSource(certificate);
  for (const current of [certificate, other]) {
    source.replace(current);
    const { client, server } = await connPair();
    const [secured, { certificate: seen, transport }] = await Promise.all([
      upgradeServer(connTransport(server), { certificates: source, ...LIMIT }),
      upgradeClient(connTransport(client), { serverName: "x.test", ...LIMIT }),
    ]);
    assertEquals(seen.fingerprint, current.fingerprint);
    await closeBoth(secured, transport);
  }
});

Deno.test("upgradeServer() sees the client's certificate", async () => {
  const rows = [
    {
      mode: "none",
      trusted: [other],
      presented: other,
      seen: false,
      ok: false,
    },
    {
      mode: "request",
      trusted: [other],
      presented: other,
      seen: true,
      ok: true,
    },
    {
      mode: "request",
      trusted: [certificate],
      presented: other,
      seen: true,
      ok: false,
    },
    {
      mode: "request",
      trusted: undefined,
      presented: other,
      seen: true,
      ok: false,
    },
    {
      mode: "request",
      trusted: [other],
      presented: undefined,
      seen: false,
      ok: false,
    },
    {
      mode: "require",
      trusted: [other],
      presented: other,
      seen: true,
      ok: true,
    },
  ] as const;
  for (const { mode, trusted, presented, seen, ok } of rows) {
    const { client, server } = await connPair();
    const [secured, { transport }] = await Promise.all([
      upgradeServer(connTransport(server), {
        certificates: certificate,
        clientCertificate: { mode, trusted },
        ...LIMIT,
      }),
      upgradeClient(connTransport(client), {
        serverName: "mail.example",
        clientCertificate: presented,
        ...LIMIT,
      }),
    ]);
    assertEquals(secured.tls?.peerCertificate, seen ? other.der : undefined);
    assertEquals(secured.tls?.authorized, ok);
    await closeBoth(secured, transport);
  }
});

Deno.test("upgradeServer() refuses a client without the required certificate", async () => {
  const rows = [
    [undefined, "the client presented no certificate"],
    [other, "the client's certificate is not trusted"],
  ] as const;
  for (const [presented, reason] of rows) {
    const { client, server } = await connPair();
    const [secured, upgraded] = await Promise.allSettled([
      upgradeServer(connTransport(server), {
        certificates: certificate,
        clientCertificate: { mode: "require", trusted: [certificate] },
        ...LIMIT,
      }),
      upgradeClient(connTransport(client), {
        serverName: "mail.example",
        clientCertificate: presented,
        ...LIMIT,
      }),
    ]);
    const error = reasonOf(secured);
    assert(error instanceof Deno.errors.ConnectionAborted);
    assert(error.message.endsWith(reason), error.message);
    if (upgraded.status === "fulfilled") {
      const { transport } = upgraded.value;
      await transport.read(new Uint8Array(1)).catch(() => {});
      transport.close();
    }
  }
});

Deno.test("upgradeClient() tells why a certificate is not to be trusted", async () => {
  const rows = [
    { serverName: "mail.example", trusted: undefined, want: /not trusted: / },
    { serverName: "mail.example", trusted: [other], want: /not trusted: / },
    {
      serverName: "www.example",
      trusted: [certificate],
      want: /^Certificate is for "mail.example", not for "www.example"$/,
    },
    {
      serverName: "192.0.2.1",
      trusted: [certificate],
      want: /^Certificate is for "mail.example", not for "192.0.2.1"$/,
    },
  ];
  for (const { serverName, trusted, want } of rows) {
    const { client, server } = await connPair();
    const [secured, upgraded] = await Promise.all([
      upgradeServer(connTransport(server), {
        certificates: certificate,
        ...LIMIT,
      }),
      upgradeClient(connTransport(client), { serverName, trusted, ...LIMIT }),
    ]);
    assert(want.test(String(upgraded.authorizationError)), serverName);
    assertEquals(upgraded.transport.tls?.authorized, false);
    await closeBoth(secured, upgraded.transport);
  }
});

Deno.test("upgradeServer() and upgradeClient() tell of a certificate whose time is over", async () => {
  const names = ["late.example"];
  const late = await Certificate.selfSigned({ names, days: 1e-7 });
  assert(late.isExpired(new Date(Date.now() + 1000)));
  while (!late.isExpired()) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { client, server } = await connPair();
  const [secured, upgraded] = await Promise.all([
    upgradeServer(connTransport(server), {
      certificates: late,
      clientCertificate: { mode: "request", trusted: [late] },
      ...LIMIT,
    }),
    upgradeClient(connTransport(client), {
      serverName: "late.example",
      trusted: [late],
      clientCertificate: late,
      ...LIMIT,
    }),
  ]);
  assert(upgraded.authorizationError?.startsWith("Certificate expired at "));
  assertEquals(upgraded.transport.tls?.authorized, false);
  assertEquals(secured.tls?.peerCertificate, late.der);
  assertEquals(secured.tls?.authorized, false);
  await closeBoth(secured, upgraded.transport);
});

Deno.test("upgradeServer() and upgradeClient() reject when they cannot agree on a version", async () => {
  const { client, server } = await connPair();
  const conn = connTransport(client);
  const refused = assertRejects(
    () =>
      upgradeServer(connTransport(server), {
        certificates: certificate,
        ...LIMIT,
      }),
    Deno.errors.ConnectionAborted,
    "Cannot complete the TLS handshake: ",
  );
  // A ClientHello of TLS 1.0, as from an old program.
  const hello = Uint8Array.from([
    ...[0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1],
    ...new Array<number>(32).fill(7),
    ...[0, 0, 2, 0, 0x2f, 1, 0],
  ]);
  await conn.write(hello);
  await refused;
  conn.close();
});

Deno.test("upgradeServer() rejects garbage", async () => {
  const { client, server } = await connPair();
  const refused = assertRejects(
    () =>
      upgradeServer(connTransport(server), {
        certificates: certificate,
        ...LIMIT,
      }),
    Deno.errors.ConnectionAborted,
  );
  await client.write(encoder.encode("EHLO client.example\r\n".repeat(20)));
  await refused;
  client.close();
});

Deno.test("upgradeClient() rejects a server that answers in plain text", async () => {
  const { client, server } = await connPair();
  const refused = assertRejects(
    () =>
      upgradeClient(connTransport(client), { serverName: "x.test", ...LIMIT }),
    Deno.errors.ConnectionAborted,
  );
  await server.write(encoder.encode("554 go away\r\n"));
  await refused;
  server.close();
});

Deno.test("upgradeServer() rejects a stalled handshake at the deadline", async () => {
  const { client, server } = await connPair();
  await assertRejects(
    () =>
      upgradeServer(connTransport(server), {
        certificates: certificate,
        handshakeTimeoutMs: 20,
      }),
    Deno.errors.TimedOut,
    "Cannot complete the TLS handshake: not done within 20 ms",
  );
  assertEquals(await client.read(new Uint8Array(1)), null);
  client.close();
});

Deno.test("upgradeClient() rejects a stalled handshake at the deadline", async () => {
  const { client, server } = await connPair();
  await assertRejects(
    () =>
      upgradeClient(connTransport(client), {
        serverName: "x.test",
        handshakeTimeoutMs: 20,
      }),
    Deno.errors.TimedOut,
  );
  server.close();
});

Deno.test("upgradeServer() and upgradeClient() reject when the peer closes during the handshake", async () => {
  for (const half of [[], [0x16, 3, 1, 1, 0, 1]]) {
    const { client, server } = await connPair();
    const refused = assertRejects(
      () =>
        upgradeServer(connTransport(server), {
          certificates: certificate,
          ...LIMIT,
        }),
      Deno.errors.ConnectionAborted,
      "Cannot complete the TLS handshake: ",
    );
    if (half.length > 0) await client.write(Uint8Array.from(half));
    client.close();
    await refused;
  }
  const { client, server } = await connPair();
  const refused = assertRejects(
    () =>
      upgradeClient(connTransport(client), { serverName: "x.test", ...LIMIT }),
    Deno.errors.ConnectionAborted,
    "Cannot complete the TLS handshake: ",
  );
  server.close();
  await refused;
});

Deno.test("upgradeServer() rejects with the reason of its signal", async () => {
  for (const early of [true, false]) {
    const { client, server } = await connPair();
    const controller = new AbortController();
    const reason = new Error("Server stops");
    if (early) controller.abort(reason);
    const refused = assertRejects(
      () =>
        upgradeServer(connTransport(server), {
          certificates: certificate,
          signal: controller.signal,
          ...LIMIT,
        }),
      Error,
      "Server stops",
    );
    controller.abort(reason);
    await refused;
    assertEquals(await client.read(new Uint8Array(1)), null);
    client.close();
  }
});

Deno.test("upgradeServer() rejects reads and writes after close()", async () => {
  const { client, server } = await connPair();
  const [secured, { transport }] = await Promise.all([
    upgradeServer(connTransport(server), {
      certificates: certificate,
      ...LIMIT,
    }),
    upgradeClient(connTransport(client), {
      serverName: "mail.example",
      ...LIMIT,
    }),
  ]);
  const pending = assertRejects(() => secured.read(new Uint8Array(1)));
  secured.close();
  secured.close();
  await pending;
  await assertRejects(
    () => secured.read(new Uint8Array(1)),
    Deno.errors.BadResource,
    "Cannot read from the connection: it is closed",
  );
  await assertRejects(
    () => secured.write(new Uint8Array(1)),
    Deno.errors.BadResource,
  );
  assertEquals(await transport.read(new Uint8Array(1)), null);
  transport.close();
});

Deno.test("upgradeServer() takes an end without close_notify as the end", async () => {
  const { client, server } = await connPair();
  const inner = connTransport(client);
  const [secured, { transport }] = await Promise.all([
    upgradeServer(connTransport(server), {
      certificates: certificate,
      ...LIMIT,
    }),
    upgradeClient(inner, { serverName: "mail.example", ...LIMIT }),
  ]);
  await transport.write(encoder.encode("QUIT\r\n"));
  assertEquals(await readText(secured, 6), "QUIT\r\n");
  await client.closeWrite();
  assertEquals(await secured.read(new Uint8Array(1)), null);
  secured.close();
  transport.close();
});

Deno.test("upgradeServer() gets 200 handshakes at once done", async () => {
  await Promise.all(
    Array.from({ length: 200 }, async (_, index) => {
      const { client, server } = await connPair();
      const [secured, { transport }] = await Promise.all([
        upgradeServer(connTransport(server), {
          certificates: certificate,
          handshakeTimeoutMs: 60_000,
        }),
        upgradeClient(connTransport(client), {
          serverName: "mail.example",
          handshakeTimeoutMs: 60_000,
        }),
      ]);
      const text = `NOOP ${index}\r\n`;
      await transport.write(encoder.encode(text));
      assertEquals(await readText(secured, text.length), text);
      await closeBoth(secured, transport);
    }),
  );
});
