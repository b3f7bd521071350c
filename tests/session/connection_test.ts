/**
 * A session over a connection: all kinds of ends, states, and the order of handler
 * calls (RFC 5321 sections 3.8 and 4.1.1.5).
 */

import { assertEquals } from "@std/assert";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import type { Transport } from "../../lib/net/transport.ts";
import { noting, openSession } from "../support/server.ts";
import { until, within } from "../support/wait.ts";
import { replies } from "../../lib/protocol/replies.ts";

Deno.test("Connection refuses a client that speaks before the greeting", async () => {
  const calls: string[] = [];
  const gate = Promise.withResolvers<void>();
  await using it = openSession({
    handlers: {
      onConnect: () => gate.promise,
      onDisconnect: (_session, reason) => void calls.push(reason),
    },
  });
  await it.client.send("EHLO x\r\n");
  gate.resolve();
  assertEquals(
    await it.client.rest(),
    "554 5.5.1 Protocol error: command before the greeting\r\n",
  );
  await within(it.done, "the end");
  assertEquals(calls, ["early"]);
});

Deno.test("Connection tells a client that begins with TLS before the greeting to try elsewhere", async () => {
  for (const hello of ["\x16", "\x16\x03", "\x16\x03\x01\x02\x00\x01"]) {
    const gate = Promise.withResolvers<void>();
    await using it = openSession({
      handlers: { onConnect: () => gate.promise },
    });
    await it.client.send(hello);
    gate.resolve();
    assertEquals(
      await it.client.rest(),
      "421 4.7.0 This port speaks plain SMTP first, closing\r\n",
    );
    await within(it.done, "the end");
  }
});

Deno.test("Connection leaves enhanced status codes out where they are off, at the end as well", async () => {
  const last = new SmtpReply(421, "Shutting down", { enhanced: "4.3.2" });
  await using it = openSession({
    profile: { disabled: ["ENHANCEDSTATUSCODES"] },
    handlers: {
      onCommand(_session, line) {
        if (line === "HELP") {
          throw new SmtpReply(502, "No", { enhanced: "5.5.1" });
        }
      },
    },
  });
  await it.client.reply();
  assertEquals(await it.client.say("HELP"), "502 No");
  it.connection.end(last, "shutdown");
  assertEquals(await it.client.rest(), "421 Shutting down\r\n");
});

Deno.test("Connection ends after a 421 that onCommand throws", async () => {
  const last = new SmtpReply(421, "Enough", { enhanced: "4.7.0" });
  await using it = openSession({
    handlers: {
      onCommand(_session, line) {
        if (line === "HELP") throw last;
      },
    },
  });
  await it.client.reply();
  await it.client.send("HELP\r\nNOOP\r\n");
  assertEquals(await it.client.rest(), "421 4.7.0 Enough\r\n");
  await within(it.done, "the end");
});

Deno.test("Connection tells states, resets and the end in order", async () => {
  const calls: string[] = [];
  await using it = openSession({ handlers: noting(calls) });
  await it.client.envelope();
  await it.client.data("x");
  await it.client.expect(["MAIL FROM:<a@b>", "250"], ["RSET", "250"]);
  await it.client.expect(["MAIL FROM:<a@b>", "250"], ["QUIT", "221"]);
  await within(it.done, "the end");
  assertEquals(calls, [
    "connecting > ready",
    "ready > receiving",
    "receiving > ready",
    "reset",
    "ready > disconnected",
    "reset",
    "end quit",
  ]);
});

Deno.test("Connection tells once that the client is gone, wherever it was", async () => {
  const places = [
    "",
    "HELO x\r\n",
    "HELO x\r\nMAIL FROM:<a@b>\r\n",
    "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf",
    "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 10\r\nhalf",
  ];
  for (const [index, place] of places.entries()) {
    const calls: string[] = [];
    const it = openSession({
      handlers: {
        onReset: () => void calls.push("reset"),
        onDisconnect: (_session, reason) => void calls.push(reason),
      },
    });
    await it.client.reply();
    if (place !== "") {
      await it.client.send(place);
      await it.client.reply();
    }
    it.client.close();
    await within(it.done, "the end");
    assertEquals(
      calls,
      index < 2 ? ["disconnected"] : ["reset", "disconnected"],
    );
    assertEquals(it.records.filter((record) => record.level === "error"), []);
  }
});

Deno.test("SmtpSession shows the client and keeps a tag", async () => {
  const tags: unknown[] = [];
  await using it = openSession({
    handlers: {
      onConnect: (session) => void (session.tag = { n: 1 }),
      onMailFrom: (session) => void tags.push(session.tag),
    },
  });
  const { session, client } = it;
  assertEquals(session.state, "connecting");
  await client.reply();
  assertEquals(session.helo, undefined);
  await client.say("EHLO client.test");
  await client.say("MAIL FROM:<a@b>");
  assertEquals(session.helo, "client.test");
  assertEquals(session.extended, true);
  assertEquals(session.state, "ready");
  assertEquals(session.kind, "smtp");
  assertEquals(session.tls, undefined);
  assertEquals(session.username, undefined);
  assertEquals([session.remoteAddress, session.remotePort], [
    "192.0.2.1",
    40000,
  ]);
  assertEquals([session.localAddress, session.localPort], ["192.0.2.2", 25]);
  assertEquals(String(session), "ID1 [192.0.2.1]:40000");
  assertEquals(tags, [{ n: 1 }]);
  await client.say("QUIT");
  await within(it.done, "the end");
  assertEquals(session.state, "disconnected");
});

Deno.test("SmtpSession.close() ends the session, with a word or without", async () => {
  for (const reply of [undefined, new SmtpReply(421, "Enough")]) {
    // From outside, while the session waits for the client.
    const calls: string[] = [];
    await using it = openSession({ handlers: noting(calls) });
    await it.client.envelope();
    it.session.close(reply);
    assertEquals(await it.client.rest(), reply?.wire ?? "");
    await within(it.done, "the end");
    assertEquals(calls.slice(1), [
      "reset",
      "ready > disconnected",
      "end refused",
    ]);
    // From a handler, before its own answer is sent.
    await using other = openSession({
      handlers: { onMailFrom: (session) => session.close(reply) },
    });
    await other.client.reply();
    await other.client.say("HELO x");
    await other.client.send("MAIL FROM:<a@b>\r\n");
    assertEquals(
      await other.client.rest(),
      `250 2.1.0 Sender OK\r\n${reply?.wire ?? ""}`,
    );
  }
});

Deno.test("Connection.timeOut() says 421 4.4.2", async () => {
  const calls: string[] = [];
  await using it = openSession({
    limits: { timeoutMs: 1000 },
    handlers: noting(calls),
  });
  await it.client.envelope();
  await it.client.expect(["DATA", "354"]);
  it.connection.timeOut();
  assertEquals(
    await it.client.rest(),
    "421 4.4.2 Timeout, closing: less than 500 bytes a second for 1 second\r\n",
  );
  await within(it.done, "the end");
  assertEquals(calls.slice(-3), [
    "reset",
    "receiving > disconnected",
    "end timeout",
  ]);
});

Deno.test("Connection.deadline moves with the client, and gives a handler time", async () => {
  let now = 100;
  const gate = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  await using it = openSession({
    now: () => now,
    limits: { timeoutMs: 50, handlerTimeoutMs: 500 },
    handlers: {
      onMailFrom() {
        entered.resolve();
        return gate.promise;
      },
    },
  });
  await it.client.reply();
  assertEquals(it.connection.deadline, 150);
  now = 120;
  await it.client.say("HELO x");
  assertEquals(it.connection.deadline, 170);
  await it.client.send("MAIL FROM:<a@b>\r\n");
  await within(entered.promise, "the handler");
  assertEquals(it.connection.deadline, 620);
  gate.resolve();
  assertEquals(await it.client.reply(), String(replies.senderOk));
  assertEquals(it.connection.deadline, 170);
});

Deno.test("Connection.end() waits for a handler that is busy", async () => {
  const gate = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  const calls: string[] = [];
  await using it = openSession({
    handlers: noting(calls, {
      onMessage() {
        entered.resolve();
        return gate.promise;
      },
    }),
  });
  await it.client.envelope();
  await it.client.expect(["DATA", "354"]);
  await it.client.send("x\r\n.\r\n");
  await within(entered.promise, "the handler");
  it.connection.end(new SmtpReply(421, "Shutting down"), "shutdown");
  gate.resolve();
  assertEquals(
    await it.client.rest(),
    "250 2.0.0 Message accepted as ID2\r\n421 Shutting down\r\n",
  );
  await within(it.done, "the end");
  assertEquals(calls.at(-1), "end shutdown");
});

Deno.test("Connection.abort() ends at once", async () => {
  const calls: string[] = [];
  await using it = openSession({ handlers: noting(calls) });
  await it.client.envelope();
  it.connection.abort("shutdown");
  assertEquals(await it.client.rest(), "");
  await within(it.done, "the end");
  assertEquals(calls.at(-1), "end shutdown");
});

Deno.test("Connection ends after 421 from any handler, and tells the reset", async () => {
  const calls: string[] = [];
  await using it = openSession({
    handlers: noting(calls, { onRcptTo: () => new SmtpReply(421, "Enough") }),
  });
  await it.client.reply();
  await it.client.send(
    "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nNOOP\r\n",
  );
  assertEquals(
    await it.client.rest(),
    "250 mx.test\r\n250 2.1.0 Sender OK\r\n421 Enough\r\n",
  );
  await within(it.done, "the end");
  assertEquals(calls.slice(1), [
    "ready > disconnected",
    "reset",
    "end refused",
  ]);
});

/** A transport whose peer reads nothing: a write lasts until the connection ends. */
function deafTransport(): Transport & { writes: number } {
  const ended = Promise.withResolvers<never>();
  ended.promise.catch(() => {});
  return {
    remote: { address: "192.0.2.1", port: 40000 },
    local: { address: "192.0.2.2", port: 25 },
    tls: undefined,
    writes: 0,
    read: () => ended.promise,
    write(bytes) {
      if (bytes.length === 0) return Promise.resolve();
      this.writes++;
      return ended.promise;
    },
    close: () => ended.reject(new Deno.errors.BadResource("Closed")),
  };
}

Deno.test("Connection.timeOut() does not wait for a client that does not read", async () => {
  const transport = deafTransport();
  const reasons: string[] = [];
  await using it = openSession({
    transport,
    handlers: { onDisconnect: (_session, reason) => void reasons.push(reason) },
  });
  await until(() => it.session.state === "ready");
  it.connection.timeOut();
  await within(it.done, "the end");
  assertEquals(reasons, ["timeout"]);
  assertEquals(transport.writes, 1);
});

Deno.test("Connection.end() never writes while another write is under way", async () => {
  const transport = deafTransport();
  await using it = openSession({ transport });
  await until(() => it.session.state === "ready");
  it.connection.end(new SmtpReply(421, "Shutting down"), "shutdown");
  await until(() => true);
  assertEquals(transport.writes, 1);
  it.connection.abort("shutdown");
  await within(it.done, "the end");
});

Deno.test("Connection reports a fault of its own, and a lost client not", async () => {
  const errors: [error: Error, reason: string, records: number][] = [
    [new Deno.errors.ConnectionReset("x"), "disconnected", 0],
    [new Deno.errors.TimedOut("x"), "disconnected", 0],
    [new TypeError("x"), "error", 1],
  ];
  for (const [error, reason, records] of errors) {
    const reasons: string[] = [];
    await using it = openSession({
      transport: {
        ...deafTransport(),
        write: () => Promise.resolve(),
        read: () => Promise.reject(error),
      },
      handlers: {
        onDisconnect: (_session, reason) => void reasons.push(reason),
      },
    });
    await within(it.done, "the end");
    assertEquals(reasons, [reason]);
    assertEquals(
      it.records.filter((record) => record.level === "error").length,
      records,
    );
  }
});

Deno.test("Connection logs connects and disconnects without a word of mail", async () => {
  const it = openSession();
  await it.client.envelope();
  await it.client.say("QUIT");
  await within(it.done, "the end");
  it.client.close();
  const events = it.records.map((record) => [record.level, record.event]);
  assertEquals(events, [["debug", "connect"], ["debug", "disconnect"]]);
});
