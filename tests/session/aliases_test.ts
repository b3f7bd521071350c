/**
 * Aliases, extensions and unknown users as a client and a mailbox notice them, by
 * one thread and by two: RFC 5321 sections 3.9.1 (aliases) and 4.5.1 (postmaster).
 */

import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { SmtpError } from "../../lib/protocol/reply.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { AliasTable } from "../../lib/session/aliases.ts";
import type { SmtpHandlers } from "../../lib/session/handlers.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { TestFolder } from "../support/folder.ts";
import { startPair } from "../support/queue/relaying.ts";
import { TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

const THREADS = [0, 2];

/** Says RCPT for each address in one transaction, and gives the beginning of each reply. */
async function repliesTo(
  client: TestClient,
  addresses: readonly string[],
): Promise<Record<string, string>> {
  await client.expect(["EHLO client.test", "250-"], [
    "MAIL FROM:<a@a.test> SMTPUTF8",
    "250",
  ]);
  const replies: Record<string, string> = {};
  for (const address of addresses) {
    const line = `RCPT TO:<${address}>`;
    // The client sends one character a byte.
    const sent = String.fromCharCode(...new TextEncoder().encode(line));
    replies[address] = (await client.say(sent)).slice(0, 9);
  }
  return replies;
}

/** The recipients of the newest message of a store, with what they were. */
function newest(store: MemoryStore): string[] {
  return store.messages.at(-1)!.recipients.map(({ address, original }) =>
    original === undefined ? `${address}` : `${address}<${original}`
  );
}

const OK = "250 2.1.5";
const UNKNOWN = "550 5.1.1";

for (const threads of THREADS) {
  const by = `(${threads} threads)`;

  Deno.test(`Aliases lead to mailboxes, and out of here ${by}`, async () => {
    await using pair = await startPair({
      near: {
        threads,
        domains: ["near.test", "bücher.test"],
        recipientDelimiter: "+",
        aliases: {
          "info@near.test": ["ann@near.test", "bob@dest.test"],
          "INFO@xn--bcher-kva.test": "eve@near.test",
          "root": "ann",
          "postmaster": "root",
          '"a b"@near.test': "c@near.test",
          "both@near.test": "both@near.test, ann@near.test",
          "ann+lists@near.test": "lists@near.test",
        },
      },
      relay: { from: [] },
    });
    using client = await TestClient.connect(pair.near);
    await client.reply();
    const to = async (...addresses: string[]) => {
      const replies = await repliesTo(client, addresses);
      for (const address of addresses) assertEquals(replies[address], OK);
      assertMatch(await client.data("Subject: x\r\n"), /^250/);
      return newest(pair.nearStore);
    };
    assertEquals(await to("Info@NEAR.test"), ["ann@near.test<Info@NEAR.test"]);
    const away = await until(() => pair.farStore.messages[0]);
    assertEquals(away!.recipients.map(({ address }) => `${address}`), [
      "bob@dest.test",
    ]);
    assertEquals(await to("info+x@bücher.test"), [
      "eve@near.test<info+x@bücher.test",
    ]);
    assertEquals(await to("postmaster"), ["ann@near.test<postmaster"]);
    assertEquals(await to("root@bücher.test"), [
      "ann@bücher.test<root@bücher.test",
    ]);
    assertEquals(await to('"a b"@near.test'), ['c@near.test<"a b"@near.test']);
    assertEquals(await to('"c+d"@near.test'), [
      '"c"@near.test<"c+d"@near.test',
    ]);
    assertEquals(await to("both@near.test"), [
      "both@near.test<both@near.test",
      "ann@near.test<both@near.test",
    ]);
    assertEquals(await to("ann+shop@near.test"), [
      "ann@near.test<ann+shop@near.test",
    ]);
    assertEquals(await to("ann+lists@near.test"), [
      "lists@near.test<ann+lists@near.test",
    ]);
    assertEquals(await to("+x@near.test", "plain@near.test"), [
      "+x@near.test",
      "plain@near.test",
    ]);
  });

  Deno.test(`Unknown recipients are refused ${by}`, async () => {
    const asked: string[] = [];
    const options: Record<string, SmtpServerOptions> = {
      list: { localRecipients: ["ann@near.test", "Bob", "@all.test"] },
      function: {
        localRecipients: (address) => {
          asked.push(`${address}`);
          const { localPart, domain } = address;
          if (localPart === "down") {
            throw new SmtpError(450, "Later", { enhanced: "4.4.3" });
          }
          if (localPart === "fault") throw new TypeError("No database");
          return Promise.resolve(
            localPart === "ann" && domain === "near.test" ||
              localPart === "bob" || domain === "all.test",
          );
        },
      },
    };
    for (const [name, option] of Object.entries(options)) {
      await using pair = await startPair({
        near: {
          threads,
          domains: ["near.test", "all.test", "other.test"],
          recipientDelimiter: "+",
          aliases: {
            "rest@near.test": "gone@near.test",
            "some@near.test": ["gone@near.test", "ann@near.test"],
          },
          ...option,
        },
      });
      using client = await TestClient.connect(pair.near);
      await client.reply();
      const replies = await repliesTo(client, [
        ...["ann@near.test", "ann+x@near.test", "bob@other.test"],
        ...["any@all.test", "postmaster", "PostMaster@other.test"],
        ...["ann@other.test", "eve@near.test", "eve+ann@near.test"],
        ...["rest@near.test", "some@near.test"],
      ]);
      assertEquals(replies, {
        "ann@near.test": OK,
        "ann+x@near.test": OK,
        "bob@other.test": OK,
        "any@all.test": OK,
        "postmaster": OK,
        "PostMaster@other.test": OK,
        "ann@other.test": UNKNOWN,
        "eve@near.test": UNKNOWN,
        "eve+ann@near.test": UNKNOWN,
        "rest@near.test": UNKNOWN,
        "some@near.test": OK,
      }, name);
      await client.data("Subject: x\r\n");
      assertEquals(newest(pair.nearStore), [
        "ann@near.test",
        "bob@other.test",
        "any@all.test",
        "postmaster",
        "PostMaster@other.test",
      ]);
      const missing = await until(() =>
        pair.records.find(({ message }) =>
          message === "An alias leads to a mailbox that does not exist"
        )
      );
      assertEquals(missing!.fields?.["target"], "gone@near.test");
      if (name !== "function") continue;
      assertEquals(asked.slice(0, 3), [
        "ann@near.test",
        "ann+x@near.test",
        "ann@near.test",
      ]);
      assertEquals(
        await repliesTo(client, ["down@near.test", "fault@near.test"]),
        { "down@near.test": "450 4.4.3", "fault@near.test": "451 4.3.0" },
      );
      const fault = await until(() =>
        pair.records.find(({ level }) => level === "error")
      );
      assertStringIncludes(fault!.error!, "No database");
    }
  });
}

Deno.test("A catch-all takes what has no mailbox and no other alias", async () => {
  await using pair = await startPair({
    near: {
      domains: ["near.test", "old.test", "new.test"],
      localRecipients: ["bob@near.test", "ann@near.test", "eve@new.test"],
      recipientDelimiter: "+",
      aliases: {
        "@near.test": "ann@near.test",
        "info@near.test": "bob@near.test",
        "@old.test": "@new.test",
        "@new.test": "ann@near.test",
        "hi@new.test": "bob@near.test",
        "former@near.test": "gone@near.test",
      },
    },
  });
  using client = await TestClient.connect(pair.near);
  await client.reply();
  const to = async (address: string) => {
    assertEquals(await repliesTo(client, [address]), { [address]: OK });
    await client.data("Subject: x\r\n");
    return newest(pair.nearStore).join();
  };
  assertEquals(await to("nobody@near.test"), "ann@near.test<nobody@near.test");
  assertEquals(await to("ann@near.test"), "ann@near.test");
  assertEquals(await to("bob@near.test"), "bob@near.test");
  assertEquals(await to("bob+x@near.test"), "bob@near.test<bob+x@near.test");
  assertEquals(await to("info@near.test"), "bob@near.test<info@near.test");
  assertEquals(await to("eve@old.test"), "eve@new.test<eve@old.test");
  assertEquals(await to("hi@old.test"), "bob@near.test<hi@old.test");
  assertEquals(await to("other@old.test"), "ann@near.test<other@old.test");
  // The target of an alias is no other name of the domain.
  assertEquals(await repliesTo(client, ["former@near.test"]), {
    "former@near.test": UNKNOWN,
  });
});

Deno.test("Loops are refused and logged, and deep aliases end at ten", async () => {
  const deep = Object.fromEntries(
    Array.from({ length: 12 }, (_, at) => [`d${at}`, `d${at + 1}`]),
  );
  await using pair = await startPair({
    near: {
      domains: ["near.test"],
      aliases: {
        ...deep,
        "self@near.test": "self@near.test",
        "one": "two",
        "two": ["ann", "one@near.test"],
        "three@near.test": "three+x@near.test",
        "@near.test": "rest@near.test",
      },
      recipientDelimiter: "+",
    },
  });
  using client = await TestClient.connect(pair.near);
  await client.reply();
  assertEquals(
    await repliesTo(client, [
      ...["self@near.test", "three@near.test", "one@near.test"],
      ...["d0@near.test", "d3@near.test", "zzz@near.test"],
    ]),
    {
      "self@near.test": OK,
      "three@near.test": OK,
      "one@near.test": "554 5.4.6",
      "d0@near.test": "554 5.4.6",
      "d3@near.test": OK,
      "zzz@near.test": OK,
    },
  );
  const texts = pair.records.map(({ message }) => message);
  assertEquals(texts.includes('Alias "one" leads back to itself'), true);
  assertEquals(texts.includes('Alias "two" leads back to itself'), true);
  const refused = pair.records.find(({ fields }) =>
    fields?.["recipient"] === "one@near.test"
  );
  assertMatch(refused!.message, /lead back/);
});

Deno.test("The handler sees what the client said, and decides last", async () => {
  const asked: string[] = [];
  const handlers: SmtpHandlers = {
    onRcptTo({ envelope }, address) {
      asked.push(`${address} ${envelope!.recipients.length}`);
      if (address.localPart === "no") return false;
    },
  };
  await using pair = await startPair({
    near: {
      ...{ domains: ["near.test"], handlers },
      aliases: { info: ["ann", "bob"], no: "ann" },
      localRecipients: ["ann", "bob"],
    },
  });
  using client = await TestClient.connect(pair.near);
  await client.reply();
  assertEquals(
    await repliesTo(client, [
      ...["gone@near.test", "info@near.test", "no@near.test", "bob@near.test"],
    ]),
    {
      "gone@near.test": UNKNOWN,
      "info@near.test": OK,
      "no@near.test": UNKNOWN,
      "bob@near.test": OK,
    },
  );
  assertEquals(asked, [
    "info@near.test 0",
    "no@near.test 2",
    "bob@near.test 2",
  ]);
  await client.data("Subject: x\r\n");
  assertEquals(newest(pair.nearStore), [
    "ann@near.test<info@near.test",
    "bob@near.test<info@near.test",
  ]);
});

/** A store in which `full` has no room, and `small` little. */
class SmallStore extends MemoryStore {
  hasRoom({ localPart }: { localPart: string }, size: number): boolean {
    return localPart !== "full" && (localPart !== "small" || size < 1000);
  }
}

for (const threads of THREADS) {
  Deno.test(`A full mailbox is refused at RCPT, also behind an alias (${threads} threads)`, async () => {
    await using pair = await startPair({
      near: {
        threads,
        ...{ domains: ["near.test"], store: new SmallStore() },
        aliases: { info: ["ann", "full"] },
      },
    });
    using client = await TestClient.connect(pair.near);
    await client.reply();
    await client.expect(
      ["EHLO client.test", "250-"],
      ["MAIL FROM:<a@a.test> SIZE=2000", "250"],
      ["RCPT TO:<ann@near.test>", "250"],
      ["RCPT TO:<full@near.test>", "452 4.2.2"],
      ["RCPT TO:<small@near.test>", "452 4.2.2"],
      ["RCPT TO:<info@near.test>", "452 4.2.2"],
      ["RSET", "250"],
      ["MAIL FROM:<a@a.test>", "250"],
      ["RCPT TO:<small@near.test>", "250"],
    );
  });
}

Deno.test("A bounce to an alias reaches the mailboxes behind it", async () => {
  await using pair = await startPair({
    near: {
      domains: ["near.test"],
      localRecipients: ["ann"],
      recipientDelimiter: "+",
      aliases: { "info@near.test": ["ann+x@near.test", "carl@dest.test"] },
    },
    far: {
      handlers: {
        onRcptTo: (_session, { localPart }) => localPart === "carl",
      },
    },
  });
  using client = await TestClient.connect(pair.near);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250-"],
    ["MAIL FROM:<info@near.test>", "250"],
    ["RCPT TO:<gone@dest.test>", "250"],
  );
  await client.data("Subject: x\r\n");
  const here = await until(() => pair.nearStore.messages[0]);
  assertEquals(here!.from.isNull, true);
  assertEquals(newest(pair.nearStore), ["ann@near.test<info@near.test"]);
  assertStringIncludes(here!.text, "Final-Recipient: rfc822; gone@dest.test");
  const away = await until(() => pair.farStore.messages[0]);
  assertEquals(`${away!.recipients[0]!.address}`, "carl@dest.test");
});

Deno.test("Guesses of names end the session, as before", async () => {
  await using pair = await startPair({
    near: {
      domains: ["near.test"],
      localRecipients: ["ann"],
      limits: { maxRefusedRecipients: 2, tarpitMs: 0 },
    },
  });
  using client = await TestClient.connect(pair.near);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250-"],
    ["MAIL FROM:<a@a.test>", "250"],
    ["RCPT TO:<a@near.test>", UNKNOWN],
    ["RCPT TO:<b@near.test>", UNKNOWN],
    ["RCPT TO:<c@near.test>", "421 4.7.0"],
  );
});

for (const threads of THREADS) {
  Deno.test(`Files are read again when they change (${threads} threads)`, async () => {
    await using folder = await TestFolder.create();
    const path = await folder.write("aliases", "info: ann\n");
    const users = await folder.write("users", "ann # the first\n");
    await using pair = await startPair({
      near: {
        threads,
        domains: ["near.test"],
        aliases: await AliasTable.load(path),
        localRecipients: { path: users },
        limits: {
          ...{ maxRefusedRecipients: 0, maxCommandsWithoutMail: 0 },
          tarpitMs: 0,
        },
      },
    });
    using client = await TestClient.connect(pair.near);
    await client.reply();
    const reply = async (address: string) =>
      (await repliesTo(client, [address]))[address];
    await client.expect(["EHLO client.test", "250-"]);
    assertEquals(await reply("info@near.test"), OK);
    await client.expect(["RSET", "250"]);
    await folder.write("aliases", "new: ann\ninfo: ann\nx: gone\n");
    await folder.write("users", "ann\nbob\n");
    const known = async (address: string) => {
      const found = await reply(address);
      await client.expect(["RSET", "250"]);
      return found === OK;
    };
    await until(() => known("new@near.test"));
    await until(() => known("bob@near.test"));
    await until(() =>
      pair.records.find(({ message }) =>
        message === 'Alias "x" leads to "gone@near.test", which does not exist'
      )
    );
    // A line that cannot be used: the old table stays in force.
    await folder.write("aliases", "later: ann\nno colon here\n");
    const record = await until(async () => {
      await known("new@near.test");
      return pair.records.find(({ message }) =>
        message.startsWith("Cannot reread")
      );
    });
    assertStringIncludes(record!.error!, `line 2 of "${path}"`);
    assertEquals(await known("new@near.test"), true);
    assertEquals(await known("later@near.test"), false);
  });

  Deno.test(`reload() replaces aliases and recipients (${threads} threads)`, async () => {
    await using pair = await startPair({
      near: {
        ...{ threads, domains: ["near.test"] },
        localRecipients: new Set(["ann"]),
      },
    });
    const reply = async (address: string) => {
      using client = await TestClient.connect(pair.near);
      await client.reply();
      return (await repliesTo(client, [address]))[address];
    };
    assertEquals(await reply("info@near.test"), UNKNOWN);
    await pair.near.reload({ aliases: { info: "ann" } });
    assertEquals(await reply("info@near.test"), OK);
    await assertRejects(
      () => pair.near.reload({ localRecipients: { path: "/nowhere" } }),
      Deno.errors.NotFound,
    );
    assertEquals(await reply("info@near.test"), OK);
    assertEquals(await reply("eve@near.test"), UNKNOWN);
    await pair.near.reload({ localRecipients: "any" });
    assertEquals(await reply("eve@near.test"), OK);
  });
}

Deno.test("Ten thousand aliases, targets beyond ASCII, long lists", async () => {
  const many = Array.from(
    { length: 10_000 },
    (_, at) => `n${at}: n${at}x, ann`,
  );
  const wide = Array.from({ length: 1000 }, (_, at) => `w${at}@near.test`);
  await using pair = await startPair({
    near: {
      domains: ["near.test"],
      aliases: AliasTable.parse([
        ...many,
        `wide: ${wide.join(",\n  ")}`,
        "wider: wide, ann, bob",
        "grüße: jürgen@dest.test, ann",
      ].join("\n")),
    },
  });
  using client = await TestClient.connect(pair.near);
  await client.reply();
  assertEquals(
    await repliesTo(client, [
      ...["n0@near.test", "n9999@near.test", "wide@near.test"],
      ...["wider@near.test", "grüße@near.test"],
    ]),
    {
      "n0@near.test": OK,
      "n9999@near.test": OK,
      "wide@near.test": OK,
      "wider@near.test": "451 4.3.5",
      "grüße@near.test": OK,
    },
  );
  assertMatch(await client.data("Subject: x\r\n"), /^250/);
  assertEquals(newest(pair.nearStore).length, 1003);
  const away = await until(() => pair.farStore.messages[0]);
  assertEquals(`${away!.recipients[0]!.address}`, "jürgen@dest.test");
});

Deno.test("A table says which line cannot be used", () => {
  const rows: readonly (readonly [text: string, want: RegExp])[] = [
    ["a b: c", /line 1 of the aliases.*"a b"/],
    ["\n# x\na: b\na: c", /line 4 .*"a" twice/],
    ["a: b,, c", /line 1 .*each comma/],
    ["a:", /line 1 .*each comma/],
    ["a", /line 1 .*NAME: VALUE/],
    [": a", /line 1 .*NAME: VALUE/],
    ['"a: b', /line 1 .*not closed/],
    ["a: |/bin/cat", /Commands, files/],
    ['a: "|/bin/cat x"', /Commands, files/],
    ["a: /var/mail/x", /Commands, files/],
    ["a: :include:/etc/x", /Commands, files/],
    ["a: @b.test", /Only a catch-all/],
    ["a: b@-x", /"b@-x"/],
    ["@-x: a", /"@-x"/],
    ["a: " + "b,".repeat(1000) + "b", /1001 targets: want at most 1000/],
    ["A@X.test: b\na@x.TEST: c", /twice/],
  ];
  for (const [text, want] of rows) {
    const error = assertThrows(() => AliasTable.parse(text), SyntaxError);
    assertMatch(error.message, want, text);
    assertEquals(error.message.includes("\n"), false);
  }
  const table = AliasTable.parse(
    '\ufeff# all\r\n"a,b:#c"@x.test : "d e",\r\n\te # here\r\n\r\n  , f\r\nb@[IPv6:::1]: a#b',
  );
  assertEquals(table.size, 2);
});

Deno.test("Options about recipients are checked when the server is made", () => {
  const wrong: readonly (readonly [unknown, RegExp])[] = [
    [{ aliases: 5 }, /Cannot use aliases 5/],
    [{ aliases: ["a"] }, /Cannot use aliases/],
    [{ aliases: { a: 5 } }, /aliases\["a"\] 5/],
    [{ aliases: { a: [] } }, /aliases\["a"\] \[\]/],
    [{ aliases: { a: "b c" } }, /Cannot use aliases.*"b c"/],
    [{ aliases: { a: '"b' } }, /not closed/],
    [{ recipientDelimiter: "" }, /recipientDelimiter ""/],
    [{ recipientDelimiter: "++" }, /one character/],
    [{ recipientDelimiter: "@" }, /one character/],
    [{ localRecipients: "ann" }, /localRecipients "ann"/],
    [{ localRecipients: ["a b"] }, /localRecipients/],
    [{ localRecipients: [5] }, /localRecipients 5/],
    [{ localRecipients: {} }, /localRecipients/],
    [{ localRecipients: { path: "" } }, /path ""/],
  ];
  for (const [options, want] of wrong) {
    const error = assertThrows(
      () => new SmtpServer(options as SmtpServerOptions),
      TypeError,
    );
    assertMatch(error.message, want, error.message);
  }
});
