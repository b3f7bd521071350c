/**
 * Messages that need TLS all their way, and messages that need none: where each
 * goes, where it never goes, and what its notices show (RFC 8689).
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { createHash, X509Certificate } from "node:crypto";
import { SmtpClient } from "../../lib/client/mod.ts";
import type { RelayingOptions } from "../../lib/delivery/options.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import { MemorySpool } from "../../lib/spool/memory_spool.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { startServer, TestClient } from "../support/server.ts";
import { connectStartTls } from "../support/tls.ts";
import { until, within } from "../support/wait.ts";
import { startZoneServer, type ZoneServer } from "../support/zone_server.ts";

const near = await Certificate.selfSigned({ names: ["mx.near.test"] });
const right = await Certificate.selfSigned({ names: ["mx.dest.test"] });
const MAIL = "Subject: secret\r\n\r\nNothing for others\r\n";

/** A TLSA record of usage 3 for a certificate. */
function tlsa({ der }: Certificate): string {
  const { raw } = new X509Certificate(der);
  return `3 0 1 ${createHash("sha256").update(raw).digest("hex")}`;
}

/** A server that relays over a validating name server, and its next hop. */
interface World extends AsyncDisposable {
  readonly near: SmtpServer;
  readonly notices: MemoryStore;
  readonly far: SmtpServer;
  readonly store: MemoryStore;
  readonly spool: MemorySpool;
  readonly zone: Record<string, Parameters<typeof startZoneServer>[0][string]>;
  /** Sends a message to the next hop by the relaying server; gives the reply. */
  send(parameters?: string, data?: string): Promise<string>;
}

async function start(
  options: {
    readonly far?: SmtpServerOptions;
    readonly relay?: RelayingOptions;
    readonly near?: SmtpServerOptions;
  } = {},
): Promise<World> {
  const store = new MemoryStore();
  const notices = new MemoryStore();
  const spool = new MemorySpool();
  const far = await startServer({
    ...{ hostname: "mx.dest.test", store, certificate: right },
    ...options.far,
  });
  const { port } = far.addresses[0]!;
  const zone: World["zone"] = {
    "MX dest.test": { records: ["10 mx.dest.test"], secure: true },
    "A mx.dest.test": { records: ["127.0.0.1"], secure: true },
    "AAAA mx.dest.test": { secure: true },
    [`TLSA _${port}._tcp.mx.dest.test`]: {
      records: [tlsa(right)],
      secure: true,
    },
  };
  const dns: ZoneServer = await startZoneServer(zone);
  const server = await startServer({
    ...{ hostname: "mx.near.test", store: notices, certificate: near },
    domains: ["near.test"],
    dns: { nameServers: [dns.nameServer], cacheSize: 0, timeoutMs: 3000 },
    relay: {
      ...{ from: ["127.0.0.0/8"], remotePort: port, allowLoopback: true },
      ...{ schedule: "1h", spool, ...options.relay },
    },
    ...options.near,
  });
  return {
    ...{ near: server, notices, far, store, spool, zone },
    async send(parameters = "REQUIRETLS", data = MAIL) {
      using tls = await connectStartTls(server);
      await tls.client.expect(
        ["EHLO client.test", "250"],
        [`MAIL FROM:<ann@near.test> ${parameters}`.trimEnd(), "250"],
        ["RCPT TO:<you@dest.test>", "250"],
      );
      return await tls.client.data(data.trimEnd());
    },
    async [Symbol.asyncDispose]() {
      await server.stop({ graceMs: 0 });
      await far.stop({ graceMs: 0 });
      await dns[Symbol.asyncDispose]();
    },
  };
}

/** The notice that the sender gets. */
async function notice({ notices }: World): Promise<string> {
  const { text } = await within(notices.next(), "the notice");
  return text.replace(/\r\n[ \t]/g, " ");
}

/** The answer that has deferred the only message of the queue. */
async function answer({ near }: World): Promise<string | undefined> {
  const find = () => [...near.relays][0]?.recipients[0]?.answer;
  const { status, text } = (await until(find))!;
  return `${status} ${text}`;
}

Deno.test("REQUIRETLS is offered and taken after STARTTLS only", async () => {
  await using world = await start();
  using plain = await TestClient.connect(world.near);
  await plain.reply();
  assert(!(await plain.say("EHLO client.test")).includes("REQUIRETLS"));
  await plain.expect([
    "MAIL FROM:<ann@near.test> REQUIRETLS",
    "555 5.5.4 Parameter REQUIRETLS is not recognized here",
  ]);
  using tls = await connectStartTls(world.near);
  assertMatch(await tls.client.say("EHLO client.test"), /^250-REQUIRETLS$/m);
  await tls.client.expect(
    ["MAIL FROM:<ann@near.test> REQUIRETLS=1", "501 5.5.4 Malformed"],
    ["MAIL FROM:<ann@near.test> REQUIRETLS", "250"],
    ["RCPT TO:<bob@near.test>", "250"],
  );
  assertMatch(await tls.client.data(MAIL.trimEnd()), /^250/);
  const { parameters } = await within(world.notices.next(), "the message");
  assertEquals(parameters.requireTls, true);
});

Deno.test("REQUIRETLS can be switched off", async () => {
  await using world = await start({
    near: { disabledExtensions: ["REQUIRETLS"] },
  });
  using tls = await connectStartTls(world.near);
  const offer = await tls.client.say("EHLO client.test");
  assert(!offer.includes("REQUIRETLS"));
  await tls.client.expect(["MAIL FROM:<a@near.test> REQUIRETLS", "555 5.5.4"]);
});

for (const threads of [0, 2]) {
  Deno.test(`a message with REQUIRETLS goes on over DANE, with the parameter (${threads} threads)`, async () => {
    await using world = await start({ near: { threads } });
    assertMatch(await world.send(), /^250/);
    const { parameters, text } = await within(world.store.next(), "a message");
    assertEquals(parameters.requireTls, true);
    assert(text.endsWith("Nothing for others\r\n"));
  });
}

Deno.test("a message with REQUIRETLS goes to a configured next hop with a verified certificate", async () => {
  await using far = await startServer({
    ...{ hostname: "mx.dest.test", certificate: right },
  });
  await using world = await start({
    relay: {
      trusted: [right],
      smarthosts: [{ host: "mx.dest.test", port: far.addresses[0]!.port }],
    },
  });
  assertMatch(await world.send(), /^250/);
  await until(() => world.near.relays.count === 0);
  assertEquals(world.notices.messages, []);
});

for (
  const [name, change, want] of [
    [
      "does not offer it",
      { far: { disabledExtensions: ["REQUIRETLS"] } },
      /^Status: 5\.7\.30\r$[^]*REQUIRETLS support required: the server does not offer it/m,
    ],
    [
      "has no TLS",
      { far: { certificate: undefined, disabledExtensions: [] } },
      /^Status: 5\.7\.10\r$[^]*Encryption needed/m,
    ],
  ] as const
) {
  Deno.test(`a message with REQUIRETLS is returned if the only host ${name}`, async () => {
    const { disabledExtensions } = change.far;
    await using world = await start({
      far: "certificate" in change.far
        ? { certificate: undefined }
        : { disabledExtensions },
    });
    assertMatch(await world.send("REQUIRETLS RET=FULL"), /^250/);
    const text = await notice(world);
    assertMatch(text, want);
    // Headers only, whatever RET says.
    assert(text.includes("Subject: secret"));
    assert(!text.includes("Nothing for others"));
    assertEquals(world.store.messages, []);
  });
}

Deno.test("a name from an answer that is not secure is not enough", async () => {
  await using world = await start();
  world.zone["MX dest.test"] = { records: ["10 mx.dest.test"] };
  assertMatch(await world.send(), /^250/);
  assertMatch(await notice(world), /^Status: 5\.7\.30\r$/m);
  assertEquals(world.store.messages, []);
});

Deno.test("a certificate that does not fit defers a message with REQUIRETLS", async () => {
  const other = await Certificate.selfSigned({ names: ["mx.dest.test"] });
  await using world = await start({ far: { certificate: other } });
  assertMatch(await world.send(), /^250/);
  assertMatch((await answer(world))!, /^4\.7\.5 .*No TLSA record fits/);
  assertEquals(world.store.messages, []);
});

Deno.test("a notice about a message with REQUIRETLS is marked, too", async () => {
  await using world = await start({
    far: { disabledExtensions: ["REQUIRETLS"] },
    near: { domains: ["here.test"] },
  });
  assertMatch(await world.send(), /^250/);
  const find = () =>
    [...world.spool.entries.values()].find(({ envelope }) =>
      envelope.from === ""
    );
  const { envelope } = (await until(find))!;
  assertEquals(envelope.parameters.requireTls, true);
});

Deno.test("a notice has REQUIRETLS where it can be had, and is never lost for it", async () => {
  for (const name of ["offered", "not offered", "no TLS"] as const) {
    await using world = await start({
      far: name === "no TLS"
        ? { certificate: undefined }
        : { disabledExtensions: name === "offered" ? [] : ["REQUIRETLS"] },
    });
    // The name of the host is not known for sure.
    world.zone["MX dest.test"] = { records: ["10 mx.dest.test"] };
    using tls = await connectStartTls(world.near);
    await tls.client.expect(
      ["EHLO client.test", "250"],
      ["MAIL FROM:<> REQUIRETLS", "250"],
      ["RCPT TO:<you@dest.test>", "250"],
    );
    assertMatch(await tls.client.data(MAIL.trimEnd()), /^250/);
    const { parameters } = await within(world.store.next(), "the notice");
    const want = name === "offered" ? true : undefined;
    assertEquals(parameters.requireTls, want, name);
  }
});

Deno.test("TLS-Required: No goes out where DANE would keep it, and over a bad certificate", async () => {
  const other = await Certificate.selfSigned({ names: ["other.test"] });
  await using world = await start({ far: { certificate: other } });
  for (const no of [" No", "\r\n\tNO "]) {
    const field = `TLS-Required:${no}\r\n`;
    assertMatch(await world.send("", field + MAIL), /^250/);
    const { text } = await within(world.store.next(), "the message");
    assert(text.includes(field));
  }
  // The field is nothing beside the parameter.
  await world.send("REQUIRETLS", `TLS-Required: No\r\n${MAIL}`);
  assertMatch((await answer(world))!, /^4\.7\.5 .*No TLSA record fits/);
});

Deno.test("any other TLS-Required changes nothing", async () => {
  const other = await Certificate.selfSigned({ names: ["other.test"] });
  for (
    const field of [
      ...["Yes", "No\r\nTLS-Required: No", "No way", "(x) No"],
      ...["No\r\n way", "\r\n Yes", ""],
    ]
  ) {
    await using world = await start({ far: { certificate: other } });
    await world.send("", `TLS-Required: ${field}\r\n${MAIL}`);
    assertMatch((await answer(world))!, /^4\.7\.5 .*No TLSA record fits/);
  }
});

Deno.test("the client refuses to send without what the message needs", async () => {
  await using world = await start();
  const { port } = world.near.addresses[0]!;
  const host = { host: "mx.near.test", address: "127.0.0.1", port };
  const data = MAIL;
  const message = { from: "ann@near.test", to: ["bob@near.test"], data };
  const parameters = { requireTls: true } as const;
  for (
    const [security, want] of [
      ["none", /^550 Encryption needed: the session is not encrypted/],
      ["verified", /^250/],
    ] as const
  ) {
    await using client = await SmtpClient.connect({
      ...{ ...host, security, trusted: [near] },
    });
    const { recipients } = await client.send({ ...message, parameters });
    const { code, lines } = recipients[0]!.reply;
    assertMatch(`${code} ${lines}`, want);
  }
});
