/**
 * Deliveries with DANE, where unbound validates zones that are signed, not signed,
 * and spoilt after they were signed; Postfix's `posttls-finger` gives a second
 * opinion on the same records.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7672#section-2.2 | RFC 7672 section 2.2}
 */

import { assertEquals } from "@std/assert";
import { createHash, X509Certificate } from "node:crypto";
import { Delivery } from "../../lib/delivery/delivery.ts";
import { DnsClient } from "../../lib/dns/client.ts";
import { Address } from "../../lib/protocol/address.ts";
import type { TlsResult } from "../../lib/secure_transport/tls_result.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { utf8 } from "../support/bytes.ts";
import { TestFolder } from "../support/folder.ts";
import { startUnbound, type UnboundZone } from "../support/interop/unbound.ts";
import { startServer } from "../support/server.ts";
import data from "../secure_transport/data/certificates.json" with {
  type: "json",
};

/** For mx.dane.test, with the issuer that signed it. */
const certificate = Certificate.parse(data.leaf + data.mid, {
  key: data.leafKey,
});

const ISSUER = `2 0 1 ${
  createHash("sha256").update(new X509Certificate(data.mid).raw).digest("hex")
}`;

/** The data of a record of usage 3: of the whole certificate, or of its key. */
function dataOf(selector: 0 | 1, matching: 0 | 1 | 2): string {
  const { raw, publicKey } = new X509Certificate(certificate.der);
  const bytes = selector === 0
    ? raw
    : publicKey.export({ type: "spki", format: "der" });
  if (matching === 0) return bytes.toString("hex");
  return createHash(matching === 1 ? "sha256" : "sha512").update(bytes)
    .digest("hex");
}

/** Hosts of a zone, and the TLSA records of each. */
const HOSTS: Readonly<Record<string, readonly string[]>> = {
  right: [`3 1 1 ${dataOf(1, 1)}`],
  long: [`3 0 2 ${dataOf(0, 2)}`],
  // Too large for one datagram.
  whole: [`3 0 0 ${dataOf(0, 0)}`, `3 0 0 ${"ab".repeat(1500)}`],
  wrong: [`3 1 1 ${"ab".repeat(32)}`],
  unusable: [`1 1 1 ${"ab".repeat(32)}`],
  // The certificate is for mx.dane.test alone.
  authority: [ISSUER],
  // The stronger digest decides.
  agile: [`3 1 1 ${dataOf(1, 1)}`, `3 1 2 ${"ab".repeat(64)}`],
  bare: [],
};

function records(zone: string, port: number): string[] {
  return Object.entries(HOSTS).flatMap(([name, tlsa]) => [
    `${name} IN MX 10 mx.${name}`,
    `mx.${name} IN A 127.0.0.1`,
    ...tlsa.map((one) => `_${port}._tcp.mx.${name} IN TLSA ${one}`),
  ]).concat([
    // The host is an alias into another zone; its records are at the alias.
    "away IN MX 10 mx.away",
    "mx.away IN CNAME mx.right.plain.test.",
    `_${port}._tcp.mx.away IN TLSA 3 1 1 ${"ab".repeat(32)}`,
    // The hosts are in another zone.
    "other IN MX 10 mx.wrong.plain.test.",
    // The domain's own host, and a domain without MX records.
    "@ IN MX 10 mx",
    "mx IN A 127.0.0.1",
    `_${port}._tcp.mx IN TLSA ${ISSUER}`,
    "solo IN A 127.0.0.1",
    `_${port}._tcp.solo IN TLSA 3 1 1 ${"ab".repeat(32)}`,
    `target IN A 127.0.0.1`,
    `note IN TXT "${zone}"`,
  ]);
}

/** The outcome for each recipient's domain: status, and what was found of its TLS. */
const WANT: Readonly<Record<string, readonly [string, string]>> = {
  "right.dane.test": ["delivered", "tlsa success"],
  "long.dane.test": ["delivered", "tlsa success"],
  "whole.dane.test": ["delivered", "tlsa success"],
  "wrong.dane.test": ["deferred", "tlsa validation-failure"],
  "unusable.dane.test": ["delivered", "tlsa success"],
  "dane.test": ["delivered", "tlsa success"],
  "authority.dane.test": ["deferred", "tlsa certificate-host-mismatch"],
  "agile.dane.test": ["deferred", "tlsa validation-failure"],
  "solo.dane.test": ["deferred", "tlsa validation-failure"],
  "wrong.bad.test": ["deferred", "tlsa dnssec-invalid"],
  "bare.dane.test": ["delivered", "no-policy-found success"],
  "away.dane.test": ["deferred", "tlsa validation-failure"],
  "other.dane.test": ["delivered", "no-policy-found success"],
  // Over the session with the same host that is open already.
  "wrong.plain.test": ["delivered", ""],
  "right.bogus.test": ["deferred", ""],
};

/** The zones, for a host at a port. */
function zonesAt(port: number): UnboundZone[] {
  return [
    { name: "dane.test", signed: true, records: records("dane.test", port) },
    { name: "plain.test", signed: false, records: records("plain.test", port) },
    {
      name: "bogus.test",
      signed: true,
      records: records("bogus.test", port),
      spoil: ["10 mx.right", "20 mx.right"],
    },
    {
      // Its TLSA records alone are spoilt.
      name: "bad.test",
      signed: true,
      records: records("bad.test", port),
      spoil: ["abababab", "cdababab"],
    },
  ];
}

Deno.test("Deliveries by DANE, with unbound and signed zones", async (t) => {
  const host = await startServer({ certificate, store: new MemoryStore() });
  const { port } = host.addresses[0]!;
  await using unbound = await startUnbound(zonesAt(port));
  const results: TlsResult[] = [];
  const delivery = new Delivery({
    hostname: "near.test",
    dns: new DnsClient({ nameServers: [unbound.nameServer] }),
    policies: ["dane"],
    remotePort: port,
    allowLoopback: true,
  }, { onTlsResult: (result) => results.push(result) });
  try {
    for (const [domain, [status, outcome]] of Object.entries(WANT)) {
      await t.step(domain, async () => {
        results.length = 0;
        const content = utf8("Subject: Hello\r\n\r\nHello\r\n");
        const { recipients } = await delivery.deliver({
          ...{ id: "m1", parameters: {}, destination: domain, attempt: 1 },
          from: Address.parse("me@near.test"),
          recipients: [
            { address: Address.parse(`you@${domain}`), parameters: {} },
          ],
          size: content.length,
          acceptedAt: Date.now(),
          content: () => ReadableStream.from([content]),
        });
        const reply = recipients[0]!.reply!.lines.join();
        assertEquals(recipients[0]!.status, status, reply);
        const found = results.map(({ policy, outcome }) =>
          `${policy.type} ${outcome}`
        ).join();
        assertEquals(found, outcome, reply);
      });
    }
  } finally {
    await delivery.close();
    await host.stop({ graceMs: 0 });
  }
});

Deno.test("posttls-finger accepts the hosts that we accept by the same records", async (t) => {
  const host = await startServer({ certificate, store: new MemoryStore() });
  const { port } = host.addresses[0]!;
  await using unbound = await startUnbound(zonesAt(port), { isSystems: true });
  await using folder = await TestFolder.create();
  await folder.write(
    "main.cf",
    "compatibility_level = 3.6\nsmtp_dns_support_level = dnssec\n",
  );
  await folder.write("master.cf", "");
  const [address] = unbound.nameServer.split(":");
  // The program asks the system's name server: in a mount of its own that is unbound.
  const resolv = await folder.write(
    "resolv.conf",
    `nameserver ${address}\noptions trust-ad\n`,
  );
  const script =
    `mount --bind "$0" /etc/resolv.conf && exec posttls-finger "$@"`;
  try {
    for (const [domain, [status, outcome]] of Object.entries(WANT)) {
      await t.step(domain, async () => {
        const { stdout, stderr } = await new Deno.Command("unshare", {
          args: [
            ...["-m", "sh", "-c", script, resolv],
            ...["-c", "-t", "5", "-l", "dane", "-L", "summary"],
            `${domain}:${port}`,
          ],
          env: { MAIL_CONFIG: folder.path },
        }).output();
        const text = new TextDecoder().decode(stdout) +
          new TextDecoder().decode(stderr);
        // Records that mail cannot use prove nothing.
        const isProved = status === "delivered" && outcome === "tlsa success" &&
          domain !== "unusable.dane.test";
        assertEquals(/Verified TLS connection/.test(text), isProved, text);
      });
    }
  } finally {
    await host.stop({ graceMs: 0 });
  }
});
