/**
 * The checks of mail from outside on every path that content, a session and an
 * address may take: nothing goes from one message to the next, nothing is checked
 * that has logged in, and no spelling of our name passes.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import type { VerifyOptions } from "../../lib/session/verify_options.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { testDns } from "../../lib/testing/mod.ts";
import { DkimPrivateKey, signDkim } from "../../lib/trust/mod.ts";
import { type DnsTable, tableResolver } from "../support/dns.ts";
import { TestClient } from "../support/server.ts";
import { bytesOf } from "../support/bytes.ts";

const KEY = await DkimPrivateKey.generate("ed25519");
const ZONE: DnsTable = {
  "TXT good.test": [["v=spf1 ip4:127.0.0.1 ip4:192.0.2.7 -all"]],
  "TXT _dmarc.good.test": [["v=DMARC1; p=reject"]],
  "TXT bad.test": [["v=spf1 -all"]],
  "TXT _dmarc.bad.test": [["v=DMARC1; p=reject"]],
  "TXT dead.test": new Error("Broken pipe"),
  "TXT helo.test": [["v=spf1 ip4:127.0.0.1 -all"]],
  "TXT s1._domainkey.signed.test": [[KEY.record]],
  "TXT _dmarc.signed.test": [["v=DMARC1; p=reject"]],
  "TXT dead._domainkey.good.test": new Error("Broken pipe"),
};

async function startVerifier(
  verify: VerifyOptions | false,
  options: SmtpServerOptions & { zone?: DnsTable } = {},
) {
  const store = new MemoryStore();
  const records: LogRecord[] = [];
  const { zone = ZONE, ...others } = options;
  const { resolver, asked } = tableResolver(zone);
  const server = new SmtpServer({
    listen: "127.0.0.1:0",
    hostname: "mx.test",
    store,
    log: (record) => records.push(record),
    dns: testDns(resolver, { nameServers: ["192.0.2.53"], cacheSize: 0 }),
    verify: verify && { exempt: [], ...verify },
    ...others,
  });
  await server.start();
  return {
    ...{ server, store, records },
    questions: () => asked.map((line) => line.split(" @")[0]!),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

type Verifier = Awaited<ReturnType<typeof startVerifier>>;

async function connect(
  { server }: Verifier,
  hello = "EHLO client.test",
): Promise<TestClient> {
  const client = await TestClient.connect(server);
  await client.reply();
  if (hello !== "") await client.expect([hello, "250"]);
  return client;
}

/** Sends one message in a session; gives the reply to its content. */
async function send(
  client: TestClient,
  from: string,
  content = `From: <${from}>\r\nSubject: Hello\r\n\r\nHello\r\n`,
  to: readonly string[] = ["ann@home.test"],
): Promise<string> {
  await client.expect([`MAIL FROM:<${from}>`, "250"]);
  for (const one of to) await client.expect([`RCPT TO:<${one}>`, "250"]);
  await client.expect(["DATA", "354"]);
  return await client.say(`${content}.`);
}

/** The results in the newest kept message, the first of each method, as `{ spf: "pass", ... }`. */
function results({ store }: Verifier): Record<string, string> {
  const { text } = store.messages.at(-1)!;
  const block = text.split("\r\n\r\n")[0]!.replaceAll(/\r\n[ \t]+/g, " ");
  const field =
    block.split("\r\n").find((line) =>
      line.startsWith("Authentication-Results: ")
    ) ?? "";
  const found = field.matchAll(/; (spf|dkim|dmarc|arc)=([a-z]+)/g);
  return Object.fromEntries(
    [...found].map((one) => [one[1]!, one[2]!]).reverse(),
  );
}

const PLAIN = "From: Ann <ann@signed.test>\r\nTo: <bob@home.test>\r\n" +
  "Subject: Signed\r\n\r\nHello,\r\n\r\n\r\n  world \r\n\r\n";
const SIGNED = await signDkim(bytesOf(PLAIN), {
  domain: "signed.test",
  selector: "s1",
  key: KEY,
}) + PLAIN;

Deno.test("A signature holds however BDAT cuts the message", async () => {
  await using verifier = await startVerifier({ dmarc: "enforce" });
  using client = await connect(verifier);
  const headerEnd = SIGNED.indexOf("\r\n\r\n");
  const cuts: readonly (readonly number[])[] = [
    [],
    [1, 2, 3],
    [headerEnd, headerEnd + 1, headerEnd + 2, headerEnd + 3, headerEnd + 4],
    [headerEnd - 1, headerEnd + 5, SIGNED.length - 1],
    Array.from({ length: SIGNED.length - 1 }, (_, at) => at + 1),
  ];
  for (const places of cuts) {
    await client.expect(
      ["MAIL FROM:<ann@signed.test>", "250"],
      ["RCPT TO:<bob@home.test>", "250"],
    );
    let from = 0;
    let reply = "";
    for (const at of [...places, SIGNED.length]) {
      const chunk = SIGNED.slice(from, at);
      const last = at === SIGNED.length ? " LAST" : "";
      await client.send(`BDAT ${chunk.length}${last}\r\n${chunk}`);
      reply = await client.reply();
      assertMatch(reply, /^250 /);
      from = at;
    }
    const { dkim, dmarc } = results(verifier);
    assertEquals({ dkim, dmarc }, { dkim: "pass", dmarc: "pass" }, reply);
  }
  // An empty last chunk, behind all of the content.
  await client.expect(
    ["MAIL FROM:<ann@signed.test>", "250"],
    ["RCPT TO:<bob@home.test>", "250"],
  );
  await client.send(`BDAT ${SIGNED.length}\r\n${SIGNED}`);
  assertMatch(await client.reply(), /^250 /);
  assertMatch(await client.say("BDAT 0 LAST"), /^250 /);
  assertEquals(results(verifier).dkim, "pass");
});

Deno.test("Pipelined transactions of a session have results of their own", async () => {
  await using verifier = await startVerifier({});
  using client = await connect(verifier);
  const senders = [
    ...["eve@good.test", "eve@bad.test", "eve@good.test", "eve@dead.test"],
    ...["eve@good.test", "ann@signed.test", "eve@bad.test"],
  ];
  await client.send(
    senders.map((from) => {
      const text = from === "ann@signed.test"
        ? SIGNED
        : `From: <${from}>\r\n\r\nHello\r\n`;
      return `MAIL FROM:<${from}>\r\nRCPT TO:<ann@home.test>\r\n` +
        `BDAT ${text.length} LAST\r\n${text}`;
    }).join(""),
  );
  for (const from of senders) {
    for (let count = 0; count < 3; count++) {
      assertMatch(await client.reply(), /^250 /, from);
    }
  }
  const seen = verifier.records.filter(({ event }) => event === "message")
    .map(({ fields }) => `${fields!.from} ${fields!.spf} ${fields!.dkim}`);
  assertEquals(seen, [
    "eve@good.test pass none",
    "eve@bad.test fail none",
    "eve@good.test pass none",
    "eve@dead.test temperror none",
    "eve@good.test pass none",
    "ann@signed.test none pass",
    "eve@bad.test fail none",
  ]);
});

Deno.test("A message that is dropped does not spoil the checks of the next from the same sender", async () => {
  let isSlow = true;
  const slow = ["TXT bad.test.", "TXT good.test."];
  const { resolver } = tableResolver(ZONE);
  const dns = testDns((name, type, options) => {
    if (!isSlow || !slow.includes(`${type} ${name}`)) {
      return resolver(name, type, options);
    }
    const { promise, reject } = Promise.withResolvers<never>();
    const { signal } = options;
    signal!.addEventListener("abort", () => reject(signal!.reason));
    return promise;
  }, { nameServers: ["192.0.2.53"] });
  await using verifier = await startVerifier({ dmarc: "enforce" }, { dns });
  for (const [from, want] of [["eve@bad.test", /^550 5\.7\.1 /]] as const) {
    using client = await connect(verifier);
    for (const end of ["RSET", "EHLO client.test"]) {
      isSlow = true;
      await client.expect(
        [`MAIL FROM:<${from}>`, "250"],
        ["RCPT TO:<ann@home.test>", "250"],
      );
      await client.send("BDAT 12\r\nFrom: <e@x>\n");
      await client.reply();
      await client.expect([end, "250"]);
      isSlow = false;
      assertMatch(await send(client, from), want, end);
    }
  }
  // Nor does one that was refused after its checks.
  using client = await connect(verifier);
  const content = SIGNED.replace("  world", "  other");
  assertMatch(await send(client, "eve@bad.test", content), /^550 /);
  assertMatch(await send(client, "eve@bad.test", SIGNED), /^250 /);
  assertEquals(results(verifier).dkim, "pass");
});

Deno.test("A connection that drops in the content leaves nothing behind", async () => {
  const zone: DnsTable = { ...ZONE, "TXT slow.test": "silence" };
  await using verifier = await startVerifier({}, { zone });
  const client = await connect(verifier);
  await client.expect(
    ["MAIL FROM:<eve@slow.test>", "250"],
    ["RCPT TO:<ann@home.test>", "250"],
    ["DATA", "354"],
  );
  await client.send(SIGNED.slice(0, SIGNED.length - 3));
  client.close();
  using next = await connect(verifier);
  assertMatch(await send(next, "eve@good.test"), /^250 /);
  assertEquals(results(verifier).spf, "pass");
  assertEquals(verifier.store.messages.length, 1);
});

Deno.test("SPF is asked once a transaction, and again in the next one", async () => {
  for (const verify of [false, {}] as const) {
    const seen: string[] = [];
    await using verifier = await startVerifier(verify, {
      handlers: {
        async onMailFrom(session) {
          seen.push((await session.checkSpf()).result);
        },
        async onRcptTo(session) {
          seen.push((await session.checkSpf()).result);
        },
        async onMessage(session) {
          seen.push((await session.checkSpf()).result);
        },
      },
    });
    const asked = () =>
      verifier.questions().filter((one) => one === "TXT bad.test.").length;
    using client = await connect(verifier);
    await send(client, "eve@bad.test");
    assertEquals(asked(), 1);
    await send(client, "eve@bad.test");
    assertEquals(asked(), 2);
    await send(client, "eve@good.test");
    assertEquals(seen, [...Array(6).fill("fail"), ...Array(3).fill("pass")]);
  }
});

Deno.test("Only onRcptTo asks: the result is that of this transaction", async () => {
  const seen: string[] = [];
  await using verifier = await startVerifier(false, {
    handlers: {
      async onRcptTo(session) {
        seen.push((await session.checkSpf()).domain);
      },
    },
  });
  using client = await connect(verifier);
  await send(client, "eve@bad.test");
  await send(client, "eve@bad.test");
  await send(client, "eve@good.test");
  assertEquals(seen, ["bad.test", "bad.test", "good.test"]);
  assertEquals(verifier.questions(), [
    ...["TXT bad.test.", "TXT bad.test.", "TXT good.test."],
  ]);
});

Deno.test("A null sender is checked by its HELO, and a new HELO anew", async () => {
  await using verifier = await startVerifier({});
  using client = await connect(verifier, "EHLO helo.test");
  const bounce = "From: <postmaster@helo.test>\r\n\r\nHello\r\n";
  await send(client, "", bounce);
  assertEquals(results(verifier).spf, "pass");
  await client.expect(["HELO bad.test", "250"]);
  await send(client, "", bounce);
  assertEquals(results(verifier).spf, "fail");
});

Deno.test("The real client's address is checked behind PROXY and XCLIENT", async () => {
  await using proxied = await startVerifier({ exempt: ["127.0.0.0/8"] }, {
    proxyProtocol: ["127.0.0.1"],
  });
  for (
    const [address, want] of [
      ["192.0.2.7", "pass"],
      ["192.0.2.8", "fail"],
      ["127.0.0.9", undefined],
    ] as const
  ) {
    using client = await TestClient.connect(proxied.server);
    await client.send(`PROXY TCP4 ${address} 192.0.2.25 4000 25\r\n`);
    await client.reply();
    await client.expect(["EHLO client.test", "250"]);
    await send(client, "eve@good.test");
    assertEquals(results(proxied).spf, want, address);
  }
  await using named = await startVerifier({ exempt: ["127.0.0.1"] }, {
    xclient: ["127.0.0.1"],
  });
  using client = await connect(named);
  await send(client, "eve@good.test");
  assertEquals(results(named).spf, undefined);
  for (
    const [attributes, want] of [
      ["ADDR=192.0.2.7 NAME=x.test", "pass"],
      ["ADDR=192.0.2.8", "fail"],
      ["ADDR=127.0.0.1", undefined],
      ["ADDR=192.0.2.8 LOGIN=ann", undefined],
    ] as const
  ) {
    using client = await connect(named);
    await client.expect(
      [`XCLIENT ${attributes}`, "220"],
      ["EHLO client.test", "250"],
    );
    await send(client, "eve@good.test");
    assertEquals(results(named).spf, want, attributes);
  }
});

Deno.test("LMTP, submission and mail after a login are never checked", async () => {
  for (const kind of ["lmtp", "submission"] as const) {
    await using verifier = await startVerifier({ dmarc: "enforce" }, {
      listen: { port: 0, host: "127.0.0.1", kind, authentication: "none" },
    });
    const hello = kind === "lmtp" ? "LHLO client.test" : "EHLO client.test";
    using client = await connect(verifier, hello);
    assertMatch(await send(client, "eve@bad.test"), /^250 /);
    assertEquals(results(verifier), {});
    assertEquals(verifier.questions(), []);
  }
  await using verifier = await startVerifier({ dmarc: "enforce" }, {
    accounts: new AccountList({ ann: "secret" }),
    allowInsecureAuth: true,
  });
  using client = await connect(verifier);
  // The same session, before and after.
  assertMatch(await send(client, "ann@bad.test"), /^550 5\.7\.1 /);
  const asked = verifier.questions().length;
  await client.expect(["AUTH PLAIN AGFubgBzZWNyZXQ=", "235"]);
  assertMatch(await send(client, "ann@bad.test"), /^250 /);
  assertEquals(results(verifier), {});
  assertEquals(verifier.questions().length, asked);
});

Deno.test("A reload of verify counts for later sessions, none is torn", async () => {
  await using verifier = await startVerifier(false);
  const { server } = verifier;
  using before = await connect(verifier);
  await send(before, "eve@bad.test");
  assertEquals(results(verifier), {});
  await server.reload({ verify: { exempt: [], dmarc: "enforce" } });
  assertMatch(await send(before, "eve@bad.test"), /^250 /);
  assertEquals(results(verifier), {});
  using enforced = await connect(verifier);
  await enforced.expect(
    ["MAIL FROM:<eve@bad.test>", "250"],
    ["RCPT TO:<ann@home.test>", "250"],
    ["DATA", "354"],
  );
  await server.reload({ verify: { exempt: [] } });
  assertMatch(
    await enforced.say("From: <eve@bad.test>\r\n\r\nHello\r\n."),
    /^550 5\.7\.1 /,
  );
  using reported = await connect(verifier);
  assertMatch(await send(reported, "eve@bad.test"), /^250 /);
  assertEquals(results(verifier).dmarc, "fail");
  await server.reload({ verify: false });
  using off = await connect(verifier);
  await send(off, "eve@bad.test");
  assertEquals(results(verifier), {});
});

Deno.test("A header block of over 256 KiB is refused, and the session goes on", async () => {
  await using verifier = await startVerifier({});
  using client = await connect(verifier);
  const long = `X-Long: ${"x".repeat(70)}\r\n`.repeat(3_400);
  const content = `From: <e@good.test>\r\n${long}\r\nHello\r\n`;
  assertMatch(await send(client, "eve@good.test", content), /^5\d\d /);
  assertMatch(await send(client, "eve@good.test"), /^250 /);
  assertEquals(results(verifier).spf, "pass");
});

Deno.test("Of ten thousand signatures ten are looked at", async () => {
  await using verifier = await startVerifier({});
  using client = await connect(verifier);
  const fields = Array.from(
    { length: 2_000 },
    (_, at) =>
      `DKIM-Signature: v=1;a=ed25519-sha256;d=s${at}.test;s=s;h=from;bh=AAAA;b=AAAA\r\n`,
  ).join("") + "DKIM-Signature:v=1\r\n".repeat(5_000) +
    "ARC-Seal:i=1\r\n".repeat(600);
  const content = `${fields}From: <eve@good.test>\r\n\r\nHello\r\n`;
  assert(content.length < 256 * 1024);
  assertMatch(await send(client, "eve@good.test", content), /^250 /);
  const keys = verifier.questions().filter((one) => /_domainkey/.test(one));
  assert(keys.length <= 10);
  assertEquals(results(verifier).spf, "pass");
});

Deno.test("What a handler changes does not change the results, and the field stays on top", async () => {
  await using edited = await startVerifier({ dmarc: "enforce" }, {
    handlers: {
      onHeaders: (_session, _message, headers) => {
        headers.set("Subject", "Other");
        headers.remove("DKIM-Signature");
        headers.prepend("X-First", "1");
      },
      onMessage: (_session, message) => {
        message.headers.set("From", "<eve@elsewhere.test>");
        message.prepend("X-Top", "1");
      },
    },
  });
  using one = await connect(edited);
  assertMatch(await send(one, "ann@signed.test", SIGNED), /^250 /);
  assertEquals(results(edited).dkim, "pass");
  assertEquals(results(edited).dmarc, "pass");
  // Only what the program has put on top stands above it.
  const { text } = edited.store.messages[0]!;
  const names = text.split("\r\n\r\n")[0]!.match(/^[\w-]+(?=:)/gm)!;
  const at = names.indexOf("Authentication-Results");
  assert(names.slice(0, at).every((name) => name === "X-Top"), `${names}`);

  // A new content made from the old one has its trace fields.
  await using replaced = await startVerifier({ dmarc: "enforce" }, {
    handlers: {
      onMessage: async (_session, message) => {
        const text = await message.text();
        await message.replace(text.replace(/^From: .*$/m, "From: <x@y.test>"));
        assertEquals(message.authentication?.spf.identity, "mailfrom");
      },
    },
  });
  using two = await connect(replaced);
  assertMatch(await send(two, "ann@signed.test", SIGNED), /^250 /);
  assertEquals(results(replaced).dkim, "pass");
  assert(replaced.store.messages[0]!.text.includes("From: <x@y.test>"));
  // A replaced author does not escape the policy of the one that came.
  assertMatch(await send(two, "eve@bad.test"), /^550 5\.7\.1 /);
});

Deno.test("A handler that throws does not spoil the next message", async () => {
  for (const name of ["onMailFrom", "onHeaders", "onMessage"] as const) {
    let isBroken = true;
    await using verifier = await startVerifier({ dmarc: "enforce" }, {
      handlers: {
        [name]: () => {
          if (isBroken) throw new Error("A fault of the program");
        },
      },
    });
    using client = await connect(verifier);
    await client.send("MAIL FROM:<eve@bad.test>\r\n");
    const first = await client.reply();
    if (name === "onMailFrom") assertMatch(first, /^451 /);
    else {
      await client.expect(["RCPT TO:<ann@home.test>", "250"], ["DATA", "354"]);
      const reply = await client.say("From: <eve@bad.test>\r\n\r\nHello\r\n.");
      assertMatch(reply, /^451 /);
    }
    isBroken = false;
    assertMatch(await send(client, "eve@bad.test"), /^550 5\.7\.1 /, name);
    assertMatch(await send(client, "ann@signed.test", SIGNED), /^250 /, name);
    assertEquals(results(verifier).dkim, "pass");
  }
});

Deno.test("What has no answer is deferred with the status of what was asked", async () => {
  await using verifier = await startVerifier({ onTemporary: "defer" }, {
    zone: { ...ZONE, "TXT _dmarc.lost.test": new Error("Broken pipe") },
  });
  using client = await connect(verifier);
  assertMatch(await send(client, "eve@dead.test"), /^451 4\.7\.24 /);
  const unsigned = "From: <eve@good.test>\r\n\r\nHello\r\n";
  const field = "DKIM-Signature: v=1; a=ed25519-sha256; d=good.test; s=dead;" +
    " h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n";
  assertMatch(
    await send(client, "eve@good.test", field + unsigned),
    /^451 4\.7\.20 /,
  );
  const lost = "From: <eve@lost.test>\r\n\r\nHello\r\n";
  assertMatch(await send(client, "eve@good.test", lost), /^451 4\.7\.0 /);
  // A signature that holds is enough.
  assertMatch(await send(client, "eve@good.test", field + SIGNED), /^250 /);
});

Deno.test("A refusal under enforce is for all recipients", async () => {
  await using verifier = await startVerifier({ dmarc: "enforce" });
  using client = await connect(verifier);
  const to = ["ann@home.test", "bob@home.test", "carl@home.test"];
  const reply = await send(client, "eve@bad.test", undefined, to);
  assertMatch(reply, /^550 5\.7\.1 /);
  assertEquals(verifier.store.messages, []);
});

Deno.test("No spelling of our name passes in an Authentication-Results field", async () => {
  const forged = [
    "Authentication-Results: mx.test; dkim=pass",
    "AUTHENTICATION-RESULTS:MX.TEST;dkim=pass",
    "Authentication-Results\t:\tMx.TeSt\t;dkim=pass",
    "Authentication-Results: (a (nested) comment) mx.test; dkim=pass",
    "Authentication-Results: (a \\) b)mx.test(c);dkim=pass",
    "Authentication-Results:\r\n mx.test;\r\n dkim=pass",
    "Authentication-Results:\r\n\t(x)\r\n\tmx.test\r\n\t; dkim=pass",
    'Authentication-Results: "mx.test"; dkim=pass',
    'Authentication-Results: "mx\\.test" 1; dkim=pass',
    "Authentication-Results: mx.test 1; dkim=pass",
    "Authentication-Results: mx.test 999999; dkim=pass",
    "Authentication-Results: mx.test/1; dkim=pass",
    "Authentication-Results: mx.test. ; dkim=pass",
    "Authentication-Results: mx . test; dkim=pass",
    "Authentication-Results: mx.test",
    "Authentication-Results: mx.test dkim=pass",
    "Authentication-Results: mx.test, other.test; dkim=pass",
    "Authentication-Results: mx.test\0; dkim=pass",
  ];
  await using verifier = await startVerifier({});
  using client = await connect(verifier);
  for (const field of forged) {
    const content = `${field}\r\nFrom: <eve@good.test>\r\n\r\nHello\r\n`;
    await send(client, "eve@good.test", content);
    const { text } = verifier.store.messages.at(-1)!;
    const found = text.match(/^Authentication-Results/gim);
    assertEquals(found?.length, 1, JSON.stringify(field));
    assert(!text.includes("dkim=pass"), JSON.stringify(field));
  }
  for (const name of ["mx.test.evil.example", "amx.test", "test", "x"]) {
    const content =
      `Authentication-Results: ${name}; dkim=pass\r\nFrom: <e@good.test>\r\n\r\n`;
    await send(client, "eve@good.test", content);
    const { text } = verifier.store.messages.at(-1)!;
    assert(text.includes(`Authentication-Results: ${name}; dkim=pass`), name);
  }
});

Deno.test("A name of the server in U-labels is known in both forms", async () => {
  await using verifier = await startVerifier({ authservId: "bücher.test" });
  using client = await connect(verifier);
  const utf8 = "b\u00c3\u00bccher.test";
  for (const name of [utf8, "xn--bcher-kva.test", "XN--BCHER-KVA.Test"]) {
    const content =
      `Authentication-Results: ${name}; dkim=pass\r\nFrom: <e@good.test>\r\n\r\n`;
    await send(client, "eve@good.test", content);
    const { text } = verifier.store.messages.at(-1)!;
    assertMatch(text, /^Authentication-Results: xn--bcher-kva\.test;/);
    assert(!text.includes("dkim=pass"), name);
  }
});
