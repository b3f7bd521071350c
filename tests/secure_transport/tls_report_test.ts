/**
 * Reports on TLS: the records that ask for them, what is counted, what a report
 * says, when it goes where, and what survives a restart (RFC 8460).
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { DnsQuerier } from "../../lib/dns/outcome.ts";
import {
  TlsReporter,
  type TlsReporterInit,
  type TlsReportMail,
} from "../../lib/secure_transport/tls_reporter.ts";
import { readTlsReportRecord } from "../../lib/secure_transport/tls_report_record.ts";
import { TlsDay } from "../../lib/secure_transport/tls_report.ts";
import type { TlsResult } from "../../lib/secure_transport/tls_result.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { TestFolder } from "../support/folder.ts";
import { within } from "../support/wait.ts";
import cases from "./data/tls-rpt.json" with { type: "json" };
import sample from "./data/rpt01.json" with { type: "json" };

const HEAD = {
  organization: "Near",
  contact: "ann@near.test",
  submitter: "near.test",
};
const STS: TlsResult = {
  destination: "dest.test",
  host: "mx.dest.test",
  address: "192.0.2.1",
  localAddress: "192.0.2.9",
  policy: {
    type: "sts",
    domain: "dest.test",
    lines: ["version: STSv1", "mode: enforce", "mx: *.dest.test"],
    hosts: ["*.dest.test"],
    mode: "enforce",
  },
  outcome: "certificate-expired",
  reason: "Certificate expired",
};
const PLAIN: TlsResult = {
  destination: "dest.test",
  policy: { type: "no-policy-found", domain: "dest.test", lines: [] },
  outcome: "success",
};

for (const { text, ok, rua } of cases.records) {
  Deno.test(`The record "${text}" is ${ok ? "read" : "not read"}`, () => {
    const { places } = readTlsReportRecord([text]);
    assertEquals(places?.map(({ uri }) => uri), rua);
  });
}

Deno.test("A domain with two records asks for nothing, and other texts do not count", () => {
  const [text] = ["v=TLSRPTv1; rua=mailto:a@dest.test"];
  assertEquals(readTlsReportRecord([text!, text!]).places, undefined);
  assertEquals(readTlsReportRecord(["v=spf1 -all", text!]).places?.length, 1);
  assertEquals(readTlsReportRecord([]), { fault: undefined });
});

Deno.test("Places of a record are addresses, without what could end a line", () => {
  const uris = [
    ...["mailto:a%0d%0ab@dest.test", "mailto:%", "https://u:p@dest.test/"],
    ...["mailto:a@dest.test?subject=x", "https://dest.test:8443/x?y"],
  ];
  const record = readTlsReportRecord([`v=TLSRPTv1;rua=${uris.join()}`]);
  assertEquals(record.places?.map((place) => ({ ...place, uri: "" })), [
    { kind: "mail", uri: "", address: "a@dest.test" },
    { kind: "web", uri: "", host: "dest.test", port: 8443, path: "/x?y" },
  ]);
  assert(record.places !== undefined && record.unusable.length === 3);
});

/** The names of all members, at every depth. */
function shape(value: unknown, at = ""): string[] {
  if (typeof value !== "object" || value === null) return [at];
  if (Array.isArray(value)) return value.flatMap((one) => shape(one, at));
  return Object.entries(value).flatMap(([name, one]) =>
    shape(one, `${at}/${name}`)
  );
}

Deno.test("A report has the members of the RFC's example", () => {
  const day = new TlsDay("2026-11-30", "a1");
  for (const result of [STS, STS, { ...STS, outcome: "success" } as const]) {
    day.add(result);
  }
  day.add(PLAIN);
  const report = JSON.parse(JSON.stringify(day.report("dest.test", HEAD)));
  assertEquals(report, {
    "organization-name": "Near",
    "date-range": {
      "start-datetime": "2026-11-30T00:00:00Z",
      "end-datetime": "2026-11-30T23:59:59Z",
    },
    "contact-info": "ann@near.test",
    "report-id": "2026-11-30.a1.dest.test@near.test",
    "policies": [{
      "policy": {
        "policy-type": "sts",
        "policy-string": STS.policy.lines,
        "policy-domain": "dest.test",
        "mx-host": ["*.dest.test"],
      },
      "summary": {
        "total-successful-session-count": 1,
        "total-failure-session-count": 2,
      },
      "failure-details": [{
        "result-type": "certificate-expired",
        "sending-mta-ip": "192.0.2.9",
        "receiving-mx-hostname": "mx.dest.test",
        "receiving-ip": "192.0.2.1",
        "failed-session-count": 2,
        "failure-reason-code": "Certificate expired",
      }],
    }, {
      "policy": {
        "policy-type": "no-policy-found",
        "policy-domain": "dest.test",
      },
      "summary": {
        "total-successful-session-count": 1,
        "total-failure-session-count": 0,
      },
    }],
  });
  const known = new Set([...shape(sample)]);
  for (const name of shape(report)) assert(known.has(name), name);
});

Deno.test("The counters of a day are bounded, and their text is read back", () => {
  const day = new TlsDay("2026-11-30", "a1");
  for (let at = 0; at < 300; at++) {
    day.add({ ...STS, reason: `${at} ${"x".repeat(1000)}` });
    const policy = { ...STS.policy, lines: [`line ${at}`] };
    day.add({ ...STS, policy });
  }
  day.add({ ...STS, destination: "[192.0.2.1]" });
  day.add({ ...STS, destination: "a b\r\nc" });
  assertEquals(day.domains, ["dest.test"]);
  const report = JSON.stringify(day.report("dest.test", HEAD));
  assertEquals(report.match(/"policy-type"/g)?.length, 20);
  assertEquals(report.match(/"result-type"/g)?.length, 100 + 19);
  assertMatch(report, /"total-failure-session-count":300/);
  const read = TlsDay.parse(day.toText());
  assertEquals(JSON.stringify(read.report("dest.test", HEAD)), report);
});

Deno.test("A day does not hold more than its room", () => {
  const day = new TlsDay("2026-11-30", "a1");
  const lines = Array.from({ length: 100 }, () => "x".repeat(300));
  for (let at = 0; at < 1000; at++) {
    const policy = { ...STS.policy, lines };
    day.add({ ...STS, destination: `d${at}.test`, policy });
  }
  assert(day.isFull && day.toText().length < 20_000_000);
});

const DAY = 86_400_000;
const START = Date.UTC(2026, 10, 30, 12);
const HOST = "reports.dest.test";
const certificate = await Certificate.selfSigned({ names: [HOST] });

/** A clock that stands still until the test moves it, with one timer. */
class OneTimer {
  #now = START;
  #timer: { readonly at: number; readonly action: () => void } | undefined;
  #set: (() => void) | undefined;

  now(): number {
    return this.#now;
  }

  setTimer(ms: number, action: () => void): () => void {
    this.#timer = { at: this.#now + ms, action };
    this.#set?.();
    return () => this.#timer = undefined;
  }

  /** Moves on, and waits at each timer until the next one is set. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    while (this.#timer !== undefined && this.#timer.at <= end) {
      const { at, action } = this.#timer;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#set = resolve;
      this.#now = at;
      action();
      await within(promise, "the next timer");
    }
    this.#now = end;
  }
}

/** A reporter on a clock that the test moves. */
class World {
  readonly clock = new OneTimer();
  readonly mails: TlsReportMail[] = [];
  readonly warnings: string[] = [];
  readonly asked: string[] = [];
  texts: readonly string[] | "failed" = [
    "v=TLSRPTv1; rua=mailto:tls@taker.test",
  ];
  isRefused = false;

  async start(init: Partial<TlsReporterInit> = {}): Promise<TlsReporter> {
    const dns: DnsQuerier = {
      query: (type, name) => {
        if (type === "TXT") this.asked.push(name);
        const outcome = type === "A" && name === HOST
          ? { status: "found", records: ["127.0.0.1"] }
          : type !== "TXT"
          ? { status: "none", why: "no-such-name" }
          : this.texts === "failed"
          ? { status: "failed", code: "timeout", reason: "No answer" }
          : { status: "found", records: this.texts };
        return Promise.resolve(outcome as never);
      },
    };
    const reporter = new TlsReporter({
      options: { from: "tls@near.test" },
      dns,
      log: ({ message }) => void this.warnings.push(message),
      clock: this.clock,
      random: () => 0.5,
      send: (mail) => {
        if (this.isRefused) return Promise.reject(new Error("No room"));
        this.mails.push(mail);
        return Promise.resolve();
      },
      trusted: [certificate],
      allowLoopback: true,
      ...init,
    });
    await reporter.start();
    return reporter;
  }

  pass(ms: number): Promise<void> {
    return this.clock.pass(ms);
  }
}

Deno.test("The report of a day goes out once, within four hours after it", async () => {
  const world = new World();
  const reporter = await world.start();
  reporter.add(STS);
  await world.pass(DAY / 2 + 3_600_000);
  assertEquals(world.asked, []);
  reporter.add({ ...STS, destination: "other.test" });
  await world.pass(2 * 3_600_000);
  assertEquals(world.asked, ["_smtp._tls.dest.test"]);
  const [mail] = world.mails;
  assertEquals([mail?.from, mail?.to], ["tls@near.test", "tls@taker.test"]);
  await world.pass(3 * 3_600_000);
  assertEquals(world.mails.length, 1);
  await reporter.stop();
});

Deno.test("A domain without a record gets no report", async () => {
  const world = new World();
  const reporter = await world.start();
  for (const texts of [[], ["v=spf1 -all"], ["v=TLSRPTv1"]]) {
    world.texts = texts;
    reporter.add(STS);
    await world.pass(DAY);
  }
  assertEquals([world.asked.length, world.mails.length], [3, 0]);
  assertEquals(world.warnings, []);
  await reporter.stop();
});

Deno.test("A report that fails is tried again for a day, then dropped", async () => {
  const world = new World();
  const reporter = await world.start();
  reporter.add(STS);
  world.texts = "failed";
  await world.pass(DAY / 2 + 3 * 3_600_000);
  world.texts = ["v=TLSRPTv1; rua=mailto:tls@taker.test"];
  world.isRefused = true;
  await world.pass(3_600_000);
  assert(world.asked.length >= 2);
  world.isRefused = false;
  await world.pass(6 * 3_600_000);
  assertEquals(world.mails.length, 1);
  world.isRefused = true;
  reporter.add(STS);
  await world.pass(3 * DAY);
  assertMatch(world.warnings[0]!, /"dest\.test".*No room/);
  const tries = world.asked.length;
  world.isRefused = false;
  await world.pass(DAY);
  assertEquals([world.asked.length, world.mails.length], [tries, 1]);
  await reporter.stop();
});

Deno.test("Counts survive a restart, and files that cannot be read are set aside", async () => {
  await using folder = await TestFolder.create();
  const place = { folder: `${folder.path}/tlsrpt` };
  const world = new World();
  const first = await world.start(place);
  first.add(STS);
  await first.stop();
  assertEquals(await folder.files(), ["tlsrpt/2026-11-30.json"]);
  await folder.write("tlsrpt/2026-11-29.json", "{");
  await folder.write("tlsrpt/2026-11-28.json", '{"version":1,"day":"x"}');
  const second = await world.start(place);
  second.add(STS);
  await world.pass(DAY);
  assertEquals(world.mails.length, 1);
  assertEquals(world.warnings.length, 2);
  await second.stop();
  assertEquals(await folder.files(), [
    "tlsrpt/2026-11-28.json.damaged",
    "tlsrpt/2026-11-29.json.damaged",
  ]);
});

Deno.test("A report is posted over HTTPS, and a redirect is not followed", async () => {
  const posts: string[] = [];
  let status = 307;
  const server = Deno.serve({
    ...{ hostname: "127.0.0.1", port: 0, onListen: () => {} },
    ...{ cert: certificate.toPem(), key: certificate.keyPem() },
  }, async (request) => {
    const { method, headers } = request;
    const body = request.body!.pipeThrough(new DecompressionStream("gzip"));
    const report = await new Response(body).json();
    const type = headers.get("content-type");
    posts.push(`${method} ${type} ${report["contact-info"]}`);
    return new Response(null, { status, headers: { location: "/other" } });
  });
  const { port } = server.addr as Deno.NetAddr;
  const world = new World();
  world.texts = [`v=TLSRPTv1; rua=https://${HOST}:${port}/x`];
  const reporter = await world.start();
  reporter.add(STS);
  await world.pass(DAY / 2 + 2 * 3_600_000);
  assertEquals(posts.length, 1);
  status = 201;
  await world.pass(16 * 60_000);
  const want = "POST application/tlsrpt+gzip tls@near.test";
  assertEquals(posts, [want, want]);
  await world.pass(DAY);
  assertEquals([posts.length, world.warnings.length], [2, 0]);
  await reporter.stop();
  await server.shutdown();
});
