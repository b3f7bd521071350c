/**
 * Listeners on unix sockets: their mode and owner, what is at the path before,
 * the end of the socket, and what their clients may do. RFC 5321 section 4.4 for
 * the Received field, whose TCP-info is optional.
 */

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { MOST_PATH_BYTES } from "../../lib/net/unix_socket.ts";
import {
  type ListenerSecurity,
  type ListenOptions,
  parseListen,
} from "../../lib/net/listen_options.ts";
import type { ListenerKind } from "../../lib/protocol/listener_kind.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { TestFolder } from "../support/folder.ts";
import {
  hasUnixSockets,
  isRoot,
  isWindows,
  sharesPorts,
} from "../support/platform.ts";
import { run } from "../support/process.ts";
import { startServer, TestClient } from "../support/server.ts";
import { certificate } from "../support/tls.ts";
import { within } from "../support/wait.ts";

/** A test that needs unix sockets, with a folder for them. */
function socketTest(
  name: string,
  body: (folder: string) => Promise<void>,
  ignore = false,
): void {
  Deno.test({
    name,
    ignore: ignore || !hasUnixSockets,
    async fn() {
      await using folder = await TestFolder.create();
      await body(folder.path);
    },
  });
}

/** A server on the socket `s` of a folder. */
function startOn(
  folder: string,
  options: SmtpServerOptions = {},
): Promise<SmtpServer> {
  return startServer({ listen: `unix:${folder}/s`, ...options });
}

/** Leaves a socket at a path as a process does that is killed. */
async function leaveSocket(path: string, type = "SOCK_STREAM"): Promise<void> {
  await run("python3", [
    "-c",
    `import socket, sys
socket.socket(socket.AF_UNIX, socket.${type}).bind(sys.argv[1])`,
    path,
  ]);
}

Deno.test("A text unix:PATH names a socket, and its last part a kind if it is one", () => {
  const rows: [
    text: string,
    path: string,
    kind: ListenerKind,
    security?: ListenerSecurity,
  ][] = [
    ["unix:/run/x", "/run/x", "smtp"],
    ["unix:/run/x/lmtp", "/run/x", "lmtp"],
    ["UNIX:/run/x/LMTP", "/run/x", "lmtp"],
    ["unix:/run/lmtp/lmtp", "/run/lmtp", "lmtp"],
    ["unix:/run/lmtp/smtp", "/run/lmtp", "smtp"],
    ["unix:/run/mail.lmtp", "/run/mail.lmtp", "smtp"],
    ["unix:a b/submission", "a b", "submission"],
    ["unix:lmtp", "lmtp", "smtp"],
    ["unix:/run/x/smtps", "/run/x", "smtp", "implicit"],
  ];
  for (const [text, path, kind, security] of rows) {
    const want: ListenOptions = {
      path,
      kind,
      ...(security && { security }),
    };
    assertEquals(parseListen(text), want, text);
  }
  const long = `unix:/${"x".repeat(MOST_PATH_BYTES)}`;
  for (const text of ["unix:", "unix:/", "unix:/lmtp", "unix:/x/", long]) {
    assertThrows(() => parseListen(text), SyntaxError, "Cannot listen on");
  }
});

Deno.test("What a unix socket cannot have is an error of its listener", () => {
  const rows: [listen: unknown, text: string][] = [
    [
      { path: "/x", port: 25 },
      "Cannot use listen.port: a unix socket has none",
    ],
    [{ path: "/x", host: "::1" }, "Cannot use listen.host: a unix socket"],
    [{ port: 0, mode: 0o600 }, "Cannot use listen.mode: want path"],
    [[{ port: 0, owner: 8 }], "Cannot use listen[0].owner: want path"],
    [{ path: "/x", mode: 0o1777 }, "Cannot use listen.mode 1023: want"],
    [{ path: "/x", group: -1 }, "Cannot use listen.group -1: want"],
    [{ path: "" }, 'Cannot use listen.path "": want the path of a unix socket'],
    [{ path: "x".repeat(108) }, "Cannot use listen.path"],
  ];
  for (const [listen, text] of rows) {
    const options = { listen } as SmtpServerOptions;
    const error = assertThrows(() => new SmtpServer(options), Error, text);
    assert(!error.message.includes("\n"));
  }
});

socketTest(
  "A unix socket takes mail from its owner and group, and is gone at the end",
  async (folder) => {
    const store = new MemoryStore();
    const server = await startOn(folder, { store });
    assertEquals(server.addresses, [{
      ...{ address: "unix", port: 0, path: `${folder}/s` },
      ...{ kind: "smtp", security: "none" },
    }]);
    const { mode, isSocket } = await Deno.lstat(`${folder}/s`);
    assert(isSocket);
    assertEquals(mode! & 0o777, 0o660);
    using client = await TestClient.connect(server);
    await client.envelope();
    assertEquals(server.sessions[0]!.remoteAddress, "unix");
    assertStringIncludes(
      await client.data("Subject: x\r\n\r\nhi"),
      "250 2.0.0",
    );
    const { text } = await within(store.next(), "the message");
    assert(
      text.startsWith(
        "Received: from client.test\r\n\tby mx.test with SMTP id ",
      ),
      text,
    );
    await server.stop({ graceMs: 0 });
    await assertRejects(() => Deno.lstat(`${folder}/s`), Deno.errors.NotFound);
    await server.start();
    using again = await TestClient.connect(server);
    assertStringIncludes(await again.reply(), "220");
    await server.stop({ graceMs: 0 });
  },
);

socketTest("An LMTP socket answers for each recipient", async (folder) => {
  await using server = await startOn(folder, {
    listen: { path: `${folder}/s`, kind: "lmtp", mode: 0o600 },
  });
  assertEquals((await Deno.lstat(`${folder}/s`)).mode! & 0o777, 0o600);
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["LHLO x", "250"],
    ["MAIL FROM:<a@b.test>", "250"],
    ["RCPT TO:<c@d.test>", "250"],
    ["RCPT TO:<e@d.test>", "250"],
  );
  assertStringIncludes(await client.data("x"), "250 2.0.0");
  assertStringIncludes(await client.reply(), "250 2.0.0");
});

socketTest(
  "A unix socket gets the owner and group of its options",
  async (folder) => {
    await using _server = await startOn(folder, {
      listen: { path: `${folder}/s`, owner: 1, group: 8, mode: 0o620 },
    });
    const { uid, gid, mode } = await Deno.lstat(`${folder}/s`);
    assertEquals([uid, gid, mode! & 0o777], [1, 8, 0o620]);
  },
  !isRoot,
);

socketTest(
  "A socket that a killed server has left is replaced",
  async (folder) => {
    await leaveSocket(`${folder}/s`);
    await using server = await startOn(folder);
    using client = await TestClient.connect(server);
    assertStringIncludes(await client.reply(), "220");
  },
);

socketTest(
  "A socket that a server answers on is left to it",
  async (folder) => {
    await using first = await startOn(folder);
    const error = await assertRejects(
      () => startOn(folder),
      Deno.errors.AddrInUse,
      `Cannot listen on unix:${folder}/s: A server answers there`,
    );
    assert(!error.message.includes("\n"));
    using client = await TestClient.connect(first);
    assertStringIncludes(await client.reply(), "220");
  },
);

socketTest(
  "Files, folders and links at the path are never touched",
  async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "precious");
    await Deno.mkdir(`${folder}/folder`);
    await leaveSocket(`${folder}/left`);
    await Deno.symlink(`${folder}/left`, `${folder}/link`);
    for (
      const [name, what] of [
        ["file", "A file that is no socket is there"],
        ["folder", "A folder is there, and a socket is a file"],
        ["link", "A file that is no socket is there"],
      ]
    ) {
      await assertRejects(
        () => startServer({ listen: `unix:${folder}/${name}` }),
        Deno.errors.AlreadyExists,
        `Cannot listen on unix:${folder}/${name}: ${what}`,
      );
    }
    assertEquals(await Deno.readTextFile(`${folder}/file`), "precious");
    assert((await Deno.lstat(`${folder}/link`)).isSymlink);
    assert((await Deno.lstat(`${folder}/left`)).isSocket);
  },
);

socketTest(
  "Stopping leaves what another server has put in the place of the socket",
  async (folder) => {
    const first = await startOn(folder);
    await Deno.remove(`${folder}/s`);
    await using second = await startOn(folder);
    await first.stop({ graceMs: 0 });
    using client = await TestClient.connect(second);
    assertStringIncludes(await client.reply(), "220");
  },
);

socketTest(
  "A socket in a folder that does not exist, and all others with it, stay shut",
  async (folder) => {
    await assertRejects(
      () =>
        startServer({
          listen: [`unix:${folder}/s`, `unix:${folder}/none/s`],
        }),
      Deno.errors.NotFound,
      `Cannot listen on unix:${folder}/none/s: `,
    );
    await assertRejects(() => Deno.lstat(`${folder}/s`), Deno.errors.NotFound);
  },
);

socketTest(
  "Limits per address and the wait for the greeting spare clients of a unix socket",
  async (folder) => {
    await using server = await startOn(folder, {
      limits: { maxConnectionsPerIp: 1, messagesPerMinute: 1, exempt: [] },
    });
    using first = await TestClient.connect(server);
    using second = await TestClient.connect(server);
    for (const client of [first, second]) {
      await client.send("EHLO early.test\r\n");
      assertStringIncludes(await client.reply(), "220");
      assertStringIncludes(await client.reply(), "250-mx.test");
      for (let message = 0; message < 2; message++) {
        await client.expect(["MAIL FROM:<a@b.test>", "250"], ["RSET", "250"]);
      }
    }
  },
);

socketTest("maxConnections counts clients of a unix socket", async (folder) => {
  await using server = await startOn(folder, { limits: { maxConnections: 1 } });
  using first = await TestClient.connect(server);
  assertStringIncludes(await first.reply(), "220");
  using second = await TestClient.connect(server);
  assertStringIncludes(await second.reply(), "421");
});

socketTest(
  "Clients of a unix socket relay only where relay.from names unix",
  async (folder) => {
    for (
      const [from, want] of [[["127.0.0.0/8"], "550"], [
        ["unix"],
        "250",
      ]] as const
    ) {
      await using server = await startOn(folder, {
        domains: ["here.test"],
        relay: { from, spool: `${folder}/spool` },
      });
      using client = await TestClient.connect(server);
      await client.reply();
      await client.expect(
        ["EHLO x", "250"],
        ["MAIL FROM:<a@here.test>", "250"],
        ["RCPT TO:<b@far.test>", want],
      );
    }
  },
);

socketTest(
  "Clients of a unix socket log in without TLS, but not those behind a proxy",
  async (folder) => {
    const accounts = new AccountList({ ann: "secret" });
    const login = "AUTH PLAIN " + btoa("\0ann\0secret");
    for (
      const [options, want] of [
        [{}, "235"],
        [{ xclient: ["unix"] }, "538"],
        [{ allowInsecureAuth: false }, "538"],
      ] as const
    ) {
      await using server = await startOn(folder, { accounts, ...options });
      using client = await TestClient.connect(server);
      await client.reply();
      await client.expect(["EHLO x", "250"], [login, want]);
    }
  },
);

socketTest(
  "The server's TLS policy is for ports; a unix socket has its own",
  async (folder) => {
    await using server = await startServer({
      listen: [
        { path: `${folder}/s` },
        { path: `${folder}/t`, security: "required" },
      ],
      security: "required",
      certificate,
    });
    using plain = await TestClient.connect(server, 0);
    await plain.envelope();
    using secure = await TestClient.connect(server, 1);
    await secure.reply();
    await secure.expect(["HELO x", "250"], [
      "MAIL FROM:<a@b.test>",
      "530 5.7.0",
    ]);
  },
);

socketTest(
  "PROXY headers and XCLIENT come over a unix socket only where unix is named",
  async (folder) => {
    const header = "PROXY TCP4 192.0.2.7 192.0.2.25 4000 25\r\n";
    await using proxied = await startOn(folder, { proxyProtocol: ["unix"] });
    using client = await TestClient.connect(proxied);
    await client.send(header);
    assertStringIncludes(await client.reply(), "220");
    assertEquals(proxied.sessions[0]!.remoteAddress, "192.0.2.7");
    await using named = await startServer({
      listen: `unix:${folder}/x`,
      xclient: ["unix"],
    });
    using filter = await TestClient.connect(named);
    await filter.reply();
    await filter.expect(["EHLO x", "250"], ["XCLIENT ADDR=192.0.2.9", "220"]);
    assertEquals(named.sessions[0]!.remoteAddress, "192.0.2.9");
    await using strict = await startServer({
      listen: `unix:${folder}/y`,
      ...{ proxyProtocol: ["0.0.0.0/0"], xclient: ["0.0.0.0/0"] },
    });
    using other = await TestClient.connect(strict);
    await other.reply();
    await other.expect([header.trim(), "5"], ["EHLO x", "250"], [
      "XCLIENT ADDR=192.0.2.9",
      "550",
    ]);
  },
);

socketTest(
  "With threads the main thread serves the unix socket",
  async (folder) => {
    const store = new MemoryStore();
    const asked: string[] = [];
    await using server = await startServer({
      listen: [`unix:${folder}/s`, "127.0.0.1:0", `unix:${folder}/t/lmtp`],
      threads: 2,
      store,
      handlers: {
        onRcptTo: (session) => void asked.push(session.remoteAddress),
      },
    });
    const places = server.addresses.map(({ kind, path, port }) =>
      `${kind} ${path ?? port > 0}`
    );
    assertEquals(places, [
      `smtp ${folder}/s`,
      "smtp true",
      `lmtp ${folder}/t`,
    ]);
    for (const index of [0, 1]) {
      using client = await TestClient.connect(server, index);
      await client.envelope();
      assertStringIncludes(await client.data("x"), "250");
      await within(store.next(), "the message");
    }
    assertEquals(asked, ["unix", "127.0.0.1"]);
    await server.reload({ domains: ["other.test"] });
    using later = await TestClient.connect(server, 2);
    await later.reply();
    await later.expect(
      ["LHLO x", "250"],
      ["MAIL FROM:<a@b.test>", "250"],
      ["RCPT TO:<c@d.test>", "550"],
    );
    await server.stop({ graceMs: 0 });
    await assertRejects(() => Deno.lstat(`${folder}/s`), Deno.errors.NotFound);
  },
  !sharesPorts,
);

Deno.test({
  name: "Windows has no unix sockets, and the error says so",
  ignore: !isWindows,
  async fn() {
    await assertRejects(() => startServer({ listen: "unix:s" }), Error, "unix");
  },
});

socketTest("The log names the socket that a client came by", async (folder) => {
  const listeners: unknown[] = [];
  await using server = await startOn(folder, {
    log: ({ event, fields }) => {
      if (event === "connect") listeners.push(fields?.["listener"]);
    },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  assertEquals(listeners, [`unix:${folder}/s/smtp`]);
});
