/**
 * A name server that is believed and validates nothing: found out after a few
 * answers, by a name that has DNSSEC for sure, and named in one warning.
 */

import { assertEquals } from "@std/assert";
import { DnsClient } from "../../lib/dns/client.ts";
import type { DnsQuestion } from "../../lib/dns/dns_message.ts";
import { seamedClient } from "../support/dns.ts";
import { startZoneServer, type Zone } from "../support/zone_server.ts";

/** Asks secure questions about a number of domains; gives the warnings and how often the server was tried. */
async function ask(
  zone: Zone,
  questions: number,
): Promise<{ warnings: string[]; tries: number; nameServer: string }> {
  await using server = await startZoneServer(zone);
  const { nameServer, asked } = server;
  const warnings: string[] = [];
  const dns = new DnsClient({
    nameServers: [nameServer],
    cacheSize: 0,
    timeoutMs: 500,
    attempts: 1,
    onWarning: (message) => warnings.push(message),
  });
  for (let at = 0; at < questions; at++) {
    const { status } = await dns.mx(`d${at}.example`, { secure: true });
    assertEquals(status, "none");
  }
  const tries = asked.filter(({ question }) => question === "NS com").length;
  return { warnings, tries, nameServer };
}

Deno.test("A believed name server that does not validate is named once, with what to do", async () => {
  const zone = { "NS com": ["a.gtld-servers.net"] };
  assertEquals((await ask(zone, 4)).warnings, []);
  for (const count of [5, 12]) {
    const { warnings, tries, nameServer } = await ask(zone, count);
    assertEquals(warnings, [
      `Name server ${nameServer} does not validate answers, so mail is delivered without DANE: want DNSSEC validation turned on in it, or another one on this machine that validates`,
    ]);
    assertEquals(tries, 1);
  }
});

Deno.test("Domains without DNSSEC are no fault of the name server", async () => {
  const records = ["a.gtld-servers.net"];
  const { warnings, tries } = await ask({
    "NS com": { records, secure: true },
  }, 12);
  assertEquals([warnings, tries], [[], 1]);
  // After a validated answer nothing has to be found out.
  const validated = await ask({ "MX d3.example": { secure: true } }, 12);
  assertEquals([validated.warnings, validated.tries], [[], 0]);
});

Deno.test("A name server that gives no answer to the trial is tried again, and the question has its answer", async () => {
  const { warnings, tries } = await ask({ "NS com": "silence" }, 11);
  assertEquals([warnings, tries], [[], 2]);
});

Deno.test("Questions that need no validation, and servers that are not believed, cause no trial", async () => {
  const asked: string[] = [];
  const warnings: string[] = [];
  const unsigned = ({ type, name }: DnsQuestion) => {
    asked.push(`${type} ${name}`);
    return Promise.resolve({
      ...{ rcode: 3, authentic: false, truncated: false, referral: false },
      ...{ malformed: false, stray: false, circle: false, records: [] },
      ...{ ttl: 60, canonicalName: name },
    });
  };
  const rows = [["127.0.0.1", false], ["192.0.2.53", true]] as const;
  for (const [nameServer, secure] of rows) {
    const dns = seamedClient({
      nameServers: [nameServer],
      ask: unsigned,
      onWarning: (message: string) => warnings.push(message),
    });
    for (let at = 0; at < 12; at++) {
      await dns.tlsa(`_25._tcp.d${at}.example`, { secure });
    }
  }
  assertEquals(asked.filter((one) => one === "NS com"), []);
  assertEquals(warnings, []);
});
