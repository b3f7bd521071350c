/**
 * `lookup spf`, `lookup dkim` and `verify` on the command line, against a name
 * server on the loopback.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { DkimPrivateKey, signDkim } from "../../lib/trust/mod.ts";
import { runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { startZoneServer, type Zone } from "../support/zone_server.ts";

const key = await DkimPrivateKey.generate("ed25519");

const ZONE: Zone = {
  "TXT good.test": [
    "v=spf1 ip4:192.0.2.0/24 include:more.test -all",
    "another text",
  ],
  "TXT more.test": ["v=spf1 a:host.test ~all"],
  "A host.test": ["198.51.100.7"],
  "TXT open.test": ["v=spf1 a:gone.test +all"],
  "TXT twice.test": ["v=spf1 -all", "v=spf1 ~all"],
  "TXT dead.test": "silence",
  "TXT s1._domainkey.good.test": [key.record],
  "TXT old._domainkey.good.test": ["v=DKIM1; p="],
  "TXT _dmarc.good.test": ["v=DMARC1; p=reject"],
};

/** Runs a command against the zone; gives the exit code and both outputs. */
async function ask(
  ...args: readonly string[]
): Promise<readonly [number, string, string]> {
  await using server = await startZoneServer(ZONE);
  const { code, stdout, stderr } = await runCli([
    ...args,
    `--dns=${server.nameServer}`,
  ]);
  return [code, stdout, stderr];
}

Deno.test("lookup spf explains each term, and counts what asks", async () => {
  const [code, text] = await ask("lookup", "spf", "good.test");
  assertEquals(code, 0);
  assertMatch(text, /^v=spf1 ip4:192\.0\.2\.0\/24 include:more\.test -all\n/);
  assertMatch(text, /ip4:192\.0\.2\.0\/24: pass: 192\.0\.2\.0\/24\n/);
  assertMatch(
    text,
    /\n {4}a:host\.test: pass: the addresses of host\.test \(asks\)/,
  );
  assertMatch(text, /\n {2}-all: fail: every other client\n/);
  assertMatch(text, /2 of 10 terms ask the DNS, 0 of 2 answers are void/);
});

Deno.test("lookup spf says what holds for a client", async () => {
  const [, pass] = await ask("lookup", "spf", "good.test", "--ip=198.51.100.7");
  assertMatch(pass, /the client gets pass by include:more\.test/);
  const [, fail] = await ask("lookup", "spf", "good.test", "--ip=203.0.113.1");
  assertMatch(fail, /the client gets fail by -all/);
  const [code, , error] = await ask("lookup", "spf", "good.test", "--ip=x");
  assertEquals(code, 2);
  assertMatch(error, /--ip: Cannot use "x": want an IP address/);
});

Deno.test("lookup spf finds what is wrong", async () => {
  const [open, text] = await ask("lookup", "spf", "open.test");
  assertEquals(open, 1);
  assertMatch(text, /wrong: "\+all" lets everyone send/);
  assertMatch(text, /1 of 2 answers are void/);
  const [twice, both] = await ask("lookup", "spf", "twice.test");
  assertEquals(twice, 1);
  assertMatch(both, /wrong: "twice\.test" has 2 SPF records/);
  const [none, , error] = await ask("lookup", "spf", "none.test");
  assertEquals([none, error], [1, "none.test: no SPF record\n"]);
});

Deno.test("lookup dkim reads the keys of selectors", async () => {
  const [code, text, error] = await ask(
    ...["lookup", "dkim", "good.test", "--selector=s1", "--selector=old"],
    "--selector=gone",
  );
  assertEquals(code, 1);
  assertMatch(text, /s1\._domainkey\.good\.test: v=DKIM1; k=ed25519/);
  assertMatch(text, /ed25519 key of 256 bits/);
  assertMatch(text, /wrong: The key is revoked/);
  assertEquals(error, "gone._domainkey.good.test: no key record\n");
  const [one] = await ask("lookup", "dkim", "s1._domainkey.good.test");
  assertEquals(one, 0);
  const [none, , usage] = await ask("lookup", "dkim", "good.test");
  assertEquals(none, 2);
  assertMatch(usage, /want --selector/);
});

Deno.test("verify says what the server would say", async () => {
  await using folder = await TestFolder.create();
  const message = "From: ann@good.test\nSubject: Hello\n\nHello\n";
  const field = await signDkim(new TextEncoder().encode(message), {
    ...{ domain: "good.test", selector: "s1", key },
  });
  const path = await folder.write(
    "letter.eml",
    field.replaceAll("\r\n", "\n") + message,
  );
  const client = ["--ip=192.0.2.9", "--from=ann@good.test", "--helo=c.test"];
  const [good, text] = await ask("verify", path, ...client);
  assertEquals(good, 0);
  assertMatch(text, /^Authentication-Results: localhost;/);
  assertMatch(text, /spf=pass/);
  assertMatch(text, /dkim=pass/);
  assertMatch(text, /dmarc=pass/);
  await folder.write("letter.eml", message);
  const [bad] = await ask("verify", path, "--ip=203.0.113.1");
  assertEquals(bad, 1);
  const [usage, , error] = await ask("verify", path);
  assertEquals(usage, 2);
  assertMatch(error, /want a file, or - for standard input, and --ip/);
});
