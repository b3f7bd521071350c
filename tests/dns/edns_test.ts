/**
 * Name servers that do not know EDNS, by an error or by silence: asked without
 * it, remembered, and named in one warning (RFC 6891 section 7).
 */

import { assertEquals } from "@std/assert";
import { DnsClient } from "../../lib/dns/client.ts";
import type { DnsMessage, DnsQuestion } from "../../lib/dns/dns_message.ts";
import type { DnsAskOptions } from "../../lib/dns/seams.ts";
import { SmtpServer } from "../../mod.ts";
import { seamedClient, silence } from "../support/dns.ts";
import { type EdnsFault, startZoneServer } from "../support/zone_server.ts";

const SECURE = { secure: true } as const;
const NAMES = ["a.example", "b.example", "c.example", "d.example"];
const ZONE = Object.fromEntries(
  NAMES.map((name) => [`A ${name}`, { records: ["192.0.2.1"], secure: true }]),
);

for (const ednsFault of ["FORMERR", "NOTIMP", "silence"] as const) {
  Deno.test(`DnsClient asks a server without EDNS (${ednsFault}) again, and then at once`, async () => {
    await using server = await startZoneServer(ZONE, { ednsFault });
    const { nameServer } = server;
    const warnings: string[] = [];
    const dns = new DnsClient({
      nameServers: [nameServer],
      timeoutMs: 1500,
      attempts: 1,
      cacheSize: 0,
      onWarning: (message) => warnings.push(message),
    });
    // Its AD bit says nothing of answers that had no room for signatures.
    const first = await dns.a("a.example", SECURE);
    assertEquals(first.status === "found" && first.secure, false);
    const before = server.asked.length;
    for (const name of NAMES) {
      const outcome = await dns.a(name);
      assertEquals(outcome.status === "found" && outcome.records, [
        "192.0.2.1",
      ]);
    }
    assertEquals(
      server.asked.slice(before).map(({ question, edns }) => [question, edns]),
      NAMES.map((name) => [`A ${name}`, false]),
    );
    assertEquals(warnings, [
      `Name server ${nameServer} does not know EDNS: it is asked without, and its answers count as not validated, so mail is delivered without DANE`,
    ]);
  });
}

Deno.test("DnsClient finds records at a server without EDNS though the platform does not", async () => {
  for (const ednsFault of ["FORMERR", "silence"] as const) {
    await using server = await startZoneServer(ZONE, { ednsFault });
    const dns = new DnsClient({ nameServers: [server.nameServer] });
    const outcome = await dns.a("a.example");
    assertEquals(outcome.status, "found", ednsFault);
  }
});

/** The answers of a server by the bit of EDNS, after the given number of questions. */
function scripted(
  answer: (edns: boolean, before: number) => number | "silence",
): {
  ask: (q: DnsQuestion, o: DnsAskOptions) => Promise<DnsMessage>;
  asked: boolean[];
} {
  const asked: boolean[] = [];
  return {
    asked,
    async ask({ name }, { edns, signal }) {
      const given = answer(edns, asked.filter((one) => one === edns).length);
      asked.push(edns);
      if (given === "silence") return await silence(signal);
      return {
        ...{ rcode: given, authentic: true, truncated: false, referral: false },
        ...{
          malformed: false,
          stray: false,
          circle: false,
          records: ["192.0.2.1"],
          ttl: 0,
        },
        canonicalName: name,
      };
    },
  };
}

Deno.test("DnsClient does not take a slow answer for silence", async () => {
  // The first question with EDNS is never answered, the next one at once.
  const { ask, asked } = scripted((edns, before) =>
    edns && before === 0 ? "silence" : 0
  );
  const warnings: string[] = [];
  const dns = seamedClient({
    nameServers: ["127.0.0.1"],
    timeoutMs: 100,
    attempts: 1,
    ask,
    onWarning: (message) => warnings.push(message),
  });
  const outcome = await dns.a("a.example", SECURE);
  assertEquals(outcome.status === "found" && outcome.secure, true);
  assertEquals(asked, [true, false, true]);
  assertEquals(warnings, []);
});

Deno.test("DnsClient does not ask a server without EDNS that has shown that it has it", async () => {
  const { ask, asked } = scripted((edns, before) =>
    edns && before > 0 ? "silence" : 0
  );
  const dns = seamedClient({
    nameServers: ["127.0.0.1"],
    timeoutMs: 30,
    attempts: 1,
    ask,
  });
  const first = await dns.a("a.example", SECURE);
  assertEquals(first.status === "found" && first.secure, true);
  for (const name of ["b.example", "c.example", "d.example"]) {
    const { status } = await dns.a(name, SECURE);
    assertEquals(status, "failed", "not insecure");
  }
  assertEquals(asked, [true, true, true, true]);
  // After three silences nothing is known of it any more.
  const last = await dns.a("e.example", SECURE);
  assertEquals(last.status === "found" && last.secure, false);
});

Deno.test("DnsClient asks a server without EDNS with it again after a while, and warns once", async () => {
  let now = 0;
  let faults: EdnsFault | undefined = "FORMERR";
  const { ask, asked } = scripted((edns) => edns && faults ? 1 : 0);
  const warnings: string[] = [];
  const dns = seamedClient({
    nameServers: ["127.0.0.1"],
    now: () => now,
    ask,
    onWarning: (message) => warnings.push(message),
  });
  const secure = async () => {
    const outcome = await dns.a("a.example", SECURE);
    asked.push(...asked.splice(0));
    return outcome.status === "found" && outcome.secure;
  };
  assertEquals(await secure(), false);
  now += 14 * 60_000;
  assertEquals(await secure(), false);
  assertEquals(asked, [true, false, false]);
  now += 2 * 60_000;
  assertEquals(await secure(), false);
  assertEquals(asked.slice(3), [true, false]);
  faults = undefined;
  now += 16 * 60_000;
  assertEquals(await secure(), true);
  assertEquals(warnings.length, 1);
});

Deno.test("DnsClient reports an error that is the same without EDNS", async () => {
  const { ask, asked } = scripted(() => 4);
  const dns = seamedClient({ nameServers: ["127.0.0.1"], ask });
  for (const name of ["a.example", "b.example"]) {
    const outcome = await dns.tlsa(`_25._tcp.${name}`);
    assertEquals(outcome.status === "failed" && outcome.code, "server-failure");
  }
  assertEquals(asked, [true, false, true, false]);
});

Deno.test("SmtpServer logs a warning for a name server without EDNS", async () => {
  await using server = await startZoneServer(ZONE, { ednsFault: "FORMERR" });
  const messages: string[] = [];
  await using smtp = new SmtpServer({
    listen: [],
    dns: { nameServers: [server.nameServer] },
    log: ({ event, message }) => messages.push(`${event}: ${message}`),
  });
  await smtp.dns.a("a.example");
  await smtp.dns.a("b.example");
  assertEquals(messages.length, 1);
  assertEquals(
    messages[0]?.startsWith(`warning: Name server ${server.nameServer} `),
    true,
  );
});
