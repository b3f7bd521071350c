/**
 * `LmtpStore`: a result for each recipient, lost connections before and after the
 * content, idle connections, and messages that come again.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033}
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  LmtpStore,
  type LmtpStoreOptions,
} from "../../lib/delivery/lmtp_store.ts";
import { StoreError } from "../../lib/message/message.ts";
import { SmtpError } from "../../lib/protocol/reply.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import { ScriptedHop } from "../support/client/scripted_hop.ts";
import { TestFolder } from "../support/folder.ts";
import { TestClient } from "../support/server.ts";
import { messageOf } from "../support/store_message.ts";
import { until } from "../support/wait.ts";

const ALL = { partial: false };
const SOME = { partial: true };
const [A, B, C] = ["a@example.com", "b@example.com", "c@example.com"] as const;

/** How a server answers: by `MAIL`, `DATA`, the name of a recipient, or its name with `end `. */
type Script = Record<string, string | undefined>;

/** What a session of the server is about. */
interface Session {
  rcpt: string[];
  isOpen: boolean;
  inContent: boolean;
}

/** A server that speaks LMTP, and answers as the script says; `drop` closes. */
class LmtpPeer extends ScriptedHop {
  /** The recipients of each message that it took, in order. */
  readonly taken: string[][];
  /** The script; may change. */
  script: Script;

  constructor(
    script: Script = {},
    options: { capabilities?: string[]; path?: string } = {},
  ) {
    const sessions = new Map<number, Session>();
    const taken: string[][] = [];
    const { capabilities = ["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"] } =
      options;
    const hello = ["hop", ...capabilities].map((text, at, all) =>
      `250${at === all.length - 1 ? " " : "-"}${text}`
    ).join("\r\n");
    super(
      (line, _pause, connection) => {
        const session = sessions.get(connection) ??
          { rcpt: [], isOpen: false, inContent: false };
        sessions.set(connection, session);
        return answer(line, session);
      },
      () => this.script.greeting ?? "220 hop LMTP",
      options.path,
    );
    this.script = script;
    this.taken = taken;
    const answer = (line: string, session: Session): string | undefined => {
      const { script } = this;
      if (session.inContent) {
        if (line !== ".") return script.content;
        session.inContent = false;
        if (script.end !== undefined) return script.end;
        const ends = session.rcpt.map((one) =>
          script[`end ${one}`] ?? "250 2.1.5 Kept"
        );
        taken.push(
          session.rcpt.filter((_, at) => ends[at]!.startsWith("2")),
        );
        return ends.includes("drop") ? "drop" : ends.join("\r\n");
      }
      const verb = line.slice(0, 4).toUpperCase();
      switch (verb) {
        case "LHLO":
          return hello;
        case "MAIL": {
          const reply = script.MAIL ?? "250 2.1.0 OK";
          session.rcpt = [];
          session.isOpen = reply.startsWith("2");
          return reply;
        }
        case "RCPT": {
          if (!session.isOpen) return "503 5.5.1 No MAIL";
          const [, name = ""] = /<([^@>]*)/.exec(line)!;
          const reply = script[name] ?? "250 2.1.5 OK";
          if (reply.startsWith("2")) session.rcpt.push(name);
          return reply;
        }
        case "DATA": {
          const reply = script.DATA ??
            (session.rcpt.length === 0 ? "503 5.5.1 No" : "354 Go on");
          session.inContent = reply.startsWith("354");
          return reply;
        }
        case "QUIT":
          return "221 Bye";
        default:
          return "250 OK";
      }
    };
  }

  /** How often a command came. */
  count(verb: string): number {
    return this.lines.filter((line) => line.startsWith(verb)).length;
  }
}

function storeFor(
  peer: ScriptedHop,
  options: LmtpStoreOptions = {},
): LmtpStore & AsyncDisposable {
  const store = new LmtpStore({
    host: "127.0.0.1",
    port: peer.port,
    ...options,
  });
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}

/** Saves a message; gives the reply to each recipient without a copy. */
async function save(
  store: LmtpStore,
  init: { to?: readonly string[]; content?: string; partial?: boolean } = {},
): Promise<Record<string, string>> {
  const { to = [A, B, C], content, partial = false } = init;
  const message = await messageOf(
    content === undefined ? { to } : { to, content },
  );
  try {
    await store.save(message, { partial });
    return {};
  } catch (error) {
    assert(error instanceof StoreError, String(error));
    return Object.fromEntries(
      [...error.failures].map(([{ address }, reason]) => [
        address.localPart,
        reason instanceof SmtpError ? String(reason.reply) : "local",
      ]),
    );
  }
}

Deno.test("LmtpStore gives each recipient the reply of the server", async () => {
  const rows: [Script, Record<string, string>][] = [
    [{}, {}],
    [{ b: "450 4.2.1 Busy" }, { b: "450 4.2.1 Busy" }],
    [
      { a: "550 5.1.1 Unknown", "end b": "552 5.2.2 Full" },
      { a: "550 5.1.1 Unknown", b: "552 5.2.2 Full" },
    ],
    [
      { "end a": "452 4.2.2 Full", "end c": "421 4.3.2 Closing" },
      { a: "452 4.2.2 Full", c: "local" },
    ],
    [{ MAIL: "552 5.3.4 Too large" }, {
      a: "552 5.3.4 Too large",
      b: "552 5.3.4 Too large",
      c: "552 5.3.4 Too large",
    }],
    // A server with wrong settings, or of another kind, bounces no mail.
    [{ MAIL: "530 5.7.0 Log in" }, { a: "local", b: "local", c: "local" }],
    [{ greeting: "554 5.7.1 No" }, { a: "local", b: "local", c: "local" }],
    [{ DATA: "503 5.5.1 No" }, { a: "local", b: "local", c: "local" }],
    [{ greeting: "220 x\r\n500 y" }, { a: "local", b: "local", c: "local" }],
  ];
  for (const capabilities of [["PIPELINING"], []]) {
    for (const [script, want] of rows) {
      await using peer = new LmtpPeer(script, { capabilities });
      await using store = storeFor(peer);
      assertEquals(await save(store, SOME), want, Deno.inspect(script));
    }
  }
});

Deno.test("LmtpStore sends what the server received, with its trace, in one transaction", async () => {
  await using peer = new LmtpPeer();
  await using store = storeFor(peer, { hostname: "mx.test" });
  for (const memoryLimit of [1 << 20, 0]) {
    const message = await messageOf({
      trace: "Received: by here\r\n",
      content: "Subject: x\r\n\r\n.dot\r\nend\r\n",
      to: [A, B],
      memoryLimit,
    });
    await store.save(message, ALL);
    await message.discard();
    assertEquals(peer.lines.splice(0), [
      ...(memoryLimit > 0 ? ["LHLO mx.test"] : []),
      // What is not in memory was not looked at.
      `MAIL FROM:<sender@example.org>${
        memoryLimit > 0 ? "" : " BODY=8BITMIME"
      }`,
      ...["RCPT TO:<a@example.com>", "RCPT TO:<b@example.com>", "DATA"],
      ...["Received: by here", "Subject: x", "", "..dot", "end", "."],
    ]);
  }
  assertEquals(peer.connections, 1);
});

Deno.test("LmtpStore sends no content twice when the connection is lost", async () => {
  const rows: [string, Script, number][] = [
    ["before the content", { DATA: "drop" }, 0],
    ["in the content", { content: "drop" }, 0],
    ["instead of the replies", { end: "drop" }, 0],
    ["after the content, from a server that has it", { "end c": "drop" }, 1],
  ];
  for (const [when, script, takes] of rows) {
    for (const isIdle of [false, true]) {
      await using peer = new LmtpPeer();
      await using store = storeFor(peer);
      if (isIdle) assertEquals(await save(store, { content: "x: y\r\n" }), {});
      peer.script = script;
      const before = peer.count("DATA");
      const want = { a: "local", b: "local", c: "local" };
      assertEquals(await save(store), want, when);
      // Only what is lost before the content is tried on a new connection.
      const isRetried = isIdle && when === "before the content";
      assertEquals(peer.count("DATA") - before, isRetried ? 2 : 1, when);
      assertEquals(peer.taken.length, takes + (isIdle ? 1 : 0));
    }
  }
});

Deno.test("LmtpStore replaces an idle connection that is dead", async () => {
  const dead = ["drop", "421 4.3.2 Closing"];
  for (const reply of dead) {
    let isDead = false;
    await using peer = new LmtpPeer();
    await using store = storeFor(peer);
    await save(store, { to: [A] });
    const { script } = peer;
    // The first connection is dead at the next MAIL, a new one is not.
    Object.defineProperty(script, "MAIL", {
      get: () => isDead || (isDead = true, false) ? undefined : reply,
    });
    assertEquals(await save(store, { to: [B] }), {});
    assertEquals(peer.taken, [["a"], ["b"]]);
    assertEquals(peer.connections, 2);
  }
});

Deno.test("LmtpStore notices that the server ended an idle connection", async () => {
  await using peer = new LmtpPeer();
  await using store = storeFor(peer);
  for (let count = 1; count <= 3; count++) {
    assertEquals(await save(store, { to: [A] }), {});
    assertEquals(peer.connections, count);
    await peer.say("421 4.4.2 Idle too long");
    await until(() => peer.open === 0);
  }
  assertEquals(peer.taken.length, 3);
});

Deno.test("LmtpStore survives a restart of the server", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/lmtp`;
  const store = new LmtpStore({ path });
  const NOBODY = { a: "local", b: "local", c: "local" };
  assertEquals(await save(store), NOBODY);
  for (let turn = 0; turn < 2; turn++) {
    {
      await using peer = new LmtpPeer({}, { path });
      assertEquals(await save(store), {});
      assertEquals(peer.taken, [["a", "b", "c"]]);
    }
    await Deno.remove(path).catch(() => {});
    assertEquals(await save(store), NOBODY);
  }
  await store.close();
});

Deno.test("LmtpStore has no more connections than the pool may", async () => {
  await using peer = new LmtpPeer();
  await using store = storeFor(peer, { pool: { max: 10 } });
  let most = 0;
  await Promise.all(Array.from({ length: 50 }, async (_, at) => {
    assertEquals(await save(store, { content: `x: ${at}\r\n\r\nx\r\n` }), {});
    most = Math.max(most, peer.open);
  }));
  assertEquals(peer.taken.length, 50);
  assert(most <= 10 && peer.connections <= 10, `${most} ${peer.connections}`);
});

Deno.test("LmtpStore gives up on a server that does not answer", async () => {
  const late = { a: "local", b: "local", c: "local" };
  await using silent = new ScriptedHop(() => undefined);
  const timeouts = { hello: 1, connect: 1000 };
  await using store = storeFor(silent, { timeouts, pool: { max: 1 } });
  assertEquals(await save(store), late);

  // The wait for a free connection has its end, too.
  const { promise, resolve } = Promise.withResolvers<string>();
  await using slow = new ScriptedHop(() => promise);
  await using busy = storeFor(slow, {
    timeouts: { connect: 1 },
    pool: { max: 1 },
  });
  const first = save(busy);
  assertEquals(await save(busy), late);
  resolve("drop");
  assertEquals(await first, late);
});

Deno.test("LmtpStore sends to more recipients than a transaction may have", async () => {
  const rows: string[][] = [["LIMITS RCPTMAX=2", "PIPELINING"], ["PIPELINING"]];
  for (const capabilities of rows) {
    await using peer = new LmtpPeer({}, { capabilities });
    await using store = storeFor(peer);
    if (capabilities.length === 1) {
      let turn = 0;
      Object.defineProperty(peer.script, "c", {
        get: () => turn++ === 0 ? "452 4.5.3 Too many" : undefined,
      });
    }
    assertEquals(await save(store), {});
    assertEquals(peer.taken, [["a", "b"], ["c"]]);
  }
  await using peer = new LmtpPeer({ c: "452 4.5.3 Too many" });
  await using store = storeFor(peer);
  assertEquals(await save(store), { c: "452 4.5.3 Too many" });
});

Deno.test("LmtpStore does not send a message again to the recipients that have it", async () => {
  await using peer = new LmtpPeer({ b: "452 4.2.2 Full" });
  await using store = storeFor(peer);
  const full = { b: "452 4.2.2 Full" };
  assertEquals(await save(store), full);
  assertEquals(
    await save(store, { content: "Subject: text\r\n\r\nhello\r\n" }),
    full,
  );
  assertEquals(peer.taken, [["a", "c"], ["a", "c"]]);
  peer.taken.length = 0;
  assertEquals(await save(store), full);
  assertEquals(peer.taken, []);
  peer.script = {};
  assertEquals(await save(store), {});
  assertEquals(peer.taken, [["b"]]);
  // Its client knows now: the same message once more is another one.
  assertEquals(await save(store), {});
  assertEquals(peer.taken, [["b"], ["a", "b", "c"]]);
});

Deno.test("LmtpStore takes a message for the same only from the same sender, with the same content", async () => {
  await using peer = new LmtpPeer({ b: "550 5.1.1 Unknown" });
  await using store = storeFor(peer);
  const content = "Subject: text\r\n\r\nhello\r\n";
  await save(store, { content });
  const other = await messageOf({ content, to: [A], from: "x@example.org" });
  await store.save(other, ALL);
  await save(store, { content: content.replace("hello", "Hello"), to: [A] });
  await save(store, { content, to: [A, "d@example.com"] });
  assertEquals(peer.taken, [["a", "c"], ["a"], ["a"], ["d"]]);
  // One that no recipient got is not remembered, nor one of LMTP.
  peer.taken.length = 0;
  await save(store, { content: "x: 1\r\n", to: [B] });
  await save(store, { content: "x: 2\r\n", partial: true });
  await save(store, { content: "x: 2\r\n", partial: true });
  assertEquals(peer.taken, [["a", "c"], ["a", "c"]]);
});

Deno.test("LmtpStore remembers who has a message that its session gave up", async () => {
  for (const partial of [false, true]) {
    await using peer = new LmtpPeer();
    await using store = storeFor(peer);
    const content = "Subject: slow\r\n\r\nx\r\n";
    const message = await messageOf({ content, to: [A, B] });
    // The session tells its client 421 before the server answers.
    Object.defineProperty(peer.script, "end a", {
      configurable: true,
      get: () => void message.discard(),
    });
    await store.save(message, { partial });
    Object.defineProperty(peer.script, "end a", { value: undefined });
    assertEquals(await save(store, { content, partial }), {});
    assertEquals(peer.taken, [["a", "b"], ["c"]]);
    // Its client knows now: the same message once more is another one.
    assertEquals(await save(store, { content, partial }), {});
    assertEquals(peer.taken.at(-1), ["a", "b", "c"]);
  }
});

Deno.test("LmtpStore sends nothing of a message that is over", async () => {
  await using peer = new LmtpPeer();
  await using store = storeFor(peer);
  for (const memoryLimit of [1 << 20, 0]) {
    const message = await messageOf({ memoryLimit });
    const saved = store.save(message, ALL);
    await message.discard();
    await assertRejects(() => saved, StoreError);
  }
  assertEquals(peer.taken, []);
});

Deno.test("LmtpStore checks its options", () => {
  const rows: [unknown, RegExp][] = [
    [{}, /want either "host" or "path"/],
    [{ host: "x", path: "/y" }, /want either "host" or "path"/],
    [{ path: "/y", port: 24 }, /want "port" with "host" only/],
    [{ host: "x", pool: { max: 0 } }, /pool\.max 0 of LmtpStore/],
    [{ host: "x", timeouts: { data: -1 } }, /timeouts\.data/],
    [{ host: "x", tls: true }, /no such option/],
  ];
  for (const [options, words] of rows) {
    const error = assertThrows(
      () => new LmtpStore(options as LmtpStoreOptions),
      Error,
    );
    assert(words.test(error.message), error.message);
  }
});

for (const threads of [0, 2]) {
  Deno.test(`A server keeps mail by LMTP: all or nothing in SMTP, one by one in LMTP (${threads} threads)`, async () => {
    await using peer = new LmtpPeer();
    await using server = new SmtpServer({
      listen: ["127.0.0.1:0", "127.0.0.1:0/lmtp"],
      store: storeFor(peer),
      log: () => {},
      threads,
    });
    await server.start();
    /** The replies to the content of one message. */
    async function send(listener: number, count: number): Promise<string[]> {
      using client = await TestClient.connect(server, listener);
      await client.reply();
      await client.expect(
        [listener === 0 ? "EHLO x" : "LHLO x", "250"],
        ["MAIL FROM:<s@example.org>", "250"],
        [`RCPT TO:<${A}>`, "250"],
        [`RCPT TO:<${B}>`, "250"],
        ["DATA", "354"],
      );
      const replies = [await client.say("x: y\r\n\r\nz\r\n.")];
      while (replies.length < count) replies.push(await client.reply());
      return replies.map((reply) => reply.slice(0, 9));
    }
    peer.script = { b: "550 5.1.1 x" };
    assertEquals(await send(0, 1), ["451 4.3.0"]);
    assertEquals(await send(1, 2), ["250 2.0.0", "550 5.1.1"]);
    peer.script = { "end b": "452 4.2.2 Full" };
    assertEquals(await send(0, 1), ["452 4.2.2"]);
    assertEquals(await send(1, 2), ["250 2.0.0", "452 4.2.2"]);
    peer.script = { MAIL: "552 5.3.4 x" };
    // Recipient a has it since the first attempt: b alone is refused.
    assertEquals(await send(0, 1), ["451 4.3.0"]);
    peer.script = { b: "250 OK" };
    assertEquals(await send(0, 1), ["250 2.0.0"]);
    peer.script = { MAIL: "552 5.3.4 x" };
    assertEquals(await send(0, 1), ["552 5.3.4"]);
    assertEquals(peer.taken, [["a"], ["a"], [], ["a"], ["b"]]);
  });
}

Deno.test("A server that stops ends the connections to LMTP", async () => {
  await using peer = new LmtpPeer();
  const store = storeFor(peer, { pool: { idleMs: 60_000 } });
  const server = new SmtpServer({ listen: [], store });
  await server.start();
  assertEquals(await save(store), {});
  assertEquals(peer.open, 1);
  await server.stop();
  await until(() => peer.open === 0);
  assertEquals(peer.lines.at(-1), "QUIT");
});

Deno.test("LmtpStore keeps nothing of a message whose content fails", async () => {
  await using peer = new LmtpPeer();
  await using store = storeFor(peer);
  const message = await messageOf({ memoryLimit: 0, to: [A] });
  message.chunks = async function* () {
    yield new TextEncoder().encode("Subject: x\r\n");
    await Promise.resolve();
    throw new Deno.errors.BadResource("The file is gone");
  };
  await assertRejects(() => store.save(message, ALL), StoreError);
  await message.discard();
  await until(() => peer.open === 0);
  assertEquals(peer.taken, []);
});
