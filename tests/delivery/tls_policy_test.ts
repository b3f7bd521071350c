/**
 * Deliveries over real TLS to hosts whose DNS and policies demand it: a validating
 * name server on the loopback says what is secure, and the host shows the
 * certificate that fits, or another one.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
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
import type { TlsResult } from "../../lib/secure_transport/tls_result.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { startServer } from "../support/server.ts";
import { startZoneServer, type ZoneServer } from "../support/zone_server.ts";
import { utf8 } from "../support/bytes.ts";

const certificate = await Certificate.selfSigned({ names: ["mx.dest.test"] });
const other = await Certificate.selfSigned({ names: ["other.test"] });

/** The digest of a certificate, as in a TLSA record of usage 3. */
function digestOf(one: Certificate): string {
  const { raw } = new X509Certificate(one.der);
  return createHash("sha256").update(raw).digest("hex");
}

const RIGHT = `3 0 1 ${digestOf(certificate)}`;
const WRONG = `3 0 1 ${digestOf(other)}`;

/** A host, the DNS around it, and what was found about its TLS. */
interface World extends AsyncDisposable {
  readonly host: SmtpServer;
  readonly store: MemoryStore;
  readonly zone: Record<string, Parameters<typeof startZoneServer>[0][string]>;
  readonly dns: ZoneServer;
  readonly results: TlsResult[];
  /** Delivers a message; gives the report for its recipient. */
  deliver(): Promise<RecipientReport>;
}

async function start(
  options: {
    readonly served?: Certificate | undefined;
    readonly delivery?: Partial<DeliveryOptions>;
    readonly machine?: DeliveryMachine;
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
    ...options.delivery,
  }, {
    ...options.machine,
    onTlsResult: (result) => results.push(result),
  });
  return {
    ...{ host, store, zone, dns, results },
    async deliver() {
      const content = utf8("Subject: Hello\r\n\r\nHello\r\n");
      const { recipients } = await delivery.deliver({
        id: "m1",
        from: Address.parse("me@near.test"),
        parameters: {},
        recipients: [{
          address: Address.parse("you@dest.test"),
          parameters: {},
        }],
        destination: "dest.test",
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
    world.zone[tlsaOf(world)] = { records: [WRONG], secure: true };
    assertMatch(words(await world.deliver()), /^delivered/);
  }
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
