/**
 * `SmtpClient`: opening, EHLO or HELO, STARTTLS, AUTH, sending and the end of a
 * session (RFC 5321 sections 3.1 to 3.3 and 3.8).
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import type { SmtpClient } from "../../lib/client/client.ts";
import { SmtpClientError } from "../../lib/client/error.ts";
import type {
  ClientNetwork,
  SmtpClientOptions,
  UpgradeTransport,
} from "../../lib/client/options.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import {
  connectClient,
  FakeNetwork,
  type FakeServerOptions,
} from "../support/client/fake_server.ts";

const HOST = "mx.example";
const MESSAGE = {
  from: "a@me.example",
  to: ["b@fake.example", "c@fake.example"],
  data: "Subject: x\n\n.dot\nend",
};
const ARRIVED = "Subject: x\r\n\r\n.dot\r\nend\r\n";

const certificate = await Certificate.selfSigned({ names: [HOST] });

/** TLS in name only, with a given result of the certificate check. */
function upgradeTo(error: string | undefined): UpgradeTransport {
  return (inner) => {
    const tls = {
      protocol: "TLSv1.3",
      cipher: "",
      authorized: error === undefined,
    };
    return Promise.resolve({
      transport: Object.assign(inner, { tls }),
      certificate,
      authorizationError: error,
    });
  };
}

const brokenUpgrade: UpgradeTransport = (inner) => {
  inner.close();
  return Promise.reject(new Deno.errors.ConnectionAborted("Bad handshake"));
};

type ClientOptions = Partial<SmtpClientOptions & ClientNetwork>;

async function connect(
  server: FakeServerOptions | "refused" | "silent",
  options: ClientOptions = {},
): Promise<[FakeNetwork, SmtpClient]> {
  const network = new FakeNetwork({ [HOST]: server });
  const client = await connectClient({
    host: HOST,
    hostname: "me.example",
    connect: network.connect,
    upgrade: upgradeTo("self signed"),
    ...options,
  });
  return [network, client];
}

async function failure(
  server: FakeServerOptions | "refused" | "silent",
  options: ClientOptions = {},
): Promise<string> {
  const network = new FakeNetwork({ [HOST]: server });
  const error = await assertRejects(
    () =>
      connectClient({
        host: HOST,
        connect: network.connect,
        upgrade: upgradeTo("self signed"),
        ...options,
      }),
    SmtpClientError,
  );
  assertEquals(network.open, 0, "a connection was left open");
  const { stage, reply, fromPeer } = error;
  return `${stage} ${reply.code} ${reply.enhanced ?? "-"} ${
    fromPeer ? "peer" : "own"
  }`;
}

Deno.test("SmtpClient.connect() says at which step it failed, and why", async () => {
  const tls = ["STARTTLS"];
  const login = { username: "ann", password: "secret" };
  const secure = { security: "required", login } as const;
  const withAuth = ["STARTTLS", "AUTH PLAIN"];
  const rows: [
    string,
    FakeServerOptions | "refused" | "silent",
    ClientOptions?,
  ][] = [
    ["connect 451 4.4.1 own", "refused"],
    ["greeting 451 4.4.2 own", "silent", { timeouts: { greeting: 1 } }],
    ["greeting 554 5.7.1 peer", { faults: { greeting: "554 5.7.1 No" } }],
    ["greeting 450 - peer", { faults: { greeting: "450 No" } }],
    ["greeting 421 4.3.2 peer", { faults: { greeting: "421 4.3.2 No" } }],
    ["greeting 451 4.5.0 own", { faults: { greeting: "SSH" } }],
    ["greeting 451 4.4.2 own", { faults: { greeting: "drop" } }],
    ["hello 550 - peer", { faults: { EHLO: "502 x", HELO: "550 x" } }],
    ["hello 451 4.4.2 own", { faults: { EHLO: "drop" } }],
    ["startTls 451 4.7.4 own", {}, { security: "required" }],
    ["startTls 451 4.7.4 own", {
      capabilities: tls,
      faults: { STARTTLS: "454 x" },
    }, { security: "required" }],
    ["startTls 451 4.5.0 own", {
      capabilities: tls,
      faults: { STARTTLS: "220 x\r\n250 y" },
    }],
    ["startTls 451 4.7.5 own", { capabilities: tls }, { security: "verified" }],
    ["startTls 451 4.7.5 own", { capabilities: tls }, {
      onCertificate: () => false,
    }],
    ["tls 451 4.7.5 own", { capabilities: tls }, {
      security: "required",
      upgrade: brokenUpgrade,
    }],
    ["authenticate 451 4.7.4 own", { capabilities: tls }, secure],
    ["authenticate 451 4.7.4 own", { capabilities: ["AUTH PLAIN"] }, {
      login,
      security: "none",
    }],
    ["authenticate 451 4.7.4 own", {
      capabilities: ["STARTTLS", "AUTH X-ODD"],
    }, secure],
    ["authenticate 535 5.7.8 peer", {
      capabilities: withAuth,
      faults: { AUTH: "535 5.7.8 No" },
    }, secure],
    ["authenticate 451 4.4.2 own", {
      capabilities: withAuth,
      faults: { AUTH: "drop" },
    }, secure],
  ];
  for (const [want, server, options] of rows) {
    assertEquals(await failure(server, options), want);
  }
});

Deno.test("SmtpClient.connect() never shows a secret in an error", async () => {
  const network = new FakeNetwork({
    [HOST]: {
      capabilities: ["STARTTLS", "AUTH PLAIN"],
      faults: { AUTH: "535 No" },
    },
  });
  const error = await assertRejects(() =>
    connectClient({
      host: HOST,
      connect: network.connect,
      upgrade: upgradeTo(undefined),
      login: { username: "ann", password: "hush-hush" },
    })
  );
  const text = Deno.inspect(error, { depth: 10, showHidden: true });
  assert(!text.includes("hush-hush"));
  assert(!text.includes(btoa("\0ann\0hush-hush")));
});

Deno.test("SmtpClient.connect() uses TLS by policy", async () => {
  const tls = { capabilities: ["STARTTLS"] };
  const rows: [FakeServerOptions, ClientOptions, boolean][] = [
    [tls, {}, true],
    [{}, {}, false],
    [tls, { security: "none" }, false],
    [{ ...tls, faults: { STARTTLS: "454 x" } }, {}, false],
    [tls, { security: "required" }, true],
    [tls, { security: "verified", upgrade: upgradeTo(undefined) }, true],
    [tls, { security: "verified", onCertificate: () => true }, true],
    [{}, { implicitTls: true }, true],
  ];
  for (const [server, options, encrypted] of rows) {
    const [, client] = await connect(server, options);
    assertEquals(client.tls !== undefined, encrypted);
    await client.quit();
  }
});

Deno.test("SmtpClient.connect() goes on in the clear when opportunistic TLS breaks", async () => {
  const [network, client] = await connect({ capabilities: ["STARTTLS"] }, {
    upgrade: brokenUpgrade,
  });
  assertEquals(network.connects.length, 2);
  assertEquals(client.tlsFailure?.stage, "tls");
  assertEquals((await client.send(MESSAGE)).accepted, true);
  await client.quit();
  assertEquals(network.open, 0);
});

Deno.test("SmtpClient.connect() reports each step", async () => {
  const steps: string[] = [];
  const onProgress = (step: string) => steps.push(step);
  const [, client] = await connect(
    { capabilities: ["STARTTLS", "AUTH PLAIN"] },
    {
      security: "required",
      login: { username: "ann", password: "secret" },
      onProgress,
    },
  );
  await client.send(MESSAGE);
  await client.quit();
  assertEquals(steps, [
    "connecting",
    "connected",
    "hello",
    "negotiating-tls",
    "tls-established",
    "hello",
    "authenticating",
    "mail-from",
    "rcpt-to",
    "data",
    "sending-headers",
    "sending-body",
    "done",
  ]);
});

Deno.test("SmtpClient names itself by its address where it has no name", async () => {
  const network = new FakeNetwork({ [HOST]: {} });
  await using _client = await connectClient({
    host: HOST,
    connect: network.connect,
  });
  assertEquals(network.servers[0]?.lines, ["EHLO [192.0.2.99]"]);
});

/** Chunks of two bytes that can be read once. */
function stream(text: string): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  return ReadableStream.from(
    Array.from(
      { length: Math.ceil(bytes.length / 2) },
      (_, at) => bytes.slice(at * 2, at * 2 + 2),
    ),
  );
}

const CAPABILITIES: string[][] = [
  [],
  ["PIPELINING"],
  ["8BITMIME"],
  ["PIPELINING", "8BITMIME", "CHUNKING", "SIZE 1000"],
];

Deno.test("SmtpClient.send() delivers the same content by every road", async () => {
  for (const capabilities of CAPABILITIES) {
    for (
      const data of [
        MESSAGE.data,
        new TextEncoder().encode(MESSAGE.data),
        stream(MESSAGE.data),
      ]
    ) {
      const [network, client] = await connect({ capabilities });
      const result = await client.send({ ...MESSAGE, data });
      assertEquals(result.accepted, true);
      assertEquals(network.messages[0]?.content, ARRIVED);
      assertEquals((await client.send(MESSAGE)).accepted, true);
      assertEquals(network.messages[1]?.content, ARRIVED);
      await client.quit();
      assertEquals(network.servers[0]?.lines.at(-1), "QUIT");
    }
  }
});

Deno.test("SmtpClient.send() reports each recipient at every fault", async () => {
  const rows: [Record<string, string>, string, boolean][] = [
    [{}, "ok, ok", true],
    [{ MAIL: "550 5.7.1 x" }, "mail 5.7.1, mail 5.7.1", true],
    [{ MAIL: "drop" }, "mail 4.4.2!, mail 4.4.2!", false],
    [{ MAIL: "odd" }, "mail 4.5.0!, mail 4.5.0!", false],
    [{ "RCPT 2": "450 4.2.1 x" }, "ok, rcpt 4.2.1", true],
    [{ "RCPT 2": "421 4.3.2 x" }, "rcpt 4.3.2!, rcpt 4.3.2!", false],
    [{ DATA: "451 4.3.0 x" }, "data 4.3.0, data 4.3.0", true],
    [{ body: "552 5.3.4 x" }, "dataEnd 5.3.4, dataEnd 5.3.4", true],
    [{ body: "drop" }, "dataEnd 4.4.2!, dataEnd 4.4.2!", false],
    [{ end: "554 5.6.0 x" }, "dataEnd 5.6.0, dataEnd 5.6.0", true],
    [{ end: "drop" }, "dataEnd 4.4.2!, dataEnd 4.4.2!", false],
  ];
  for (const [faults, want, reusable] of rows) {
    for (const capabilities of [[], ["PIPELINING"]]) {
      const [network, client] = await connect({ capabilities, faults });
      const { recipients } = await client.send(MESSAGE);
      const got = recipients.map((recipient) =>
        recipient.accepted
          ? "ok"
          : `${recipient.stage} ${recipient.reply.enhanced}${
            recipient.broken ? "!" : ""
          }`
      ).join(", ");
      assertEquals(got, want);
      assertEquals(client.isReusable, reusable);
      await client.quit();
      assertEquals(network.open, 0);
    }
  }
});

Deno.test("SmtpClient.send() passes on the parameters that the server knows", async () => {
  const parameters = {
    size: 999,
    ret: "HDRS",
    envid: "e+1",
    auth: "<>",
  } as const;
  const to = [{
    address: "b@fake.example",
    parameters: {
      notify: ["FAILURE"],
      orcpt: { type: "rfc822", address: "o@x" },
    } as const,
  }];
  const rows: [string[], string, string, boolean][] = [
    [[], "MAIL FROM:<a@me.example>", "RCPT TO:<b@fake.example>", false],
    [
      ["SIZE", "DSN", "AUTH PLAIN"],
      "MAIL FROM:<a@me.example> SIZE=25 RET=HDRS ENVID=e+2B1 AUTH=<>",
      "RCPT TO:<b@fake.example> NOTIFY=FAILURE ORCPT=rfc822;o@x",
      true,
    ],
  ];
  for (const [capabilities, mail, rcpt, dsn] of rows) {
    const [network, client] = await connect({ capabilities });
    const { dsnPassedOn } = await client.send({ ...MESSAGE, to, parameters });
    assertEquals(network.servers[0]?.lines.slice(1, 3), [mail, rcpt]);
    assertEquals(dsnPassedOn, dsn);
    await client.quit();
  }
});

Deno.test("SmtpClient.send() refuses here what the server cannot take", async () => {
  const rows: [string[], Partial<typeof MESSAGE>, object, string][] = [
    [["SIZE 10"], {}, {}, "5.3.4"],
    [[], { to: ["grün@fake.example"] }, {}, "5.6.7"],
    [["SMTPUTF8", "8BITMIME"], { to: ["grün@fake.example"] }, {}, "ok"],
    [[], { to: ["b@grün.example"] }, {}, "ok"],
    [[], { data: "Subject: grün\n\nx" }, { smtpUtf8: true }, "5.6.9"],
    [[], {}, { smtpUtf8: true }, "ok"],
    [[], { data: "Subject: grün\n\nx" }, {}, "ok"],
    [[], { data: "Subject: x\n\ngrün" }, {}, "ok"],
  ];
  for (const [capabilities, message, parameters, want] of rows) {
    const [network, client] = await connect({ capabilities });
    const { recipients } = await client.send({
      ...MESSAGE,
      ...message,
      parameters,
    });
    const [first] = recipients;
    assertEquals(first?.accepted ? "ok" : first?.reply.enhanced, want);
    assertEquals(network.messages.length, want === "ok" ? 1 : 0);
    if (first?.accepted === false) assertEquals(first.fromPeer, false);
    assert(client.isReusable);
    await client.quit();
  }
});

Deno.test("SmtpClient.send() plans the same for content in memory and for streams", async () => {
  const line = "a line of text that is ASCII throughout\r\n";
  const text = `Subject: x\r\n\r\n${line.repeat(8000)}`;
  const bytes = new TextEncoder().encode(text);
  const sources = [
    () => text,
    () => bytes,
    () => ReadableStream.from([bytes.slice()]),
    () => () => ReadableStream.from([bytes.slice()]),
  ];
  for (const source of sources) {
    const [network, client] = await connect({ capabilities: ["SIZE"] });
    const { accepted } = await client.send({
      ...MESSAGE,
      data: source(),
      parameters: { smtpUtf8: true, body: "8BITMIME" },
    });
    assert(accepted);
    assertEquals(
      network.servers[0]?.messages[0]?.mail,
      `MAIL FROM:<a@me.example> SIZE=${bytes.length}`,
    );
    assertEquals(network.messages[0]?.content, text);
    await client.quit();
  }
});

Deno.test('SmtpClient.send() encodes long lines with longLines: "encode"', async () => {
  const data = `Subject: x\r\n\r\n${"x".repeat(2000)}\r\n`;
  for (const longLines of ["keep", "encode"] as const) {
    const [network, client] = await connect({ capabilities: ["8BITMIME"] }, {
      longLines,
    });
    await client.send({ ...MESSAGE, data });
    const content = network.messages[0]!.content;
    assertEquals(content === data, longLines === "keep");
    assertEquals(content.includes("x=\r\nx"), longLines === "encode");
    await client.quit();
  }
});

Deno.test("SmtpClient.send() fails with its content source, and sends no end", async () => {
  const [network, client] = await connect({ capabilities: ["8BITMIME"] });
  // deno-lint-ignore require-yield
  async function* broken(): AsyncGenerator<Uint8Array> {
    await Promise.resolve();
    throw new RangeError("Disk broke");
  }
  await assertRejects(
    () => client.send({ ...MESSAGE, data: broken() }),
    RangeError,
    "Disk broke",
  );
  assertEquals(client.isReusable, false);
  assertEquals(network.open, 0);
  assertEquals(network.messages.length, 0);
  await assertRejects(() => client.send(MESSAGE), Error, "Cannot send");
});

Deno.test("SmtpClient.send() stops at an abort", async () => {
  const [network, client] = await connect({});
  const controller = new AbortController();
  const reason = new Error("Enough");
  const data = new ReadableStream<Uint8Array>({
    pull: () => controller.abort(reason),
  });
  const error = await assertRejects(() =>
    client.send({
      ...MESSAGE,
      data,
      signal: controller.signal,
      parameters: { body: "7BIT" },
    })
  );
  assertEquals(error, reason);
  assertEquals(network.open, 0);
});

Deno.test("SmtpClient.send() speaks LMTP", async () => {
  const [, client] = await connect({
    lmtp: true,
    capabilities: ["PIPELINING"],
    faults: { "end 2": "552 5.2.2 Full" },
  }, { lmtp: true });
  const { recipients } = await client.send(MESSAGE);
  assertEquals(recipients.map(({ accepted }) => accepted), [true, false]);
  await client.quit();
});

Deno.test("SmtpClient.connect() goes from mechanism to mechanism, as far as refusals are about them", async () => {
  const login = { username: "ann", password: "secret" };
  const clear = { security: "none", allowInsecureAuth: true } as const;
  const tls = { security: "required" } as const;
  const offer = "AUTH CRAM-MD5 PLAIN LOGIN";
  const rows: [
    string,
    ClientOptions,
    Record<string, string>,
    string[],
    string,
  ][] = [
    ["504", clear, { "AUTH CRAM-MD5": "504 x" }, ["CRAM-MD5", "PLAIN"], "ok"],
    ["534", clear, { "AUTH CRAM-MD5": "534 x" }, ["CRAM-MD5", "PLAIN"], "ok"],
    ["500", clear, { "AUTH CRAM-MD5": "500 x" }, ["CRAM-MD5", "PLAIN"], "ok"],
    ["501", clear, { "AUTH CRAM-MD5": "501 x" }, ["CRAM-MD5", "PLAIN"], "ok"],
    ["538", clear, { "AUTH CRAM-MD5": "538 x" }, ["CRAM-MD5", "PLAIN"], "ok"],
    ["530", clear, { "AUTH CRAM-MD5": "530 x" }, ["CRAM-MD5"], "530"],
    ["535 in the clear", clear, { "AUTH CRAM-MD5": "535 x" }, [
      "CRAM-MD5",
    ], "535"],
    ["535 under TLS", tls, { "AUTH CRAM-MD5": "535 x" }, [
      "CRAM-MD5",
      "PLAIN",
    ], "ok"],
    ["454", tls, { "AUTH CRAM-MD5": "454 x" }, ["CRAM-MD5"], "454"],
    ["all", tls, { AUTH: "535 x" }, ["CRAM-MD5", "PLAIN", "LOGIN"], "535"],
    [
      "no password in the clear",
      { security: "none" },
      { "AUTH CRAM-MD5": "504 x" },
      ["CRAM-MD5"],
      "504",
    ],
    [
      "chosen",
      { ...tls, login: { ...login, mechanisms: ["LOGIN", "PLAIN"] } },
      { "AUTH LOGIN": "504 x" },
      ["LOGIN", "PLAIN"],
      "ok",
    ],
    [
      "none of those chosen",
      { ...tls, login: { ...login, mechanisms: ["SCRAM-SHA-256"] } },
      {},
      [],
      "451",
    ],
  ];
  for (const [name, options, faults, said, want] of rows) {
    const network = new FakeNetwork({
      [HOST]: { capabilities: ["STARTTLS", offer], faults },
    });
    let got = "ok";
    try {
      const client = await connectClient({
        host: HOST,
        hostname: "me.example",
        connect: network.connect,
        upgrade: upgradeTo("self signed"),
        login,
        ...options,
      });
      await client.quit();
    } catch (error) {
      assert(error instanceof SmtpClientError, String(error));
      got = String(error.reply.code);
    }
    assertEquals(got, want, name);
    assertEquals(
      network.servers[0]!.lines.filter((line) => line.startsWith("AUTH"))
        .map((line) => line.split(" ")[1]),
      said,
      name,
    );
  }
});
