/**
 * Reports on TLS by a server that relays: what it counts, how a report travels,
 * and that no report causes another (RFC 8460).
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { startReporting } from "../../lib/delivery/reporting.ts";
import { DnsClient } from "../../lib/dns/client.ts";
import type { TlsResult } from "../../lib/secure_transport/tls_result.ts";
import { testDns } from "../../lib/testing/mod.ts";
import { DkimPrivateKey } from "../../lib/trust/mod.ts";
import { FakeClock } from "../support/queue/fixtures.ts";
import { startPair } from "../support/queue/relaying.ts";
import { TestFolder } from "../support/folder.ts";
import { textOf } from "../support/bytes.ts";
import { until, within } from "../support/wait.ts";

const REPORTS = { from: "tls@near.test", organization: "Near" };
const RESULT: TlsResult = {
  destination: "dest.test",
  policy: { type: "no-policy-found", domain: "dest.test", lines: [] },
  outcome: "starttls-not-supported",
};
const MAIL = {
  from: "ann@near.test",
  to: "bob@dest.test",
  data: "From: ann@near.test\r\nSubject: hello\r\n\r\nText\r\n",
};

Deno.test("A report goes through the queue, signed, and its failure causes no mail", async () => {
  const key = await DkimPrivateKey.generate("ed25519");
  await using pair = await startPair({
    near: { dkim: { domain: "near.test", selector: "s", key } },
  });
  const clock = new FakeClock(Date.UTC(2026, 10, 30, 12));
  const text = "v=TLSRPTv1; rua=mailto:tls@dest.test";
  const dns = new DnsClient(
    testDns((_name, type) =>
      type === "TXT"
        ? Promise.resolve([[text]])
        : Promise.reject(new Deno.errors.NotFound("None"))
    ),
  );
  const { relays } = pair.near;
  const reporter = await startReporting({ reports: REPORTS }, {
    ...{ relays, dns, log: () => {}, clock },
  });
  reporter!.add(RESULT);
  await until(async () => {
    await clock.advance(3_600_000);
    return pair.farStore.messages.length > 0;
  });
  await reporter!.stop();
  const message = pair.farStore.messages[0]!;
  assertEquals(String(message.from), "tls@near.test");
  assertEquals(message.recipients[0]!.parameters.notify, ["NEVER"]);
  const content = textOf(message.bytes);
  assertMatch(content, /^DKIM-Signature:[^]*d=near\.test/m);
  for (
    const line of [
      "Subject: Report Domain: dest.test\r\n Submitter: near.test\r\n Report-ID: <2026-11-30.",
      "TLS-Report-Domain: dest.test\r\nTLS-Report-Submitter: near.test\r\n",
      "TLS-Required: No\r\n",
      'Content-Type: multipart/report; report-type="tlsrpt";',
      "Content-Type: application/tlsrpt+gzip\r\n",
      'filename="near.test!dest.test!1795996800!1796083199!',
    ]
  ) assertStringIncludes(content, line);
});

/** The files of counts in a spool, and what they say. */
async function countsIn(folder: TestFolder): Promise<string> {
  const [name] = await folder.files("tlsrpt");
  return name === undefined ? "" : await folder.read(name);
}

Deno.test("A server counts its deliveries, and reports among them do not count", async () => {
  await using folder = await TestFolder.create();
  const results: string[] = [];
  {
    const first = Promise.withResolvers<void>();
    const second = Promise.withResolvers<void>();
    await using pair = await startPair({
      // Each message has a session of its own.
      relay: { reports: REPORTS, spool: folder.path, pool: { maxIdle: 0 } },
      near: {
        handlers: {
          onTlsResult(relay, { outcome }) {
            results.push(`${relay.tag} ${outcome}`);
          },
          onRelayDone(relay) {
            (relay.tag === "tls-report" ? first : second).resolve();
          },
        },
      },
    });
    await pair.near.relays.add(MAIL, { tag: "tls-report" });
    await within(first.promise, "the report");
    await pair.near.relays.add(MAIL);
    await within(second.promise, "the mail");
  }
  const { domains } = JSON.parse(await countsIn(folder));
  assertEquals(domains.length, 1);
  assertEquals(domains[0].name, "dest.test");
  const [{ successes, failures }] = domains[0].policies;
  assertEquals(successes + failures, 1);
  assertEquals(results.length, 2);
});

Deno.test("With threads the deliveries are counted all the same", async () => {
  await using folder = await TestFolder.create();
  {
    await using pair = await startPair({
      relay: { reports: REPORTS, spool: folder.path, from: ["127.0.0.0/8"] },
      near: { threads: 2 },
    });
    await pair.near.relays.add(MAIL);
    await until(() => pair.farStore.messages.length > 0);
    await until(() => pair.near.relays.count === 0);
  }
  const { domains } = JSON.parse(await countsIn(folder));
  assertEquals(domains[0].name, "dest.test");
});

Deno.test("Without the option nothing is counted", async () => {
  await using folder = await TestFolder.create();
  {
    const done = Promise.withResolvers<void>();
    await using pair = await startPair({
      relay: { spool: folder.path },
      near: { handlers: { onRelayDone: () => done.resolve() } },
    });
    await pair.near.relays.add(MAIL);
    await within(done.promise, "the mail");
  }
  const files = await folder.files();
  assertEquals(files.filter((name) => name.startsWith("tlsrpt")), []);
});
