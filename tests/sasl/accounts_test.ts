/** Accounts: names, passwords and verifiers, and the accounts file. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  AccountList,
  parseAccounts,
  parseSenders,
} from "../../lib/sasl/accounts.ts";
import { ScramVerifier } from "../../lib/sasl/scram_verifier.ts";

const verifier = await ScramVerifier.create("geheim", { iterations: 4096 });

Deno.test("AccountList takes an object, texts and verifiers", () => {
  const byObject = new AccountList({ ann: "a:b", bob: verifier });
  const byTexts = new AccountList(["ann:a:b", `bob:${verifier}`]);
  for (const list of [byObject, byTexts]) {
    assertEquals(list.size, 2);
    assertEquals(list.find("ann"), "a:b");
    assertEquals(String(list.find("bob")), String(verifier));
    assertEquals(list.find("eve"), undefined);
    assertEquals(list.find("__proto__"), undefined);
    assertEquals(list.find("toString"), undefined);
    assertEquals([list.isPlain, list.decoy?.iterations], [false, 4096]);
  }
  const plain = new AccountList({ ann: "a" });
  assertEquals([plain.isPlain, plain.decoy], [true, undefined]);
});

Deno.test("AccountList finds names in their prepared form", () => {
  assertEquals(new AccountList({ "\u2168": "a" }).find("IX"), "a");
});

Deno.test("AccountList finds an address as a name in every spelling of its domain", () => {
  const list = new AccountList({ "ann@bücher.test": "a", "Bob@X.test": "b" });
  assertEquals(list.find("ann@XN--bcher-kva.test"), "a");
  assertEquals(list.find("ann@BÜCHER.test"), "a");
  assertEquals(list.find("Ann@bücher.test"), undefined);
  assertEquals(list.find("Bob@x.TEST"), "b");
  assertEquals(list.find("bob@x.test"), undefined);
  const read = parseAccounts("ann@xn--bcher-kva.test:a");
  assertEquals(read.find("ann@bücher.test"), "a");
});

Deno.test("AccountList refuses what is no account, without the secret", () => {
  const rows = [
    ["hunter2"],
    [":hunter2"],
    ["ann:"],
    ["ann:hunter2\u0007"],
    ["a\u0007:hunter2"],
    ["ann:hunter2", "ann:x"],
    ["ann@bücher.test:hunter2", "ann@xn--bcher-kva.test:x"],
    ["\u2168:hunter2", "IX:hunter2"],
    ["ann:SCRAM-SHA-256$hunter2"],
  ];
  for (const row of rows) {
    const error = assertThrows(() => new AccountList(row), SyntaxError);
    assert(!error.message.includes("hunter2"), error.message);
  }
});

Deno.test("parseAccounts() reads lines, comments, blanks in secrets", () => {
  const list = parseAccounts(
    `\ufeff# staff\r\n\r\nann:pass word \r\n  bob:#x\n   # more\n__proto__:p\n10:b\neve:${verifier}`,
  );
  assertEquals(list.size, 5);
  assertEquals(list.find("ann"), "pass word ");
  assertEquals(list.find("bob"), "#x");
  assertEquals(list.find("__proto__"), "p");
  assertEquals(list.find("10"), "b");
  assert(list.find("eve") instanceof ScramVerifier);
  assertEquals(parseAccounts("").size, 0);
});

Deno.test("parseAccounts() names the line and keeps the secret to itself", () => {
  const texts = [
    "ann:a\nhunter2",
    "ann:a\nbob:",
    "ann:a\nann:hunter2",
    "ann:a\n:hunter2",
    "ann:a\nbob:SCRAM-SHA-256$hunter2",
    "ann:a\nbob:SCRAM-SHA-1$hunter2",
    "ann:a\nbob:$2y$10$hunter2",
    "ann:a\nbob:$6$hunter2",
    "ann:a\nbob:$argon2id$hunter2",
    "ann:a\nbob:{SSHA}hunter2",
  ];
  for (const text of texts) {
    const error = assertThrows(() => parseAccounts(text), SyntaxError);
    assert(error.message.includes("line 2"), error.message);
    assert(!error.message.includes("hunter2"), error.message);
  }
});

Deno.test("parseSenders reads the form of aliases, and says which line is wrong", () => {
  const senders = parseSenders(
    '\ufeff# staff\nann: a@x.test, "a#b,c"@x.test, # two\n  @y.test\n\nBob@Bücher.test: b@x.test\n',
  );
  assertEquals([...senders], [
    ["ann", ["a@x.test", '"a#b,c"@x.test', "@y.test"]],
    ["Bob@xn--bcher-kva.test", ["b@x.test"]],
  ]);
  for (
    const [text, reason] of [
      ["\nann a@x.test", 'line 2 of the senders: want "NAME: VALUE, VALUE"'],
      ["ann:", "line 1 of the senders: want a value"],
      ["ann: a@x.test b@x.test", "line 1 of the senders: Cannot use the addr"],
      ["ann: ann@", 'line 1 of the senders: Cannot use the address "ann@"'],
      ['ann: "a@x.test', "line 1 of the senders: a quote or bracket"],
      [
        "ann: a@x.test\nann: b@x.test",
        'line 2 of the senders: Cannot use the name "ann" twice',
      ],
      ["  b@x.test", "line 1 of the senders: want"],
      ["a\x1b2Jnn: a@x.test", 'Cannot add the account "a 2Jnn"'],
    ] as const
  ) assertThrows(() => parseSenders(text), SyntaxError, reason);
});
