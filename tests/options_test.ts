/**
 * Wrong options from a program that is not type-checked: each is an error that
 * names the option, and none shows a secret.
 *
 * The promise of SECURITY.md: "No option is misunderstood in silence".
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import * as authEntry from "../lib/sasl/auth.ts";
import * as clientEntry from "../lib/client/mod.ts";
import * as dnsEntry from "../lib/dns/mod.ts";
import * as mainEntry from "../mod.ts";
import { ClientPool } from "../lib/delivery/pool.ts";
import * as queueEntry from "../lib/queue/mod.ts";
import * as storeEntry from "../lib/store/mod.ts";
import * as tlsEntry from "../lib/tls/mod.ts";
import { connectInMemory, startTestServer } from "../lib/testing/mod.ts";
import { startServer } from "./support/server.ts";

const mod = {
  ...mainEntry,
  ...{ ...authEntry, ...clientEntry, ...dnsEntry },
  ...{ ...queueEntry, ...storeEntry, ...tlsEntry },
};
/** The exports, as a program without types sees them. */
// deno-lint-ignore no-explicit-any
const face = mod as any;
const { SmtpServer, SmtpClient, Certificate, AccountList } = face;

/** The error message for wrong options. */
async function slip(run: () => unknown): Promise<string> {
  try {
    await run();
  } catch (error) {
    assert(error instanceof TypeError, String(error));
    return error.message;
  }
  throw new Error("No error");
}

/** Options of the server, and how the error begins. */
const SERVER_ROWS: [options: unknown, begins: string, ends: string][] = [
  [{ listen: 2525 }, "Cannot use listen 2525: want HOST:PORT", "of these"],
  [
    { listen: { hostname: "127.0.0.1", port: 0 } },
    "Cannot use listen.hostname: no such option",
    'did you mean "listen.host"?',
  ],
  [
    { listen: ["127.0.0.1:0", { port: "25" }] },
    'Cannot use listen[1].port "25": want a whole number from 0 to 65535',
    "65535",
  ],
  [
    { senderPolicy: "mine" },
    'Cannot use senderPolicy "mine": want "any" or "own"',
    '"own"',
  ],
  [
    { limits: { perUser: { messagesPerHour: 1 } } },
    "Cannot use limits.perUser.messagesPerHour 1: no such option",
    'did you mean "limits.perUser.messagesPerDay"?',
  ],
  [
    { bareNewlines: "accept" },
    'Cannot use bareNewlines "accept": want "reject", "normalize" or "keep"',
    '"keep"',
  ],
  [
    { earlyTalkers: "accept" },
    'Cannot use earlyTalkers "accept": want "refuse" or "allow"',
    '"allow"',
  ],
  [
    { limits: { maxsize: 1 } },
    "Cannot use limits.maxsize 1: no such option",
    'did you mean "limits.maxSize"?',
  ],
  [{ limits: { maxSize: "10M" } }, 'Cannot use limits.maxSize "10M"', "number"],
  [{ domains: "example.com" }, 'Cannot use domains "example.com"', "}"],
  [
    { domains: { "a.example": { maxsize: 1 } } },
    'Cannot use domains["a.example"].maxsize 1: no such option',
    'did you mean "domains["a.example"].maxSize"?',
  ],
  [{ store: "maildir:./mail" }, 'Cannot use store "maildir:./mail"', ")"],
  [{ accounts: { ann: "hunter2" } }, "Cannot use accounts: want", ")"],
  [{ accounts: ["ann:hunter2"] }, "Cannot use accounts: want", ")"],
  [{ relay: true }, "Cannot use relay true: want options", "}"],
  [
    { relay: { alow: "none" } },
    "Cannot use relay.alow: no such option",
    'did you mean "relay.allow"?',
  ],
  [
    { relay: { login: { username: "ann", pasword: "hunter2" } } },
    "Cannot use relay.login.pasword: no such option",
    'did you mean "relay.login.password"?',
  ],
  [
    { relay: { login: "hunter2" } },
    "Cannot use relay.login: want options",
    "}",
  ],
  [
    { relay: { smarthosts: ["mail.example:0"] } },
    'Cannot use relay.smarthosts[0] "mail.example:0": want a host, as',
    "}",
  ],
  [
    { relay: { timeouts: { conect: 1 } } },
    "Cannot use relay.timeouts.conect 1: no such option",
    'did you mean "relay.timeouts.connect"?',
  ],
  [{ mechanisms: ["plain"] }, 'Cannot use mechanisms[0] "plain"', '"PLAIN"?'],
  [{ mechanisms: "PLAIN" }, 'Cannot use mechanisms "PLAIN"', "]"],
  [
    { disabledExtensions: ["8BITMINE"] },
    'Cannot use disabledExtensions[0] "8BITMINE"',
    'did you mean "8BITMIME"?',
  ],
  [
    { handlers: { onRcpt() {} } },
    "Cannot use handlers.onRcpt: no such option",
    'did you mean "handlers.onRcptTo"?',
  ],
  [
    { handlers: { onRcptTo: true } },
    "Cannot use handlers.onRcptTo true: want a function",
    "function",
  ],
  [{ handlers: () => ({}) }, "Cannot use handlers (a function)", "module"],
  [{ handlers: null }, "Cannot use handlers null", "module"],
  [{ certificate: "mail.pem" }, 'Cannot use certificate "mail.pem"', "Source"],
  [{ trace: "192.0.2.7" }, 'Cannot use trace "192.0.2.7"', "or a function"],
  [
    { certificate: Promise.resolve() },
    "Cannot use certificate (a promise)",
    "did you forget await?",
  ],
  [{ log: console }, "Cannot use log (an object): want a function", ")"],
  [{ dns: { servers: [] } }, "Cannot use dns.servers: no such", "onWarning"],
  [{ dns: { timeoutMs: "5s" } }, 'Cannot use dns.timeoutMs "5s"', "number"],
  [{ hostName: "a" }, "Cannot use hostName: no such option", '"hostname"?'],
  [{ threads: "2" }, 'Cannot use threads "2"', "number"],
  [{ allowInsecureAuth: "no" }, 'Cannot use allowInsecureAuth "no"', "false"],
  [{ security: "tls" }, 'Cannot use security "tls": want', '"implicit"'],
  [
    { clientCertificate: "require" },
    'Cannot use clientCertificate "require": want options',
    "}",
  ],
  [{ acounts: 5 }, "Cannot use acounts: no such option", '"accounts"?'],
  [{ password: 12345 }, "Cannot use password: no such option", "logLevel"],
  [JSON.parse('{"__proto__": 1}'), "Cannot use __proto__: no such", "logLevel"],
  [{ toString: 1 }, "Cannot use toString: no such option", "logLevel"],
  ["127.0.0.1:25", 'Cannot use the options "127.0.0.1:25"', "}"],
  [null, "Cannot use the options null", "}"],
  [
    Object.create({ domains: ["a.example"] }),
    "Cannot use domains (an array): want a property of the object itself",
    "hidden",
  ],
  [
    Object.defineProperty({}, "authentication", { value: "required" }),
    'Cannot use authentication "required": want a property of the object',
    "hidden",
  ],
  [{ relay: new Boolean(false) }, "Cannot use relay (an object)", "}"],
  [{ accounts: new Uint8Array(2) }, "Cannot use accounts: want", ")"],
  [{ certificate: new String("a") }, "Cannot use certificate (an", "Source"],
  [{ temporaryFolder: "a\0b" }, 'Cannot use temporaryFolder "a', "empty"],
  [{ domains: ["*"] }, 'Cannot use "*" as a local domain', '"'],
  [{ domains: ["a.example,b.example"] }, 'Cannot use "a.example,b', '"'],
  [{ hostname: "a\r\nb" }, 'Cannot use hostname "a', '"'],
  [{ relay: { hostname: "a\r\nQUIT" } }, "Cannot use relay.hostname", '"'],
  [{ relay: { bounceFrom: "a@b\r\nX: y" } }, "Cannot use relay.bounceF", '"'],
  [{ relay: { bounceFrom: "" } }, 'Cannot use relay.bounceFrom ""', '"'],
  [{ relay: { reports: {} } }, "Cannot use relay.reports", '"'],
  [{ relay: { reports: { from: "" } } }, "Cannot use relay.reports.f", '"'],
  [{ relay: { smarthosts: [{ host: "" }] } }, "Cannot use relay.smart", '"'],
  [new Map([["listen", ":25"]]), "Cannot use the options (an object)", "}"],
];

Deno.test("SmtpServer refuses options that it does not understand, and names them", async (t) => {
  for (const [options, begins, ends] of SERVER_ROWS) {
    await t.step(begins, async () => {
      const text = await slip(() => new SmtpServer(options));
      assert(text.startsWith(begins), text);
      assert(text.endsWith(ends), text);
      assert(!/hunter2|12345/.test(text), text);
    });
  }
});

Deno.test("waits that no timer can hold are refused, not ended at once", async (t) => {
  const server = new SmtpServer({ listen: [], log() {} });
  const rows: [name: string, give: (ms: number) => unknown][] = [
    ...[
      "timeoutMs",
      "mailTimeoutMs",
      "contentTimeoutMs",
      "handshakeTimeoutMs",
      "handlerTimeoutMs",
      "tarpitMs",
    ].flatMap((name): [string, (ms: number) => unknown][] => [
      [name, (ms) => new SmtpServer({ limits: { [name]: ms } })],
      [`reload ${name}`, (ms) => server.reload({ limits: { [name]: ms } })],
    ]),
    ["graceMs", (graceMs) => server.stop({ graceMs })],
    [
      "connect",
      (connect) => new SmtpServer({ relay: { timeouts: { connect } } }),
    ],
    [
      "data",
      (data) => SmtpClient.connect({ host: "127.0.0.1", timeouts: { data } }),
    ],
    ["dns", (timeoutMs) => new SmtpServer({ dns: { timeoutMs } })],
    ["pool", (idleMs) => new SmtpServer({ relay: { pool: { idleMs } } })],
  ];
  for (const [name, give] of rows) {
    await t.step(name, async () => {
      for (const ms of [2 ** 31, 2 ** 53 - 1, Infinity, NaN, -1]) {
        const error = await assertRejects(async () => {
          await give(ms);
        }, RangeError);
        assert(error.message.startsWith("Cannot "), error.message);
      }
    });
  }
});

Deno.test("networks are read when they are given, wherever they stand", async (t) => {
  const networks = ["10.0.0.1/8"];
  const server = new SmtpServer({ listen: [], log() {} });
  const rows: [path: string, give: () => unknown][] = [
    ["proxyProtocol[0]", () => new SmtpServer({ proxyProtocol: networks })],
    ["xclient[0]", () => server.reload({ xclient: networks })],
    ["trace[0]", () => new SmtpServer({ trace: networks })],
    ["trace[0]", () => server.reload({ trace: networks })],
    ["proxyProtocol[0]", () => server.reload({ proxyProtocol: networks })],
    [
      "listen.xclient[0]",
      () => new SmtpServer({ listen: { xclient: networks } }),
    ],
    [
      "listen[0].proxyProtocol[0]",
      () => new SmtpServer({ listen: [{ proxyProtocol: networks }] }),
    ],
    [
      "limits.exempt[0]",
      () => new SmtpServer({ limits: { exempt: networks } }),
    ],
    ["relay.from[0]", () => new SmtpServer({ relay: { from: networks } })],
  ];
  for (const [path, give] of rows) {
    await t.step(path, async () => {
      await assertRejects(
        async () => {
          await give();
        },
        SyntaxError,
        `Cannot use ${path}: Cannot parse network "10.0.0.1/8"`,
      );
    });
  }
});

Deno.test("SmtpServer takes undefined for what is not given, whatever its name", () => {
  new SmtpServer({ listen: undefined, limits: { maxSize: undefined } });
  new SmtpServer({ nothing: undefined, handlers: { onNothing: undefined } });
});

Deno.test("SmtpServer names a listening address that it cannot read when it is made", () => {
  const rows: readonly [listen: string | string[], want: string][] = [
    ["localhost", "want HOST:PORT"],
    [["127.0.0.1:0", "127.0.0.1:99999"], "want a port from 0 to 65535"],
  ];
  for (const [listen, want] of rows) {
    assertThrows(() => new SmtpServer({ listen }), SyntaxError, want);
  }
});

Deno.test("handlers may be of any class, with members of their own", async () => {
  const asked: string[] = [];
  class Base {
    #seen = asked;
    onRcptTo(_session: unknown, address: mainEntry.Address): boolean {
      this.#seen.push(String(address));
      return true;
    }
  }
  class Handlers extends Base {
    readonly one = 1;
    once(): void {}
    get onlyWhenAsked(): never {
      throw new Error("Read");
    }
  }
  const bare = Object.assign(Object.create(null), { onHelo() {}, helper() {} });
  new SmtpServer({ handlers: bare });
  await using server = await connectInMemory({ handlers: new Handlers() });
  const { client } = server;
  await client.expect(220);
  await client.expect(250, "HELO a.example");
  await client.expect(250, "MAIL FROM:<>");
  await client.expect(250, "RCPT TO:<ann@b.example>");
  assertEquals(asked, ["ann@b.example"]);
});

Deno.test("a misspelt handler is an error wherever it stands", async (t) => {
  class Inherited {
    onRcpt(): void {}
  }
  class Below extends Inherited {}
  const rows: [name: string, handlers: unknown, meant: string][] = [
    ["own", { onRcpt() {} }, "onRcptTo"],
    ["wrong case", { onmessage() {} }, "onMessage"],
    ["of a class", new Inherited(), "onRcptTo"],
    ["of a class above", new Below(), "onRcptTo"],
    ["without on", { rcptTo() {} }, "onRcptTo"],
    ["none of them", { rcpt() {} }, "rcpt: no such option, want one of on"],
    ["a module", { default: { onRcptTo() {} } }, "default: no such option"],
    ["a getter", {
      get onMesage(): never {
        throw new Error("Read");
      },
    }, "onMessage"],
    [
      "of relaying",
      { onRelayFailed() {}, onRelayDone() {} },
      "onRelay",
    ],
  ];
  for (const [name, handlers, meant] of rows) {
    await t.step(name, async () => {
      const text = await slip(() => new SmtpServer({ handlers }));
      assert(text.startsWith("Cannot use handlers."), text);
      assert(text.includes(meant), text);
    });
  }
});

Deno.test("a handler module that is no default export with handlers does not start", async (t) => {
  for (
    const source of [
      "export default class { onRcptTo() {} }",
      "export const onRcptTo = () => {};",
      "export default { onHelo() {} }; export const onRcptTo = () => {};",
      "export default { default: { onRcptTo() {} } };",
      "export default () => {};",
      "export default [];",
    ]
  ) {
    await t.step(source, async () => {
      const url = `data:text/javascript,${encodeURIComponent(source)}`;
      const server = new SmtpServer({ listen: [], handlers: url });
      const text = await slip(() => server.start());
      assert(
        text.includes(" of the handler module") ||
          text.includes("the handler module"),
        text,
      );
      assert(text.includes("want"), text);
    });
  }
});

Deno.test("a handler module with a misspelt handler does not start", async (t) => {
  const object = "export default { onRcpt() {} };";
  const made = "export default () => ({ onRcpt() {} });";
  for (const source of [object, made]) {
    await t.step(source, async () => {
      const url = `data:text/javascript,${encodeURIComponent(source)}`;
      const server = new SmtpServer({ listen: [], handlers: url });
      const text = await slip(() => server.start());
      assert(text.includes("onRcpt of the handler module"), text);
      assert(text.endsWith('did you mean "onRcptTo"?'), text);
    });
  }
});

/** Other things that take options. */
const ROWS: [run: () => unknown, begins: string, ends: string][] = [
  [
    () => new face.MaildirStore("./mail"),
    'Cannot use the options "./mail" of MaildirStore: want options',
    '{ folder: "./mail" }',
  ],
  [
    () => new face.MaildirStore({}),
    "Cannot use folder undefined of MaildirStore: want a path",
    "empty",
  ],
  [
    () => new face.MaildirStore({ folder: "mail", newLine: "lf" }),
    "Cannot use newLine of MaildirStore: no such option",
    'did you mean "newline"?',
  ],
  [
    () => new face.MboxStore({ folder: "mail", locks: "flock" }),
    'Cannot use locks "flock" of MboxStore: want an array',
    '"flock"',
  ],
  [() => new face.FileStore("./mail"), "Cannot use the options", "}"],
  [() => new face.StreamStore({}), "Cannot use stream undefined", "one"],
  [
    () => new face.MemoryStore({ maxMesages: 1 }),
    "Cannot use maxMesages 1 of MemoryStore: no such option",
    'did you mean "maxMessages"?',
  ],
  [
    () => new AccountList(new Map([["ann", "hunter2"]])),
    "Cannot use accounts of AccountList: want names",
    "}",
  ],
  [() => new AccountList("ann:hunter2"), "Cannot use accounts of Acc", "]"],
  [() => new AccountList([["ann", "hunter2"]]), "Cannot use accounts[0]", '"'],
  [
    () => new AccountList({ ann: 12345 }),
    'Cannot use the secret of "ann" of AccountList',
    "ScramVerifier",
  ],
  [
    () => Certificate.selfSigned({ name: "mail.example" }),
    "Cannot use name of Certificate.selfSigned: no such option",
    'did you mean "names"?',
  ],
  [
    () => Certificate.selfSigned({ names: "mail.example" }),
    'Cannot use names "mail.example" of Certificate.selfSigned',
    "]",
  ],
  [() => Certificate.load("mail.pem"), 'Cannot use the options "mail.', "}"],
  [
    () => Certificate.load({ certificateFile: "a", passphrase: 12345 }),
    "Cannot use passphrase of Certificate.load: want a string",
    "string",
  ],
  [
    () => Certificate.load({ certificateFile: "a", pasphrase: 12345 }),
    "Cannot use pasphrase of Certificate.load: no such option",
    'did you mean "passphrase"?',
  ],
  [() => new face.CertificateSet("mail.pem"), "Cannot use certificates", "e"],
  [() => new face.CertificateSource("mail"), "Cannot use certificates", "it"],
  [() => face.CertificateSource.watch("mail.pem"), "Cannot use the opt", "}"],
  [() => new face.DnsClient("192.0.2.1"), "Cannot use the options", "}"],
  [
    () => new face.DnsClient().mx("a.example", { timeout: 1 }),
    "Cannot use timeout 1 of DnsClient.query: no such option",
    'did you mean "timeoutMs"?',
  ],
  [() => SmtpClient.connect(25), "Cannot use the options", "}"],
  [
    () =>
      SmtpClient.connect({ host: "a", login: { user: "ann", x: "hunter2" } }),
    "Cannot use login.user of SmtpClient.connect: no such option",
    'did you mean "login.username"?',
  ],
  [
    () => SmtpClient.connect({ host: "a", secure: true }),
    "Cannot use secure of SmtpClient.connect: no such",
    "signal",
  ],
  [() => new face.FileSpool(), "Cannot use folder undefined of FileS", "y"],
  [() => new face.MemorySpool({ size: 1 }), "Cannot use size of Mem", "y"],
  [
    () => new ClientPool({ idle: 1 } as never),
    "Cannot use idle 1 of ClientPool",
    'did you mean "idleMs"?',
  ],
  [
    () => new face.SmtpReply(550, "No", "5.7.1"),
    'Cannot use the options "5.7.1" of SmtpReply',
    "}",
  ],
  [
    () => new face.SmtpReply(550, "No", { enhancd: "5.7.1" }),
    "Cannot use enhancd of SmtpReply",
    'did you mean "enhanced"?',
  ],
  [() => new SmtpServer().stop({ grace: 1 }), "Cannot use grace 1 of", '"?'],
  [
    () => new SmtpServer().reload({ store: 1 }),
    "Cannot use store of SmtpServer.reload: no such option, want one of acc",
    "xclient",
  ],
  [
    () => new SmtpServer().reload({ limits: { maxsize: 1 } }),
    "Cannot use limits.maxsize 1 of SmtpServer.reload",
    'did you mean "limits.maxSize"?',
  ],
  [() => startTestServer({ domain: "a" } as object), "Cannot use domain:", "?"],
  [
    () => connectInMemory({ kind: "imap" } as object),
    'Cannot use kind "imap" of connectInMemory',
    '"lmtp"',
  ],
];

Deno.test("everything that takes options refuses those it does not understand", async (t) => {
  for (const [run, begins, ends] of ROWS) {
    await t.step(begins, async () => {
      const text = await slip(run);
      assert(text.startsWith(begins), text);
      assert(text.endsWith(ends), text);
      assert(!/hunter2|12345/.test(text), text);
    });
  }
});

Deno.test("SmtpClient.send() says what is wrong with a message, and goes on", async () => {
  await using server = await startTestServer();
  const { address: host, port } = server;
  await using client = await mod.SmtpClient.connect({ host, port });
  // deno-lint-ignore no-explicit-any
  const send = (options: any) => client.send(options);
  const [from, to, data] = ["ann@a.example", ["bob@b.example"], "Hello\r\n"];
  const rows: [options: unknown, begins: string][] = [
    [{ from, to: "bob@b.example", data }, 'Cannot use to "bob@b.example" of'],
    [{ from, to: [5], data }, "Cannot use to[0] 5 of SmtpClient.send"],
    [{ from, to: [{ adress: "b@c" }], data }, "Cannot use to[0].adress of"],
    [{ from, to, text: data }, "Cannot use text of SmtpClient.send: no such"],
    [{ from, to, data: { html: "" } }, "Cannot use data (an object) of"],
    [{ to, data }, "Cannot use from undefined of SmtpClient.send: want an"],
    [
      { from, to, data, parameters: { body: "8BIT" } },
      'Cannot use parameters.body "8BIT" of SmtpClient.send',
    ],
  ];
  for (const [options, begins] of rows) {
    const text = await slip(() => send(options));
    assert(text.startsWith(begins), text);
  }
  assert((await send({ from, to, data })).accepted);
});

Deno.test("server.relays.add() refuses recipients that are no addresses", async () => {
  const { promise, resolve } = Promise.withResolvers<string>();
  await using server = await startServer({
    relay: { spool: new mod.MemorySpool() },
    handlers: {
      async onMessage(_session, message) {
        const recipients = ["ann at a.example"];
        // deno-lint-ignore no-explicit-any
        const options = { recipients } as any;
        resolve(await slip(() => server.relays.add(message, options)));
      },
    },
  });
  const [{ address: host, port }] = server.addresses as [
    mainEntry.ListeningAddress,
  ];
  await using client = await mod.SmtpClient.connect({ host, port });
  await client.send({ from: "", to: ["b@c.example"], data: "Hello\r\n" });
  const text = await promise;
  assert(text.startsWith("Cannot use recipients[0]"), text);
  assertEquals(server.relays.count, 0);
  await assertRejects(() => client.send({ from: "", to: [], data: "" }));
});

Deno.test("what is given no text, or no session, says what it wants", () => {
  const { Address, RetrySchedule } = mod;
  const loose = (value: unknown) => value as never;
  const rows: readonly (readonly [call: () => unknown, want: string])[] = [
    [
      () => new SmtpClient(loose({ host: "x" }), loose({})),
      "SmtpClient.connect",
    ],
    [() => new RetrySchedule(loose(null)), "want an array of milliseconds"],
    [() => RetrySchedule.parse(loose(5)), 'want a string, as "30s 5m"'],
    [() => Address.parse(loose(5)), 'want a string, as "ann@example.com"'],
    [
      () => new SmtpServer({ listen: { host: "256.1.1.1", port: 0 } }),
      'Cannot use listen.host "256.1.1.1": want a host',
    ],
    [
      () => new SmtpServer({ domains: ["*.example"] }),
      'Cannot use "*.example" as a local domain',
    ],
  ];
  for (const [call, want] of rows) assertThrows(call, TypeError, want);
});
