/** `serve --srs --arc`: mail that an alias sends elsewhere, and one clear line for what cannot be used. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { DkimPrivateKey, verifyArc } from "../../lib/trust/mod.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { CliServer, messageTo, runCliRows } from "../support/cli.ts";
import { keyTable } from "../support/dkim_table.ts";
import { TestFolder } from "../support/folder.ts";
import { startServer } from "../support/server.ts";
import { within } from "../support/wait.ts";
import { startZoneServer } from "../support/zone_server.ts";

const key = await DkimPrivateKey.generate("ed25519");

async function files(): Promise<TestFolder> {
  const folder = await TestFolder.create();
  await folder.write("key.pem", key.toPem());
  await folder.write(
    "secrets",
    "\n0123456789abcdef-new\n0123456789abcdef-old\n",
  );
  await folder.write("short", "sesame\n");
  await folder.write("aliases", "ann@near.test: you@dest.test\n");
  return folder;
}

Deno.test("serve forwards with a sender of its own and a seal", async () => {
  await using folder = await files();
  const store = new MemoryStore();
  await using far = await startServer({ store });
  await using zone = await startZoneServer({
    "MX dest.test": ["10 mx.dest.test"],
    "A mx.dest.test": ["127.0.0.1"],
  });
  await using server = await CliServer.start([
    ...["--domain", "near.test", "--aliases", "aliases", "--store", "discard"],
    ...["--hostname", "mx.near.test", "--verify", "report"],
    ...["--srs", "near.test", "--srs-secret", "secrets"],
    ...["--arc", "near.test:s1:key.pem", "--dns", zone.nameServer],
    ...["--remote-port", String(far.addresses[0]!.port), "--allow-loopback"],
    ...["--listen", "127.0.0.1:0", "--proxy-protocol", "127.0.0.0/8"],
  ], { cwd: folder.path });
  await using client = await server.connect();
  await client.script(
    `C: PROXY TCP4 192.0.2.9 127.0.0.1 4711 25\n${
      messageTo(["ann@near.test"])
    }`,
  );
  const got = await within(store.next(), "the forwarded message");
  assertMatch(
    got.from.toString(),
    /^SRS0=[A-Z2-7]{8}=[A-Z2-7]{2}=[^=]+=[^=]+@near\.test$/,
  );
  const dns = keyTable({ "s1._domainkey.near.test": key });
  const { result, sealedBy } = await verifyArc(got.bytes, { dns });
  assertEquals([result, sealedBy], ["pass", ["near.test"]]);
});

Deno.test("serve names what forwarding cannot use, and no secret", async () => {
  await using folder = await files();
  const serve = ["serve", "--check", "--store", "discard"];
  const domain = ["--domain", "near.test"];
  const srs = [...domain, "--srs", "near.test", "--srs-secret"];
  const arc = ["--verify", "report", "--arc"];
  const table: readonly (readonly [number, RegExp, readonly string[]])[] = [
    [2, /^--srs: want --srs-secret, too/, ["--srs", "near.test"]],
    [2, /^--srs: want --domain, too/, srs.slice(2).concat("secrets")],
    [2, /^--srs-secret: want --srs, too/, ["--srs-secret", "secrets"]],
    [2, /^--srs.*a b/, [...domain, "--srs", "a b", "--srs-secret", "secrets"]],
    [1, /^error: --srs-secret gone: No such file/, [...srs, "gone"]],
    [1, /^error: --srs-secret short: want a secret of/, [...srs, "short"]],
    [2, /^--arc: want --verify, too/, ["--arc", "near.test:s1:key.pem"]],
    [2, /^--arc x: want DOMAIN:SELECTOR:KEYFILE/, [...arc, "x"]],
    [1, /: Cannot read the DKIM key: /, [...arc, "near.test:s1:secrets"]],
    [0, /^$/, [...srs, "secrets", ...arc, "near.test:s1:key.pem", "--relay"]],
  ];
  const rows = await runCliRows(
    table.map(([, , args]) => [...serve, ...args]),
    { cwd: folder.path },
  );
  for (const [at, [code, want]] of table.entries()) {
    const { stderr } = rows[at]!;
    assertMatch(stderr.replace(/^warning: --relay: .*\n/, ""), want);
    assert(!stderr.includes("sesame"));
    assertEquals(rows[at]!.code, code, stderr);
  }
});
