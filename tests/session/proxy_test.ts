/** Proxies in front of a server: their headers, and the client behind them. */

import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import { memoryPair } from "../../lib/net/memory_transport.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import {
  givenHandlers,
  type SmtpServerOptions,
} from "../../lib/server/options.ts";
import type { SmtpSession } from "../../lib/session/session.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { proxyBlock, tlv } from "../support/proxy.ts";
import { startServer, TestClient } from "../support/server.ts";
import { bytesOf, concat, textOf } from "../support/bytes.ts";
import { until, within } from "../support/wait.ts";

/** 192.0.2.7:40000 to 198.51.100.2:25. */
const ENDS = bytesOf("\xc0\0\x02\x07\xc6\x33\x64\x02\x9c\x40\0\x19");
const LINE = "PROXY TCP4 192.0.2.7 198.51.100.2 40000 25\r\n";
const PROXIES = ["127.0.0.0/8", "192.0.2.1"];

interface Front extends AsyncDisposable {
  readonly client: TestClient;
  readonly server: SmtpServer;
  readonly sessions: SmtpSession[];
  readonly records: LogRecord[];
  readonly done: Promise<void>;
}

/** A connection from the proxy 192.0.2.1, in memory. */
async function fromProxy(options: SmtpServerOptions = {}): Promise<Front> {
  const sessions: SmtpSession[] = [];
  const records: LogRecord[] = [];
  const server = await startServer({
    listen: [],
    proxyProtocol: PROXIES,
    log: (record) => records.push(record),
    ...options,
    handlers: {
      ...givenHandlers(options),
      onConnect: (session) => void sessions.push(session),
    },
  });
  const [inner, outer] = memoryPair();
  const done = server.serve(inner);
  const client = new TestClient(outer);
  return {
    ...{ client, server, sessions, records, done },
    async [Symbol.asyncDispose]() {
      client.close();
      await within(done, "the end of the session");
      await server[Symbol.asyncDispose]();
    },
  };
}

const HEADERS: [name: string, header: string, want: string][] = [
  ["version 1", LINE, "[192.0.2.7]:40000 198.51.100.2:25"],
  [
    "version 2",
    textOf(proxyBlock({ bytes: ENDS })),
    "[192.0.2.7]:40000 198.51.100.2:25",
  ],
  [
    "a proxy's own connection",
    textOf(proxyBlock({ command: 0x20 })),
    "[192.0.2.1]:40000 192.0.2.2:25",
  ],
  [
    "a client that is unknown",
    "PROXY UNKNOWN\r\n",
    "[192.0.2.1]:40000 192.0.2.2:25",
  ],
  [
    "a client on a UNIX socket",
    textOf(proxyBlock({ protocol: 0x31, bytes: new Uint8Array(216) })),
    "[192.0.2.1]:40000 192.0.2.2:25",
  ],
];

for (const [name, header, want] of HEADERS) {
  Deno.test(`SmtpServer takes ${name} behind a PROXY header`, async () => {
    await using front = await fromProxy();
    await front.client.send(header);
    assertEquals(await front.client.reply(), "220 mx.test ESMTP ready");
    const [session] = front.sessions;
    const { localAddress, localPort } = session!;
    assertEquals(
      `${String(session).split(" ")[1]} ${localAddress}:${localPort}`,
      want,
    );
    assertEquals(session!.proxy?.address, "192.0.2.1");
    await front.client.expect(["QUIT", "221"]);
  });
}

Deno.test("SmtpServer tells handlers, log and Received of the client behind a proxy", async () => {
  const store = new MemoryStore();
  await using front = await fromProxy({ store });
  const header = proxyBlock({
    bytes: concat([ENDS, tlv(0x02, "mx.example"), tlv(0x05, "id-7")]),
  });
  for (const byte of header) {
    await front.client.send(String.fromCharCode(byte));
  }
  await front.client.envelope();
  await front.client.data("Subject: x\r\n\r\nx");
  const [session] = front.sessions;
  assertEquals(session?.proxy?.authority, "mx.example");
  assertEquals(session?.proxy?.tlvs[1], { type: 5, value: bytesOf("id-7") });
  assertStringIncludes(store.messages[0]!.text, "client.test ([192.0.2.7])");
  const connect = front.records.find(({ event }) => event === "connect");
  assertEquals(connect?.fields?.["address"], "192.0.2.7");
});

Deno.test("SmtpServer refuses a client that speaks early behind a proxy", async () => {
  await using front = await fromProxy();
  await front.client.send(`${LINE}EHLO x\r\n`);
  assertMatch(
    await front.client.reply(),
    /^554 5\.5\.1 Protocol error: command before/,
  );
});

Deno.test("SmtpServer takes no PROXY header from elsewhere", async () => {
  await using server = await startServer({ proxyProtocol: ["192.0.2.0/24"] });
  using client = await TestClient.connect(server);
  assertMatch(await client.reply(), /^220 /);
  assertMatch(await client.say(LINE.trimEnd()), /^500 5\.5\.2/);
});

const FAULTS: [name: string, sent: string, why: RegExp | undefined][] = [
  ["no header but a command", "EHLO x\r\n", /did not begin/],
  ["a malformed header", LINE.replace("TCP4", "TCP6"), /did not begin/],
  ["a header cut off", LINE.slice(0, 20), /has no end/],
  ["nothing at all", "", undefined],
];

for (const [name, sent, why] of FAULTS) {
  Deno.test(`SmtpServer closes without a word on ${name} from a proxy`, async () => {
    const records: LogRecord[] = [];
    await using server = await startServer({
      proxyProtocol: PROXIES,
      log: (record) => records.push(record),
    });
    const { port } = server.addresses[0]!;
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    if (sent !== "") await conn.write(bytesOf(sent));
    if (why === undefined || /end/.test(why.source)) await conn.closeWrite();
    let got: number | null = null;
    try {
      got = await within(conn.read(new Uint8Array(100)), "the end");
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
    }
    conn.close();
    assertEquals(got, null);
    await until(() => records.some(({ event }) => event === "refused"));
    const [record] = records.filter(({ event }) => event === "refused");
    assertEquals(record?.level, why === undefined ? "debug" : "warn");
    assertMatch(record!.message, why ?? /closed before/);
    assertMatch(
      record!.message,
      /^Refused connection from proxy 127\.0\.0\.1: /,
    );
    assertEquals(server.sessions, []);
  });
}

Deno.test("SmtpServer does not wait for ever for a proxy's header", async () => {
  await using front = await fromProxy({ limits: { timeoutMs: 20 } });
  await front.client.send("PROXY ");
  assertEquals(await front.client.rest(), "");
  await within(front.done, "the server");
  assertMatch(front.records.at(-1)!.message, /came too late$/);
});

Deno.test("SmtpServer stops while a proxy's header is waited for", async () => {
  await using front = await fromProxy();
  await front.client.send("PROXY ");
  await within(front.server.stop(), "the stop");
  await within(front.done, "the session");
  assertEquals(await front.client.rest(), "");
  assertEquals(front.sessions, []);
  await assertRejects(() => front.server.serve(memoryPair()[0]), TypeError);
});

Deno.test("SmtpServer counts proxies whose header has not come", async () => {
  await using front = await fromProxy({ limits: { maxConnections: 1 } });
  const [inner, outer] = memoryPair();
  await within(front.server.serve(inner), "the second connection");
  using second = new TestClient(outer);
  assertEquals(await second.rest(), "");
  await front.client.send(LINE);
  assertMatch(await front.client.reply(), /^220 /);
});

Deno.test("SmtpServer reads a proxy's header before TLS", async () => {
  const certificate = await Certificate.selfSigned({ names: ["mx.test"] });
  await using server = await startServer({
    listen: "127.0.0.1:0/smtps",
    certificate,
    proxyProtocol: PROXIES,
  });
  const { port } = server.addresses[0]!;
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  await conn.write(bytesOf(LINE));
  const tls = await within(
    Deno.startTls(conn, {
      hostname: "mx.test",
      caCerts: [certificate.toPem()],
    }),
    "the handshake",
  );
  const buffer = new Uint8Array(100);
  const count = await within(tls.read(buffer), "the greeting");
  assertMatch(textOf(buffer.subarray(0, count!)), /^220 mx\.test/);
  const [session] = server.sessions;
  assertEquals(session?.remoteAddress, "192.0.2.7");
  assertEquals(session?.proxy?.version, 1);
  assertMatch(session?.tls?.protocol ?? "", /^TLSv1\.[23]$/);
  tls.close();
  await until(() => server.sessions.length === 0);
});

Deno.test("SmtpServer reads TLS that comes in one packet with the header", async () => {
  const certificate = await Certificate.selfSigned({ names: ["mx.test"] });
  await using server = await startServer({
    listen: "127.0.0.1:0/smtps",
    certificate,
    proxyProtocol: PROXIES,
  });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = server.addresses[0]!;
  const proxied = (async () => {
    const from = await listener.accept();
    const to = await Deno.connect({ hostname: "127.0.0.1", port });
    const first = new Uint8Array(4096);
    const count = await from.read(first) ?? 0;
    await to.write(concat([bytesOf(LINE), first.subarray(0, count)]));
    await Promise.allSettled([
      from.readable.pipeTo(to.writable),
      to.readable.pipeTo(from.writable),
    ]);
  })();
  const address = listener.addr as Deno.NetAddr;
  const plain = await Deno.connect({
    hostname: "127.0.0.1",
    port: address.port,
  });
  const tls = await within(
    Deno.startTls(plain, {
      hostname: "mx.test",
      caCerts: [certificate.toPem()],
    }),
    "the handshake",
  );
  const buffer = new Uint8Array(100);
  const count = await within(tls.read(buffer), "the greeting");
  assertMatch(textOf(buffer.subarray(0, count!)), /^220 mx\.test/);
  tls.close();
  listener.close();
  await within(proxied, "the proxy");
});

Deno.test("a listener may have proxies of its own", async () => {
  await using server = await startServer({
    listen: [
      "127.0.0.1:0",
      { host: "127.0.0.1", port: 0, proxyProtocol: [] },
    ],
    proxyProtocol: PROXIES,
  });
  using behind = await TestClient.connect(server, 0);
  await behind.send(LINE);
  assertMatch(await behind.reply(), /^220 /);
  using direct = await TestClient.connect(server, 1);
  assertMatch(await direct.reply(), /^220 /);
  assertEquals(
    server.sessions.map(({ remoteAddress }) => remoteAddress).sort(),
    ["127.0.0.1", "192.0.2.7"],
  );
});

Deno.test("SmtpServer refuses networks that are none", () => {
  for (
    const options of [{ proxyProtocol: ["x"] }, { xclient: ["10.0.0.1/8"] }]
  ) {
    assertThrows(() => new SmtpServer(options), SyntaxError, "network");
  }
});
