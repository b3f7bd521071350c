/** TLS of a whole server: certificates replaced under load, many sessions at once, the platform's TLS. */

import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import type { ListenOptions } from "../../lib/net/listen_options.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { CertificateSet, CertificateSource } from "../../lib/tls/set.ts";
import { startServer, TestClient } from "../support/server.ts";
import {
  certificate,
  connectStartTls,
  connectTls,
  dial,
  type TlsClient,
} from "../support/tls.ts";
import { until } from "../support/wait.ts";
import { rounds } from "../support/random.ts";

const LISTEN: readonly (string | ListenOptions)[] = [
  "127.0.0.1:0",
  "127.0.0.1:0/smtps",
];

/** A new certificate for the same name. */
function renewed(): Promise<Certificate> {
  return Certificate.selfSigned({ names: ["mx.test"] });
}

/** Sessions at once; two descriptors each. */
const SESSIONS = Math.min(500, rounds(150));
const RELOADS = Math.min(20, rounds(6));

/** Runs `count` jobs, `width` of them at a time. */
async function inParallel(
  count: number,
  width: number,
  job: (at: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: width }, async () => {
    while (next < count) await job(next++);
  }));
}

/** Connects with TLS: by STARTTLS to the first listener, from the first byte to the second. */
async function connect(server: SmtpServer, index: number): Promise<TlsClient> {
  if (index === 0) return await connectStartTls(server);
  const secured = await connectTls(server, { index });
  await secured.client.reply();
  return secured;
}

Deno.test("SmtpServer takes messages in hundreds of STARTTLS sessions at once", async () => {
  const store = new MemoryStore({ maxMessages: 10 * SESSIONS });
  const records: LogRecord[] = [];
  await using server = await startServer({
    certificate,
    store,
    log: (record) => records.push(record),
  });
  // All are connected, and none has sent STARTTLS, before all go on.
  const secured = await Promise.all(
    Array.from({ length: SESSIONS }, () => connectStartTls(server)),
  );
  assertEquals(server.sessions.length, SESSIONS);
  await Promise.all(secured.map(async ({ client }, session) => {
    await client.expect(["EHLO client.test", "250"]);
    for (let at = 0; at < 5; at++) {
      await client.expect(
        ["MAIL FROM:<a@b.test>", "250"],
        [`RCPT TO:<${session}-${at}@d.test>`, "250"],
        ["DATA", "354"],
        [`Subject: ${session}-${at}\r\n\r\nText\r\n.`, "250 2.0.0"],
      );
    }
    await client.expect(["QUIT", "221"]);
    assertEquals(await client.rest(), "");
    client.close();
  }));
  assertEquals(store.messages.length, 5 * SESSIONS);
  const subjects = store.messages.map((it) =>
    /Subject: (.*)/.exec(it.text)![1]
  );
  assertEquals(new Set(subjects).size, 5 * SESSIONS);
  assertEquals(records.filter((it) => it.level === "error"), []);
});

Deno.test("SmtpServer.reload() refuses no handshake of the many during reloads", async () => {
  const all = await Promise.all(Array.from({ length: RELOADS + 1 }, renewed));
  const source = new CertificateSource(all[0]!);
  await using server = await startServer({
    certificate: source,
    listen: LISTEN,
  });
  using living = await connect(server, 0);
  const known = new Map(all.map((it, at) => [it.fingerprint, at]));
  let current = 0;
  const seen = new Set<number>();
  await inParallel(100 * RELOADS, 40, async (at) => {
    if (at % 100 === 50) {
      const next = all[++current]!;
      // By the source and by the server, in turn.
      if (current % 2 === 0) source.replace(next);
      else await server.reload({ certificate: next });
      if (current % 2 === 1) await server.reload({ certificate: source });
      if (current % 2 === 1) source.replace(next);
    }
    const before = current;
    using secured = await connect(server, at % 2);
    const got = known.get(secured.certificate.fingerprint)!;
    // A certificate that was in force at some time during the handshake.
    assert(got >= before - 1 && got <= current, `${got} of ${before}`);
    seen.add(got);
    await secured.client.expect(["NOOP", "250"]);
  });
  assertEquals(current, RELOADS);
  assert(seen.size > RELOADS / 2);
  // Sessions from before are still open, with their first certificate.
  await living.client.expect(["EHLO x", "250"], ["QUIT", "221"]);
  assertEquals(living.certificate.fingerprint, all[0]!.fingerprint);
});

Deno.test("SmtpServer.reload() exchanges the certificate of the platform's TLS", async () => {
  await using server = await startServer({ certificate, listen: LISTEN });
  const { addresses } = server;
  using living = await connect(server, 1);
  const next = await renewed();
  for (const one of [next, certificate, next]) {
    await server.reload({ certificate: one });
    assertEquals(server.addresses, addresses);
    for (const index of [0, 1]) {
      using secured = await connect(server, index);
      assertEquals(secured.certificate.fingerprint, one.fingerprint);
      await secured.client.expect(["NOOP", "250"]);
      // The platform does not report version and cipher.
      assertEquals(
        server.sessions.at(-1)!.tls?.protocol,
        index === 0 ? "TLSv1.3" : "TLS",
      );
      assertEquals(server.sessions.at(-1)!.tls?.ownCertificate, one.der);
    }
  }
  await living.client.expect(["EHLO x", "250"]);
});

Deno.test("SmtpServer.reload() goes from one certificate to several, and back", async () => {
  await using server = await startServer({ certificate, listen: LISTEN });
  const other = await Certificate.selfSigned({ names: ["*.example.org"] });
  await server.reload({
    certificate: new CertificateSet([certificate, other]),
  });
  for (
    const [serverName, want] of [
      ["mx.example.org", other],
      ["mx.test", certificate],
      ["else.test", certificate],
    ] as const
  ) {
    for (const open of [connectStartTls, connectTls]) {
      const index = open === connectTls ? 1 : 0;
      using secured = await open(server, { serverName, index });
      assertEquals(secured.certificate.fingerprint, want.fingerprint);
      await secured.client.expect();
    }
  }
  await server.reload({ certificate: other });
  using secured = await connectTls(server, { index: 1 });
  assertEquals(secured.certificate.fingerprint, other.fingerprint);
});

Deno.test("SmtpServer.reload() asks for client certificates where it did not before", async () => {
  const own = await renewed();
  await using server = await startServer({ certificate, listen: LISTEN });
  for (const mode of ["none", "request"] as const) {
    if (mode === "request") {
      await server.reload({ clientCertificate: { mode, trusted: [own] } });
    }
    using secured = await connectTls(server, {
      index: 1,
      clientCertificate: own,
    });
    await secured.client.reply();
    const { tls } = server.sessions.at(-1)!;
    assertEquals(tls?.authorized, mode === "request");
    assertEquals(tls?.peerCertificate, mode === "none" ? undefined : own.der);
  }
});

Deno.test("SmtpServer.reload() that fails leaves all as it was", async () => {
  await using server = await startServer({ certificate, listen: LISTEN });
  const { addresses } = server;
  const keyless = Certificate.fromDer(certificate.der);
  const failures: Parameters<SmtpServer["reload"]>[0][] = [
    { certificate: keyless },
    { authentication: "required" },
    { certificate: await renewed(), authentication: "required" },
    { certificate: undefined },
  ];
  for (const options of failures) {
    await assertRejects(() => server.reload(options), Error, "Cannot");
    assertEquals(server.addresses, addresses);
    for (const index of [0, 1]) {
      using secured = await connect(server, index);
      assertEquals(secured.certificate.fingerprint, certificate.fingerprint);
      await secured.client.expect(
        ["EHLO x", "250"],
        ["MAIL FROM:<a@b.test>", "250"],
      );
    }
  }
});

Deno.test("SmtpServer.reload() may be called many times at once, and with stop()", async () => {
  const all = await Promise.all([renewed(), renewed(), renewed()]);
  const server = await startServer({ certificate, listen: LISTEN });
  await Promise.all(all.map((it) => server.reload({ certificate: it })));
  {
    using secured = await connect(server, 1);
    assertEquals(secured.certificate.fingerprint, all[2]!.fingerprint);
  }
  const reload = server.reload({ certificate: all[0]! });
  await server.stop({ graceMs: 0 });
  await reload;
  assertEquals(server.addresses, []);
});

Deno.test("A session that lives keeps the TLS policy it began with", async () => {
  await using server = await startServer({ certificate, security: "allowed" });
  const next = await renewed();
  using plain = await TestClient.connect(server);
  await plain.reply();
  await server.reload({ certificate: next });
  await plain.expect(["EHLO x", "250"], ["MAIL FROM:<a@b.test>", "250"]);
  using secured = await connect(server, 0);
  assertEquals(secured.certificate.fingerprint, next.fingerprint);
  assertNotEquals(next.fingerprint, certificate.fingerprint);
});

Deno.test("SmtpServer leaves the platform's TLS once 64 handshakes came to no end", async () => {
  const records: LogRecord[] = [];
  await using server = await startServer({
    certificate,
    listen: LISTEN,
    limits: { handshakeTimeoutMs: 3000 },
    log: (record) => records.push(record),
  });
  const { addresses } = server;
  const clients: TestClient[] = [];
  const stall = async () => {
    const client = new TestClient(await dial(server, 1));
    clients.push(client);
    return client;
  };
  using living = await connect(server, 1);
  await Promise.all(Array.from({ length: 64 }, stall));
  await until(() => records.some((it) => it.level === "warn"));
  await until(() => server.sessions.length === 1);
  assertEquals(server.addresses, addresses);
  // From here on the server ends handshakes that stall.
  assertEquals(await (await stall()).rest(), "");
  using secured = await connect(server, 1);
  await secured.client.expect(["EHLO x", "250"]);
  assertEquals(server.sessions.at(-1)!.tls?.protocol, "TLSv1.3");
  await living.client.expect(["EHLO x", "250"]);
  for (const client of clients) client.close();
  assertEquals(records.filter((it) => it.level === "error"), []);
});

for (const maxConnectionsPerIp of [1, 2, 8, 50]) {
  Deno.test(`SmtpServer holds ${maxConnectionsPerIp} connections of an address that says nothing where TLS begins`, async () => {
    await using server = await startServer({
      certificate,
      listen: LISTEN,
      limits: { maxConnectionsPerIp, exempt: [] },
    });
    const { port } = server.addresses[1]!;
    const silent = await openSilent(port, 2 * maxConnectionsPerIp + 10);
    await until(() => silent.open <= maxConnectionsPerIp);
    assertEquals(server.sessions.length <= maxConnectionsPerIp, true);
    silent.close();
    await until(() => server.sessions.length === 0);
    using honest = await connect(server, 1);
    await honest.client.expect(["EHLO x", "250"]);
  });
}

for (const maxConnections of [9, 20]) {
  for (const threads of [0, 2]) {
    Deno.test(`SmtpServer holds ${maxConnections} connections that say nothing where TLS begins, exempt ones too, ${threads} threads`, async () => {
      await using server = await startServer({
        certificate,
        threads,
        listen: LISTEN,
        limits: { maxConnections },
      });
      const { port } = server.addresses[1]!;
      const silent = await openSilent(port, 3 * maxConnections);
      await until(() => silent.open <= maxConnections);
      silent.close();
    });
  }
}

Deno.test("SmtpServer turns clients away beyond maxConnections", async () => {
  await using server = await startServer({
    certificate,
    listen: LISTEN,
    limits: { maxConnections: 1 },
  });
  using first = await connect(server, 1);
  using second = await connectTls(server, { index: 1 });
  assertEquals((await second.client.rest()).slice(0, 4), "421 ");
  using plain = new TestClient(await dial(server));
  assertEquals((await plain.rest()).slice(0, 4), "421 ");
  // Without the platform's TLS a rejected client gets no handshake, so no reply.
  await server.reload({ clientCertificate: { mode: "request" } });
  using wrapped = new TestClient(await dial(server, 1));
  assertEquals(await wrapped.rest(), "");
  await first.client.expect(["NOOP", "250"]);
});

/** Opens connections that send nothing; returns how many of them the server has not ended. */
async function openSilent(
  port: number,
  most: number,
): Promise<{ readonly open: number; close(): void }> {
  const conns: Deno.TcpConn[] = [];
  let closed = 0;
  for (let count = 0; count < most; count++) {
    let conn;
    try {
      conn = await Deno.connect({ hostname: "127.0.0.1", port });
    } catch {
      // The port is being bound again at this moment.
      continue;
    }
    conns.push(conn);
    const ended = () => void closed++;
    conn.read(new Uint8Array(1)).then(ended, ended);
  }
  return {
    get open() {
      return conns.length - closed;
    },
    close() {
      for (const conn of conns) conn.close();
    },
  };
}
