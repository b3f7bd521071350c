/** AUTH in a session: mechanisms, handlers, failures and delays (RFC 4954). */

import { assert, assertEquals, assertFalse, assertMatch } from "@std/assert";
import { SmtpError, SmtpReply } from "../../lib/protocol/reply.ts";
import type { LogRecord } from "../../lib/log.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import type { MechanismName } from "../../lib/sasl/mechanism_name.ts";
import { ScramVerifier } from "../../lib/sasl/scram_verifier.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import {
  givenHandlers,
  type SmtpServerOptions,
} from "../../lib/server/options.ts";
import { authenticationContext } from "../../lib/session/authentication_context.ts";
import {
  type LoginAttempt,
  LoginGuard,
} from "../../lib/session/login_guard.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import {
  openSession,
  type SessionInit,
  startServer,
  TestClient,
} from "../support/server.ts";
import {
  certificate,
  connectStartTls,
  connectTls,
  logIn,
  plainResponse,
  type TlsClient,
} from "../support/tls.ts";
import { replies } from "../../lib/protocol/replies.ts";
import { until } from "../support/wait.ts";

const SECRET = "correct horse";
const accounts = new AccountList({ ann: SECRET });
const right = { username: "ann", password: SECRET };
const ENVELOPE = ["MAIL FROM:<a@b.test>", "250"] as [string, string];

/** A server whose clients may log in without TLS. */
function openServer(options: SmtpServerOptions = {}): Promise<SmtpServer> {
  return startServer({
    accounts,
    allowInsecureAuth: true,
    ...options,
  });
}

/** A client that has read the greeting. */
async function greeted(server: SmtpServer, index = 0): Promise<TestClient> {
  const client = await TestClient.connect(server, index);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  return client;
}

/** The mechanisms that the reply to EHLO offers. */
function offered(reply: string): string {
  return /^250.AUTH (.*)$/m.exec(reply)?.[1] ?? "";
}

/** A dialogue in one session: the client's lines, and the beginnings of the replies. */
interface Row {
  readonly name: string;
  readonly options?: SmtpServerOptions;
  readonly dialogue: readonly [line: string, want: string][];
}

const GOOD = plainResponse("ann", SECRET);
const NEXT: [string, string] = ["NOOP", "250"];

const ROWS: readonly Row[] = [
  {
    name: "an initial response",
    dialogue: [[`AUTH PLAIN ${GOOD}`, "235 2.7.0"], NEXT],
  },
  {
    name: "a response to an empty challenge",
    dialogue: [["AUTH PLAIN", "334 "], [GOOD, "235 2.7.0"]],
  },
  {
    name: "the mechanism in any letter case, and blanks at the end",
    dialogue: [[`auth pLaIn ${GOOD}  `, "235 2.7.0"]],
  },
  {
    name: "an empty initial response",
    dialogue: [["AUTH PLAIN =", "501 5.5.2"], NEXT],
  },
  {
    name: "an empty response",
    dialogue: [["AUTH PLAIN", "334 "], ["", "501 5.5.2"], NEXT],
  },
  {
    name: "= as a response, which is not base64",
    dialogue: [["AUTH PLAIN", "334 "], ["=", "501 5.5.2"], NEXT],
  },
  {
    name: "* as a response",
    dialogue: [["AUTH LOGIN", "334 VXNlcm5hbWU6"], ["*", "501 5.7.0"], NEXT],
  },
  {
    name: "* as an initial response, which is not base64",
    dialogue: [["AUTH PLAIN *", "501 5.5.2"], NEXT],
  },
  {
    name: "an initial response that is not base64",
    dialogue: [["AUTH PLAIN a-b", "501 5.5.2"], NEXT],
  },
  {
    name: "an initial response with padding in the middle",
    dialogue: [["AUTH PLAIN AA==AA==", "501 5.5.2"], NEXT],
  },
  {
    name: "a response that is not base64",
    dialogue: [["AUTH PLAIN", "334 "], ["!", "501 5.5.2"], NEXT],
  },
  {
    name: "a response that is not text",
    dialogue: [["AUTH PLAIN", "334 "], ["\xff", "501 5.5.2"], NEXT],
  },
  {
    name: "a response with a bare CR",
    dialogue: [["AUTH PLAIN", "334 "], ["AA\rAA", "501 5.5.2"], NEXT],
  },
  {
    name: "the longest response",
    dialogue: [
      ["AUTH PLAIN", "334 "],
      // 12,286 bytes and CRLF (RFC 4954 section 4); base64 in groups of 4.
      ["A".repeat(12_284), "501 5.5.2"],
      NEXT,
    ],
  },
  {
    name: "a response that is too long",
    dialogue: [
      ["AUTH PLAIN", "334 "],
      ["A".repeat(12_288), "500 5.5.6"],
      NEXT,
    ],
  },
  {
    name: "a command that is too long",
    dialogue: [[`AUTH PLAIN ${"A".repeat(12_288)}`, "500 5.5."], NEXT],
  },
  {
    name: "a second AUTH after success",
    dialogue: [
      [`AUTH PLAIN ${GOOD}`, "235 2.7.0"],
      [`AUTH PLAIN ${GOOD}`, "503 5.5.1"],
      ["AUTH LOGIN", "503 5.5.1"],
      NEXT,
    ],
  },
  {
    name: "a second AUTH after failure",
    dialogue: [
      [`AUTH PLAIN ${plainResponse("ann", "x")}`, "535 5.7.8"],
      [`AUTH PLAIN ${GOOD}`, "235 2.7.0"],
    ],
  },
  {
    name: "inside a transaction",
    dialogue: [
      ENVELOPE,
      [`AUTH PLAIN ${GOOD}`, "503 5.5.1"],
      ["RCPT TO:<c@d.test>", "250"],
      [`AUTH PLAIN ${GOOD}`, "503 5.5.1"],
      ["RSET", "250"],
      [`AUTH PLAIN ${GOOD}`, "235 2.7.0"],
    ],
  },
  {
    name: "an unknown mechanism",
    dialogue: [["AUTH GSSAPI", "504 5.5.4"], ["AUTH X-Y =", "504 5.5.4"], NEXT],
  },
  {
    name: "a mechanism that is not offered",
    dialogue: [
      ["AUTH EXTERNAL =", "504 5.5.4"],
      ["AUTH XOAUTH2", "504 5.5.4"],
      ["AUTH SCRAM-SHA-256-PLUS", "504 5.5.4"],
      NEXT,
    ],
  },
  {
    name: "no mechanism, or too much",
    dialogue: [
      ["AUTH", "501 5.5.4"],
      ["AUTH PLAIN a b", "501 5.5.4"],
      ["AUTH $$$", "501 5.5.4"],
      NEXT,
    ],
  },
  {
    name: "an initial response to a mechanism that has none",
    dialogue: [["AUTH CRAM-MD5 AA==", "501 5.7.0"], NEXT],
  },
  {
    name: "an identity to act for that is not one's own",
    dialogue: [
      [`AUTH PLAIN ${btoa(`root\0ann\0${SECRET}`)}`, "535 5.7.8"],
      [`AUTH PLAIN ${btoa(`ann\0ann\0${SECRET}`)}`, "235 2.7.0"],
    ],
  },
  {
    name: "without any way to log in",
    options: { authentication: "none" },
    dialogue: [["AUTH PLAIN", "502 5.5.1"], NEXT],
  },
  {
    name: "MAIL before a login that is required",
    options: { authentication: "required" },
    dialogue: [
      ["MAIL FROM:<a@b.test>", "530 5.7.0"],
      ["VRFY a", "530 5.7.0"],
      ["EXPN a", "530 5.7.0"],
      ["RCPT TO:<a@b.test>", "530 5.7.0"],
      ["DATA", "530 5.7.0"],
      ["HELP", "530 5.7.0"],
      ["NOOP", "250"],
      ["RSET", "250"],
      ["HELO x", "250"],
      ["EHLO x", "250"],
      [`AUTH PLAIN ${GOOD}`, "235 2.7.0"],
      ["VRFY a", "252"],
      ENVELOPE,
    ],
  },
  {
    name: "MAIL without a login that is allowed",
    options: { authentication: "allowed" },
    dialogue: [ENVELOPE],
  },
  {
    name: "a second EHLO, which does not end a login",
    dialogue: [
      [`AUTH PLAIN ${GOOD}`, "235 2.7.0"],
      // RFC 4954 section 4: a login lasts as long as the session.
      ["EHLO again.test", "250"],
      [`AUTH PLAIN ${GOOD}`, "503 5.5.1"],
    ],
  },
  {
    name: "no TLS",
    options: { allowInsecureAuth: false },
    dialogue: [
      [`AUTH PLAIN ${GOOD}`, "538 5.7.11"],
      ["AUTH LOGIN", "538 5.7.11"],
      NEXT,
    ],
  },
  {
    name: "refused commands, which count as errors",
    options: { limits: { maxErrors: 3 } },
    dialogue: [
      ["AUTH NONE", "504"],
      ["AUTH PLAIN !", "501"],
      ["AUTH NONE", "504"],
      ["AUTH NONE", "421 4.7.0 Too many errors"],
    ],
  },
];

for (const { name, options, dialogue } of ROWS) {
  Deno.test(`AUTH: ${name}`, async () => {
    await using server = await openServer(options);
    using client = await greeted(server);
    await client.expect(...dialogue);
  });
}

Deno.test("AUTH comes after EHLO", async () => {
  await using server = await openServer();
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect([`AUTH PLAIN ${GOOD}`, "503 5.5.1"]);
});

Deno.test("AUTH is offered only where it can be served", async () => {
  await using server = await startServer({
    certificate,
    accounts,
    listen: ["127.0.0.1:0", "127.0.0.1:0/smtps", {
      host: "127.0.0.1",
      port: 0,
      authentication: "none",
    }],
  });
  using plain = await TestClient.connect(server);
  await plain.reply();
  assertEquals(offered(await plain.say("EHLO x")), "");
  using none = await TestClient.connect(server, 2);
  await none.reply();
  assertEquals(offered(await none.say("EHLO x")), "");
  const all = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN";
  using started = await connectStartTls(server);
  assertEquals(offered(await started.client.say("EHLO x")), all);
  using implicit = await connectTls(server, { index: 1 });
  await implicit.client.reply();
  assertEquals(offered(await implicit.client.say("EHLO x")), all);
  await logIn(implicit.client, "PLAIN", right);
  assertEquals(offered(await implicit.client.say("EHLO x")), "");
});

Deno.test("AUTH offers of the mechanisms named only those that can be served", async () => {
  const verifier = await ScramVerifier.create(SECRET, { iterations: 4096 });
  const rows: [SmtpServerOptions, string][] = [
    [{ mechanisms: ["PLAIN", "EXTERNAL", "CRAM-MD5"] }, "CRAM-MD5 PLAIN"],
    [
      {
        mechanisms: ["CRAM-MD5", "PLAIN"],
        accounts: new AccountList({ ann: verifier }),
      },
      "PLAIN",
    ],
    [
      { accounts: new AccountList({ ann: verifier }) },
      "SCRAM-SHA-256 PLAIN LOGIN",
    ],
    [{ handlers: { onAuthenticate: () => true } }, "PLAIN LOGIN"],
    [{ mechanisms: [] }, ""],
  ];
  for (const [options, want] of rows) {
    await using server = await openServer(options);
    using client = await TestClient.connect(server);
    await client.reply();
    assertEquals(offered(await client.say("EHLO x")), want);
  }
});

const PASSWORD_MECHANISMS: readonly MechanismName[] = [
  "PLAIN",
  "LOGIN",
  "CRAM-MD5",
  "SCRAM-SHA-256",
  "SCRAM-SHA-256-PLUS",
];

/** The ways to start TLS. */
const WAYS: Readonly<
  Record<string, (server: SmtpServer) => Promise<TlsClient>>
> = {
  "STARTTLS": (server) => connectStartTls(server),
  "the platform's TLS": (server) => connectTls(server, { index: 1 }),
  "wrapped TLS": (server) => connectTls(server, { index: 1 }),
};

for (const [way, connect] of Object.entries(WAYS)) {
  Deno.test(`AUTH by each mechanism over ${way}`, async () => {
    const seen: (string | undefined)[] = [];
    const native = way === "the platform's TLS";
    await using server = await startServer({
      certificate,
      accounts,
      listen: ["127.0.0.1:0", "127.0.0.1:0/smtps"],
      handlers: {
        onMailFrom: (session) => void seen.push(session.username),
      },
      ...(native ? {} : { clientCertificate: { mode: "request" } }),
    });
    for (const mechanism of PASSWORD_MECHANISMS) {
      using secured = await connect(server);
      const { client } = secured;
      if (way !== "STARTTLS") await client.reply();
      await client.expect(["EHLO x", "250"]);
      const own = secured.certificate;
      const reply = await logIn(client, mechanism, {
        ...right,
        ...(mechanism.endsWith("PLUS") ? { certificate: own } : {}),
      });
      assertEquals(reply, String(replies.authenticated), mechanism);
      await client.expect(ENVELOPE);
    }
    assertEquals(seen, PASSWORD_MECHANISMS.map(() => "ann"));
  });
}

Deno.test("AUTH SCRAM-SHA-256-PLUS refuses another channel, and a list that was cut", async () => {
  const other = await Certificate.selfSigned({ names: ["mx.test"] });
  await using server = await startServer({ certificate, accounts });
  using secured = await connectStartTls(server);
  const { client } = secured;
  await client.expect(["EHLO x", "250"]);
  const reply = await logIn(client, "SCRAM-SHA-256-PLUS", {
    ...right,
    certificate: other,
  });
  assertEquals(reply.slice(0, 9), "535 5.7.8");
  // `y`: the client supports channel binding and believes that the server does not.
  const cut = await client.say(`AUTH SCRAM-SHA-256 ${btoa("y,,n=ann,r=abc")}`);
  assertEquals(cut.slice(0, 9), "535 5.7.8");
});

Deno.test("AUTH EXTERNAL goes by the client's certificate", async () => {
  const own = await Certificate.selfSigned({ names: ["ann.test"] });
  const stranger = await Certificate.selfSigned({ names: ["ann.test"] });
  const seen: string[] = [];
  await using server = await startServer({
    certificate,
    clientCertificate: { mode: "request", trusted: [own] },
    mechanisms: ["EXTERNAL", "PLAIN"],
    handlers: {
      onAuthenticate(session, credentials) {
        const { certificate: der, mechanism } = credentials;
        if (mechanism !== "EXTERNAL" || der === undefined) return false;
        seen.push(Certificate.fromDer(der).fingerprint);
        assert(session.tls?.authorized);
        credentials.identity = "ann";
        return true;
      },
    },
  });
  using known = await connectStartTls(server, { clientCertificate: own });
  assertEquals(offered(await known.client.say("EHLO x")), "EXTERNAL PLAIN");
  await known.client.expect(["AUTH EXTERNAL =", "235"]);
  assertEquals(server.sessions[0]!.username, "ann");
  assertEquals(seen, [own.fingerprint]);
  using unknown = await connectStartTls(server, {
    clientCertificate: stranger,
  });
  assertEquals(offered(await unknown.client.say("EHLO x")), "PLAIN");
  await unknown.client.expect(["AUTH EXTERNAL =", "504"]);
  using none = await connectStartTls(server);
  assertEquals(offered(await none.client.say("EHLO x")), "PLAIN");
});

for (const mechanism of ["XOAUTH2", "OAUTHBEARER"] as const) {
  Deno.test(`AUTH ${mechanism} tells its terms before it refuses`, async () => {
    await using server = await startServer({
      certificate,
      mechanisms: [mechanism],
      handlers: {
        onAuthenticate: (_session, credentials) =>
          credentials.token === "ya29.good",
      },
    });
    using secured = await connectStartTls(server);
    const { client } = secured;
    await client.expect(["EHLO x", "250"]);
    const message = (token: string) =>
      btoa(
        mechanism === "XOAUTH2"
          ? `user=ann\x01auth=Bearer ${token}\x01\x01`
          : `n,a=ann,\x01host=mx.test\x01auth=Bearer ${token}\x01\x01`,
      );
    const refusal = await client.say(`AUTH ${mechanism} ${message("bad")}`);
    const terms = JSON.parse(atob(refusal.slice(4)));
    assertEquals(
      terms.status,
      mechanism === "XOAUTH2" ? "401" : "invalid_token",
    );
    const acknowledge = mechanism === "XOAUTH2" ? "" : btoa("\x01");
    await client.expect([acknowledge, "535 5.7.8"], NEXT, [
      `AUTH ${mechanism} ${message("ya29.good")}`,
      "235",
    ]);
    assertEquals(server.sessions[0]!.username, "ann");
  });
}

Deno.test("AUTH counts a token whose refusal the client cancels", async () => {
  await using server = await openServer({
    mechanisms: ["XOAUTH2"],
    handlers: { onAuthenticate: () => false },
  });
  using client = await greeted(server);
  for (const [at, want] of ["501 5.7.0", "501 5.7.0", "421 4.7.0"].entries()) {
    const token = btoa(`user=ann${at}\x01auth=Bearer bad\x01\x01`);
    await client.expect([`AUTH XOAUTH2 ${token}`, "334 "], ["*", want]);
  }
  assertEquals(await client.rest(), "");
});

Deno.test("AUTH counts a SCRAM exchange whose last message cannot be read", async () => {
  await using server = await openServer({ mechanisms: ["SCRAM-SHA-256"] });
  using client = await greeted(server);
  for (const want of ["501 5.5.2", "501 5.5.2", "421 4.7.0"]) {
    await client.expect(
      [`AUTH SCRAM-SHA-256 ${btoa("n,,n=ann,r=abc")}`, "334 "],
      [btoa("c=biws,r=abc,p=x"), want],
    );
  }
  assertEquals(await client.rest(), "");
});

Deno.test("AUTH logs a token that was wrong as such, also if the client does not wait for the reply", async () => {
  const records: LogRecord[] = [];
  await using server = await openServer({
    mechanisms: ["XOAUTH2", "PLAIN"],
    handlers: { onAuthenticate: () => false },
    log: (record) => records.push(record),
  });
  const token = btoa(`user=ann\x01auth=Bearer bad\x01\x01`);
  const logins = () => records.filter(({ event }) => event === "auth");
  for (const next of ["", "*", "<leaves>", "<leaves early>"]) {
    records.length = 0;
    {
      using client = await greeted(server);
      if (next === "<leaves early>") {
        await client.send(`AUTH PLAIN ${plainResponse("ann", "x")}\r\n`);
        await until(() => logins().length > 0);
      } else await client.expect([`AUTH XOAUTH2 ${token}`, "334 "]);
      if (!next.startsWith("<")) await client.say(next);
    }
    await until(() => server.sessions.length === 0);
    assertEquals(
      logins().map(({ fields }) => fields?.["reason"]),
      ["The credentials are wrong"],
      next,
    );
    assertEquals(logins()[0]!.fields!["user"], "ann");
  }
});

Deno.test("AUTH ends the session after three failures, however they come", async () => {
  const refusals: SmtpServerOptions[] = [
    {},
    { handlers: { onAuthenticate: () => false } },
    { handlers: { onAuthenticate: () => new SmtpReply(535, "No") } },
    {
      handlers: {
        onAuthenticate: () => {
          throw new SmtpError(550, "No");
        },
      },
    },
  ];
  // In parallel: each failure has its delay, the shortest for a new name.
  await Promise.all(refusals.map(async (options) => {
    await using server = await openServer(options);
    using client = await greeted(server);
    for (const [name, want] of [["a", "5"], ["b", "5"], ["c", "421 4.7.0"]]) {
      await client.expect([`AUTH PLAIN ${plainResponse(name!, "x")}`, want!]);
    }
    assertEquals(await client.rest(), "");
  }));
});

Deno.test("AUTH does not count what says nothing of the secret", async () => {
  const answers = [
    () => new SmtpReply(454, "Directory is down"),
    () => {
      throw new SmtpError(454, "Directory is down");
    },
    () => {
      throw new Error(`Cannot reach the directory`);
    },
  ];
  for (const onAuthenticate of answers) {
    await using server = await openServer({ handlers: { onAuthenticate } });
    using client = await greeted(server);
    for (let time = 0; time < 5; time++) {
      await client.expect([`AUTH PLAIN ${GOOD}`, "454"]);
    }
  }
});

Deno.test("AUTH admits no client by a handler's 2xx alone", async () => {
  let reply = new SmtpReply(235, "Welcome");
  await using server = await openServer({
    mechanisms: ["PLAIN", "SCRAM-SHA-256"],
    authentication: "required",
    handlers: { onAuthenticate: () => reply },
  });
  using client = await greeted(server);
  // SCRAM: a 2xx does not replace the check of the secret.
  const scram = logIn(client, "SCRAM-SHA-256", right);
  assertEquals((await scram).slice(0, 9), "535 5.7.8");
  // Another identity than the handler's.
  await client.expect(
    [`AUTH PLAIN ${btoa(`root\0ann\0x`)}`, "535 5.7.8"],
    ["MAIL FROM:<a@b.test>", "530 5.7.0"],
  );
  reply = new SmtpReply(354, "Go on");
  using second = await greeted(server);
  await second.expect([`AUTH PLAIN ${GOOD}`, "535 5.7.8"]);
  reply = new SmtpReply(235, "Welcome, ann", { enhanced: "2.7.0" });
  await second.expect([`AUTH PLAIN ${GOOD}`, "235 2.7.0 Welcome, ann"]);
});

Deno.test("AUTH of a submission listener is required, and changes with a reload", async () => {
  await using server = await startServer({
    certificate,
    accounts,
    listen: ["127.0.0.1:0/submission", "127.0.0.1:0"],
  });
  const mail = async (index: number) => {
    using secured = await connectStartTls(server, { index });
    await secured.client.expect(["EHLO x", "250"]);
    return (await secured.client.say(ENVELOPE[0])).slice(0, 9);
  };
  assertEquals(await mail(0), "530 5.7.0");
  assertEquals(await mail(1), "250 2.1.0");
  using living = await connectStartTls(server, { index: 1 });
  await living.client.expect(["EHLO x", "250"]);
  await server.reload({ authentication: "required" });
  assertEquals(await mail(1), "530 5.7.0");
  // Open sessions keep their settings.
  await living.client.expect(ENVELOPE);
  await server.reload({
    authentication: "allowed",
    accounts: new AccountList({ ann: "another" }),
  });
  assertEquals(await mail(1), "250 2.1.0");
  using renewed = await connectStartTls(server);
  await renewed.client.expect(
    ["EHLO x", "250"],
    [`AUTH PLAIN ${GOOD}`, "535"],
    [`AUTH PLAIN ${plainResponse("ann", "another")}`, "235"],
  );
});

/** Everything that a server shows of its sessions: log records, lines, errors. */
function listening(options: SmtpServerOptions = {}): {
  readonly options: SmtpServerOptions;
  said(): string;
} {
  const records: LogRecord[] = [];
  const lines: string[] = [];
  return {
    options: {
      ...options,
      log: (record) => records.push(record),
      handlers: {
        onCommand: (_session, line) => void lines.push(line),
        ...givenHandlers(options),
      },
    },
    said: () => JSON.stringify([records, lines]),
  };
}

Deno.test("AUTH leaves no secret in logs, commands, replies or errors", async () => {
  const secret = "pa55-Wörd,=";
  const token = "ya29.t0ken-t0ken";
  const shown = [
    ...[secret, token, plainResponse("ann", "pa55"), "pa55", "t0ken"],
    ...[`\0ann\0${secret}`, secret, `user=ann\x01auth=Bearer ${token}\x01\x01`]
      .map((text) => new TextEncoder().encode(text).toBase64()),
  ];
  const rows: SmtpServerOptions[] = [
    { accounts: new AccountList({ ann: secret }) },
    {
      mechanisms: [...PASSWORD_MECHANISMS, "XOAUTH2", "OAUTHBEARER"],
      handlers: {
        onAuthenticate: (_session, credentials) => {
          throw new Error(`Cannot judge ${Deno.inspect(credentials)}`);
        },
      },
    },
  ];
  for (const row of rows) {
    const log = listening(row);
    await using server = await openServer(log.options);
    let heard = "";
    for (const mechanism of [...PASSWORD_MECHANISMS, "XOAUTH2"] as const) {
      using client = await greeted(server);
      if (mechanism.endsWith("PLUS")) continue;
      const password = mechanism === "LOGIN" ? `${secret}x` : secret;
      const login = { username: "ann", password, token };
      heard += await logIn(client, mechanism, login);
    }
    using client = await greeted(server);
    const coded = shown.at(-3)!;
    for (
      const line of [
        `AUTH  PLAIN   ${coded}`,
        `auth plain ${coded} ${coded}`,
        `AUTH PLAIN ${coded}\u2028`,
        `AUTH NONE ${coded}`,
        `AUTH PLAIN ${coded.slice(1)}`,
      ]
    ) {
      heard += await client.say(
        String.fromCharCode(...new TextEncoder().encode(line)),
      );
    }
    const said = log.said() + heard;
    assertMatch(said, /AUTH PLAIN \*\*\*/);
    assertMatch(said, /"event":"auth"/);
    for (const text of shown) assertFalse(said.includes(text), said);
  }
});

/** A guard without delays. */
class InstantGuard extends LoginGuard {
  override fail(attempt: LoginAttempt): Promise<void> {
    const wait = super.fail(attempt);
    this.release();
    return wait;
  }
}

/** The context of a session with logins without TLS. */
function contextWith(
  list: AccountList,
  guard: LoginGuard = new InstantGuard(),
): SessionInit {
  return {
    profile: { authentication: "allowed" },
    authentication: authenticationContext({
      hostname: "mx.test",
      accounts: list,
      handlers: {},
      mechanisms: undefined,
      allowInsecure: true,
      guard,
      log: () => {},
    }),
  };
}

Deno.test("AUTH does as much for an unknown user as for a wrong password", async () => {
  const original = crypto.subtle.deriveBits;
  let rounds: number[] = [];
  crypto.subtle.deriveBits = function (this: SubtleCrypto, ...args) {
    rounds.push((args[0] as Pbkdf2Params).iterations);
    return original.apply(crypto.subtle, args);
  };
  try {
    const verifier = await ScramVerifier.create(SECRET, { iterations: 5000 });
    rounds = [];
    for (const secret of [SECRET, verifier]) {
      for (const mechanism of ["PLAIN", "LOGIN", "SCRAM-SHA-256"] as const) {
        const context = contextWith(new AccountList({ ann: secret }));
        const costs: string[] = [];
        const challenges: string[] = [];
        for (const username of ["ann", "bob", "ann", "bob"]) {
          await using it = openSession(context);
          await it.client.reply();
          await it.client.expect(["EHLO x", "250"]);
          // The client's own work must not count: it sends an invalid proof.
          const dialogue = await wrongLogin(it.client, mechanism, username);
          challenges.push(dialogue);
          costs.push(`${rounds.splice(0)}`);
        }
        assertEquals(costs[0], costs[1], mechanism);
        assertEquals(new Set(costs).size, 1, mechanism);
        // Each user's salt is the same at every attempt, like a stored one.
        assertEquals(challenges[0], challenges[2]);
        assertEquals(challenges[1], challenges[3]);
      }
    }
  } finally {
    crypto.subtle.deriveBits = original;
  }
});

/** Fails to log in, without work of the client; returns the salt and the iteration count of the server. */
async function wrongLogin(
  client: TestClient,
  mechanism: "PLAIN" | "LOGIN" | "SCRAM-SHA-256",
  username: string,
): Promise<string> {
  if (mechanism !== "SCRAM-SHA-256") {
    const reply = await logIn(client, mechanism, { username, password: "x" });
    assertEquals(reply.slice(0, 3), "535");
    return reply;
  }
  const first = `n=${username},r=abcdef`;
  const reply = await client.say(`AUTH SCRAM-SHA-256 ${btoa(`n,,${first}`)}`);
  const [nonce, ...rest] = atob(reply.slice(4)).split(",");
  const final = `c=biws,${nonce},p=${btoa("x".repeat(32))}`;
  await client.expect([btoa(final), "535"]);
  return rest.join();
}

Deno.test("AUTH keeps the salt of an account to itself once the budget is used up", async () => {
  const verifier = await ScramVerifier.create(SECRET, { iterations: 4096 });
  const guard = new InstantGuard();
  const attempt = { address: "192.0.2.1", account: "ann" };
  for (let time = 0; time < 10; time++) await guard.fail(attempt);
  const context = contextWith(new AccountList({ ann: verifier }), guard);
  await using it = openSession(context);
  const first = btoa("n,,n=ann,r=abcdef");
  await it.client.reply();
  await it.client.expect(["EHLO x", "250"], [
    `AUTH SCRAM-SHA-256 ${first}`,
    "421 4.7.0 Too many failed logins",
  ]);
  assertEquals(await it.client.rest(), "");
});
