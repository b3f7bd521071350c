/**
 * The command `dkim`, and `serve --dkim`: keys that are made, kept safe and read,
 * messages that are signed and verified, and one clear line for what cannot be used.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { runCli, runCliRows } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { hasFileModes } from "../support/platform.ts";
import { bytesOf } from "../support/bytes.ts";
import { keyTable, resultsOf } from "../support/dkim_table.ts";
import { DkimPrivateKey } from "../../lib/trust/mod.ts";

const LETTER = "From: ann@example.com\nSubject: hello\n\nText\n";

/** Makes keys in the folder `keys`. */
async function create(folder: TestFolder, ...args: string[]) {
  return await runCli([
    ...["dkim", "create", "--domain", "example.com", "--selector", "s1"],
    ...["--out", "keys", ...args],
  ], { cwd: folder.path });
}

Deno.test("dkim create makes keys that nobody else may read, and their records", async () => {
  await using folder = await TestFolder.create();
  const { code, stdout, stderr } = await create(folder, "--type", "both");
  assertEquals([code, stderr], [0, ""]);
  for (const [selector, type] of [["s1", "rsa"], ["s1-ed25519", "ed25519"]]) {
    const path = `${folder.path}/keys/example.com.${selector}.pem`;
    const key = await DkimPrivateKey.load(await Deno.readTextFile(path));
    assertEquals([key.type, key.bits], [type, type === "rsa" ? 2048 : 256]);
    if (hasFileModes) {
      assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    }
    const name = `${selector}._domainkey.example.com`;
    assert(stdout.includes(`\n${name} ${key.record}\n`));
    const zone = stdout.split(`\n${name}. IN TXT (\n`)[1]!.split(" )\n")[0]!;
    const strings = [...zone.matchAll(/"([^"]*)"/g)].map(([, text]) => text!);
    assert(strings.every(({ length }) => length <= 255));
    assertEquals(strings.join(""), key.record);
    assert(!stdout.includes(key.toPem().split("\n")[1]!));
  }
});

Deno.test("dkim create never replaces a key, and leaves no half of a pair", async () => {
  await using folder = await TestFolder.create();
  assertEquals((await create(folder, "--type", "ed25519")).code, 0);
  const path = `${folder.path}/keys/example.com.s1.pem`;
  const before = await Deno.readTextFile(path);
  const again = await create(folder, "--type", "both");
  assertEquals([again.code, again.stdout], [1, ""]);
  assertMatch(again.stderr, /^error: --out: cannot write .*: File exists\n$/);
  assertEquals(await Deno.readTextFile(path), before);
  await Deno.rename(path, `${folder.path}/keys/example.com.s1-ed25519.pem`);
  assertEquals((await create(folder, "--type", "both")).code, 1);
  const left = await Array.fromAsync(Deno.readDir(`${folder.path}/keys`));
  assertEquals(left.map(({ name }) => name), ["example.com.s1-ed25519.pem"]);
});

Deno.test("dkim sign signs with all keys, and keeps the line ends of the message", async () => {
  await using folder = await TestFolder.create();
  await create(folder, "--type", "both");
  await folder.write("letter", LETTER);
  const names = ["s1", "s1-ed25519"];
  const { code, stdout } = await runCli([
    ...["dkim", "sign", "letter"],
    ...names.flatMap((name) => [
      ...["--dkim", `example.com:${name}:keys/example.com.${name}.pem`],
    ]),
  ], { cwd: folder.path });
  assertEquals(code, 0);
  assert(stdout.endsWith(LETTER) && !stdout.includes("\r"));
  const keys: Record<string, DkimPrivateKey> = {};
  for (const name of names) {
    const path = `${folder.path}/keys/example.com.${name}.pem`;
    const pem = await Deno.readTextFile(path);
    keys[`${name}._domainkey.example.com`] = await DkimPrivateKey.load(pem);
  }
  assertEquals(await resultsOf(bytesOf(stdout), keyTable(keys)), [
    "pass rsa-sha256 s1",
    "pass ed25519-sha256 s1-ed25519",
  ]);
});

Deno.test("dkim verify says what each signature is worth by its exit code", async () => {
  await using folder = await TestFolder.create();
  await folder.write("letter", LETTER);
  const bad = "DKIM-Signature: v=1; a=rsa-sha1; d=example.com; s=x\n";
  await folder.write("bad", `${bad}${LETTER}`);
  await folder.write(
    "asks",
    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com;" +
      ` s=x; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\n${LETTER}`,
  );
  const rows = await runCliRows([
    ["dkim", "verify", "letter"],
    ["dkim", "verify", "bad"],
    ["dkim", "verify", "bad", "--json"],
    ["dkim", "verify", "absent"],
    // No name server answers there.
    ["dkim", "verify", "asks", "--dns", "127.0.0.1:9"],
  ], { cwd: folder.path });
  const [none, fault, json, absent, asks] = rows;
  assertEquals([none!.code, none!.stdout], [1, ""]);
  assertEquals(none!.stderr, "no signature\n");
  assertEquals([fault!.code, fault!.stderr], [1, ""]);
  assertMatch(fault!.stdout, /^\w+: d=example\.com s=x a=rsa-sha1: [^\n]+\n$/);
  assertEquals(JSON.parse(json!.stdout).domain, "example.com");
  assertEquals([absent!.code, absent!.stdout], [1, ""]);
  assertMatch(absent!.stderr, /^error: Cannot read "absent": /);
  assertEquals(asks!.code, asks!.stdout.startsWith("temperror") ? 75 : 1);
});

Deno.test("keys that cannot be used are one clear line", async () => {
  await using folder = await TestFolder.create();
  await create(folder, "--type", "ed25519");
  const file = "keys/example.com.s1.pem";
  await folder.write("text", "no key\n");
  const key = `example.com:s1:${file}`;
  const serve = ["serve", "--check", "--relay", "--user", "ann:secret"];
  const table: readonly [number, RegExp, readonly string[]][] = [
    [2, /^--dkim x: want DOMAIN:SELECTOR:KEYFILE/, ["--dkim", "x"]],
    [1, /^error: --dkim a:b:absent: No such file/, ["--dkim", "a:b:absent"]],
    [1, /: Cannot read the DKIM key: /, ["--dkim", "a.test:b:text"]],
    [1, /Cannot use domain "a b"/, ["--dkim", `a b:s:${file}`]],
    [1, /Cannot use two keys/, ["--dkim", key, "--dkim", key]],
  ];
  const rows = await runCliRows(
    table.map(([, , args]) => [...serve, ...args]),
    { cwd: folder.path },
  );
  for (const [at, [code, want]] of table.entries()) {
    assertMatch(rows[at]!.stderr, want);
    assertEquals(rows[at]!.stderr.trim().split("\n").length, 1);
    assertEquals(rows[at]!.code, code);
  }
  const right = await runCli([...serve, "--dkim", key], { cwd: folder.path });
  assertEquals([right.code, right.stdout], [0, "the settings can be used\n"]);
});

Deno.test("dkim refuses words and options that it does not take", async () => {
  const rows = await runCliRows([
    ["dkim"],
    ["dkim", "creat"],
    ["dkim", "create", "--domain", "example.com"],
    ["dkim", "create", "--domain", "a b", "--out", "x"],
    ["dkim", "create", "--domain", "a.test", "--out", "x", "--type", "dsa"],
    ["dkim", "sign", "-"],
    ["dkim", "verify", "a", "b"],
  ], { cwd: Deno.cwd() });
  for (const { code, stdout, stderr } of rows) {
    assertEquals([code, stdout], [2, ""], stderr);
    assertEquals(stderr.trim().split("\n").length, 1);
  }
});
