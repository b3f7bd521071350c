/**
 * Signed messages of the RFCs and of other implementations: RFC 6376 appendix A,
 * RFC 8463 appendix A, and those that came with mail-auth and dkimpy. Each is
 * accepted as it is, and with lines that end with LF; with one byte of what was
 * signed changed it is not.
 */

import { assert, assertEquals } from "@std/assert";
import { verifyDkim } from "../../lib/trust/dkim_verify.ts";
import { bytesOf, textOf } from "../support/bytes.ts";
import { textTable } from "../support/dkim.ts";
import { waysToCut } from "../support/random.ts";

const DATA = new URL("data/dkim/", import.meta.url);
/** The time of the last signature of mail-auth's messages that expires. */
const NOW = 1_667_843_664_000;

async function textAt(path: string): Promise<string> {
  return textOf(await Deno.readFile(new URL(path, DATA)));
}

/** Key records, an empty line, and the message. */
async function readMailAuth(
  name: string,
): Promise<{ table: Record<string, string>; message: string }> {
  const text = await textAt(`mail-auth/${name}`);
  const at = text.search(/\n\r?\n/);
  const table: Record<string, string> = {};
  for (const line of text.slice(0, at).split("\n")) {
    const space = line.indexOf(" ");
    table[line.slice(0, space)] = line.slice(space + 1).trim();
  }
  const message = text.slice(at).replace(/^\r?\n\r?\n/, "");
  return { table, message: message.replace(/\r?\n/g, "\r\n") };
}

const counts = { "001": 2, "002": 1, "003": 2, "004": 1, "005": 1, "006": 1 };

for (const [name, count] of Object.entries(counts)) {
  Deno.test(`The signatures of mail-auth's message ${name} pass`, async () => {
    const { table, message } = await readMailAuth(`${name}.txt`);
    const dns = textTable(table);
    const verdicts = async (text: string) =>
      (await verifyDkim(bytesOf(text), { dns, now: NOW }))
        .map(({ result }) => result);
    const passes = Array(count).fill("pass");
    assertEquals(await verdicts(message), passes);
    assertEquals(await verdicts(message.replaceAll("\r\n", "\n")), passes);
    const changed = message.replace(/(\r\nfrom: *)/i, "$1x");
    assertEquals((await verdicts(changed)).includes("pass"), false);
    const longer = `${message}more\r\n`;
    assertEquals((await verdicts(longer)).includes("pass"), false);
  });
}

Deno.test("Every split of a message gives the same results", async () => {
  const { table, message } = await readMailAuth("001.txt");
  const dns = textTable(table);
  for (const text of [message, message.replaceAll("\r\n", "\n")]) {
    for (const [way, pieces] of waysToCut(bytesOf(text))) {
      const results = await verifyDkim(ReadableStream.from(pieces), { dns });
      assertEquals(results.map(({ result }) => result), ["pass", "pass"], way);
    }
    for (let at = 0; at <= text.length; at += 7) {
      const pieces = [bytesOf(text.slice(0, at)), bytesOf(text.slice(at))];
      const results = await verifyDkim(ReadableStream.from(pieces), { dns });
      assert(results.every(({ result }) => result === "pass"), `${at}`);
    }
  }
});

Deno.test("A result says what RFC 8463's example was signed with", async () => {
  const { table, message } = await readMailAuth("001.txt");
  const results = await verifyDkim(bytesOf(message), {
    dns: textTable(table),
  });
  const common = {
    result: "pass" as const,
    domain: "football.example.com",
    identity: "@football.example.com",
    testing: false,
    unsigned: undefined,
  };
  assertEquals(results, [
    {
      ...common,
      selector: "brisbane",
      algorithm: "ed25519-sha256",
      keyBits: 256,
      signature: "/gCrinpc",
    },
    {
      ...common,
      selector: "test",
      algorithm: "rsa-sha256",
      keyBits: 1024,
      signature: "F45dVWDf",
    },
  ]);
});

Deno.test("RFC 6376's message passes with the keys of dkimpy, and with no others", async () => {
  const message = bytesOf(await textAt("dkimpy/rfc6376.signed.msg"));
  const ed25519 = "v=DKIM1; k=ed25519; " +
    "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
  const rows = {
    "test.txt": "pass",
    "test_tlsrpt.txt": "permerror: The key is not for mail",
    "badk.txt": "permerror: The key is of an unknown type",
    "badversion.txt": "permerror: The key record is of another version",
    "test_bad.txt": "permerror: The key is no RSA key",
  };
  for (const [file, want] of Object.entries(rows)) {
    const dns = textTable({
      "brisbane._domainkey.football.example.com": ed25519,
      "test._domainkey.football.example.com": await textAt(`dkimpy/${file}`),
    });
    const [first, second] = await verifyDkim(message, { dns });
    assertEquals(first!.result, "pass", file);
    const { result, reason } = second!;
    assertEquals(reason === undefined ? result : `${result}: ${reason}`, want);
  }
});

Deno.test("Exim's message passes", async () => {
  const message = bytesOf(await textAt("dkimpy/ed25519test2.msg"));
  const record = (await textAt("dkimpy/eximtest.dns")).trim();
  const dns = textTable({ "sed._domainkey.test.ex": record });
  const [only] = await verifyDkim(message, { dns });
  assertEquals([only!.result, only!.reason], ["pass", undefined]);
});
