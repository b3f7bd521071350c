/** Relaying by the options of the command line: clients, next hops, retries and expiry. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { CliServer, messageTo, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { startWireServer } from "../support/dns.ts";
import { startZoneServer } from "../support/zone_server.ts";
import { startServer } from "../support/server.ts";
import { until, within } from "../support/wait.ts";

const NXDOMAIN = 3;
const SERVFAIL = 2;

/** The next hop, and the options that name it. */
async function nextHop(
  options: SmtpServerOptions = {},
): Promise<
  AsyncDisposable & { store: MemoryStore; server: SmtpServer; args: string[] }
> {
  const store = new MemoryStore();
  const server = await startServer({ store, ...options });
  const { port } = server.addresses[0]!;
  return {
    store,
    server,
    args: ["--smarthost", `127.0.0.1:${port}/none`],
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

/** A message from a mailbox of this server to a recipient elsewhere. */
function messageFromHome(to: string): string {
  return messageTo([to]).replace("me@client.example", "me@near.test");
}

/** The DSN in the mailbox of `me@near.test`, once the log reports it. */
async function dsnIn(
  folder: TestFolder,
  server: CliServer,
): Promise<string> {
  await server.logged(
    /"event":"bounce"[^]*"event":"delivery".*"result":"delivered"/,
  );
  const files = await folder.files("mail/me@near.test/new");
  assertEquals(files.length, 1);
  return await folder.read(files[0]!);
}

Deno.test("cli --relay relays for clients that have logged in only", async () => {
  await using folder = await TestFolder.create();
  await using hop = await nextHop();
  await using server = await CliServer.start([
    ...["--relay", "--user", "ann:sesame", "--allow-insecure-auth"],
    ...["--domain", "near.test", "--quiet", ...hop.args],
  ], { cwd: folder.path });
  await using client = await server.connect();
  await client.expect(220);
  await client.expect(250, "EHLO client.example");
  await client.expect(250, "MAIL FROM:<ann@near.test>");
  await client.expect(550, "RCPT TO:<you@dest.test>");
  await client.expect(250, "RCPT TO:<ann@near.test>");
  await client.expect(250, "RSET");
  await client.expect(235, `AUTH PLAIN ${btoa("\0ann\0sesame")}`);
  await client.script(`
    C: MAIL FROM:<ann@near.test>
    S: 250
    C: RCPT TO:<you@dest.test>
    S: 250
    C: DATA
    S: 354
    C: Subject: hello
    C:
    C: It works.
    C: .
    S: 250
  `);
  const message = await within(hop.store.next(), "the message");
  assertEquals(String(message.recipients[0]!.address), "you@dest.test");
  assertEquals((await server.end("SIGTERM")).code, 0);
});

Deno.test("cli --smarthost-user logs in at the smarthost, and shows its secret nowhere", async () => {
  await using folder = await TestFolder.create();
  const users: (string | undefined)[] = [];
  await using hop = await nextHop({
    accounts: new AccountList({ relay: "sesame" }),
    authentication: "required",
    allowInsecureAuth: true,
    handlers: { onMessage: ({ username }) => void users.push(username) },
  });
  await using server = await CliServer.start([
    ...["--relay-from", "127.0.0.0/8", ...hop.args, "--log", "json"],
    ...["--smarthost-user", "relay:sesame"],
  ], { cwd: folder.path });
  {
    await using client = await server.connect();
    await client.script(messageTo(["you@dest.test"]));
  }
  await within(hop.store.next(), "the message");
  assertEquals(users, ["relay"]);
  const { code, stdout, stderr } = await server.end("SIGTERM");
  assertEquals(code, 0);
  assert(!`${stdout}${stderr}`.includes("sesame"));
});

Deno.test("cli --dns queries the given name servers; --bounce-from sends the DSN for a domain without a host", async () => {
  await using folder = await TestFolder.create();
  await using names = await startWireServer(() => ({ rcode: NXDOMAIN }));
  await using server = await CliServer.start([
    ...["--relay-from", "127.0.0.0/8", "--domain", "near.test"],
    ...["--dns", names.nameServer, "--bounce-from", "post@near.test"],
    ...["--log", "json"],
  ], { cwd: folder.path });
  {
    await using client = await server.connect();
    await client.script(messageFromHome("you@gone.test"));
  }
  const dsn = await dsnIn(folder, server);
  assert(names.asked.includes("gone.test"), String(names.asked));
  assertStringIncludes(dsn, "From: Mail delivery <post@near.test>");
  assertStringIncludes(dsn, "Final-Recipient: rfc822; you@gone.test");
  assertStringIncludes(dsn, "Action: failed");
});

Deno.test("cli --expire sends a DSN for a message that --retry could not deliver", async () => {
  await using folder = await TestFolder.create();
  let tries = 0;
  await using hop = await nextHop({
    handlers: {
      onMailFrom() {
        tries++;
        return new SmtpReply(450, "Later", { enhanced: "4.7.1" });
      },
    },
  });
  await using server = await CliServer.start([
    ...["--relay-from", "127.0.0.0/8", "--domain", "near.test", ...hop.args],
    ...["--retry", "100ms", "--expire", "1s", "--log", "json"],
  ], { cwd: folder.path });
  {
    await using client = await server.connect();
    await client.script(messageFromHome("you@dest.test"));
  }
  const dsn = await dsnIn(folder, server);
  assertStringIncludes(dsn, "Diagnostic-Code: smtp; 450 4.7.1 Later");
  assert(tries > 1, `${tries} tries`);
});

Deno.test("cli queue holds, releases and removes beside a running server", async () => {
  await using folder = await TestFolder.create();
  const spool = `${folder.path}/spool`;
  await using hop = await nextHop({
    handlers: { onMailFrom: () => new SmtpReply(450, "Later") },
  });
  await using server = await CliServer.start([
    ...["--relay-from", "127.0.0.0/8", "--retry", "1h", "--spool", spool],
    ...["--log", "json", ...hop.args],
  ], { cwd: folder.path });
  for (const to of ["one@dest.test", "two@dest.test"]) {
    await using client = await server.connect();
    await client.script(messageTo([to]));
  }
  await server.logged(/("result":"deferred"[^]*){2}/);
  const queue = async (...args: string[]) =>
    (await runCli(["queue", ...args, "--spool", spool, "--json"])).stdout;
  const list = async () =>
    (await queue("list")).split("\n").filter((line) => line !== "")
      .map((line) => JSON.parse(line));
  const waitFor = async (isTrue: (list: { held: boolean }[]) => boolean) => {
    let now: { held: boolean }[] = [];
    await until(async () => isTrue(now = await list()), { seen: () => now });
  };
  const [{ id }] = await list();
  const asked = JSON.parse(await queue("hold", id));
  assertEquals(asked, { action: "hold", id, outcome: "asked" });
  await waitFor((all) => all.filter(({ held }) => held).length === 1);
  await queue("hold", "all");
  await waitFor((all) => all.every(({ held }) => held));
  await queue("release", id);
  await waitFor((all) => all.filter(({ held }) => held).length === 1);
  await queue("remove", id);
  await waitFor((all) => all.length === 1);
  await queue("remove", "all");
  await waitFor((all) => all.length === 0);
  assertEquals((await server.end("SIGTERM")).code, 0);
  assertEquals(await folder.files("spool/messages"), []);
});

Deno.test("cli lookup tlsa shows records, and whether they are validated", async () => {
  const data = "0a".repeat(32);
  await using names = await startZoneServer({
    "TLSA _25._tcp.signed.test": { records: [`3 1 1 ${data}`], secure: true },
    "TLSA _25._tcp.plain.test": [`3 1 1 ${data}`],
    "TLSA _25._tcp.none.test": { secure: true },
  });
  const lookup = (name: string, ...more: string[]) =>
    runCli([
      ...["lookup", "tlsa", `_25._tcp.${name}.test`],
      ...["--dns", names.nameServer, ...more],
    ]);
  const line = `3 1 1 ${data}\n`;
  const signed = await lookup("signed");
  assertEquals(signed.code, 0);
  assertEquals(signed.stdout, `${line}secure (validated by DNSSEC)\n`);
  const plain = await lookup("plain");
  assertEquals(plain.stdout, `${line}not secure (not validated by DNSSEC)\n`);
  const none = await lookup("none");
  assertEquals([none.code, none.stdout], [1, ""]);
  assertEquals(
    none.stderr,
    "_25._tcp.none.test: no TLSA record (no such record), secure (validated by DNSSEC)\n",
  );
  const json = await lookup("signed", "--json", "--trust-ad");
  assertEquals(JSON.parse(json.stdout), {
    status: "found",
    records: [{ usage: 3, selector: 1, matching: 1, data }],
    secure: true,
    canonicalName: "_25._tcp.signed.test",
  });
});

Deno.test("cli lookup shows by its exit code whether there is an answer", async (t) => {
  await using names = await startWireServer((name) => {
    if (name === "here.test") return { address: [192, 0, 2, 1] };
    return { rcode: name === "gone.test" ? NXDOMAIN : SERVFAIL };
  });
  const rows = [
    ["here.test", 0, "192.0.2.1\n"],
    ["gone.test", 1, ""],
    ["broken.test", 75, ""],
  ] as const;
  for (const [name, code, stdout] of rows) {
    await t.step(name, async () => {
      const outcome = await runCli([
        ...["lookup", "a", name, "--dns", names.nameServer],
      ]);
      assertEquals([outcome.code, outcome.stdout], [code, stdout]);
      assert(outcome.stderr === "" || outcome.stderr.includes(name));
    });
  }
});
