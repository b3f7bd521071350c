/**
 * Sealed messages of other implementations, and the rules of sealing by name: how
 * many sets, what follows a chain that has failed, what is signed.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8617#section-5.1 | RFC 8617 section 5.1}
 */

import { assert, assertEquals } from "@std/assert";
import {
  DkimPrivateKey,
  sealArc,
  type SealFacts,
  verifyArc,
} from "../../lib/trust/mod.ts";
import { readArcChain } from "../../lib/trust/arc_set.ts";
import { rawFields, valueOf } from "../../lib/trust/canonical_header.ts";
import { parseTagList } from "../../lib/trust/tag_list.ts";
import { bytesOf, textOf, utf8 } from "../support/bytes.ts";
import { textTable } from "../support/dkim.ts";

const DATA = new URL("data/arc/", import.meta.url);

async function read(path: string): Promise<string> {
  return textOf(await Deno.readFile(new URL(path, DATA)));
}

for (const name of ["001", "002"]) {
  Deno.test(`The chain of mail-auth's message ${name} passes`, async () => {
    const text = (await read(`mail-auth/${name}.txt`)).replaceAll("\r\n", "\n");
    const at = text.indexOf("\n\n");
    const table: Record<string, string> = {};
    for (const line of text.slice(0, at).split("\n")) {
      const space = line.indexOf(" ");
      table[line.slice(0, space)] = line.slice(space + 1).trim();
    }
    const message = text.slice(at + 2);
    const check = async (text: string) =>
      await verifyArc(bytesOf(text), { dns: textTable(table) });
    const { result, reason, instance, sealedBy } = await check(message);
    assertEquals(result, "pass", reason);
    assertEquals(sealedBy.length, instance);
    assertEquals((await check(`${message}more\n`)).result, "fail");
    assertEquals(
      (await check(message.replace(/^(subject: *)/im, "$1x"))).result,
      "fail",
    );
  });
}

const SETS = {
  "arc-pass": 2,
  "arc-pass2": 2,
  "arc-fail": 2,
  "arc-fail2": 2,
  "arc-fail3": 2,
};

for (const [name, sets] of Object.entries(SETS)) {
  Deno.test(`The sets of mailauth's message ${name} are read`, async () => {
    const text = await read(`mailauth/${name}.eml`);
    const { instance } = readArcChain(
      rawFields(bytesOf(text.replace(/\r?\n/g, "\r\n"))),
    );
    assertEquals(instance, sets);
    // A key that cannot be had now says nothing about the chain.
    const dns = {
      query: () => Promise.resolve({ status: "failed", reason: "x" } as never),
    };
    const { result } = await verifyArc(bytesOf(text), { dns });
    assert(result !== "pass" && result !== "none");
  });
}

const key = await DkimPrivateKey.generate("ed25519");
const dns = textTable({ "s._domainkey.a.test": key.record });
const MESSAGE = "Received: from x by y; now\r\nFrom: ann@a.test\r\n" +
  "DKIM-Signature: v=1; a=x\r\nAuthentication-Results: a.test; spf=pass\r\n" +
  "Subject: Hi\r\n\r\nHello\r\n";

const options = { domain: "a.test", selector: "s", key };

async function seal(
  message: string,
  result: SealFacts["arc"]["result"],
): Promise<string> {
  const facts = { arc: { result }, authservId: "a.test" };
  return await sealArc(bytesOf(message), options, facts);
}

function tagsOf(set: string, name: string) {
  const field = rawFields(bytesOf(set)).find((one) => one.name === name)!;
  return parseTagList(valueOf(field)).tags!;
}

Deno.test("A seal fits results beyond ASCII, given or in the message", async () => {
  const field = "a.test; spf=pass smtp.mailfrom=j\u00f6rg@b.test";
  const facts = { arc: { result: "none" }, authservId: "a.test" } as const;
  const table = [
    [MESSAGE, { ...facts, results: field }],
    [`Authentication-Results: ${field}\r\n${MESSAGE}`, facts],
  ] as const;
  for (const [message, known] of table) {
    const set = await sealArc(utf8(message), options, known);
    assert(set.includes("smtp.mailfrom=j\u00f6rg@b.test"), set);
    const { result, reason } = await verifyArc(utf8(set + message), { dns });
    assertEquals(result, "pass", reason);
  }
});

Deno.test("A chain has fifty sets at most, all of which are checked", async () => {
  let message = MESSAGE;
  for (let number = 1; number <= 50; number++) {
    message = await seal(message, number === 1 ? "none" : "pass") + message;
  }
  const found = await verifyArc(bytesOf(message), { dns });
  assertEquals([found.result, found.instance], ["pass", 50]);
  assertEquals(await seal(message, "pass"), "");
});

Deno.test("A seal has one time, however long its signatures take", async () => {
  const real = Date.now;
  let later = 0;
  Date.now = () => real() + 1000 * later++;
  try {
    const message = await seal(MESSAGE, "none") + MESSAGE;
    const { result, reason } = await verifyArc(bytesOf(message), { dns });
    assertEquals(result, "pass", reason);
  } finally {
    Date.now = real;
  }
});

Deno.test("After a chain that has failed one set says so, seals itself alone, and is the last", async () => {
  const first = await seal(MESSAGE, "none");
  const broken = first + MESSAGE.replace("Hello", "Hullo");
  const { result } = await verifyArc(bytesOf(broken), { dns });
  assertEquals(result, "fail");
  const second = await seal(broken, result);
  assertEquals(tagsOf(second, "arc-seal").get("cv"), "fail");
  assertEquals(tagsOf(second, "arc-seal").get("i"), "2");
  const found = await verifyArc(bytesOf(second + broken), { dns });
  assertEquals(found.result, "fail");
  assertEquals(await seal(second + broken, "fail"), "");
});

Deno.test("A chain that could not be checked now is not sealed", async () => {
  const first = await seal(MESSAGE, "none");
  assertEquals(await seal(first + MESSAGE, "temperror"), "");
});

Deno.test("A set signs signatures and guards what readers see, and leaves trace fields", async () => {
  const set = await seal(MESSAGE, "none");
  const names = tagsOf(set, "arc-message-signature").get("h")!
    .replace(/\s/g, "").split(":");
  assert(names.includes("dkim-signature"));
  assertEquals(names.filter((name) => name === "from").length, 2);
  assertEquals(names.filter((name) => name === "subject").length, 2);
  for (const name of ["received", "authentication-results", "arc-seal"]) {
    assert(!names.includes(name), name);
  }
  const sealed = set + MESSAGE;
  const check = async (text: string) =>
    (await verifyArc(bytesOf(text), { dns })).result;
  assertEquals(await check(sealed), "pass");
  // Trace fields may come and go; a second Subject may not.
  assertEquals(await check(`Received: from z\r\n${sealed}`), "pass");
  assertEquals(await check(`Subject: other\r\n${sealed}`), "fail");
});
