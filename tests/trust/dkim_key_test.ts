/** Key records (RFC 6376 sections 3.6.1 and 6.1.2, RFC 8301, RFC 8463). */

import { assertEquals } from "@std/assert";
import { generateKeyPairSync } from "node:crypto";
import type { DnsOutcome, DnsQuerier } from "../../lib/dns/outcome.ts";
import { fetchDkimKey, readKeyRecords } from "../../lib/trust/dkim_key.ts";

const rsa = base64(
  generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey
    .export({ type: "spki", format: "der" }),
);
/** The key of RFC 8463 appendix A.2. */
const ed25519 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/** What a record is worth: the bits of its key and its flags, or the reason. */
function worth(...texts: string[]): string {
  const outcome = readKeyRecords(texts);
  if (outcome.key === undefined) return `${outcome.result}: ${outcome.reason}`;
  const { key: { type, bits }, record } = outcome;
  return `${type} ${bits}${record.testing ? " testing" : ""}` +
    (record.strict ? " strict" : "");
}

const rows: [records: string | string[], want: string][] = [
  [`p=${rsa}`, "rsa 1024"],
  [`v=DKIM1; k=rsa; p=${rsa}`, "rsa 1024"],
  [`v=DKIM1; k=rsa; p=${rsa.slice(0, 50)} \r\n\t${rsa.slice(50)};`, "rsa 1024"],
  [`v=DKIM1; k=ed25519; p=${ed25519}`, "ed25519 256"],
  [`v=DKIM1; k=ed25519; p=${ed25519.replace("=", "")}`, "ed25519 256"],
  [`v=DKIM1;t=y:s;x=more;p=${rsa}`, "rsa 1024 testing strict"],
  [`v=DKIM1; t = Y : later; n=a%20note; p=${rsa}`, "rsa 1024 testing"],
  [`v=DKIM1; h=sha1:sha256; s=chat : email; p=${rsa}`, "rsa 1024"],
  [`v=DKIM1; s=*; g=; p=${rsa}`, "rsa 1024"],
  [`v=DKIM1; h=sha1; p=${rsa}`, "permerror: The key is not for SHA-256"],
  [`v=DKIM1; s=tlsrpt; p=${rsa}`, "permerror: The key is not for mail"],
  ["v=DKIM1; p=", "permerror: The key is revoked"],
  ["v=DKIM1; k=rsa", "permerror: The key record has no key"],
  [
    `k=rsa; v=DKIM1; p=${rsa}`,
    "permerror: The key record is of another version",
  ],
  [`v=DKIM2; p=${rsa}`, "permerror: The key record is of another version"],
  [`v=dkim1; p=${rsa}`, "permerror: The key record is of another version"],
  [`v=DKIM1; k=dsa; p=${rsa}`, "permerror: The key is of an unknown type"],
  ["v=DKIM1; p=a$b", "permerror: The key is not base64"],
  ["v=DKIM1; p=AAAAA", "permerror: The key is not base64"],
  ["v=DKIM1; p=AAAA", "permerror: The key is no RSA key"],
  [`v=DKIM1; p=${ed25519}`, "permerror: The key is no RSA key"],
  [`v=DKIM1; k=ed25519; p=${rsa}`, "permerror: The key does not have 32 bytes"],
  [
    `v=DKIM1; k=ed25519; p=${"AgIC".repeat(10)}AgI=`,
    "permerror: The key is no Ed25519 key",
  ],
  [
    `v=DKIM1; t; p=${rsa}`,
    "permerror: The key record is bad: A tag has no value",
  ],
  [
    `p=${rsa}; p=${rsa}`,
    "permerror: The key record is bad: Tag p= stands there twice",
  ],
  [
    `p=${rsa}; n=${"x".repeat(8192)}`,
    "permerror: The key record has more than 8192 bytes",
  ],
  [[`p=${rsa}`, "v=spf1 -all"], "rsa 1024"],
  [["any words", `p=${rsa}`, "v=DMARC1; p=none"], "rsa 1024"],
  [
    [`p=${rsa}`, `v=DKIM1; p=${rsa}`],
    "permerror: There are several key records",
  ],
  [[`p=${rsa}`, "v=DKIM1; p="], "permerror: There are several key records"],
  [["any words", "v=spf1 -all"], "permerror: There is no key record"],
];

for (const [records, want] of rows) {
  const texts = typeof records === "string" ? [records] : records;
  const shown = texts.map((text) => text.slice(0, 40)).join(" + ");
  Deno.test(`Key record ${shown}: ${want.slice(0, 60)}`, () => {
    assertEquals(worth(...texts), want);
  });
}

Deno.test("A key is asked for at its selector; failures are temporary", async () => {
  const asked: string[] = [];
  const fetch = async (outcome: () => DnsOutcome<string>) => {
    const dns = {
      query(type: string, name: string): Promise<unknown> {
        asked.push(`${type} ${name}`);
        return Promise.resolve().then(outcome);
      },
    } as DnsQuerier;
    const place = { domain: "a.test", selector: "s.1" };
    const { key, ...rest } = await fetchDkimKey(place, { dns });
    return key?.bits ?? rest;
  };
  assertEquals(
    await fetch(() => ({ status: "found", records: [`p=${rsa}`] })),
    1024,
  );
  assertEquals(asked, ["TXT s.1._domainkey.a.test"]);
  assertEquals(await fetch(() => ({ status: "none", why: "no-such-name" })), {
    result: "permerror",
    reason: "There is no key record",
  });
  assertEquals(
    await fetch(() => ({ status: "failed", reason: "No", code: "timeout" })),
    { result: "temperror", reason: "The DNS gave no answer about the key" },
  );
  assertEquals(
    await fetch(() => {
      throw new Error("Aborted");
    }),
    {
      result: "temperror",
      reason: "The question for the key has ended without an answer",
    },
  );
});

Deno.test("A name that no DNS question can have is not asked for", async () => {
  const dns = {
    query: () => Promise.reject(new Error("Asked")),
  } as unknown as DnsQuerier;
  const outcome = await fetchDkimKey({
    domain: `${"a.".repeat(120)}test`,
    selector: "s",
  }, { dns });
  assertEquals(outcome.result, "permerror");
});

function base64(bytes: Uint8Array): string {
  return new Uint8Array(bytes).toBase64();
}
