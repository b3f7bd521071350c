/**
 * The dialogue of a session in the log (`trace`) and for `onDialogue`: what is in
 * it, for which clients, and that no secret is (RFC 4954, RFC 3207).
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertRejects,
  assertThrows,
} from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import type { MechanismName } from "../../lib/sasl/mechanism_name.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import type { DialogueLine } from "../../lib/session/handlers.ts";
import { startServer, TestClient } from "../support/server.ts";
import {
  certificate,
  connectStartTls,
  logIn,
  plainResponse,
} from "../support/tls.ts";
import { until } from "../support/wait.ts";

const SECRET = "hush-hush-42";
const LOOPBACK = ["127.0.0.0/8"];
const BEHIND_PROXY = "PROXY TCP4 192.0.2.7 127.0.0.1 4711 25\r\n";

/** A server that traces, and what it has logged of dialogues. */
interface Traced extends AsyncDisposable {
  readonly server: SmtpServer;
  readonly records: LogRecord[];
  /** All lines so far, as `C: QUIT`. */
  lines(): string[];
  /** Resolves when no session is left, and its last records have come. */
  over(): Promise<void>;
}

async function traced(options: SmtpServerOptions = {}): Promise<Traced> {
  const records: LogRecord[] = [];
  const server = await startServer({
    trace: LOOPBACK,
    log: (record) => void records.push(record),
    ...options,
  });
  return {
    server,
    records,
    lines: () =>
      records.filter(({ event }) => event === "dialogue").map(shownRecord),
    over: () => server.stop(),
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

function shownRecord({ fields = {} }: LogRecord): string {
  return `${fields["side"] === "client" ? "C" : "S"}: ${fields["line"]}`;
}

function shown({ side, line }: DialogueLine): string {
  return `${side === "client" ? "C" : "S"}: ${line}`;
}

/** A client that has said EHLO. */
async function greeted(server: SmtpServer): Promise<TestClient> {
  const client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  return client;
}

const WHOLE = [
  ...["S: 220 mx.test ESMTP ready", "C: HELO client.test", "S: 250 mx.test"],
  ...["C: MAIL FROM:<a@b.test>", "S: 250 2.1.0 Sender OK"],
  ...["C: RCPT TO:<c@d.test>", "S: 250 2.1.5 Recipient OK", "C: DATA"],
  ...["S: 354 End data with <CRLF>.<CRLF>", "C: (22 bytes of content)"],
];

for (const threads of [0, 1]) {
  Deno.test(`trace logs both sides at every level, and content as a number, with ${threads} threads`, async () => {
    await using test = await traced({ threads, logLevel: "warn" });
    using client = await TestClient.connect(test.server);
    await client.envelope();
    assertEquals(
      (await client.data("Subject: x\r\n\r\n..y")).slice(0, 3),
      "250",
    );
    await client.expect(["QUIT", "221"]);
    await test.over();
    const lines = test.lines();
    assertEquals(lines.slice(0, WHOLE.length), WHOLE);
    assertEquals(lines.slice(-2), ["C: QUIT", "S: 221 2.0.0 Bye"]);
    for (const { level, session, fields } of test.records) {
      assertEquals([level, fields!["address"]], ["debug", "127.0.0.1"]);
      assert(session !== undefined && Number(fields!["atMs"]) >= 0);
    }
  });

  Deno.test(`onDialogue gets the same lines, and may fail, with ${threads} threads`, async () => {
    const lines: string[] = [];
    const sessions = new Set<unknown>();
    let last = -1;
    await using test = await traced({
      threads,
      trace: [],
      handlers: {
        onDialogue(session, exchange) {
          lines.push(shown(exchange));
          sessions.add(session);
          assert(exchange.atMs >= last);
          last = exchange.atMs;
          if (exchange.line === "DATA") throw new Error("Cannot listen");
          const rejected = Promise.reject(new Error("Cannot listen later"));
          // A program may pass an async function where the type wants no promise.
          if (exchange.line === "QUIT") return rejected as unknown as void;
          rejected.catch(() => {});
        },
      },
    });
    using client = await TestClient.connect(test.server);
    await client.envelope();
    await client.data("Subject: x\r\n\r\n..y");
    await client.expect(["QUIT", "221"]);
    await test.over();
    await until(() => lines.length > WHOLE.length + 2);
    assertEquals(lines.slice(0, WHOLE.length), WHOLE);
    assertEquals(sessions.size, 1);
    const errors = test.records.filter(({ level }) => level === "error");
    assertEquals(errors.map(({ message }) => message), [
      ...["onDialogue failed", "onDialogue failed"],
    ]);
    assertEquals(test.lines(), []);
  });
}

Deno.test("trace leaves the clients of other networks alone", async () => {
  await using test = await traced({ trace: ["192.0.2.0/24"] });
  using client = await greeted(test.server);
  await client.expect(["QUIT", "221"]);
  await test.over();
  assertEquals(test.lines(), []);
});

Deno.test("trace begins and ends by reload, for later sessions", async () => {
  await using test = await traced({ trace: [] });
  for (const [trace, count] of [[LOOPBACK, 1], [[], 1]] as const) {
    await test.server.reload({ trace });
    using client = await TestClient.connect(test.server);
    await client.reply();
    await client.expect(["QUIT", "221"]);
    await client.rest();
    const quits = test.lines().filter((line) => line === "C: QUIT");
    assertEquals(quits.length, count);
  }
});

Deno.test("trace chooses sessions by a function, and reload() by another", async () => {
  const ports: number[] = [];
  await using test = await traced({
    trace: ({ remoteAddress, localPort, state }) => {
      ports.push(localPort);
      assertEquals([remoteAddress, state], ["127.0.0.1", "connecting"]);
      return ports.length === 2;
    },
  });
  const quit = async () => {
    using client = await TestClient.connect(test.server);
    await client.reply();
    await client.expect(["QUIT", "221"]);
    await client.rest();
  };
  for (let count = 0; count < 3; count++) await quit();
  const { port } = test.server.addresses[0]!;
  assertEquals(ports, [port, port, port]);
  assertEquals(test.lines().filter((line) => line === "C: QUIT").length, 1);
  const first = test.records.find(({ event }) => event === "dialogue");
  assertEquals(first!.fields!["line"], "220 mx.test ESMTP ready");
  await test.server.reload({ trace: () => true });
  await quit();
  await test.server.reload({ trace: [] });
  await quit();
  await test.over();
  assertEquals(test.lines().filter((line) => line === "C: QUIT").length, 2);
});

Deno.test("trace asks its function again after XCLIENT", async () => {
  await using test = await traced({
    trace: ({ xclient }) => xclient !== undefined,
    xclient: LOOPBACK,
  });
  using client = await greeted(test.server);
  await client.expect(["XCLIENT ADDR=192.0.2.7", "220"], ["QUIT", "221"]);
  await test.over();
  assertEquals(test.lines().filter((line) => line.startsWith("C:")), [
    "C: QUIT",
  ]);
});

Deno.test("A function in trace that fails traces nothing, and is logged once", async () => {
  for (
    const [wrong, text] of [
      [() => {
        throw new Error("Cannot choose");
      }, "Cannot choose"],
      [() => Promise.reject(new Error("later")), "want true or false"],
      [() => Promise.resolve(true), "want true or false"],
      [() => 1, "want true or false"],
    ] as const
  ) {
    await using test = await traced({
      listen: ["127.0.0.1:0", "127.0.0.1:0"],
      trace: wrong as unknown as () => boolean,
    });
    for (let count = 0; count < 4; count++) {
      using client = await TestClient.connect(test.server, count % 2);
      await client.reply();
      await client.expect(["QUIT", "221"]);
    }
    await test.over();
    assertEquals(test.lines(), []);
    const errors = test.records.filter(({ level }) => level === "error");
    assertEquals(errors.map(({ message }) => message), [
      "Cannot choose by trace whether to log the dialogue",
    ]);
    assert(errors[0]!.error!.includes(text), errors[0]!.error);
    assert(errors[0]!.session !== undefined);
  }
});

Deno.test("A function in trace cannot be had with threads", async () => {
  const trace = () => true;
  const text =
    "Cannot use trace (a function) with threads: want networks, or the handler onDialogue";
  assertThrows(
    () => new SmtpServer({ threads: 2, trace }),
    TypeError,
    text,
  );
  await using test = await traced({ threads: 1 });
  await assertRejects(() => test.server.reload({ trace }), TypeError, text);
  using client = await greeted(test.server);
  await client.expect(["QUIT", "221"]);
  await test.over();
  assert(test.lines().includes("C: QUIT"));
});

Deno.test("trace goes by the client that a PROXY header names", async () => {
  for (
    const [trace, wanted] of [["192.0.2.7", true], [
      "127.0.0.1",
      false,
    ]] as const
  ) {
    await using test = await traced({
      trace: [trace],
      proxyProtocol: LOOPBACK,
    });
    using client = await TestClient.connect(test.server);
    await client.send(BEHIND_PROXY);
    await client.reply();
    await client.expect(["QUIT", "221"]);
    await test.over();
    assertEquals(test.lines().includes("C: QUIT"), wanted);
  }
});

Deno.test("trace goes by the client that XCLIENT names, from then on", async () => {
  for (
    const [trace, want] of [
      ["192.0.2.7", ["C: EHLO named.test", "C: QUIT"]],
      ["127.0.0.1", ["C: EHLO client.test", "C: XCLIENT ADDR=192.0.2.7"]],
    ] as const
  ) {
    await using test = await traced({ trace: [trace], xclient: LOOPBACK });
    using client = await greeted(test.server);
    await client.expect(["XCLIENT ADDR=192.0.2.7", "220"], [
      "EHLO named.test",
      "250",
    ], ["QUIT", "221"]);
    await test.over();
    const said = test.lines().filter((line) => line.startsWith("C:"));
    assertEquals(said, [...want]);
  }
});

Deno.test("trace shows where TLS begins, and drops what came behind STARTTLS", async () => {
  await using test = await traced({ certificate });
  {
    using secured = await connectStartTls(test.server);
    await secured.client.expect(["EHLO again.test", "250"], ["QUIT", "221"]);
  }
  using client = await greeted(test.server);
  await client.send("STARTTLS\r\nMAIL FROM:<injected@a.test>\r\n");
  await client.reply();
  client.close();
  await test.over();
  const lines = test.lines();
  const at = lines.indexOf("S: (TLSv1.3 has begun)");
  assertEquals(lines[at + 1], "C: EHLO again.test");
  assertFalse(
    lines.some((line) => line.includes("injected")),
    lines.join("\n"),
  );
});

Deno.test("trace counts chunks of BDAT, content that is refused, and content without an end", async () => {
  await using test = await traced({ limits: { maxSize: 1000 } });
  const envelope = "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n";
  {
    using client = await greeted(test.server);
    await client.send(
      `${envelope}BDAT 5\r\nhush!BDAT 4 LAST\r\nha\r\nQUIT\r\n`,
    );
    await client.rest();
  }
  {
    using client = await greeted(test.server);
    await client.send(`${envelope}DATA\r\n`);
    for (let replies = 0; replies < 3; replies++) await client.reply();
    await client.send(`${"hush\r\n".repeat(1000)}.\r\n`);
    assertEquals((await client.reply()).slice(0, 3), "552");
    await client.expect(["MAIL FROM:<a@b.test>", "250"], [
      "RCPT TO:<c@d.test>",
      "250",
    ], ["DATA", "354"]);
    await client.send("hush");
  }
  await test.over();
  const counts = test.lines().filter((line) => line.includes("bytes of"));
  assertEquals(counts, [
    ...["C: (5 bytes of content)", "C: (4 bytes of content)"],
    ...["C: (6003 bytes of content)", "C: (4 bytes of content)"],
  ]);
  assertFalse(test.lines().join().includes("hush"));
});

Deno.test("trace shows control and SMTPUTF8 characters safely, and long lines cut", async () => {
  await using test = await traced({ limits: { maxErrors: 0 } });
  using client = await greeted(test.server);
  const utf8 = (text: string) =>
    String.fromCharCode(...new TextEncoder().encode(text));
  await client.say("NOOP \x1b[2J\x07");
  await client.say(utf8("MAIL FROM:<jörg@b.test> SMTPUTF8"));
  await client.say(utf8("NOOP \u202egnp.exe\u2028x"));
  await client.say(`NOOP ${"x".repeat(400)}`);
  await client.say(`RCPT TO:<${"y".repeat(1500)}>`);
  await client.say("\xff\xfe");
  await client.send("NOOP a\nAUTH PLAIN b\r\nQUIT\r\n");
  await client.rest();
  await test.over();
  const said = test.lines().filter((line) => line.startsWith("C:")).slice(1);
  assertEquals(said, [
    String.raw`C: NOOP \u001b[2J\u0007`,
    "C: MAIL FROM:<jörg@b.test> SMTPUTF8",
    String.raw`C: NOOP \u202egnp.exe\u2028x`,
    `C: NOOP ${"x".repeat(400)}`,
    `C: RCPT TO:<${"y".repeat(991)}...`,
    String.raw`C: ÿþ... (a line that cannot be read)`,
    "C: *** (a line that cannot be read)",
    "C: *** (a line that cannot be read)",
    "C: QUIT",
  ]);
});

/** The texts that must not be in a dialogue: the secret, plain and coded. */
function hidden(secret: string): string[] {
  const coded = [
    ...[secret, `\0ann\0${secret}`, `ann`, `ann ${secret}`],
    `user=ann\x01auth=Bearer ${secret}\x01\x01`,
  ].map((text) => btoa(text));
  return [secret, ...coded, coded[1]!.slice(0, 12), coded[4]!.slice(0, 20)];
}

const MECHANISMS: readonly MechanismName[] = [
  ...["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"] as const,
  ...["SCRAM-SHA-256-PLUS", "XOAUTH2", "OAUTHBEARER"] as const,
];

for (const threads of [0, 1]) {
  Deno.test(`No mechanism leaves a secret in the dialogue, right or wrong, with ${threads} threads`, async () => {
    const shownToHandler: string[] = [];
    await using test = await traced({
      threads,
      certificate,
      mechanisms: MECHANISMS,
      handlers: {
        onAuthenticate: async (_session, credentials) =>
          credentials.token === SECRET || await credentials.verify(SECRET),
        onDialogue: (_session, exchange) =>
          void shownToHandler.push(shown(exchange)),
      },
    });
    for (const mechanism of MECHANISMS) {
      for (const secret of [SECRET, `${SECRET}-not`]) {
        using secured = await connectStartTls(test.server);
        const { client, certificate } = secured;
        await client.expect(["EHLO client.test", "250"]);
        const login = { username: "ann", password: secret, token: secret };
        await logIn(client, mechanism, { ...login, certificate })
          .catch(() => {});
      }
    }
    await test.over();
    const lines = test.lines();
    await until(() => shownToHandler.length === lines.length);
    assertEquals([...shownToHandler].sort(), [...lines].sort());
    const said = lines.join("\n");
    for (const mechanism of MECHANISMS) {
      assert(said.includes(`C: AUTH ${mechanism}`), mechanism);
    }
    for (
      const text of [...hidden(SECRET), ...hidden(`${SECRET}-not`), "n=ann"]
    ) {
      assertFalse(said.includes(text), `${text}\n${said}`);
    }
    for (const line of lines) {
      if (line.startsWith("S: 334")) assertEquals(line, "S: 334 ***");
    }
  });
}

Deno.test("No secret is in the dialogue that comes too early, too late, broken or misspelt", async () => {
  const plain = plainResponse("ann", SECRET);
  const [user, password] = [btoa("ann"), btoa(SECRET)];
  const sent = [
    `AUTH PLAIN ${plain}`,
    ` AUTH PLAIN ${plain}`,
    `auth\tplain\t${plain}`,
    `AUTH PLAIN ${plain} ${plain}`,
    `AUTH PLAIN ${plain.slice(1)}!`,
    `AUTH NTLM\r\n${user}\r\n${password}`,
    `AUTH LOGIN\r\n${user}\r\n${password}`,
    `AUTH LOGIN\r\n${user}\r\n*\r\n${password}`,
    `AUTH LOGIN\r\n*\r\n${user}\r\n${password}`,
    `AUTH LOGIN\r\n=!=\r\n${user}\r\n${password}`,
    `AUTH LOGIN ${user}\r\n${password}`,
    // Right, and then the password once more.
    `AUTH PLAIN ${plain}\r\n${password}\r\n${SECRET}`,
    `AUTH PLAIN\r\n${"A".repeat(13_000)}\r\n${plain}`,
    `AUTH PLAIN ${"A".repeat(13_000)}\r\n${plain}`,
    `AUTH PLAIN\r\n\xff\r\n${plain}`,
    `NOOP\nAUTH PLAIN\n${plain}\r\n${plain}`,
    `AUTH PLAIN\n${plain}\r\n${password}`,
    // Misspelt, of other protocols, and content whose DATA was refused.
    `AUHT PLAIN ${plain}`,
    `USER ann\r\nPASS ${SECRET}`,
    `a1 LOGIN ann ${SECRET}`,
    `Authorization: Basic ${btoa(`ann:${SECRET}`)}\r\nX ${SECRET}`,
  ];
  for (const accounts of [undefined, new AccountList({ ann: SECRET })]) {
    await using test = await traced({
      ...(accounts && { accounts }),
      allowInsecureAuth: true,
      limits: { maxErrors: 0 },
    });
    for (const lines of sent) {
      using client = await greeted(test.server);
      await client.send(`${lines}\r\nNOOP end\r\nNOOP\r\nQUIT\r\n`);
      await client.rest();
    }
    await test.over();
    const said = test.lines().filter((line) => line.startsWith("C:")).join(
      "\n",
    );
    for (const text of [...hidden(SECRET), "AGFu", password.slice(0, 4)]) {
      assertFalse(said.includes(text), `${text}\n${said}`);
    }
    // A whole command is shown again.
    assertEquals(said.match(/^C: QUIT$/gm)?.length, sent.length, said);
  }
});
