/**
 * Deliveries over real TLS to hosts whose DNS and policies demand it: a validating
 * name server on the loopback says what is secure, and the host shows the
 * certificate that fits, or another one.
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { createHash, X509Certificate } from "node:crypto";
import { Certificate } from "../../lib/tls/certificate.ts";
import { DnsClient } from "../../lib/dns/client.ts";
import { Delivery } from "../../lib/delivery/delivery.ts";
import type {
  DeliveryMachine,
  DeliveryOptions,
} from "../../lib/delivery/options.ts";
import { Address } from "../../lib/protocol/address.ts";
import type { RecipientReport } from "../../lib/queue/job.ts";
import { TlsDay } from "../../lib/secure_transport/tls_report.ts";
import type { TlsResult } from "../../lib/secure_transport/tls_result.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { startServer } from "../support/server.ts";
import { startZoneServer, type ZoneServer } from "../support/zone_server.ts";
import { utf8 } from "../support/bytes.ts";
import data from "../secure_transport/data/certificates.json" with {
  type: "json",
};
import decisions from "../secure_transport/data/decisions.json" with {
  type: "json",
};

const certificate = await Certificate.selfSigned({ names: ["mx.dest.test"] });
const other = await Certificate.selfSigned({ names: ["other.test"] });

/** The digest of a certificate, as in a TLSA record of usage 3. */
function digestOf(one: Certificate): string {
  const { raw } = new X509Certificate(one.der);
  return createHash("sha256").update(raw).digest("hex");
}

const RIGHT = `3 0 1 ${digestOf(certificate)}`;
const WRONG = `3 0 1 ${digestOf(other)}`;
const LOOPBACK = "127.0.0.1";

const TAKEN = /^delivered TLSv1/;
const REFUSED = /^deferred - 4\.7\.5/;

/** A host, the DNS around it, and what was found about its TLS. */
interface World extends AsyncDisposable {
  readonly host: SmtpServer;
  readonly store: MemoryStore;
  readonly zone: Record<string, Parameters<typeof startZoneServer>[0][string]>;
  readonly dns: ZoneServer;
  readonly results: TlsResult[];
  /** Delivers a message, to dest.test by default; gives the report for its recipient. */
  deliver(domain?: string): Promise<RecipientReport>;
}

async function start(
  options: {
    readonly served?: Certificate | undefined;
    readonly delivery?: Partial<DeliveryOptions>;
    readonly machine?: DeliveryMachine;
    /** The host as a configured next hop, by this name. */
    readonly smarthost?: string;
  } = {},
): Promise<World> {
  const store = new MemoryStore();
  const host = await startServer({
    hostname: "mx.dest.test",
    store,
    certificate: "served" in options ? options.served! : certificate,
  });
  const { port } = host.addresses[0]!;
  const zone: World["zone"] = {
    "MX dest.test": { records: ["10 mx.dest.test"], secure: true },
    "A mx.dest.test": { records: ["127.0.0.1"], secure: true },
    "AAAA mx.dest.test": { secure: true },
  };
  const dns = await startZoneServer(zone);
  const results: TlsResult[] = [];
  const delivery = new Delivery({
    hostname: "near.test",
    dns: new DnsClient({
      nameServers: [dns.nameServer],
      cacheSize: 0,
      timeoutMs: 3000,
    }),
    remotePort: port,
    allowLoopback: true,
    ...(options.smarthost && {
      smarthosts: [{ host: options.smarthost, port }],
    }),
    ...options.delivery,
  }, {
    ...options.machine,
    onTlsResult: (result) => results.push(result),
  });
  return {
    ...{ host, store, zone, dns, results },
    async deliver(domain = "dest.test") {
      const content = utf8("Subject: Hello\r\n\r\nHello\r\n");
      const { recipients } = await delivery.deliver({
        id: "m1",
        from: Address.parse("me@near.test"),
        parameters: {},
        recipients: [{
          address: Address.parse(`you@${domain}`),
          parameters: {},
        }],
        destination: domain,
        size: content.length,
        acceptedAt: Date.now(),
        attempt: 1,
        content: () => ReadableStream.from([content]),
      });
      return recipients[0]!;
    },
    async [Symbol.asyncDispose]() {
      await delivery.close();
      await host.stop({ graceMs: 0 });
      await dns[Symbol.asyncDispose]();
    },
  };
}

/** The name of the TLSA records of a host. */
function tlsaOf({ host }: World, name = "mx.dest.test"): string {
  return `TLSA _${host.addresses[0]!.port}._tcp.${name}`;
}

/** Status, TLS and reply of a report, in one line. */
function words({ status, path, reply }: RecipientReport): string {
  return `${status} ${path?.tls ?? "-"} ${reply?.enhanced ?? ""}`;
}

Deno.test("DANE: the certificate that a secure record names is taken", async () => {
  await using world = await start();
  world.zone[tlsaOf(world)] = { records: [WRONG, RIGHT], secure: true };
  assertMatch(words(await world.deliver()), /^delivered TLSv1/);
  const [result] = world.results;
  assertEquals(result?.outcome, "success");
  assertEquals(result?.policy.type, "tlsa");
  assertEquals(result?.policy.domain, "mx.dest.test");
  assertEquals(result?.policy.lines, [RIGHT, WRONG].sort());
  assertEquals([result?.address, result?.localAddress], [LOOPBACK, LOOPBACK]);
});

Deno.test("A session that carries a second message has one result", async () => {
  await using world = await start();
  for (const _ of [1, 2]) assertMatch(words(await world.deliver()), TAKEN);
  assertEquals(world.results.length, 1);
  assertEquals(world.store.messages.length, 2);
});

Deno.test("A report on TLS has the addresses of both sides", async () => {
  await using world = await start();
  world.zone[tlsaOf(world)] = { records: [WRONG], secure: true };
  assertMatch(words(await world.deliver()), REFUSED);
  const day = new TlsDay("2026-11-30", "a1");
  for (const result of world.results) day.add(result);
  // As it is read after a restart, too.
  for (const one of [day, TlsDay.parse(day.toText())]) {
    const head = {
      organization: "A",
      contact: "a@a.test",
      submitter: "a.test",
    };
    const report = JSON.stringify(one.report("dest.test", head));
    assertStringIncludes(report, `"sending-mta-ip":"${LOOPBACK}"`);
    assertStringIncludes(report, `"receiving-ip":"${LOOPBACK}"`);
  }
});

Deno.test("DANE: another certificate defers, and no message is sent", async () => {
  await using world = await start();
  world.zone[tlsaOf(world)] = { records: [WRONG], secure: true };
  const report = await world.deliver();
  assertMatch(words(report), /^deferred - 4\.7\.5/);
  assertMatch(
    report.reply!.lines.join(),
    /No TLSA record fits the certificate/,
  );
  assertEquals(world.results[0]?.outcome, "validation-failure");
  assertEquals(world.store.messages, []);
});

Deno.test("DANE: what is exempt, as a report on TLS, goes out nevertheless", async () => {
  await using world = await start({ machine: { isExempt: () => true } });
  world.zone[tlsaOf(world)] = { records: [WRONG], secure: true };
  assertMatch(words(await world.deliver()), /^delivered TLSv1/);
});

Deno.test("DANE: a host without TLS defers", async () => {
  await using world = await start({ served: undefined });
  world.zone[tlsaOf(world)] = { records: [RIGHT], secure: true };
  assertMatch(words(await world.deliver()), /^deferred - 4\.7\.4/);
  assertEquals(world.results[0]?.outcome, "starttls-not-supported");
});

Deno.test("DANE: records that mail cannot use demand TLS with any certificate", async () => {
  await using world = await start({ served: other });
  const records = [`1 0 1 ${digestOf(certificate)}`];
  world.zone[tlsaOf(world)] = { records, secure: true };
  assertMatch(words(await world.deliver()), /^delivered TLSv1/);

  await using plain = await start({ served: undefined });
  plain.zone[tlsaOf(plain)] = { records, secure: true };
  assertMatch(words(await plain.deliver()), /^deferred - 4\.7\.4/);
});

Deno.test("DANE: no answer about the records defers, and is no way to switch DANE off", async () => {
  for (const answer of [{ rcode: 2 }, { rcode: 5 }] as const) {
    await using world = await start();
    world.zone[tlsaOf(world)] = answer;
    assertMatch(words(await world.deliver()), /^deferred - 4\.7\.5/);
    assertEquals(world.results[0]?.outcome, "dnssec-invalid");
    assertEquals(world.store.messages, []);
  }
});

Deno.test("DANE: a host without records, or with insecure ones, is as any other", async () => {
  for (const answer of [undefined, { records: [WRONG] }, { secure: true }]) {
    await using world = await start();
    if (answer !== undefined) world.zone[tlsaOf(world)] = answer;
    assertMatch(words(await world.deliver()), /^delivered TLSv1/);
    assertEquals(world.results[0]?.policy.type, "no-policy-found");
  }
});

Deno.test("DANE: nothing is asked where the hosts or the addresses are insecure", async () => {
  for (
    const insecure of [
      { "MX dest.test": { records: ["10 mx.dest.test"] } },
      {
        "A mx.dest.test": { records: ["127.0.0.1"] },
        "AAAA mx.dest.test": {},
      },
    ]
  ) {
    await using world = await start();
    Object.assign(world.zone, insecure);
    world.zone[tlsaOf(world)] = { records: [WRONG], secure: true };
    assertMatch(words(await world.deliver()), /^delivered TLSv1/);
    assert(
      !world.dns.asked.some(({ question }) => question.startsWith("TLSA")),
    );
  }
});

Deno.test("DANE: records may be at the end of an alias, or at the alias", async () => {
  await using world = await start();
  world.zone["MX dest.test"] = {
    records: ["10 alias.dest.test"],
    secure: true,
  };
  world.zone["A alias.dest.test"] = {
    aliases: ["mx.dest.test"],
    records: ["127.0.0.1"],
    secure: true,
  };
  world.zone["AAAA alias.dest.test"] = {
    aliases: ["mx.dest.test"],
    secure: true,
  };
  world.zone[tlsaOf(world)] = { records: [RIGHT], secure: true };
  assertMatch(words(await world.deliver()), /^delivered TLSv1/);
  assertEquals(world.results[0]?.policy.domain, "mx.dest.test");
  delete world.zone[tlsaOf(world)];
  world.zone[tlsaOf(world, "alias.dest.test")] = {
    records: [WRONG],
    secure: true,
  };
  assertMatch(words(await world.deliver()), /^deferred/);
});

Deno.test("DANE: the domain itself may be the host, and a smarthost counts as secure", async () => {
  await using world = await start();
  world.zone["MX dest.test"] = { secure: true };
  world.zone["A dest.test"] = { records: ["127.0.0.1"], secure: true };
  world.zone["AAAA dest.test"] = { secure: true };
  world.zone[tlsaOf(world, "dest.test")] = { records: [WRONG], secure: true };
  assertMatch(words(await world.deliver()), /^deferred - 4\.7\.5/);

  const { port } = world.host.addresses[0]!;
  await using smart = await start({
    delivery: { smarthosts: [{ host: "mx.dest.test", port }] },
  });
  smart.zone[`TLSA _${port}._tcp.mx.dest.test`] = {
    records: [WRONG],
    secure: true,
  };
  assertMatch(words(await smart.deliver()), /^deferred - 4\.7\.5/);
});

Deno.test("DANE: a session without it never carries mail that needs it", async () => {
  await using world = await start();
  assertMatch(words(await world.deliver()), /^delivered TLSv1/);
  world.zone[tlsaOf(world)] = { records: [WRONG], secure: true };
  assertMatch(words(await world.deliver()), /^deferred - 4\.7\.5/);
  assertEquals(world.store.messages.length, 1);
});

Deno.test("DANE is not asked for without the policy, or with TLS off", async () => {
  for (
    const delivery of [
      { policies: ["mta-sts"] },
      { security: "none" },
    ] as const satisfies Partial<DeliveryOptions>[]
  ) {
    await using world = await start({ delivery });
    // An answer that fails must defer nothing either.
    world.zone[tlsaOf(world)] = { rcode: 2 };
    assertMatch(words(await world.deliver()), /^delivered/);
    const asked = world.dns.asked.map(({ question }) => question);
    assertEquals(asked.filter((one) => one.startsWith("TLSA")), []);
  }
});

Deno.test("With TLS off no policy of MTA-STS is asked for", async () => {
  await using world = await start({ delivery: { security: "none" } });
  assertMatch(words(await world.deliver()), /^delivered/);
  const asked = world.dns.asked.map(({ question }) => question);
  assertEquals(asked.filter((one) => one.includes("_mta-sts")), []);
});

/** A certificate of the data with what is sent behind it. */
function chainOf(name: "leaf" | "expired" | "domain"): Certificate {
  return Certificate.parse(data[name] + data.mid, { key: data[`${name}Key`] });
}

/** The digest of a certificate of the data. */
function dataDigest(name: keyof typeof data): string {
  const { raw } = new X509Certificate(data[name]);
  return createHash("sha256").update(raw).digest("hex");
}

const BY_ISSUER = `2 0 1 ${dataDigest("mid")}`;

/** Lets a host of another domain be the host at mx.dest.test. */
function addDomain({ zone }: World, domain: string): void {
  zone[`MX ${domain}`] = { records: ["10 mx.dest.test"], secure: true };
}

Deno.test("DANE: a session is not used for a domain that its certificate does not name", async () => {
  await using world = await start({ served: chainOf("domain") });
  world.zone[tlsaOf(world)] = { records: [BY_ISSUER], secure: true };
  addDomain(world, "second.test");
  // The certificate names dest.test, and neither the host nor second.test.
  assertMatch(words(await world.deliver()), /^delivered TLSv1/);
  assertMatch(words(await world.deliver("second.test")), /^deferred - 4\.7\.5/);
  assertEquals(world.results[1]?.outcome, "certificate-host-mismatch");
  assertEquals(world.store.messages.length, 1);
});

Deno.test("DANE: a smarthost is not taken for a certificate of the recipients' domain", async () => {
  await using world = await start({ served: chainOf("domain") });
  const { port } = world.host.addresses[0]!;
  await using smart = await start({
    delivery: { smarthosts: [{ host: "mx.dest.test", port }] },
  });
  smart.zone[tlsaOf(world)] = { records: [BY_ISSUER], secure: true };
  assertMatch(words(await smart.deliver()), /^deferred - 4\.7\.5/);
  assertEquals(smart.results[0]?.outcome, "certificate-host-mismatch");
});

/** A row of the table of decisions: how the world is made, and the report. */
interface Row {
  readonly served?: Certificate;
  readonly smarthost?: boolean;
  readonly zone: (at: (host: string) => string) => World["zone"];
  readonly want: RegExp;
  /** The TLSA question must not be sent. */
  readonly silent?: true;
}

/** One zone, with records at the host's name. */
const at =
  (host: string, records: readonly string[], secure = true) =>
  (name: (host: string) => string): World["zone"] => ({
    [name(host)]: { records, secure },
  });
const HOST = "mx.dest.test";
/** The host of the certificates in the data. */
const DANE_HOST: World["zone"] = {
  "MX dest.test": { records: ["10 mx.dane.test"], secure: true },
  "A mx.dane.test": { records: ["127.0.0.1"], secure: true },
  "AAAA mx.dane.test": { secure: true },
};
const WHOLE = `3 0 0 ${new Uint8Array(certificate.der).toHex()}`;

/** Rows by their names in the table; records that do not fit show that they count. */
const ROWS: Readonly<Record<string, readonly Row[]>> = {
  "all secure, usable records": [
    { zone: at(HOST, [RIGHT]), want: TAKEN },
    { zone: at(HOST, [WRONG]), want: REFUSED },
  ],
  "all secure, none usable (only usage 0 or 1, or unknown selector)": [
    {
      served: other,
      zone: at(HOST, [
        `1 0 1 ${digestOf(certificate)}`,
        `3 7 1 ${"ab".repeat(32)}`,
      ]),
      want: TAKEN,
    },
  ],
  "TLSA denied, securely": [{ zone: at(HOST, []), want: TAKEN }],
  "TLSA denied, insecurely": [{ zone: at(HOST, [], false), want: TAKEN }],
  "TLSA there but insecure": [{ zone: at(HOST, [WRONG], false), want: TAKEN }],
  "TLSA SERVFAIL, REFUSED or silence": [
    { zone: (name) => ({ [name(HOST)]: { rcode: 2 } }), want: REFUSED },
    { zone: (name) => ({ [name(HOST)]: { rcode: 5 } }), want: REFUSED },
    { zone: (name) => ({ [name(HOST)]: "silence" }), want: REFUSED },
  ],
  "address insecure": [{
    zone: (name) => ({
      "A mx.dest.test": ["127.0.0.1"],
      "AAAA mx.dest.test": {},
      [name(HOST)]: { rcode: 2 },
    }),
    want: TAKEN,
    silent: true,
  }],
  "MX insecure": [{
    zone: (name) => ({
      "MX dest.test": ["10 mx.dest.test"],
      [name(HOST)]: { records: [WRONG], secure: true },
    }),
    want: TAKEN,
    silent: true,
  }],
  "MX bogus (SERVFAIL)": [{
    zone: () => ({ "MX dest.test": { rcode: 2 } }),
    want: /^deferred - 4\.4\.3/,
    silent: true,
  }],
  "one family secure, the other fails": [
    {
      zone: (name) => ({
        "AAAA mx.dest.test": { rcode: 2 },
        [name(HOST)]: { records: [WRONG], secure: true },
      }),
      want: REFUSED,
    },
  ],
  "host is an alias into an unsigned zone, TLSA at the alias signed": [{
    zone: (name) => ({
      "A mx.dest.test": { aliases: ["far.test"], records: ["127.0.0.1"] },
      "AAAA mx.dest.test": { aliases: ["far.test"] },
      "CNAME mx.dest.test": { records: ["far.test"], secure: true },
      [name(HOST)]: { records: [WRONG], secure: true },
    }),
    want: REFUSED,
  }],
  "no MX, secure denial": [{
    zone: (name) => ({
      "MX dest.test": { secure: true },
      "A dest.test": { records: ["127.0.0.1"], secure: true },
      "AAAA dest.test": { secure: true },
      [name("dest.test")]: { records: [WRONG], secure: true },
    }),
    want: REFUSED,
  }],
  "next hop from the configuration": [
    { smarthost: true, zone: at(HOST, [RIGHT]), want: TAKEN },
    { smarthost: true, zone: at(HOST, [WRONG]), want: REFUSED },
  ],
  "DANE-TA 2 x x with expired leaf": [{
    served: chainOf("expired"),
    zone: (name) => ({
      ...DANE_HOST,
      ...at("mx.dane.test", [BY_ISSUER])(name),
    }),
    want: REFUSED,
  }],
  "DANE-EE 3 1 1 with expired leaf and other name": [{
    served: chainOf("expired"),
    zone: at(HOST, [`3 0 1 ${dataDigest("expired")}`]),
    want: TAKEN,
  }],
  "DANE-TA digest of an intermediate the server sends": [{
    served: chainOf("leaf"),
    zone: (name) => ({
      ...DANE_HOST,
      ...at("mx.dane.test", [BY_ISSUER])(name),
    }),
    want: TAKEN,
  }],
  "matching type 0 with a whole certificate of 2 KB": [{
    zone: at(HOST, [WHOLE, `3 0 0 ${"ab".repeat(2048)}`]),
    want: TAKEN,
  }],
};

Deno.test("Every row of the table of decisions has its deliveries", () => {
  assertEquals(decisions.map(({ name }) => name), Object.keys(ROWS));
});

for (const { name, want } of decisions) {
  Deno.test(`DANE: ${name}: ${want}`, async () => {
    for (const row of ROWS[name] ?? []) {
      await using world = await start({
        ...(row.served && { served: row.served }),
        ...(row.smarthost && { smarthost: HOST }),
      });
      const { port } = world.host.addresses[0]!;
      Object.assign(
        world.zone,
        row.zone((host) => `TLSA _${port}._tcp.${host}`),
      );
      assertMatch(words(await world.deliver()), row.want);
      const isTaken = row.want === TAKEN;
      assertEquals(world.store.messages.length, isTaken ? 1 : 0);
      const asked = world.dns.asked.map(({ question }) => question);
      if (row.silent) {
        assertEquals(asked.filter((one) => one.startsWith("TLSA")), []);
      }
    }
  });
}

Deno.test("A handshake that failed is not reported as STARTTLS that was not offered", async () => {
  const upgrade = () => Promise.reject(new Error("Bad handshake"));
  await using world = await start({ machine: { upgrade } });
  // The second time TLS is left out: it failed a short while ago.
  for (const _ of [1, 2]) {
    assertMatch(words(await world.deliver()), /^delivered none|^delivered -/);
  }
  const outcomes = world.results.map(({ outcome }) => outcome);
  assert(outcomes.length > 0);
  assertEquals(new Set(outcomes), new Set(["validation-failure"]));
});

/** A web server with the MTA-STS policy of dest.test. */
async function startPolicies(policy: string) {
  const web = await Certificate.selfSigned({ names: ["mta-sts.dest.test"] });
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    cert: web.toPem(),
    key: web.keyPem(),
    onListen: () => {},
  }, () => new Response(policy));
  const world = await start({
    delivery: { trusted: [web, certificate] },
    machine: { stsPort: (server.addr as Deno.NetAddr).port },
  });
  Object.assign(world.zone, {
    "MX dest.test": ["10 mx.dest.test"],
    "A mx.dest.test": ["127.0.0.1"],
    "AAAA mx.dest.test": {},
    "TXT _mta-sts.dest.test": ["v=STSv1; id=a1"],
    "A mta-sts.dest.test": ["127.0.0.1"],
    "AAAA mta-sts.dest.test": {},
  });
  return {
    world,
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]();
      await server.shutdown();
    },
  };
}

function policyOf(mode: string, host: string): string {
  return `version: STSv1\nmode: ${mode}\nmx: ${host}\nmax_age: 86400\n`;
}

Deno.test("MTA-STS: a host that the policy lists, with its certificate, is taken", async () => {
  await using made = await startPolicies(policyOf("enforce", "*.dest.test"));
  const { world } = made;
  assertMatch(words(await world.deliver()), /^delivered TLSv1/);
  const [result] = world.results;
  assertEquals([result?.outcome, result?.policy.type], ["success", "sts"]);
  assertEquals(result?.policy.hosts, ["*.dest.test"]);
});

Deno.test("MTA-STS: a host that the policy does not list is not called", async () => {
  await using made = await startPolicies(policyOf("enforce", "mx.other.test"));
  const { world } = made;
  const report = await world.deliver();
  assertMatch(words(report), /^deferred - 4\.7\.5/);
  assertMatch(report.reply!.lines.join(), /does not list/);
  assertEquals(world.store.messages, []);
  assertEquals(world.results[0]?.outcome, "validation-failure");
});

Deno.test("MTA-STS: a policy that is tested only counts", async () => {
  await using made = await startPolicies(policyOf("testing", "mx.other.test"));
  const { world } = made;
  assertMatch(words(await world.deliver()), /^delivered TLSv1/);
  assertEquals(world.results[0]?.policy.mode, "testing");
  assertEquals(world.results[0]?.outcome, "validation-failure");
});

Deno.test("MTA-STS: the certificate of another name defers", async () => {
  await using made = await startPolicies(
    policyOf("enforce", "alias.dest.test"),
  );
  const { world } = made;
  world.zone["MX dest.test"] = ["10 alias.dest.test"];
  world.zone["A alias.dest.test"] = ["127.0.0.1"];
  world.zone["AAAA alias.dest.test"] = {};
  assertMatch(words(await world.deliver()), /^deferred - 4\.7\.5/);
  assertEquals(world.results[0]?.outcome, "certificate-host-mismatch");
});

Deno.test("MTA-STS: a policy that cannot be had is reported, and mail goes", async () => {
  await using made = await startPolicies("no policy");
  const { world } = made;
  assertMatch(words(await world.deliver()), /^delivered TLSv1/);
  assertEquals(
    world.results.map(({ outcome, policy }) => `${policy.type} ${outcome}`),
    ["sts sts-policy-invalid", "no-policy-found success"],
  );
});
