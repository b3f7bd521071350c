/**
 * The adapter for programs of smtp-server: what the test suite of that package
 * promises, on sockets: connections, TLS, logins, envelopes, content, closing.
 */

import { Buffer } from "node:buffer";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { ScriptedClient } from "../../lib/testing/mod.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import {
  SMTPServer,
  type SMTPServerAddress,
  type SMTPServerAuthentication,
  type SMTPServerOptions,
  type SMTPServerSession,
} from "../../lib/smtp_server/mod.ts";
import { connectTls, dial, secure } from "../support/tls.ts";
import { failure, OPEN, run } from "../support/smtp_server.ts";
import { within } from "../support/wait.ts";

const base64 = (text: string) => btoa(text);

// Connections.

Deno.test("a session has the shape of that package in every callback", async () => {
  const seen: string[] = [];
  const sessions = new Set<SMTPServerSession>();
  const note = (step: string, session: SMTPServerSession) => {
    sessions.add(session);
    const { transmissionType, openingCommand, hostNameAppearsAs } = session;
    const { mailFrom, rcptTo } = session.envelope;
    const from = mailFrom === false ? "none" : `<${mailFrom.address}>`;
    seen.push(
      `${step} ${transmissionType} ${openingCommand} ${hostNameAppearsAs} ${from} ${rcptTo.length} #${session.transaction}`,
    );
  };
  const closed = Promise.withResolvers<void>();
  await using running = await run({
    ...OPEN,
    onConnect(session, callback) {
      note("connect", session);
      assertEquals(session.clientHostname, "[127.0.0.1]");
      assertEquals(session.remoteAddress, "127.0.0.1");
      assertEquals(session.localPort, running.port);
      callback();
    },
    onMailFrom(address, session, callback) {
      note("mail", session);
      assertEquals(address, {
        address: "a@b.example",
        args: { SIZE: "12", BODY: "8BITMIME" },
      });
      callback();
    },
    onRcptTo(address, session, callback) {
      note("rcpt", session);
      assertEquals(address, { address: "c@d.example", args: false });
      callback();
    },
    onData(stream, session, callback) {
      note("data", session);
      assertEquals(session.envelope.bodyType, "8bitmime");
      stream.resume().on("end", () => callback());
    },
    onClose(session) {
      note("close", session);
      closed.resolve();
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.script(`
    S: 220
    C: EHLO Client.Example
    S: 250
    C: MAIL FROM:<a@b.example> SIZE=12 BODY=8BITMIME
    S: 250
    C: RCPT TO:<c@d.example>
    S: 250
    C: DATA
    S: 354
    C: Subject: x
    C:
    C: y
    C: .
    S: 250 OK: message queued
    C: QUIT
    S: 221
  `);
  await within(closed.promise, "onClose");
  assertEquals(sessions.size, 1);
  assertEquals(seen, [
    "connect SMTP false false none 0 #1",
    "mail ESMTP EHLO client.example none 0 #1",
    "rcpt ESMTP EHLO client.example <a@b.example> 0 #1",
    "data ESMTP EHLO client.example <a@b.example> 1 #1",
    "close ESMTP EHLO client.example none 0 #2",
  ]);
  assertEquals(running.server.connections.size, 0);
});

Deno.test("ids are unique, and the event connect has them", async () => {
  const ids: string[] = [];
  await using running = await run(OPEN);
  running.server.on("connect", ({ id }: { id: string }) => ids.push(id));
  for (let i = 0; i < 3; i++) {
    await using client = await ScriptedClient.connect(running.place);
    await client.expect(220);
    await client.expect(221, "QUIT");
  }
  assertEquals(new Set(ids).size, 3);
});

Deno.test("onConnect refuses with its own code and text, or 554", async () => {
  for (const code of [421, undefined]) {
    await using running = await run({
      ...OPEN,
      onConnect: (_session, callback) => callback(failure(code, "Go away")),
    });
    await using client = await ScriptedClient.connect(running.place);
    const reply = await client.read();
    assertEquals(reply.toString(), `${code ?? 554} Go away`);
    await client.expectClosed();
  }
});

Deno.test("more than maxClients get 421", async () => {
  await using running = await run({ ...OPEN, maxClients: 2 });
  await using one = await ScriptedClient.connect(running.place);
  await one.expect(220);
  await using two = await ScriptedClient.connect(running.place);
  await two.expect(220);
  await using three = await ScriptedClient.connect(running.place);
  await three.expect(421);
});

Deno.test("the banner, the name and the reply to EHLO are those of the options", async () => {
  await using running = await run({
    ...OPEN,
    name: "mx.shop.example",
    banner: "Welcome",
    heloResponse: "%s is glad to see %s",
  });
  await using client = await ScriptedClient.connect(running.place);
  assertEquals(
    String(await client.read()),
    "220 mx.shop.example ESMTP Welcome",
  );
  const { lines } = await client.expect(250, "EHLO c.example");
  assertEquals(lines[0], "mx.shop.example is glad to see [127.0.0.1]");
  assert(lines.includes("PIPELINING"), "extensions follow");
  const plain = await client.expect(250, "HELO c.example");
  assertEquals(plain.lines.length, 1);
});

Deno.test("the client's name comes from the resolver of the options", async () => {
  for (
    const [names, want] of [[["c.example"], "c.example"], [[], "[127.0.0.1]"]]
  ) {
    const seen = Promise.withResolvers<string>();
    await using running = await run({
      ...OPEN,
      disableReverseLookup: false,
      resolver: {
        reverse: (address, callback) => {
          assertEquals(address, "127.0.0.1");
          callback(null, names as string[]);
        },
      },
      onConnect(session, callback) {
        seen.resolve(session.clientHostname);
        callback();
      },
    });
    await using client = await ScriptedClient.connect(running.place);
    await client.expect(220);
    assertEquals(await seen.promise, want);
  }
});

Deno.test("disabled and hidden commands are not offered, and get 500", async () => {
  await using running = await run({
    authOptional: true,
    disabledCommands: ["auth", "STARTTLS", "VRFY"],
    hidePIPELINING: true,
    hide8BITMIME: true,
    hideSMTPUTF8: true,
    size: 1234,
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  const { lines } = await client.expect(250, "EHLO c.example");
  const hidden =
    /AUTH|STARTTLS|PIPELINING|8BITMIME|SMTPUTF8|DSN|ENHANCEDSTATUSCODES/;
  assertEquals(lines.filter((line) => hidden.test(line)), []);
  assert(lines.includes("SIZE 1234"), lines.join());
  await client.expect(500, "VRFY ann");
  await client.expect(500, "STARTTLS");
});

// TLS.

Deno.test("STARTTLS is offered with a certificate made for the run, and announced", async () => {
  const secured = Promise.withResolvers<SMTPServerSession>();
  await using running = await run({
    authOptional: true,
    onSecure(socket, session, callback) {
      assertEquals(
        socket.getProtocol(),
        session.tlsOptions && session.tlsOptions.version,
      );
      assertEquals(socket.getPeerCertificate(), {});
      secured.resolve(session);
      callback();
    },
  });
  const transport = await dial(running.bound);
  await using plain = await ScriptedClient.connect(transport);
  await plain.expect(220);
  const { lines } = await plain.expect(250, "EHLO c.example");
  assert(lines.includes("STARTTLS"));
  await plain.expect(501, "STARTTLS now");
  await plain.expect(220, "STARTTLS");
  using tls = await secure(transport, { serverName: "localhost" });
  await tls.client.say("EHLO c.example");
  const session = await within(secured.promise, "onSecure");
  assertEquals(session.secure, true);
  assertEquals(session.servername, "localhost");
  assertEquals(session.transmissionType, "ESMTPS");
  assertMatch(await tls.client.say("STARTTLS"), /^50[23] /);
});

Deno.test("without TLS onSecure is not called", async () => {
  let calls = 0;
  await using running = await run({
    ...OPEN,
    onSecure(_socket, _session, callback) {
      calls++;
      callback();
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(250, "EHLO c.example");
  await client.expect(221, "QUIT");
  assertEquals(calls, 0);
});

Deno.test("an error of onSecure ends the session", async () => {
  await using running = await run({
    authOptional: true,
    secure: true,
    onSecure: (_socket, _session, callback) =>
      callback(new Error("Not by TLS")),
  });
  using tls = await connectTls(running.bound);
  assertMatch(await tls.client.reply(), /^421 Not by TLS/);
});

Deno.test("a secure server has certificates by name, and new ones while it runs", async () => {
  const make = async (name: string) => {
    const certificate = await Certificate.selfSigned({ names: [name] });
    return {
      fingerprint: certificate.fingerprint,
      pem: { cert: certificate.toPem(), key: certificate.keyPem() },
    };
  };
  const [main, shop, later] = [
    await make("mx.test"),
    await make("shop.test"),
    await make("mx.test"),
  ];
  await using running = await run({
    authOptional: true,
    secure: true,
    needsUpgrade: true,
    ...main.pem,
    sniOptions: new Map([["Shop.test", shop.pem]]),
  });
  const seen = async (serverName: string) => {
    using tls = await connectTls(running.bound, { serverName });
    assertMatch(await tls.client.reply(), /^220 /);
    return tls.certificate.fingerprint;
  };
  assertEquals(await seen("mx.test"), main.fingerprint);
  assertEquals(await seen("shop.test"), shop.fingerprint);
  running.server.updateSecureContext({
    cert: Buffer.from(later.pem.cert),
    key: later.pem.key,
  });
  assertEquals(await seen("mx.test"), later.fingerprint);
  assertEquals(await seen("shop.test"), shop.fingerprint);
  assertThrows(() => running.server.updateSecureContext({ cert: "no PEM" }));
  assertEquals(await seen("mx.test"), later.fingerprint);
});

// Logins.

const ACCOUNTS: SMTPServerOptions = {
  hideSTARTTLS: true,
  authMethods: ["PLAIN", "login", "XOAUTH2", "CRAM-MD5"],
  onAuth(auth, _session, callback) {
    const isGood = auth.method === "XOAUTH2"
      ? auth.accessToken === "token"
      : auth.username === "ann" && auth.validatePassword("secret");
    if (auth.username === "broken") return callback(failure(454, "Try later"));
    callback(null, isGood ? { user: { name: "Ann" } } : { message: "No" });
  },
};

/** One login; the last reply to it. */
async function login(
  client: ScriptedClient,
  lines: readonly string[],
): Promise<string> {
  let reply = "";
  for (const line of lines) {
    await client.send(line);
    reply = String(await client.read());
  }
  return reply;
}

Deno.test("PLAIN, LOGIN and XOAUTH2 log in and fail as onAuth says", async () => {
  const plain = (name: string, secret: string) => [
    `AUTH PLAIN ${base64(`\0${name}\0${secret}`)}`,
  ];
  const token = (secret: string) => [
    `AUTH XOAUTH2 ${base64(`user=ann\x01auth=Bearer ${secret}\x01\x01`)}`,
  ];
  for (
    const [lines, want] of [
      [plain("ann", "secret"), "235"],
      [plain("ann", "wrong"), "535 No"],
      [plain("broken", "secret"), "454 Try later"],
      [["AUTH PLAIN", base64("\0ann\0secret")], "235"],
      [["AUTH LOGIN", base64("ann"), base64("secret")], "235"],
      [["AUTH LOGIN", base64("ann"), base64("wrong")], "535 No"],
      [token("token"), "235"],
      [[...token("wrong"), ""], "535 No"],
      [["AUTH PLAIN", "*"], "501"],
      [[`AUTH PLAIN ${base64("ann\0\0secret")}`], "501"],
      [["AUTH GSSAPI"], "504"],
      [[`AUTH PLAIN ${base64("\0an\x07n\0secret")}`], "5"],
    ] as const
  ) {
    await using running = await run(ACCOUNTS);
    await using client = await ScriptedClient.connect(running.place);
    await client.expect(220);
    await client.expect(250, "EHLO c.example");
    const reply = await login(client, lines);
    assert(reply.startsWith(want), `${lines[0]}: ${reply}`);
  }
});

Deno.test("CRAM-MD5 is decided by validatePassword, which answers at once", async () => {
  for (const [secret, want] of [["secret", "235"], ["wrong", "535"]]) {
    let auth: SMTPServerAuthentication | undefined;
    await using running = await run({
      ...ACCOUNTS,
      onAuth(given, session, callback) {
        auth = given;
        ACCOUNTS.onAuth!(given, session, callback);
      },
    });
    await using client = await ScriptedClient.connect(running.place);
    await client.expect(220);
    await client.expect(250, "EHLO c.example");
    const { lines } = await client.expect(334, "AUTH CRAM-MD5");
    const { createHmac } = await import("node:crypto");
    const digest = createHmac("md5", secret!).update(atob(lines[0]!)).digest(
      "hex",
    );
    const reply = await login(client, [base64(`ann ${digest}`)]);
    assert(reply.startsWith(want!), reply);
    assertEquals(auth?.challenge, atob(lines[0]!));
    assertEquals(auth?.challengeResponse, digest);
  }
});

Deno.test("PLAIN tells both identities; an empty one is the other", async () => {
  const seen: SMTPServerAuthentication[] = [];
  await using running = await run({
    ...ACCOUNTS,
    authMethods: "PLAIN",
    onAuth(auth, _session, callback) {
      seen.push(auth);
      callback(null, { user: auth.username });
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(250, "EHLO c.example");
  assertMatch(
    await login(client, [`AUTH PLAIN ${base64("boss\0ann\0secret")}`]),
    /^235 /,
  );
  const { username, authcid, authzid, password } = seen[0]!;
  assertEquals([username, authcid, authzid, password], [
    ...["ann", "ann", "boss", "secret"],
  ]);
});

Deno.test("session.user is what onAuth gave, from then on", async () => {
  const users: unknown[] = [];
  await using running = await run({
    ...ACCOUNTS,
    onMailFrom(_address, session, callback) {
      users.push(session.user, session.transmissionType);
      callback();
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(250, "EHLO c.example");
  await client.expect(530, "MAIL FROM:<a@b.example>");
  await client.expect(235, `AUTH PLAIN ${base64("\0ann\0secret")}`);
  await client.expect(503, `AUTH PLAIN ${base64("\0ann\0secret")}`);
  await client.expect(250, "MAIL FROM:<a@b.example>");
  assertEquals(users, [{ name: "Ann" }, "ESMTPA"]);
});

Deno.test("without TLS there is no login where STARTTLS is to be had", async () => {
  await using running = await run({ ...ACCOUNTS, hideSTARTTLS: false });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(250, "EHLO c.example");
  const reply = await login(client, [`AUTH PLAIN ${base64("\0ann\0secret")}`]);
  assertMatch(reply, /^53[08] /);
});

Deno.test("without onAuth every login fails, and a login is required", async () => {
  await using running = await run({
    hideSTARTTLS: true,
    authRequiredMessage: "Log in, please",
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(250, "EHLO c.example");
  const refused = await client.expect(530, "MAIL FROM:<a@b.example>");
  assertEquals(refused.toString(), "530 Log in, please");
  const reply = await login(client, [`AUTH PLAIN ${base64("\0ann\0secret")}`]);
  assertEquals(reply, "535 Authentication not implemented");
});

Deno.test("ten commands without a login end the session", async () => {
  await using running = await run({ hideSTARTTLS: true });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  for (let i = 0; i < 9; i++) await client.expect(250, "NOOP");
  await client.expect(421, "NOOP");
  await client.expectClosed();
});

// Mail.

const MAIL = `
  S: 220
  C: EHLO c.example
  S: 250
  C: MAIL FROM:<a@b.example>
  S: 250
`;

Deno.test("onMailFrom and onRcptTo refuse; one refused recipient leaves the others", async () => {
  const envelopes: SMTPServerAddress[][] = [];
  await using running = await run({
    ...OPEN,
    hideENHANCEDSTATUSCODES: false,
    onMailFrom({ address }, _session, callback) {
      callback(address.startsWith("deny") ? new Error("Not from you") : null);
    },
    onRcptTo({ address }, _session, callback) {
      callback(address.startsWith("deny") ? failure(452, "Full") : null);
    },
    onData(stream, { envelope }, callback) {
      envelopes.push(envelope.rcptTo);
      stream.resume().on("end", () => callback(null, "Kept"));
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.script(`
    S: 220
    C: EHLO c.example
    S: 250
    C: MAIL FROM:<deny@b.example>
    S: 550 5.1.1 Not from you
    C: MAIL FROM:<>
    S: 250
    C: RCPT TO:<deny@d.example>
    S: 452 4.2.2 Full
    C: RCPT TO:<one@d.example>
    S: 250
    C: RCPT TO:<One@d.example>
    S: 250
    C: RCPT TO:<two@xn--bcher-kva.example>
    S: 250
    C: DATA
    S: 354
    C: Subject: x
    C:
    C: .
    S: 250 2.0.0 Kept
  `);
  assertEquals(envelopes, [[
    { address: "One@d.example", args: false },
    { address: "two@bücher.example", args: false },
  ]]);
});

Deno.test("the content arrives as it was sent, and may be refused", async () => {
  const contents: string[] = [];
  await using running = await run({
    ...OPEN,
    onData(stream, _session, callback) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk) => chunks.push(chunk));
      stream.on("end", () => {
        const all = Buffer.concat(chunks);
        assertEquals(stream.byteLength, all.length);
        contents.push(all.toString());
        callback(all.includes("deny") ? new Error("No such mail") : null);
      });
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.script(`${MAIL}
    C: RCPT TO:<c@d.example>
    S: 250
    C: DATA
    S: 354
    C: Subject: x
    C:
    C: ..dot
    C: .
    S: 250
    C: MAIL FROM:<a@b.example>
    S: 250
    C: RCPT TO:<c@d.example>
    S: 250
    C: DATA
    S: 354
    C: Subject: deny
    C:
    C: .
    S: 450 No such mail
  `);
  assertEquals(contents[0], "Subject: x\r\n\r\n.dot\r\n");
});

Deno.test("a message that is too large gets 552; with hideSize the program decides", async () => {
  const big = `Subject: x\r\n\r\n${"0123456789\r\n".repeat(20)}.\r\n`;
  for (const hideSize of [false, true]) {
    const exceeded: boolean[] = [];
    await using running = await run({
      ...OPEN,
      ...{ size: 100, hideSize },
      onData(stream, _session, callback) {
        stream.resume().on("end", () => {
          exceeded.push(stream.sizeExceeded);
          callback(
            stream.sizeExceeded ? failure(552, "Too long for me") : null,
          );
        });
      },
    });
    await using client = await ScriptedClient.connect(running.place);
    await client.expect(220);
    await client.expect(250, "EHLO c.example");
    if (!hideSize) {
      await client.expect(552, "MAIL FROM:<a@b.example> SIZE=1000");
    }
    await client.expect(250, "MAIL FROM:<a@b.example>");
    await client.expect(250, "RCPT TO:<c@d.example>");
    await client.expect(354, "DATA");
    await client.sendRaw(big);
    const reply = await client.read();
    assertEquals(reply.code, 552);
    assertEquals(exceeded, hideSize ? [true] : []);
    if (hideSize) assertEquals(reply.lines, ["Too long for me"]);
  }
});

Deno.test("a callback that comes before the content is read, or twice, or throws", async () => {
  const answers: SMTPServerOptions["onData"][] = [
    (stream, _session, callback) => {
      callback(null, "Early");
      stream.resume();
    },
    (_stream, _session, callback) => {
      callback(null, "Unread");
      callback(new Error("Second"));
    },
    () => {
      throw new Error("A fault of the program");
    },
  ];
  let next = 0;
  await using running = await run({
    ...OPEN,
    onData(stream, session, callback) {
      answers[next++]!(stream, session, callback);
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(250, "EHLO c.example");
  for (const want of ["250 Early", "250 Unread", "451"]) {
    await client.expect(250, "MAIL FROM:<a@b.example>");
    await client.expect(250, "RCPT TO:<c@d.example>");
    await client.expect(354, "DATA");
    await client.send("Subject: x\r\n\r\ny\r\n.");
    assert(String(await client.read()).startsWith(want), want);
  }
});

Deno.test("LMTP: an array answers each recipient, one answer all", async () => {
  let answer: string | (string | Error)[] = ["Kept", failure(552, "Full")];
  await using running = await run({
    ...OPEN,
    lmtp: true,
    onData(stream, _session, callback) {
      stream.resume().on("end", () => callback(null, answer));
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(500, "EHLO c.example");
  await client.expect(250, "LHLO c.example");
  const send = async (): Promise<string[]> => {
    await client.expect(250, "MAIL FROM:<a@b.example>");
    await client.expect(250, "RCPT TO:<c@d.example>");
    await client.expect(250, "RCPT TO:<e@d.example>");
    await client.expect(354, "DATA");
    await client.send("Subject: x\r\n\r\ny\r\n.");
    return [String(await client.read()), String(await client.read())];
  };
  assertEquals(await send(), ["250 Kept", "552 Full"]);
  answer = "All of it";
  assertEquals(await send(), ["250 All of it", "250 All of it"]);
});

Deno.test("DSN parameters reach the callbacks where DSN is not hidden", async () => {
  let envelope: SMTPServerSession["envelope"] | undefined;
  await using running = await run({
    ...OPEN,
    hideDSN: false,
    onData(stream, session, callback) {
      envelope = session.envelope;
      stream.resume().on("end", () => callback());
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.script(`
    S: 220
    C: EHLO c.example
    S: 250
    C: MAIL FROM:<a@b.example> RET=NONE
    S: 501
    C: MAIL FROM:<a@b.example> RET=FULL ENVID=q+2B1
    S: 250
    C: RCPT TO:<c@d.example> NOTIFY=NEVER,SUCCESS
    S: 501
    C: RCPT TO:<c@d.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@d.example
    S: 250
    C: DATA
    S: 354
    C: .
    S: 250
  `);
  assertEquals(envelope?.dsn, { ret: "FULL", envid: "q+1" });
  assertEquals(envelope?.rcptTo[0]?.dsn, {
    notify: ["SUCCESS", "DELAY"],
    orcpt: "rfc822;x@d.example",
  });
});

Deno.test("SMTPUTF8 addresses are accepted and told", async () => {
  const seen: [string, boolean][] = [];
  await using running = await run({
    ...OPEN,
    onMailFrom({ address }, { envelope }, callback) {
      seen.push([address, envelope.smtpUtf8]);
      callback();
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(250, "EHLO c.example");
  await client.sendRaw(
    new TextEncoder().encode("MAIL FROM:<õ@jõgeva.example> SMTPUTF8\r\n"),
  );
  assertEquals((await client.read()).code, 250);
  assertEquals(seen, [["õ@jõgeva.example", true]]);
});

Deno.test("addresses that break the rules of dots are accepted in lenient mode only", async () => {
  for (const lenientAddressParsing of [false, true]) {
    const seen: string[] = [];
    await using running = await run({
      ...{ ...OPEN, lenientAddressParsing },
      onMailFrom({ address }, _session, callback) {
        seen.push(address);
        callback();
      },
    });
    await using client = await ScriptedClient.connect(running.place);
    await client.expect(220);
    await client.expect(250, "EHLO c.example");
    const code = lenientAddressParsing ? 250 : 501;
    await client.expect(code, "MAIL FROM:<ilo.@b.example>");
    assertEquals(seen, lenientAddressParsing ? ["ilo.@b.example"] : []);
    await client.expect(250, "RSET");
    await client.expect(500, "MAIL FROM:<ilo.\x07@b.example>");
  }
});

// Proxies.

Deno.test("PROXY and XCLIENT name the client", async () => {
  const clients: string[] = [];
  await using running = await run({
    ...OPEN,
    useProxy: ["127.0.0.1"],
    useXClient: true,
    onConnect(session, callback) {
      clients.push(`${session.remoteAddress}:${session.remotePort}`);
      callback();
    },
    onMailFrom(_address, session, callback) {
      assertEquals(session.xClient.get("HELO"), "far.example");
      assertEquals(session.user, "ann");
      callback();
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.sendRaw("PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n");
  await client.expect(220);
  await client.expect(250, "EHLO c.example");
  await client.expect(
    220,
    "XCLIENT ADDR=198.51.100.9 PORT=99 HELO=far.example LOGIN=ann",
  );
  await client.expect(250, "EHLO c.example");
  await client.expect(250, "MAIL FROM:<a@b.example>");
  assertEquals(clients, ["192.0.2.7:4711", "198.51.100.9:99"]);
});

Deno.test("no PROXY header, no session", async () => {
  let calls = 0;
  await using running = await run({
    ...OPEN,
    useProxy: true,
    onConnect(_session, callback) {
      calls++;
      callback();
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.sendRaw("EHLO c.example\r\n");
  await client.expectClosed();
  assertEquals(calls, 0);
});

// The rest.

Deno.test("early talkers, HTTP requests and endless lines end the session", async () => {
  await using running = await run(OPEN);
  await using web = await ScriptedClient.connect(running.place);
  await web.expect(220);
  await web.expect(421, "GET / HTTP/1.1");
  await web.expectClosed();
});

Deno.test("a subclass overrides the steps", async () => {
  class Mine extends SMTPServer {
    override onRcptTo(
      _address: SMTPServerAddress,
      _session: SMTPServerSession,
      callback: (error?: Error | null) => void,
    ): void {
      callback(failure(551, "Elsewhere"));
    }
  }
  const server = new Mine({ ...OPEN, disableReverseLookup: true });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.server.address() as { port: number };
  await using client = await ScriptedClient.connect({
    address: "127.0.0.1",
    port,
  });
  await client.script(`${MAIL}
    C: RCPT TO:<c@d.example>
    S: 551 Elsewhere
    C: QUIT
    S: 221
  `);
  await new Promise<void>((done) => server.close(done));
});

Deno.test("close ends idle sessions, calls back, and the event follows", async () => {
  const running = await run(OPEN);
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  const event = new Promise<void>((done) => running.server.on("close", done));
  const called = new Promise<void>((done) => running.server.close(done));
  assertEquals((await client.read()).code, 421);
  await within(called, "the callback");
  await within(event, "the event");
  assertEquals(running.server.server.address(), null);
  // A server that does not listen closes at once.
  await within(new Promise<void>((done) => running.server.close(done)), "it");
});

Deno.test("close right after listen waits for the start, and ends it", async () => {
  const server = new SMTPServer({ authOptional: true });
  server.listen(0, "127.0.0.1");
  await within(new Promise<void>((done) => server.close(done)), "the callback");
  assertEquals(server.server.listening, false);
  assertEquals(server.server.address(), null);
});

Deno.test("a port in use is the event error", async () => {
  await using running = await run(OPEN);
  const other = new SMTPServer(OPEN);
  const failed = new Promise<Error>((done) => other.on("error", done));
  other.listen(running.port, "127.0.0.1");
  assert(await within(failed, "the event") instanceof Deno.errors.AddrInUse);
});

Deno.test("a logger gets the records, but not those of ignored hosts", async () => {
  for (const ignoredHosts of [[], ["127.0.0.1"]]) {
    const texts: string[] = [];
    const note = (_facts: unknown, text: string) => void texts.push(text);
    await using running = await run({
      ...{ ...OPEN, ignoredHosts },
      logger: { info: note, debug: note, error: note },
    });
    await using client = await ScriptedClient.connect(running.place);
    await client.expect(220);
    await client.expect(221, "QUIT");
    const hasAny = texts.some((text) => text.startsWith("Connection from"));
    assertEquals(hasAny, ignoredHosts.length === 0);
  }
});

Deno.test("what cannot be served is a TypeError that says why", () => {
  for (
    const [options, why] of [
      [{ useXForward: true }, "XFORWARD is not spoken"],
      [{ pfx: "x" }, "cert and key"],
      [{ SNICallback: () => {} }, "sniOptions"],
      [{ authMethods: ["NTLM"] }, "PLAIN, LOGIN"],
      [{ size: "big" }, "maxSize"],
    ] as const
  ) {
    const error = assertThrows(
      () => new SMTPServer(options as SMTPServerOptions),
      TypeError,
    );
    assert(error.message.includes(why), error.message);
  }
});
