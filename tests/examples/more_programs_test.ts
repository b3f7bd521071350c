/** Further examples, unchanged, each in its own process and folder: what each of them promises. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { Certificate } from "@smtp/server";
import { SmtpClient, SmtpClientError } from "@smtp/server/client";
import { startTestServer } from "@smtp/server/testing";
import { Example, testExample } from "../support/example.ts";
import { TestFolder } from "../support/folder.ts";
import { packageFlags } from "../support/interop/server.ts";
import { BackgroundProcess, run } from "../support/process.ts";
import { DEADLINE_MS, until, within } from "../support/wait.ts";

/** A client of an example that has logged in. */
function logIn(
  port: number,
  [username, password]: readonly [username: string, password: string],
): Promise<SmtpClient> {
  return SmtpClient.connect({
    ...{ host: "127.0.0.1", port, onCertificate: () => true },
    login: { username, password },
  });
}

const ANN = ["ann", "secret"] as const;
const HELLO = "Subject: hello\r\n\r\nIt works.\r\n";

/** The first answer of a web server whose port the program has written. */
async function get(
  port: number,
  path: string,
): Promise<{ text: string; type: string }> {
  const url = `http://127.0.0.1:${port}${path}`;
  const response = await within(fetch(url), url);
  assertEquals(response.status, 200);
  const type = response.headers.get("content-type") ?? "";
  return { text: await response.text(), type };
}

/** The port of the web server of a program, from what Deno.serve() writes. */
function webPort({ process }: Example): Promise<number> {
  return until(() => {
    const output = process.stdout + process.stderr;
    const port = /http:\/\/127\.0\.0\.1:(\d+)\//.exec(output)?.[1];
    return port === undefined ? 0 : Number(port);
  }, { what: "the port of the web server" });
}

Deno.test("examples/dev_inbox.ts shows the mail that came, and runs none of it", async () => {
  await using example = await Example.start("dev_inbox.ts", ["0", "0"]);
  const [port] = example.ports;
  await using client = await SmtpClient.connect({ host: "127.0.0.1", port });
  for (const subject of ["=?utf-8?q?Gr=C3=BC=C3=9Fe?=", '<script>"&']) {
    await client.send({
      from: "me@example.com",
      to: ["you@example.org", "them@example.net"],
      data: `Subject: ${subject}\r\n\r\n<b>It works.</b>\r\n`,
    });
  }
  const web = await webPort(example);
  const { text: html, type } = await get(web, "/");
  assertEquals(type, "text/html; charset=utf-8");
  assertStringIncludes(html, ">Grüße</a>");
  assertStringIncludes(html, ">&#60;script&#62;&#34;&#38;</a>");
  assertStringIncludes(html, "from me@example.com to you@example.org, them@");
  assert(html.indexOf("script") < html.indexOf("Grüße"), "The newest is first");
  assert(!html.includes("<script"), html);

  const list = JSON.parse((await get(web, "/messages")).text);
  assertEquals(list.length, 2);
  assertEquals(list[1].from, "me@example.com");
  assertEquals(list[1].to, ["you@example.org", "them@example.net"]);
  assertEquals(list[1].subject, "Grüße");
  const source = await get(web, `/messages/${list[1].id}`);
  assertStringIncludes(source.text, "=?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n<b>It");
  assert(source.type.startsWith("text/plain"), source.type);
});

Deno.test("examples/dev_inbox.ts shows mail of swaks to curl", async () => {
  await using example = await Example.start("dev_inbox.ts", ["0", "0"]);
  await run("swaks", [
    ...["--server", `127.0.0.1:${example.ports[0]}`, "--to", "you@example.com"],
    ...["--h-Subject", "from swaks"],
  ]);
  const url = `http://127.0.0.1:${await webPort(example)}/messages`;
  const { stdout } = await run("curl", ["-s", url]);
  assertEquals(JSON.parse(stdout)[0].subject, "from swaks");
});

Deno.test("examples/test_double.ts passes", async () => {
  await testExample("test_double.ts");
});

Deno.test("examples/certificate_reload.ts takes a renewed certificate, and no session ends", async () => {
  const names = ["mx.example.com"];
  const [first, second] = await Promise.all([
    Certificate.selfSigned({ names }),
    Certificate.selfSigned({ names }),
  ]);
  const folder = await TestFolder.create();
  await folder.write("fullchain.pem", first.toPem());
  await folder.write("privkey.pem", first.keyPem());
  await using example = await Example.start("certificate_reload.ts", ["0"], {
    folder,
  });
  const shown: string[] = [];
  const connect = () =>
    SmtpClient.connect({
      ...{ host: "127.0.0.1", port: example.ports[0], security: "required" },
      onCertificate({ certificate }) {
        shown.push(certificate.fingerprint);
        return true;
      },
    });
  await using old = await connect();

  // One file before the other: in between, the old pair stays in use.
  await folder.write("fullchain.pem", second.toPem());
  await until(() => example.process.stderr.includes("belongs to another"), {
    what: "the warning that the files do not fit each other",
    seen: () => example.process.stderr,
  });
  await using between = await connect();
  // As certbot does: the name leads to another file at once.
  await Deno.rename(
    await folder.write("new.pem", second.keyPem()),
    `${folder.path}/privkey.pem`,
  );
  await until(async () => {
    await using _one = await connect();
    return shown.at(-1) === second.fingerprint;
  }, { what: "the new certificate" });
  assertEquals(shown.slice(0, 2), [first.fingerprint, first.fingerprint]);
  for (const client of [old, between]) {
    const { recipients } = await client.send({
      ...{ from: "me@example.com", to: ["you@example.com"], data: HELLO },
    });
    assertEquals(recipients[0]?.accepted, true);
  }
});

Deno.test("examples/tenants.ts keeps its tenants apart", async () => {
  await using one = await startTestServer();
  await using two = await startTestServer();
  await using example = await Example.start("tenants.ts", [
    "0",
    ...[one, two].map(({ port }) => `127.0.0.1:${port}`),
  ]);
  const port = example.ports[0]!;
  await using ann = await logIn(port, ["ann@one.example", "a secret of Ann"]);
  await using bob = await logIn(port, ["bob@two.example", "a secret of Bob"]);
  const send = async (
    client: SmtpClient,
    { from, to, data = HELLO }: { from: string; to: string; data?: string },
  ) => {
    const headed = `From: ${from}\r\n${data}`;
    const sent = await client.send({ from, to: [to], data: headed });
    return sent.recipients[0]!.reply.code;
  };
  // Each tenant's mail goes by its own provider.
  const to = "you@elsewhere.example";
  assertEquals(await send(ann, { from: "shop@one.example", to }), 250);
  assertEquals(await send(bob, { from: "bob@two.example", to }), 250);
  for (
    const [provider, from] of [[one, "shop@one"], [two, "bob@two"]] as const
  ) {
    const message = await provider.nextMessage({ timeoutMs: DEADLINE_MS });
    assertEquals(`${message.from}`, `${from}.example`);
  }
  assertEquals([one.messages.length, two.messages.length], [1, 1]);
  // None sends as the other, and each has its own limit of size and mailboxes.
  assertEquals(await send(bob, { from: "bob@one.example", to }), 553);
  assertEquals(await send(ann, { from: "bob@two.example", to }), 553);
  const large = HELLO + `${"x".repeat(98)}\r\n`.repeat(1200);
  const sizes: number[] = [];
  for (const tenant of ["one", "two"]) {
    const address = `sales@${tenant}.example`;
    const sent = { from: "ann@one.example", to: address };
    sizes.push(await send(ann, { ...sent, data: large }));
    sizes.push(await send(ann, sent));
  }
  assertEquals(sizes, [250, 250, 552, 250]);
  const files = await example.folder.files("mail");
  const mailboxes = files.map((path) => path.split("/new/")[0]);
  assertEquals(mailboxes, [
    "mail/one/sales@one.example",
    "mail/one/sales@one.example",
    "mail/two/sales@two.example",
  ]);
});

Deno.test("examples/limits_per_user.ts shuts an account that sends too much, and tells an operator", async () => {
  const { promise: note, resolve } = Promise.withResolvers<string>();
  await using web = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      resolve(await request.text());
      return new Response();
    },
  );
  await using example = await Example.start("limits_per_user.ts", [
    ...["0", "2", `http://127.0.0.1:${web.addr.port}/`],
  ]);
  const port = example.ports[0]!;
  await using client = await logIn(port, ANN);
  await using idle = await logIn(port, ANN);
  const codes: number[] = [];
  for (let n = 1; n <= 3; n++) {
    const { recipients } = await client.send({
      ...{ from: "ann@example.com", to: ["you@example.invalid"], data: HELLO },
    });
    codes.push(recipients[0]!.reply.code);
  }
  assertEquals(codes, [250, 250, 450]);
  assertEquals(await within(note, "the note"), "ann");
  for (const session of [client, idle]) {
    await assertGone(session);
  }
  const error = await logIn(port, ANN).catch((error) => error);
  assert(error instanceof SmtpClientError, `${error}`);
  assertEquals(error.stage, "authenticate");
  await using _bob = await logIn(port, ["bob", "other secret"]);
});

/** Waits until the server has closed a session. */
async function assertGone(client: SmtpClient): Promise<void> {
  const message = {
    ...{ from: "ann@example.com", to: ["you@example.invalid"], data: HELLO },
  };
  await until(async () => {
    const result = await client.send(message).catch((error) => error);
    return result instanceof Error || result.recipients[0].broken;
  }, { what: "the end of the session" });
}

Deno.test("examples/metrics.ts counts what the server does", async () => {
  await using example = await Example.start("metrics.ts", ["0", "0"]);
  const [port] = example.ports;
  await using client = await SmtpClient.connect({ host: "127.0.0.1", port });
  for (const to of ["you@example.com", "you@example.com", "x@[127.0.0.2]"]) {
    await client.send({ from: "me@example.com", to: [to], data: HELLO });
  }
  await using other = await example.connect();
  await other.expect(220);
  await other.expect(503, "RCPT TO:<you@example.com>");
  const web = await webPort(example);
  let values = "";
  await until(async () => {
    const { text, type } = await get(web, "/metrics");
    assert(type.startsWith("text/plain"), type);
    values = text;
    return values.includes("delivery");
  }, { what: "a delivery in the metrics", seen: () => values });
  for (
    const line of [
      /^smtp_accepted_total 3\n/m,
      /^smtp_refused_total\{reason="503 5\.5\.1"\} 1\n/m,
      /^smtp_delivery_total\{result="failed"\} 1\n/m,
      /^smtp_sessions 2\n/m,
      /^smtp_queue_length [0-2]$/m,
    ]
  ) assertMatch(values, line);
});

Deno.test("examples/sending.ts sends at once, and by a queue that survives a kill", async () => {
  // The first session passes; the next ones wait until this opens.
  const { promise: opened, resolve: open } = Promise.withResolvers<void>();
  let sessions = 0;
  const waiting = Promise.withResolvers<void>();
  await using provider = await startTestServer({
    handlers: {
      async onMailFrom() {
        if (sessions++ !== 1) return;
        waiting.resolve();
        await opened;
      },
    },
  });
  const path = new URL("../../examples/sending.ts", import.meta.url).pathname;
  await using folder = await TestFolder.create();
  const start = () =>
    BackgroundProcess.start(Deno.execPath(), [
      ...["run", "-A", ...packageFlags, path],
      `${provider.address}:${provider.port}`,
    ], { cwd: folder.path });
  {
    await using first = start();
    await first.waitFor((text) => /^queued as /m.exec(text) ?? undefined);
    await within(waiting.promise, "the delivery by the queue");
    Deno.kill(first.pid, "SIGKILL");
    await first.status;
  }
  assertEquals(provider.messages.length, 1);
  open();
  await using _second = start();
  // At once, by the queue, and what the program before it has left.
  await until(() => provider.messages.length === 4);
});
