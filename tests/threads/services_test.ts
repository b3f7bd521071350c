/** The services that all threads of a server share: queue, accounts, budgets, limits, certificates. */

import { assert, assertEquals } from "@std/assert";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { ScramVerifier } from "../../lib/sasl/scram_verifier.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { CertificateSet, CertificateSource } from "../../lib/tls/set.ts";
import { TestClient } from "../support/server.ts";
import {
  MODES,
  type ModeServer,
  startMode,
  testModes,
} from "../support/threads/server.ts";
import { TestFolder } from "../support/folder.ts";
import { until, within } from "../support/wait.ts";
import { connect } from "node:tls";
import { sharesPorts } from "../support/platform.ts";

const LOG_IN: SmtpServerOptions = { allowInsecureAuth: true };

function plain(username: string, secret: string): string {
  return `AUTH PLAIN ${btoa(`\0${username}\0${secret}`)}`;
}

/** A client after EHLO. */
async function hello({ server }: ModeServer): Promise<TestClient> {
  const client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  return client;
}

testModes("A handler judges logins", async (mode) => {
  await using it = await startMode(mode, LOG_IN);
  using client = await hello(it);
  await client.expect(
    [plain("ann", "wrong"), "535"],
    [plain("nobody", "x"), "535"],
    [plain("bob", "word"), "235"],
    ["XSESSION", "250 client.test true ready robert 0 smtp false"],
  );
});

for (const threads of sharesPorts ? [0, 2] : [0]) {
  const name = `${threads} threads`;
  const mode = { name, isModule: false, options: { threads } };

  Deno.test(`Accounts are looked up (${name})`, async () => {
    const verifier = await ScramVerifier.create("secret", { iterations: 4096 });
    for (const secret of ["secret", verifier]) {
      await using it = await startMode(mode, {
        ...LOG_IN,
        accounts: new AccountList({ ann: secret }),
      });
      using client = await TestClient.connect(it.server);
      await client.reply();
      const offered = await client.say("EHLO client.test");
      assertEquals(offered.includes("CRAM-MD5"), secret === "secret");
      assert(offered.includes("SCRAM-SHA-256"));
      await client.expect([plain("ann", "no"), "535"], [
        plain("ann", "secret"),
        "235",
      ]);
    }
  });

  Deno.test(`Unknown users have one salt on all threads (${name})`, async () => {
    await using it = await startMode(mode, {
      ...LOG_IN,
      accounts: new AccountList({ ann: "secret" }),
    });
    const salts = new Set<string>();
    // The kernel may give several connections in a row to one thread, but hardly sixteen.
    for (let turn = 0; turn < 16; turn++) {
      using client = await hello(it);
      const first = btoa("n,,n=nobody,r=abcdef");
      const reply = await client.say(`AUTH SCRAM-SHA-256 ${first}`);
      salts.add(/,s=([^,]*)/.exec(atob(reply.slice(4)))![1]!);
      await client.expect(["*", "501"]);
    }
    assertEquals(salts.size, 1);
  });

  Deno.test(`maxConnections counts all threads (${name})`, async () => {
    await using it = await startMode(mode, {
      limits: { maxConnections: 3 },
    });
    const clients = await Promise.all([1, 2, 3].map(() => hello(it)));
    using more = await TestClient.connect(it.server);
    assertEquals((await more.reply()).slice(0, 3), "421");
    clients[0]!.close();
    await until(() => it.records.some(({ event }) => event === "disconnect"));
    using another = await TestClient.connect(it.server);
    assertEquals((await another.reply()).slice(0, 3), "220");
    for (const client of clients) client.close();
  });

  Deno.test(`Limits per address count on all threads (${name})`, async () => {
    await using it = await startMode(mode, {
      limits: {
        maxConnectionsPerIp: 8,
        connectionsPerMinute: 0,
        recipientsPerMinute: 20,
        exempt: [],
      },
    });
    // The kernel may give several connections in a row to one thread, but hardly eight.
    const clients = await Promise.all(
      Array.from({ length: 8 }, () => hello(it)),
    );
    using more = await TestClient.connect(it.server);
    assertEquals(
      await more.reply(),
      "421 4.7.0 Too many connections from 127.0.0.1, at most 8",
    );
    const codes: string[] = [];
    for (const client of clients) {
      await client.expect(["MAIL FROM:<a@here.test>", "250"]);
      for (const name of ["a", "b", "c"]) {
        const reply = await client.say(`RCPT TO:<${name}@here.test>`);
        codes.push(reply.slice(0, 3));
      }
    }
    assertEquals(codes, [...Array(20).fill("250"), ...Array(4).fill("450")]);
    for (const client of clients) client.close();
    // The threads see one after the other that their clients have disconnected.
    await until(async () => {
      using another = await TestClient.connect(it.server);
      return (await another.reply()).startsWith("220");
    });
  });

  Deno.test(`Sessions can be seen and ended (${name})`, async () => {
    await using it = await startMode(mode);
    using one = await hello(it);
    using two = await hello(it);
    await until(() => it.server.sessions.length === 2);
    const [first] = it.server.sessions;
    assertEquals(first!.remoteAddress, "127.0.0.1");
    for (const session of it.server.sessions) session.close();
    assertEquals([await one.rest(), await two.rest()], ["", ""]);
    await until(() => it.server.sessions.length === 0);
  });

  Deno.test(`Foreign mail goes into the queue (${name})`, async () => {
    const spool = await Deno.makeTempDir();
    try {
      await using it = await startMode(mode, {
        domains: ["here.test"],
        relay: { from: ["127.0.0.0/8"], spool, idleWaitMs: 1e9 },
      });
      using client = await hello(it);
      await client.expect(
        ["MAIL FROM:<a@here.test>", "250"],
        ["RCPT TO:<b@here.test>", "250"],
        ["RCPT TO:<c@elsewhere.test> NOTIFY=NEVER", "250"],
        ["DATA", "354"],
        ["Subject: x\r\n\r\nx\r\n.", "250 2.0.0"],
      );
      const relays = [...it.server.relays];
      assertEquals(relays.length, 1);
      assertEquals(
        relays[0]!.recipients.map(({ address }) => address),
        ["c@elsewhere.test"],
      );
      assertEquals(it.store.messages.length, 1);
      assertEquals(
        it.store.messages[0]!.recipients.map(({ address }) => String(address)),
        ["b@here.test"],
      );
    } finally {
      await Deno.remove(spool, { recursive: true });
    }
  });

  Deno.test(`A handler relays with another sender, over a restart (${name})`, async () => {
    await using far = await startMode(mode, {
      handlers: {
        onRcptTo: (_session, { localPart }) => localPart !== "refused",
      },
    });
    const { port } = far.server.addresses[0]!;
    await using folder = await TestFolder.create();
    const options: SmtpServerOptions = {
      domains: ["here.test"],
      relay: {
        spool: `${folder.path}/spool`,
        smarthosts: [{ host: "127.0.0.1", port }],
        security: "none",
      },
    };
    {
      await using it: ModeServer = await startMode(mode, {
        ...options,
        handlers: {
          async onMessage(_session, message) {
            const recipients = ["one@far.test", "refused@far.test"];
            await it.server.relays.add(message, {
              ...{ recipients, held: true },
              from: "owner@here.test",
            });
            await it.server.relays.add(message, {
              ...{ recipients, held: true, from: null },
            });
          },
        },
      });
      using client = await hello(it);
      await client.expect(["MAIL FROM:<a@b.test>", "250"], [
        "RCPT TO:<list@here.test>",
        "250",
      ]);
      assertEquals(
        (await client.data("Subject: x\r\n\r\nx")).slice(0, 3),
        "250",
      );
      assertEquals(
        [...it.server.relays].map(({ from }) => from),
        ["owner@here.test", ""],
      );
    }
    await using it = await startMode(mode, options);
    await Promise.all([...it.server.relays].map((one) => one.release()));
    // A DSN comes home to the new sender; none is sent to the null path.
    await until(() => it.server.relays.count === 0);
    assertEquals(
      far.store.messages.map(({ from }) => String(from)).sort(),
      ["", "owner@here.test"],
    );
    assertEquals(
      it.store.messages.map(({ recipients }) => String(recipients[0]!.address)),
      ["owner@here.test"],
    );
  });

  Deno.test(`A reload holds for the next sessions (${name})`, async () => {
    await using it = await startMode(mode, {
      ...LOG_IN,
      accounts: new AccountList({ ann: "old" }),
      domains: ["old.test"],
    });
    using before = await hello(it);
    await it.server.reload({
      accounts: new AccountList({ ann: "new" }),
      domains: ["new.test"],
    });
    for (let turn = 0; turn < 8; turn++) {
      using client = await hello(it);
      await client.expect(
        [plain("ann", "new"), "235"],
        ["MAIL FROM:<a@b.test>", "250"],
        ["RCPT TO:<you@old.test>", "550"],
        ["RCPT TO:<you@new.test>", "250"],
      );
    }
    await before.expect(["MAIL FROM:<a@b.test>", "250"], [
      "RCPT TO:<you@old.test>",
      "250",
    ]);
  });

  Deno.test(`Certificates are exchanged on all threads (${name})`, async () => {
    const make = (host: string) => Certificate.selfSigned({ names: [host] });
    const [old, renewed, chosen] = await Promise.all(
      ["old.test", "new.test", "chosen.test"].map(make),
    );
    const source = new CertificateSource(old!);
    await using it = await startMode(mode, {
      listen: "127.0.0.1:0/smtps",
      certificate: source,
    });
    const { port } = it.server.addresses[0]!;
    assertEquals(await connectTls(port, "x.test"), "old.test");
    source.replace(
      new CertificateSet([renewed!], {
        choose: (wanted) => wanted === "chosen.test" ? chosen : undefined,
      }),
    );
    // The kernel chooses the thread of each session.
    for (let turn = 0; turn < 8; turn++) {
      assertEquals(await connectTls(port, "x.test"), "new.test");
      assertEquals(await connectTls(port, "chosen.test"), "chosen.test");
    }
    await it.server.reload({ certificate: old! });
    for (let turn = 0; turn < 8; turn++) {
      assertEquals(await connectTls(port, "x.test"), "old.test");
    }
  });

  Deno.test(`One certificate is served by the platform's TLS (${name})`, async () => {
    const certificate = await Certificate.selfSigned({ names: ["one.test"] });
    await using it = await startMode(mode, {
      listen: ["127.0.0.1:0/smtps", "127.0.0.1:0"],
      certificate,
    });
    const { port } = it.server.addresses[0]!;
    assertEquals(await connectTls(port, "one.test"), "one.test");
    const renewed = await Certificate.selfSigned({ names: ["two.test"] });
    await it.server.reload({ certificate: renewed });
    for (let turn = 0; turn < 8; turn++) {
      assertEquals(await connectTls(port, "one.test"), "two.test");
    }
  });

  Deno.test(`Guessing is counted over all threads (${name})`, async () => {
    await using it = await startMode(mode, {
      ...LOG_IN,
      accounts: new AccountList({ ann: "secret" }),
    });
    // Ten guesses at once are within the budget of a pair; the others wait until
    // those have failed, and are then refused without a check.
    let refused = 0;
    const guesses = Array.from({ length: 12 }, async () => {
      using client = await hello(it);
      const reply = await client.say(plain("ann", "wrong"));
      if (reply.startsWith("421")) refused++;
      return reply.slice(0, 3);
    });
    await until(() => refused === 2);
    // Replies to failures are delayed, unless the server stops.
    await it.server.stop({ graceMs: 0 });
    const replies = await Promise.all(guesses);
    assertEquals(replies.filter((code) => code === "535").length, 10);
  });

  Deno.test(`A stop lets sessions finish, then says 421 (${name})`, async () => {
    const it = await startMode(mode);
    using quick = await hello(it);
    using slow = await hello(it);
    for (const client of [quick, slow]) {
      await client.expect(["MAIL FROM:<a@b.test>", "250"]);
    }
    const { port } = it.server.addresses[0]!;
    const stopped = it.server.stop({ graceMs: 60_000 });
    await quick.expect(["RCPT TO:<c@d.test>", "250"]);
    assertEquals((await quick.data("Subject: x\r\n\r\nx")).slice(0, 3), "250");
    assertEquals((await quick.rest()).slice(0, 3), "421");
    it.server.abort();
    assertEquals((await slow.rest()).slice(0, 3), "421");
    await stopped;
    assertEquals(it.store.messages.length, 1);
    // The port is free, and the server can be started again.
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    await it.server.start();
    using again = await hello(it);
    await again.expect(["QUIT", "221"]);
    await it.server.stop({ graceMs: 60_000 });
  });
}

for (const mode of MODES.filter(({ isModule }) => isModule)) {
  Deno.test(`A module hands mail to the queue (${mode.name})`, async () => {
    await using it = await startMode(mode);
    using client = await TestClient.connect(it.server);
    await client.envelope("c@elsewhere.test");
    assertEquals(
      await client.data("Subject: relay\r\n\r\nx"),
      "250 Queued true",
    );
    const [relay] = it.server.relays;
    assertEquals([relay!.held, relay!.tag], [true, "by module"]);
    assertEquals(relay!.recipients[0]!.address, "d@elsewhere.test");
  });

  Deno.test(`A module queues a message of its own (${mode.name})`, async () => {
    await using it = await startMode(mode);
    using client = await TestClient.connect(it.server);
    await client.envelope("c@elsewhere.test");
    assertEquals(
      await client.data("Subject: note\r\n\r\nx"),
      "250 Noted true",
    );
    const [relay] = it.server.relays;
    assertEquals([relay!.from, relay!.held], ["", true]);
    assertEquals(relay!.recipients[0]!.address, "e@elsewhere.test");
    // Subject, empty line and a line of x, each with CRLF.
    assertEquals(relay!.size, 10_000 * (15 + 2 + 101));
  });
}

/** The name in the certificate that a server shows to a client that asks for `servername`. */
async function connectTls(
  port: number,
  servername: string,
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect({
    host: "127.0.0.1",
    port,
    servername,
    rejectUnauthorized: false,
  });
  const closed = new Promise<void>((end) => socket.once("close", () => end()));
  socket.once("error", reject);
  socket.once("secureConnect", () => {
    const { subjectaltname = "" } = socket.getPeerCertificate();
    resolve(subjectaltname.replace("DNS:", ""));
  });
  try {
    return await within(promise, "a TLS handshake");
  } finally {
    socket.destroy();
    await within(closed, "the end of a TLS connection");
  }
}
