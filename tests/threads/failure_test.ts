/** Threads that fail: they lose their sessions, and no other thread loses anything. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { SmtpServer } from "../../lib/server/server.ts";
import { TestClient } from "../support/server.ts";
import {
  ALL_MODES,
  type ModeServer,
  startMode,
} from "../support/threads/server.ts";
import { DEADLINE_MS, until } from "../support/wait.ts";
import { sharesPorts, testWhere } from "../support/platform.ts";

const test = testWhere(sharesPorts);

const [MAIN, MODULE] = ALL_MODES.slice(2) as [
  (typeof ALL_MODES)[number],
  (typeof ALL_MODES)[number],
];

/** Waits for log records that say a thread was replaced. */
async function replaced(it: ModeServer, times = 1): Promise<string[]> {
  const failures = () =>
    it.records.filter(({ message }) =>
      /has failed and is replaced/.test(message)
    );
  await until(() => failures().length >= times);
  return failures().map(({ error }) => error ?? "");
}

/** Connects until every thread has a session: the kernel chooses the thread. */
async function clientsOnBoth(it: ModeServer): Promise<TestClient[]> {
  const clients: TestClient[] = [];
  const threadOf = (id: string) => id.split("-")[1];
  for (;;) {
    const client = await TestClient.connect(it.server);
    await client.reply();
    await client.expect(["EHLO client.test", "250"]);
    clients.push(client);
    await until(() => it.server.sessions.length === clients.length);
    const threads = new Set(it.server.sessions.map(({ id }) => threadOf(id)));
    if (threads.size === 2) return clients;
    assert(clients.length < 64, "All connections went to one thread");
  }
}

for (const how of ["XEXIT"]) {
  test(`A thread that fails by ${how} is replaced, the other goes on`, async () => {
    await using it = await startMode(MODULE);
    const clients = await clientsOnBoth(it);
    const [first] = clients;
    await first!.send(`${how}\r\n`);
    const [error] = await replaced(it);
    assert(error!.includes("Deno.exit()"), error);
    assertEquals(await first!.rest(), "");
    // The sessions of the other thread are not affected.
    const alive = await Promise.all(
      clients.slice(1).map(async (client) => {
        try {
          return (await client.say("NOOP")).startsWith("250");
        } catch {
          return false;
        }
      }),
    );
    assert(alive.includes(true));
    // The thread is replaced: both serve.
    for (const client of clients) client.close();
    await until(() => it.server.sessions.length === 0);
    for (const client of await clientsOnBoth(it)) {
      await client.expect(["QUIT", "221"]);
      client.close();
    }
  });
}

for (
  const [what, command, error] of [
    ["of the platform's own", "XPLATFORM", "SyntaxError"],
    ["in a timer of a handler", "XCRASH", "Nobody catches this"],
    ["that a handler's promise rejects with", "XREJECT", "Nobody awaits this"],
  ] as const
) {
  test(`A thread goes on after an exception ${what}`, async () => {
    await using it = await startMode(MODULE);
    const clients = await clientsOnBoth(it);
    await clients[0]!.send(`${command}\r\n`);
    const logged = () =>
      it.records.filter(({ message }) => message.startsWith("Going on after"));
    await until(() => logged().length === 1);
    assert(logged()[0]!.error!.includes(error));
    for (const client of clients) {
      await client.expect(["NOOP", "250"]);
      client.close();
    }
  });
}

/** Workers that a test makes, so that it can break them. */
class Workers implements Disposable {
  readonly made: Worker[] = [];
  readonly #original = globalThis.Worker;

  constructor() {
    const { made } = this;
    globalThis.Worker = class extends this.#original {
      constructor(url: string | URL, options?: WorkerOptions) {
        super(url, options);
        made.push(this);
      }
    };
  }

  /** Makes the newest worker fail by an exception of its own. */
  breakLast(): void {
    this.made.at(-1)!.postMessage([{ notify: "unknown" }]);
  }

  [Symbol.dispose](): void {
    globalThis.Worker = this.#original;
  }
}

test("onDisconnect is called once a session when a thread ends", async () => {
  using workers = new Workers();
  const ends: string[] = [];
  const connected: string[] = [];
  const waiting = Promise.withResolvers<void>();
  await using it = await startMode(MAIN, {
    threads: 1,
    // A new session is admitted only when the first one no longer counts.
    limits: { maxConnections: 1, maxConnectionsPerIp: 1, exempt: [] },
    handlers: {
      onConnect: (session) => void connected.push(session.id),
      onHelo: () => waiting.promise,
      onDisconnect: ({ id }, reason) => void ends.push(`${id} ${reason}`),
    },
  });
  using client = await TestClient.connect(it.server);
  await client.reply();
  await client.send("EHLO x\r\n");
  await until(() => it.server.sessions.length === 1);
  const [session] = it.server.sessions;
  workers.breakLast();
  await replaced(it);
  assertEquals(await client.rest(), "");
  assertEquals(ends, [`${connected[0]} error`]);
  assertEquals(session!.state, "disconnected");
  assertEquals(it.server.sessions, []);
  // Text for a session whose thread has ended is lost.
  session!.send("250 lost\r\n");
  waiting.resolve();
  // The thread is replaced, and its session no longer counts.
  await until(() => workers.made.length === 2);
  using next = await connectAgain(it);
  await next.expect(["QUIT", "221"]);
});

/** Connects to a port that may have no listener for a moment. */
async function connectAgain(it: ModeServer): Promise<TestClient> {
  for (;;) {
    try {
      const client = await TestClient.connect(it.server);
      await client.reply();
      return client;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
    }
  }
}

test("What was acknowledged is there when its thread is not", async () => {
  using workers = new Workers();
  const spool = await Deno.makeTempDir();
  try {
    const relay = { from: ["127.0.0.0/8"], spool, idleWaitMs: 1e9 };
    const options = { threads: 1, domains: ["here.test"], relay };
    await using it = await startMode({ ...MAIN, options }, {});
    using client = await TestClient.connect(it.server);
    await client.envelope("b@here.test", "c@elsewhere.test");
    assertEquals((await client.data("Subject: x\r\n\r\nx")).slice(0, 3), "250");
    workers.breakLast();
    await replaced(it);
    assertEquals(it.store.messages.length, 1);
    assertEquals(it.server.relays.count, 1);
  } finally {
    await Deno.remove(spool, { recursive: true });
  }
});

test("A reload while a thread is replaced holds for the one that comes", async () => {
  using workers = new Workers();
  // Loading a module takes time.
  await using it = await startMode(MODULE, {
    threads: 1,
    domains: ["here.test"],
  });
  workers.breakLast();
  await until(() => workers.made.length === 2);
  await it.server.reload({ domains: ["there.test"] });
  using client = await connectAgain(it);
  await client.expect(
    ["EHLO client.test", "250"],
    ["MAIL FROM:<a@here.test>", "250"],
    ["RCPT TO:<b@here.test>", "550"],
    ["RCPT TO:<b@there.test>", "250"],
  );
});

test("A thread that cannot be replaced is tried again", async () => {
  using workers = new Workers();
  await using it = await startMode(MAIN, { threads: 1 });
  const { port } = it.server.addresses[0]!;
  workers.breakLast();
  const taken = await takePort(port);
  await until(() =>
    it.records.some(({ message }) =>
      message.endsWith("cannot be replaced for now")
    )
  );
  taken.close();
  using client = await connectAgain(it);
  await client.expect(["QUIT", "221"]);
});

/** Listens on a port as soon as it is free. */
async function takePort(port: number): Promise<Deno.Listener> {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    try {
      return Deno.listen({ hostname: "127.0.0.1", port });
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }
}

test("A server whose threads cannot start leaves nothing behind", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = new SmtpServer({
    listen: ["127.0.0.1:0", `127.0.0.1:${taken.addr.port}`],
    threads: 2,
    log: () => {},
  });
  await assertRejects(() => server.start(), Deno.errors.AddrInUse);
  assertEquals([server.active, server.addresses], [false, []]);
});

test("A module that cannot be loaded fails the start", async () => {
  for (const threads of [0, 1]) {
    const server = new SmtpServer({
      listen: "127.0.0.1:0",
      threads,
      handlers: new URL("./nothing_here.ts", import.meta.url),
      log: () => {},
    });
    await assertRejects(() => server.start(), TypeError, "nothing_here.ts");
    assertEquals(server.active, false);
  }
});
