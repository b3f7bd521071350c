/**
 * The checks of mail from outside, by a client on a socket: what the field says,
 * what is removed, what is refused and what is not, and what a handler sees.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { SILENT_ALLOW, SmtpReply } from "../../mod.ts";
import type { LogRecord } from "../../lib/log.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import type { SmtpHandlers } from "../../lib/session/handlers.ts";
import type { VerifyOptions } from "../../lib/session/verify_options.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { testDns } from "../../lib/testing/mod.ts";
import { type DnsTable, tableResolver } from "../support/dns.ts";
import { TestClient } from "../support/server.ts";

/** The zone of the senders in these tests. */
const ZONE: DnsTable = {
  "TXT good.test": [["v=spf1 ip4:127.0.0.1 -all"]],
  "TXT _dmarc.good.test": [["v=DMARC1; p=reject"]],
  "TXT bad.test": [["v=spf1 -all"]],
  "TXT _dmarc.bad.test": [["v=DMARC1; p=reject"]],
  "TXT quiet.test": [["v=spf1 -all"]],
  "TXT _dmarc.quiet.test": [["v=DMARC1; p=quarantine"]],
  "TXT dead.test": new Error("Broken pipe"),
  "TXT _dmarc.dead.test": new Error("Broken pipe"),
};

/** A server that checks mail, what it kept, and its log. */
interface Verifier extends AsyncDisposable {
  readonly server: SmtpServer;
  readonly store: MemoryStore;
  readonly records: LogRecord[];
  /** Questions that were sent, as `"TXT good.test."`. */
  readonly asked: string[];
}

async function startVerifier(
  verify: VerifyOptions | boolean,
  options: SmtpServerOptions & { zone?: DnsTable } = {},
): Promise<Verifier> {
  const store = new MemoryStore();
  const records: LogRecord[] = [];
  const { zone = ZONE, ...others } = options;
  const { resolver, asked } = tableResolver(zone);
  const server = new SmtpServer({
    listen: "127.0.0.1:0",
    hostname: "mx.test",
    store,
    log: (record) => records.push(record),
    dns: testDns(resolver, { nameServers: ["192.0.2.53"] }),
    verify: typeof verify === "boolean" ? verify : { exempt: [], ...verify },
    ...others,
  });
  await server.start();
  return {
    ...{ server, store, records },
    get asked() {
      return asked.map((line) => line.split(" @")[0]!);
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Sends one message; gives the reply to its content. */
async function send(
  { server }: Verifier,
  message: {
    readonly from: string;
    /** The header beside From, with line ends. */
    readonly header?: string;
    readonly author?: string;
  },
): Promise<string> {
  const { from, header = "", author = from } = message;
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    [`MAIL FROM:<${from}>`, "250"],
    ["RCPT TO:<ann@home.test>", "250"],
    ["DATA", "354"],
  );
  return await client.say(
    `${header}From: <${author}>\r\nSubject: Hello\r\n\r\nHello\r\n.`,
  );
}

/** The fields of the kept message, unfolded, by name. */
function fields(
  { store }: Verifier,
  name: string,
): readonly string[] {
  const text = store.messages.at(-1)!.text;
  const block = text.split("\r\n\r\n")[0]!.replaceAll(/\r\n[ \t]+/g, " ");
  return block.split("\r\n").filter((line) =>
    line.toLowerCase().startsWith(`${name.toLowerCase()}:`)
  );
}

Deno.test("A message from outside gets a field with the results on top", async () => {
  await using verifier = await startVerifier(true);
  // Loopback is exempt where nothing else is said.
  assertMatch(await send(verifier, { from: "eve@good.test" }), /^250 /);
  assertEquals(fields(verifier, "Authentication-Results"), []);
  assertEquals(verifier.asked, []);

  await using checking = await startVerifier({});
  assertMatch(await send(checking, { from: "eve@good.test" }), /^250 /);
  const [field, ...more] = fields(checking, "Authentication-Results");
  assertEquals(more, []);
  assertMatch(field!, /^Authentication-Results: mx\.test;/);
  assertMatch(field!, /spf=pass .*smtp\.mailfrom="?eve@good\.test/);
  assertMatch(field!, /dmarc=pass .*header\.from=good\.test/);
  assertMatch(field!, /dkim=none/);
  const text = checking.store.messages[0]!.text;
  assert(text.startsWith("Authentication-Results: mx.test;"));
  const record = checking.records.find(({ event }) => event === "message");
  const { spf, dkim, dmarc, arc } = record!.fields!;
  assertEquals({ spf, dkim, dmarc, arc }, {
    ...{ spf: "pass", dkim: "none", dmarc: "pass", arc: "none" },
  });
});

Deno.test("Fields that bear our name are removed before a handler sees them", async () => {
  const seen: (string | undefined)[] = [];
  await using verifier = await startVerifier({}, {
    handlers: {
      onHeaders: (_session, _message, headers) => {
        seen.push(headers.get("Authentication-Results"));
      },
    },
  });
  const header = "Authentication-Results: MX.Test (forged);\r\n dkim=pass\r\n" +
    "authentication-results : mx.test 1; spf=pass\r\n" +
    "Authentication-Results: other.test; dkim=pass header.d=kept.test\r\n";
  await send(verifier, { from: "eve@good.test", header });
  const found = fields(verifier, "Authentication-Results");
  assertEquals(found.length, 2);
  assertMatch(found[0]!, /^Authentication-Results: mx\.test;/);
  assertEquals(
    found[1],
    "Authentication-Results: other.test; dkim=pass header.d=kept.test",
  );
  assertMatch(seen[0]!, /^other\.test/);
});

Deno.test("A policy of reject refuses where it is enforced, and only there", async () => {
  await using reporting = await startVerifier({});
  assertMatch(await send(reporting, { from: "eve@bad.test" }), /^250 /);
  const [field] = fields(reporting, "Authentication-Results");
  assertMatch(field!, /spf=fail/);
  assertMatch(field!, /dmarc=fail/);

  await using enforcing = await startVerifier({ dmarc: "enforce" });
  assertEquals(
    await send(enforcing, { from: "eve@bad.test" }),
    '550 5.7.1 Message fails DMARC: the policy of "bad.test" is reject',
  );
  assertEquals(enforcing.store.messages, []);
  const refused = enforcing.records.find(({ event }) => event === "refused");
  assertEquals(refused?.fields?.["dmarc"], "fail");
  // A pass for another domain than the author's is no pass.
  const stolen = { from: "eve@good.test", author: "ceo@bad.test" };
  assertMatch(await send(enforcing, stolen), /^550 5\.7\.1 /);
  assertMatch(await send(enforcing, { from: "eve@quiet.test" }), /^250 /);
  assertMatch(await send(enforcing, { from: "eve@good.test" }), /^250 /);
  const unknown = { from: "eve@good.test", author: "eve@nowhere.test" };
  assertMatch(await send(enforcing, unknown), /^250 /);
});

Deno.test("A handler sees the results, and overrules a refusal by accepting expressly", async () => {
  const results: string[] = [];
  const cases: readonly [NonNullable<SmtpHandlers["onMessage"]>, RegExp][] = [
    [(_session, { authentication }) => {
      results.push(authentication!.dmarc.result);
    }, /^550 /],
    [() => true, /^250 /],
    [
      () => new SmtpReply(250, "Kept", { enhanced: "2.0.0" }),
      /^250 2.0.0 Kept/,
    ],
    [(session) => {
      session.send("250 2.0.0 Said\r\n");
      return SILENT_ALLOW;
    }, /^250 2.0.0 Said/],
    [() => false, /^554 /],
  ];
  for (const [onMessage, want] of cases) {
    await using verifier = await startVerifier({ dmarc: "enforce" }, {
      handlers: { onMessage },
    });
    assertMatch(await send(verifier, { from: "eve@bad.test" }), want);
  }
  assertEquals(results, ["fail"]);
});

Deno.test("An answer that does not come loses no mail, and defers where that is wanted", async () => {
  await using accepting = await startVerifier({ dmarc: "enforce" });
  assertMatch(await send(accepting, { from: "eve@dead.test" }), /^250 /);
  const [field] = fields(accepting, "Authentication-Results");
  assertMatch(field!, /spf=temperror/);
  assertMatch(field!, /dmarc=temperror/);

  await using deferring = await startVerifier({ onTemporary: "defer" });
  assertMatch(
    await send(deferring, { from: "eve@dead.test" }),
    /^451 4\.7\.24 /,
  );
  const author = "eve@dead.test";
  assertMatch(
    await send(deferring, { from: "eve@bad.test", author }),
    /^451 4\.7\.0 /,
  );
});

Deno.test("A dead DNS holds a message no longer than its time", async () => {
  const zone: DnsTable = {
    "TXT slow.test": "silence",
    "TXT _dmarc.slow.test": "silence",
    "TXT s1._domainkey.slow.test": "silence",
  };
  await using verifier = await startVerifier({ timeoutMs: 50 }, { zone });
  const header = "DKIM-Signature: v=1; a=rsa-sha256; d=slow.test; s=s1;\r\n" +
    " c=relaxed/relaxed; h=from:subject; bh=AAAA; b=AAAA\r\n";
  assertMatch(await send(verifier, { from: "eve@slow.test", header }), /^250 /);
  const [field] = fields(verifier, "Authentication-Results");
  assertMatch(field!, /spf=temperror/);
  assertMatch(field!, /dmarc=temperror/);
});

Deno.test("Mail of a logged-in client is not checked, and keeps its own fields out", async () => {
  await using verifier = await startVerifier({ dmarc: "enforce" }, {
    accounts: new AccountList({ ann: "secret" }),
    allowInsecureAuth: true,
  });
  using client = await TestClient.connect(verifier.server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    ["AUTH PLAIN AGFubgBzZWNyZXQ=", "235"],
    ["MAIL FROM:<ann@bad.test>", "250"],
    ["RCPT TO:<bob@home.test>", "250"],
    ["DATA", "354"],
  );
  const reply = await client.say("From: <ann@bad.test>\r\n\r\nHello\r\n.");
  assertMatch(reply, /^250 /);
  assertEquals(fields(verifier, "Authentication-Results"), []);
  assertEquals(verifier.asked, []);
});

Deno.test("A handler may ask for SPF, with and without verify, and the DNS is asked once", async () => {
  for (const verify of [false, true]) {
    const results: string[] = [];
    await using verifier = await startVerifier(verify && {}, {
      handlers: {
        async onMailFrom(session) {
          results.push((await session.checkSpf()).result);
        },
        async onRcptTo(session) {
          const { result, identity, domain } = await session.checkSpf();
          results.push(`${result} ${identity} ${domain}`);
        },
      },
    });
    await send(verifier, { from: "eve@bad.test" });
    assertEquals(results, ["fail", "fail mailfrom bad.test"]);
    const asked = verifier.asked.filter((one) => one === "TXT bad.test.");
    assertEquals(asked.length, 1);
  }
});

Deno.test("Without a transaction SPF cannot be asked", async () => {
  const errors: unknown[] = [];
  await using verifier = await startVerifier(false, {
    handlers: {
      async onHelo(session) {
        await session.checkSpf().catch((error) => errors.push(error));
      },
    },
  });
  await send(verifier, { from: "eve@good.test" });
  assert(errors[0] instanceof TypeError);
});

/** The zone of a client that wants to use up what a message may ask and wait. */
function costly(name: string): DnsTable {
  const hosts = Array.from({ length: 10 }, (_, at) => at);
  const terms = hosts.map((at) => `mx:m${at}.${name}`).join(" ");
  const zone: Record<string, DnsTable[string]> = {
    [`TXT ${name}`]: [[`v=spf1 ${terms} -all`]],
  };
  for (const at of hosts) {
    zone[`MX m${at}.${name}`] = hosts.map((one) => ({
      ...{ preference: one, exchange: `h${one}.m${at}.${name}.` },
    }));
    for (const one of hosts) {
      zone[`A h${one}.m${at}.${name}`] = ["192.0.2.7"];
    }
  }
  return zone;
}

Deno.test("A client that uses up questions does not escape the author's policy", async () => {
  const zone = { ...ZONE, ...costly("client.test"), ...costly("own.test") };
  await using verifier = await startVerifier({ dmarc: "enforce" }, { zone });
  for (const from of ["eve@own.test", "ceo@bad.test"]) {
    const stolen = { from, author: "ceo@bad.test" };
    assertMatch(await send(verifier, stolen), /^550 5\.7\.1 /);
  }
});

Deno.test("A client whose DNS is slow does not escape the author's policy", async () => {
  const zone: DnsTable = { ...ZONE, "TXT own.test": "silence" };
  const verify = { dmarc: "enforce", timeoutMs: 400 } as const;
  await using verifier = await startVerifier(verify, { zone });
  const stolen = { from: "eve@own.test", author: "ceo@bad.test" };
  assertMatch(await send(verifier, stolen), /^550 5\.7\.1 /);
});

Deno.test("A handler may ask for SPF first when the checks without it are over", async () => {
  const results: string[] = [];
  await using verifier = await startVerifier({ spf: false }, {
    handlers: {
      async onMessage(session) {
        results.push((await session.checkSpf()).result);
      },
    },
  });
  assertMatch(await send(verifier, { from: "eve@bad.test" }), /^250 /);
  assertEquals(results, ["fail"]);
});

Deno.test("A server says at its start that a check which is off makes DMARC refuse good mail", async () => {
  const warnings = async (verify: boolean | VerifyOptions) => {
    const records: LogRecord[] = [];
    await using server = new SmtpServer({
      ...{ verify, listen: [{ host: "127.0.0.1", port: 0 }] },
      store: new MemoryStore(),
      log: (record) => records.push(record),
    });
    await server.start();
    return records.filter(({ level }) => level === "warn")
      .map(({ message }) => message);
  };
  const text = (check: string) =>
    `verify.${check} is false and verify.dmarc is "enforce": good mail that passes DMARC by ${check.toUpperCase()} alone is refused`;
  const dmarc = "enforce";
  assertEquals(await warnings({ dmarc, spf: false }), [text("spf")]);
  assertEquals(await warnings({ dmarc, dkim: false }), [text("dkim")]);
  for (
    const verify of [true, { dmarc }, { spf: false }, { dkim: false }] as const
  ) assertEquals(await warnings(verify), []);
});
