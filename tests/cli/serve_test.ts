/** The first lines of `serve`, and the mail that it accepts, keeps and refuses. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { CliServer, messageTo, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { replies } from "../../lib/protocol/replies.ts";

Deno.test("cli prints every listener first, one line each", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start([
    ...["--listen", "127.0.0.1:0", "--listen", "[::1]:0"],
    ...["--listen", "127.0.0.1:0/lmtp", "--listen", "127.0.0.1:0/submission"],
    ...["--hostname", "mx.example", "--store", "discard"],
    ...["--user", "ann:secret"],
  ], { cwd: folder.path, listeners: 4 });
  const lines = server.stdout.split("\n");
  assert(/^listening on 127\.0\.0\.1:[1-9]\d* \(smtp\)$/.test(lines[0]!));
  assert(/^listening on \[::1\]:[1-9]\d* \(smtp\)$/.test(lines[1]!));
  assert(/^listening on 127\.0\.0\.1:[1-9]\d* \(lmtp\)$/.test(lines[2]!));
  assert(/^listening on 127\.0\.0\.1:[1-9]\d* \(submission\)$/.test(lines[3]!));
  const greetings = ["ESMTP ready", "ESMTP ready", "LMTP ready", "ESMTP ready"];
  for (const [listener, greeting] of greetings.entries()) {
    await using client = await server.connect({
      listener,
      address: listener === 1 ? "::1" : "127.0.0.1",
    });
    await client.script(`S: 220 mx.example ${greeting}`);
  }
});

Deno.test("cli prints where mail goes and how to send a test mail", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start(["--domain", "example.org"], {
    cwd: folder.path,
  });
  const { stdout, stderr } = await server.end("SIGTERM");
  assertStringIncludes(
    stdout,
    "mail is kept in ./mail, one Maildir a recipient",
  );
  assertStringIncludes(stdout, `smtp://127.0.0.1:${server.ports[0]}`);
  assertStringIncludes(stdout, "--mail-rcpt you@example.org");
  assertMatch(stderr, /^\S+ info stopping [^\n]*\n$/);
});

Deno.test("cli --quiet prints its listeners and nothing else", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start(["--quiet"], { cwd: folder.path });
  await using client = await server.connect();
  await client.script(messageTo(["you@example.com"]));
  const { code, stdout, stderr } = await server.end("SIGTERM");
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  assert(/^listening on \S+ \(smtp\)\n$/.test(stdout), stdout);
});

Deno.test("cli goes on without a reader of its first lines", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start(["--log", "json"], {
    cwd: folder.path,
    ignoreOutput: true,
  });
  await using client = await server.connect();
  await client.script("S: 220\nC: QUIT\nS: 221\nS: <closed>");
  assertEquals((await server.end("SIGTERM")).code, 0);
});

Deno.test("cli fails with 1 and one line if the port is in use", async () => {
  await using folder = await TestFolder.create();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  const { code, stdout, stderr } = await runCli([
    ...["--listen", "127.0.0.1:0", "--listen", `127.0.0.1:${port}`],
  ], { cwd: folder.path });
  assertEquals([code, stdout], [1, ""]);
  assert(
    /^error: Cannot listen on 127\.0\.0\.1:\d+: Address already in use.*\n$/
      .test(stderr),
    stderr,
  );
});

Deno.test("cli --store writes the right files", async (t) => {
  const to = ["one@example.com", "Two@example.com"];
  const rows: {
    name: string;
    store?: string;
    files: RegExp[];
    first: RegExp;
  }[] = [
    {
      name: "maildir, which is the default",
      files: [
        /^mail\/one@example\.com\/new\/\S+,S=\d+,W=\d+$/,
        /^mail\/two@example\.com\/new\/\S+,S=\d+,W=\d+$/,
      ],
      first:
        /^Return-Path: <me@client\.example>\nReceived: [^]+\n\nIt works\.\n$/,
    },
    {
      name: "maildir:DIR",
      store: "maildir:boxes/all",
      files: [
        /^boxes\/all\/one@example\.com\/new\/\S+$/,
        /^boxes\/all\/two@example\.com\/new\/\S+$/,
      ],
      first: /\nSubject: hello\n\nIt works\.\n$/,
    },
    {
      name: "mbox:DIR",
      store: "mbox:boxes",
      files: [/^boxes\/one@example\.com$/, /^boxes\/two@example\.com$/],
      first:
        /^From me@client\.example [^\n]+\nReturn-Path: [^]+\n\nIt works\.\n\n$/,
    },
    {
      name: "mbox:FILE.mbox",
      store: "mbox:all.mbox",
      files: [/^all\.mbox$/],
      first:
        /^From me@client\.example [^\n]+\nReturn-Path: [^]+\n\nIt works\.\n\n$/,
    },
    {
      name: "file:DIR",
      store: "file:inbox",
      files: [/^inbox\/\S+\.eml$/],
      first: /\r\nSubject: hello\r\n\r\nIt works\.\r\n$/,
    },
  ];
  for (const { name, store, files, first } of rows) {
    await t.step(name, async () => {
      await using folder = await TestFolder.create();
      await using server = await CliServer.start(
        store === undefined ? [] : ["--store", store],
        { cwd: folder.path },
      );
      await using client = await server.connect();
      await client.script(messageTo(to));
      assertEquals((await server.end("SIGTERM")).code, 0);
      const found = await folder.files();
      assertEquals(found.length, files.length, found.join(" "));
      for (const [at, file] of files.entries()) assert(file.test(found[at]!));
      const text = await folder.read(found[0]!);
      assert(first.test(text), text);
    });
  }
  await t.step("discard", async () => {
    await using folder = await TestFolder.create();
    await using server = await CliServer.start(["--store", "discard"], {
      cwd: folder.path,
    });
    await using client = await server.connect();
    await client.script(messageTo(to));
    const { code, stdout } = await server.end("SIGTERM");
    assertEquals([code, await folder.files()], [0, []]);
    assertStringIncludes(stdout, "mail is accepted and discarded");
  });
});

Deno.test("cli --domain refuses recipients elsewhere", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start([
    ...["--domain", "example.com", "--domain", "Example.org"],
  ], { cwd: folder.path });
  await using client = await server.connect();
  await client.script(`
    S: 220
    C: EHLO client.example
    S: 250
    C: MAIL FROM:<me@client.example>
    C: RCPT TO:<you@elsewhere.example>
    C: RCPT TO:<you%elsewhere.example@sub.example.com>
    C: RCPT TO:<you@EXAMPLE.com>
    C: RCPT TO:<you@example.org>
    C: RCPT TO:<postmaster>
    S: 250
    S: 550 5.7.1 ...
    S: 550 5.7.1 ...
    S: 250
    S: 250
    S: 250
  `);
});

Deno.test("cli accepts mail by LMTP with a reply for each recipient", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start([
    ...["--listen", "127.0.0.1:0/lmtp", "--store", "file:inbox"],
  ], { cwd: folder.path });
  await using client = await server.connect();
  await client.script(
    messageTo(["one@example.com", "two@example.com"], {
      hello: "LHLO client.example",
    }),
  );
  assertEquals((await folder.files()).length, 1);
});

Deno.test("cli enforces --max-size, --max-recipients and --max-connections", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start([
    ...["--max-size", "100", "--max-recipients", "2", "--max-connections", "1"],
  ], { cwd: folder.path });
  await using client = await server.connect();
  await client.expect(220);
  const { lines } = await client.expect(250, "EHLO client.example");
  assert(lines.includes("SIZE 100"), lines.join());
  await using another = await server.connect();
  await another.script("S: 421 4.7.0 ...\nS: <closed>");
  await client.script(`
    C: MAIL FROM:<> SIZE=101
    S: 552 5.3.4 ...
    C: MAIL FROM:<>
    S: 250
    C: RCPT TO:<one@example.com>
    S: 250
    C: RCPT TO:<two@example.com>
    S: 250
    C: RCPT TO:<three@example.com>
    S: 452 4.5.3 ...
    C: DATA
    S: 354
    C: ${"x".repeat(100)}
    C: .
    S: 552 5.3.4 ...
  `);
  const files = await folder.files();
  assertEquals(files, []);
});

Deno.test("cli learns the client from --proxy-protocol and --xclient", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start([
    ...["--proxy-protocol", "127.0.0.0/8", "--proxy-protocol", "::1"],
    ...["--xclient", "192.0.2.7", "--log", "json"],
  ], { cwd: folder.path });
  await using client = await server.connect();
  await client.script(`
    C: PROXY TCP4 192.0.2.7 192.0.2.2 40000 25
    S: 220
    C: XCLIENT ADDR=IPV6:2001:db8::7
    S: 220
    C: XCLIENT ADDR=192.0.2.8
    S: 550 5.7.0 ...
    C: QUIT
    S: 221
  `);
  await using another = await server.connect();
  await another.script("C: EHLO client.example\nS: <closed>");
  const { stderr } = await server.end("SIGTERM");
  const records = stderr.trim().split("\n").map((line) => JSON.parse(line));
  const addresses = records.filter(({ event }) => event === "connect")
    .map(({ address }) => address);
  assertEquals(addresses, ["192.0.2.7", "2001:db8::7"]);
  const refused = records.filter(({ event }) => event === "refused");
  assertEquals(
    refused.map(({ level, address, verb }) => [level, address, verb]),
    [["info", "2001:db8::7", "XCLIENT"], ["warn", "127.0.0.1", undefined]],
  );
});

Deno.test("cli --early-talkers allow accepts input before the greeting, as earlyTalkers of a file does", async () => {
  await using folder = await TestFolder.create();
  await folder.write("smtp.json", '{"earlyTalkers": "allow"}');
  const proxy = ["--proxy-protocol", "127.0.0.0/8", "--store", "discard"];
  const rows: [args: string[], first: number][] = [
    [[], 554],
    [["--early-talkers", "allow"], 220],
    [["--config", "smtp.json"], 220],
    [["--config", "smtp.json", "--early-talkers", "refuse"], 554],
  ];
  for (const [args, first] of rows) {
    await using server = await CliServer.start([...proxy, ...args], {
      cwd: folder.path,
    });
    await using client = await server.connect();
    // Bytes in one write with the header of a proxy arrive before the greeting.
    await client.send(
      "PROXY TCP4 192.0.2.7 192.0.2.2 40000 25\r\nEHLO client.example",
    );
    await client.expect(first);
    if (first === 220) await client.expect(250);
  }
});

Deno.test("cli --exempt none applies the limits to loopback as well", async () => {
  await using folder = await TestFolder.create();
  await folder.write("smtp.json", '{"exempt": "none", "messagesPerMinute": 1}');
  await using server = await CliServer.start([
    ...["--config", "smtp.json", "--max-connections-per-ip", "1"],
    ...["--log", "json"],
  ], { cwd: folder.path });
  await using client = await server.connect();
  await client.expect(220);
  await using another = await server.connect();
  await another.script(`
    S: 421 4.7.0 Too many connections from 127.0.0.1, at most 1
    S: <closed>
  `);
  await client.script(`
    C: EHLO client.example
    S: 250
    C: MAIL FROM:<>
    S: 250
    C: RSET
    S: 250
    C: MAIL FROM:<>
    S: 450 4.7.1 Too many messages from 127.0.0.1, at most 1 a minute
  `);
});

Deno.test("cli --timeout ends the session of a silent client", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start(["--timeout", "1"], {
    cwd: folder.path,
  });
  await using client = await server.connect();
  await client.script("S: 220\nS: 421 4.4.2 ...\nS: <closed>");
});

Deno.test("cli --handlers calls the module", async () => {
  await using folder = await TestFolder.create();
  await folder.write(
    "handlers.ts",
    `export default {
      onRcptTo: (_session: unknown, address: { localPart: string }) =>
        address.localPart !== "nobody",
    };`,
  );
  await using server = await CliServer.start(["--handlers", "./handlers.ts"], {
    cwd: folder.path,
  });
  await using client = await server.connect();
  await client.script(`
    S: 220
    C: EHLO client.example
    S: 250
    C: MAIL FROM:<>
    S: 250
    C: RCPT TO:<nobody@example.com>
    S: ${replies.refusedRecipient}
    C: RCPT TO:<you@example.com>
    S: 250
  `);
});

Deno.test("cli --config has the same names in camelCase, and options override it", async () => {
  await using folder = await TestFolder.create();
  await folder.write(
    "smtp.json",
    JSON.stringify({
      listen: ["127.0.0.1:0", "127.0.0.1:0/lmtp"],
      hostname: "mx.config.example",
      store: "file:from-config",
      domain: "example.com",
      maxSize: 4711,
      maxRecipients: "7",
      quiet: true,
    }),
  );
  await using server = await CliServer.start([
    ...["serve", "--config", "smtp.json", "--hostname", "mx.option.example"],
    ...["--store=file:from-option", "--domain", "example.org"],
  ], { cwd: folder.path, listeners: 2 });
  assertEquals(server.stdout.split("\n").length, 3);
  await using client = await server.connect();
  await client.script("S: 220 mx.option.example ESMTP ready");
  const { lines } = await client.expect(250, "EHLO client.example");
  assert(lines.includes("SIZE 4711"));
  assert(
    lines.some((line) => /^LIMITS .*RCPTMAX=7\b/.test(line)),
    lines.join(),
  );
  await client.expect(250, "MAIL FROM:<>");
  await client.expect(550, "RCPT TO:<you@example.com>");
  await using lmtp = await server.connect({ listener: 1 });
  await lmtp.script(
    messageTo(["you@example.org"], { hello: "LHLO client.example" }),
  );
  const files = await folder.files();
  assertEquals(files.length, 2);
  assert(files[0]?.startsWith("from-option/"), files.join());
});
