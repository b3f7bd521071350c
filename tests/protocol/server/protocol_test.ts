/**
 * The server state machine: effects, answers, and the reply and phase after
 * each verdict (RFC 5321 section 4.3).
 */

import { assertEquals, assertThrows } from "@std/assert";
import { replies } from "../../../lib/protocol/replies.ts";
import { SmtpReply } from "../../../lib/protocol/reply.ts";
import type {
  CloseReason,
  ServerEffect,
  Verdict,
} from "../../../lib/protocol/server/effects.ts";
import { ServerProtocol } from "../../../lib/protocol/server/protocol.ts";
import { Driver, testProfile } from "../../support/dialogue.ts";
import { bytesOf } from "../../support/bytes.ts";

const WORDS = new SmtpReply(451, "My words", { enhanced: "4.7.1" });
const TAKEN = new SmtpReply(250, "My words", { enhanced: "2.0.0" });
const LAST_WORDS = new SmtpReply(421, "My words", { enhanced: "4.7.0" });

const ENVELOPE = "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";

/** For each question: the input that leads to it, and the reply and phase after each verdict. */
const VERDICTS: [
  ask: string,
  input: string,
  outcomes: [verdict: Verdict, reply: string, phase: string][],
][] = [
  ["connect", "", [
    [undefined, "220 mx.test ESMTP ready", "greeted"],
    ["deny", String(replies.refusedConnection), "closed"],
    ["drop", "", "closed"],
    ["silent-allow", "", "greeted"],
    ["silent-deny", "", "closed"],
    [WORDS, "451 4.7.1 My words", "closed"],
    [new SmtpReply(220, "Own greeting"), "220 Own greeting", "greeted"],
  ]],
  ["helo", "HELO x\r\n", [
    [undefined, "250 mx.test", "ready"],
    ["deny", String(replies.refusedHelo), "greeted"],
    ["silent-allow", "", "ready"],
    ["silent-deny", "", "greeted"],
    [WORDS, "451 4.7.1 My words", "greeted"],
    [TAKEN, "250 2.0.0 My words", "ready"],
    [LAST_WORDS, "421 4.7.0 My words", "closed"],
  ]],
  ["mail", "HELO x\r\nMAIL FROM:<a@b>\r\n", [
    [undefined, String(replies.senderOk), "mail"],
    ["deny", String(replies.refusedSender), "ready"],
    ["silent-allow", "", "mail"],
    ["silent-deny", "", "ready"],
    [WORDS, "451 4.7.1 My words", "ready"],
    [TAKEN, "250 2.0.0 My words", "mail"],
    [LAST_WORDS, "421 4.7.0 My words", "closed"],
  ]],
  ["rcpt", ENVELOPE, [
    [undefined, String(replies.recipientOk), "rcpt"],
    ["deny", String(replies.refusedRecipient), "mail"],
    ["silent-allow", "", "rcpt"],
    ["silent-deny", "", "mail"],
    [WORDS, "451 4.7.1 My words", "mail"],
    [TAKEN, "250 2.0.0 My words", "rcpt"],
    [LAST_WORDS, "421 4.7.0 My words", "closed"],
  ]],
  ["messageStart", `${ENVELOPE}DATA\r\n`, [
    [undefined, String(replies.startData), "rcpt"],
    ["deny", String(replies.refusedMessage), "ready"],
    ["silent-allow", "", "rcpt"],
    ["silent-deny", "", "ready"],
    [WORDS, "451 4.7.1 My words", "ready"],
    // A positive reply accepts, but only 354 makes the client send.
    [TAKEN, String(replies.startData), "rcpt"],
    [new SmtpReply(354, "Go"), "354 Go", "rcpt"],
    [LAST_WORDS, "421 4.7.0 My words", "closed"],
  ]],
  ["message", `${ENVELOPE}DATA\r\n.\r\n`, [
    [undefined, String(replies.messageOk), "ready"],
    ["deny", String(replies.refusedMessage), "ready"],
    ["silent-allow", "", "ready"],
    ["silent-deny", "", "ready"],
    [WORDS, "451 4.7.1 My words", "ready"],
    [TAKEN, "250 2.0.0 My words", "ready"],
    [LAST_WORDS, "421 4.7.0 My words", "closed"],
  ]],
  ["verify", "VRFY a\r\n", [
    [TAKEN, "250 2.0.0 My words", "greeted"],
    [undefined, replies.cannotVerify.toString(), "greeted"],
    ["deny", String(replies.noSuchUser), "greeted"],
    [WORDS, "451 4.7.1 My words", "greeted"],
    ["silent-deny", "", "greeted"],
  ]],
  ["expand", "EXPN a\r\n", [
    [TAKEN, "250 2.0.0 My words", "greeted"],
    [undefined, replies.cannotExpand.toString(), "greeted"],
    ["deny", String(replies.noSuchList), "greeted"],
    [WORDS, "451 4.7.1 My words", "greeted"],
  ]],
  ["auth", "HELO x\r\nAUTH PLAIN AAAA\r\n", [
    [undefined, String(replies.authenticated), "ready"],
    ["deny", String(replies.authFailed), "ready"],
    [WORDS, "451 4.7.1 My words", "ready"],
    [LAST_WORDS, "421 4.7.0 My words", "closed"],
  ]],
];

for (const [question, input, outcomes] of VERDICTS) {
  for (const [verdict, reply, phase] of outcomes) {
    const shown = verdict instanceof SmtpReply ? verdict.code : verdict;
    Deno.test(`ServerProtocol.answer() to "${question}" with ${shown}`, () => {
      let before = "";
      const driver: Driver = new Driver(
        { asks: "all", authentication: "allowed" },
        (ask) => ask.ask === question ? verdict : undefined,
      );
      if (input !== "") {
        const last = input.lastIndexOf("\r\n", input.length - 3) + 2;
        driver.feed(input.slice(0, last));
        before = driver.output;
        driver.feed(input.slice(last));
      }
      const said = driver.output.slice(before.length);
      assertEquals(said, reply === "" ? "" : `${reply}\r\n`);
      assertEquals(driver.machine.state.phase, phase);
      assertEquals(driver.closed, phase === "closed" ? "refused" : undefined);
    });
  }
}

Deno.test("ServerProtocol forgets the name behind a refused HELO", () => {
  const driver = new Driver(
    { asks: { helo: true } },
    (ask) => ask.ask === "helo" && ask.name === "bad" ? "deny" : undefined,
  );
  driver.feed("EHLO good\r\nEHLO bad\r\n");
  const { machine } = driver;
  assertEquals(
    [machine.state.helo, machine.state.extended, machine.state.phase],
    [undefined, false, "greeted"],
  );
  driver.feed("HELO good\r\n");
  assertEquals([machine.state.helo, machine.state.extended], ["good", false]);
});

Deno.test("ServerProtocol prints replies in UTF-8", () => {
  const words = new SmtpReply(550, `Nö: ${"é".repeat(300)}`, {
    enhanced: "5.7.1",
  });
  const driver = new Driver(
    { asks: { mail: true } },
    (ask) => ask.ask === "mail" ? words : undefined,
  );
  driver.feed("HELO x\r\n").take();
  driver.feed("NOOP\r\nMAIL FROM:<a@b>\r\nNOOP\r\n");
  assertEquals(
    new TextDecoder().decode(bytesOf(driver.output)),
    `250 2.0.0 OK\r\n${words.wire}250 2.0.0 OK\r\n`,
  );
});

/** A state machine that has sent the greeting and waits. */
function greeted(profile = testProfile()): ServerProtocol {
  const machine = new ServerProtocol(profile);
  machine.next();
  machine.answer();
  machine.next();
  machine.next();
  return machine;
}

Deno.test("ServerProtocol.next() gives one effect at a time", () => {
  const machine = new ServerProtocol(testProfile({ asks: { mail: true } }));
  assertEquals(machine.next(), { effect: "ask", ask: "connect" });
  machine.answer();
  assertEquals(machine.next().effect, "write");
  assertEquals(machine.next(), { effect: "read", phase: "command" });
  assertEquals(machine.next(), { effect: "read", phase: "command" });
  machine.receive(bytesOf("HELO x\r\nMAIL FROM:<a@b>\r\nNOOP\r\n"));
  assertEquals(machine.next().effect, "ask");
  assertThrows(() => machine.next(), TypeError, 'while "mail" waits');
  machine.answer("deny");
  const write = machine.next();
  assertEquals(
    write.effect === "write" && new TextDecoder().decode(write.bytes),
    "250 mx.test\r\n550 5.7.1 Sender refused\r\n250 2.0.0 OK\r\n",
  );
  assertEquals(machine.next().effect, "read");
});

/** The effect after QUIT. */
const CLOSED: ServerEffect = {
  effect: "close",
  reason: "quit",
  reply: replies.goodbye,
};

Deno.test("ServerProtocol.next() goes on to say close after the end", () => {
  const machine = greeted();
  machine.receive(bytesOf("QUIT\r\nNOOP\r\n"));
  assertEquals(machine.next().effect, "write");
  for (let round = 0; round < 3; round++) {
    assertEquals(machine.next(), CLOSED);
  }
  machine.receive(bytesOf("NOOP\r\n"));
  assertEquals(machine.next(), CLOSED);
});

Deno.test("ServerProtocol.answer() throws when nothing was asked", () => {
  assertThrows(() => greeted().answer(), TypeError, "nothing was asked");
});

Deno.test("ServerProtocol.answerCommand() runs another line, or none", () => {
  const seen: string[] = [];
  const machine = new ServerProtocol(testProfile({ asks: { command: true } }));
  machine.next();
  machine.answer();
  machine.next();
  machine.receive(bytesOf("FOO\r\nNOOP\r\nHELO x\r\nRSET\r\n"));
  let output = "";
  for (;;) {
    const effect = machine.next();
    if (effect.effect === "read") break;
    if (effect.effect === "write") {
      output += new TextDecoder().decode(effect.bytes);
    } else if (effect.effect === "ask" && effect.ask === "command") {
      seen.push(effect.line);
      machine.answerCommand(
        { FOO: "HELP", NOOP: "", RSET: `NOOP ${"é".repeat(300)}` }[
          effect.line
        ] ?? effect.line,
      );
    }
  }
  assertEquals(seen, ["FOO", "NOOP", "HELO x", "RSET"]);
  assertEquals(output.split("\r\n").map((line) => line.slice(0, 3)), [
    "214",
    "214",
    "250",
    "250",
    "",
  ]);
  assertEquals(machine.state.helo, "x");
});

for (
  const [end, reason] of [
    ["QUIT\r\n", "quit"],
    ["GET / HTTP/1.1\r\n", "errors"],
  ] as [string, CloseReason][]
) {
  Deno.test(`ServerProtocol closes with the reason "${reason}"`, () => {
    assertEquals(new Driver().feed(end).closed, reason);
  });
}

const REASONS: readonly CloseReason[] = [
  "timeout",
  "shutdown",
  "disconnected",
  "tls",
  "error",
  "early",
];

for (const reason of REASONS) {
  Deno.test(`ServerProtocol.close() ends a transaction for "${reason}"`, () => {
    const driver = new Driver().feed(`${ENVELOPE}DATA\r\nhalf a bo`);
    driver.take();
    driver.machine.close(replies.shutdown, reason);
    driver.machine.close(replies.shutdown, "shutdown");
    driver.feed("");
    assertEquals(driver.take(), [String(replies.shutdown)]);
    assertEquals(driver.events.slice(-3), [
      'body "half a bo"',
      "reset",
      `close ${reason}`,
    ]);
  });
}

Deno.test("ServerProtocol.close() says nothing without a reply", () => {
  const driver = new Driver();
  driver.take();
  driver.machine.close(undefined, "disconnected");
  driver.feed("NOOP\r\n");
  assertEquals(driver.output, "");
  assertEquals(driver.closed, "disconnected");
});

Deno.test("ServerProtocol.refuseBody() is answered at the end of the body", () => {
  for (const end of ["\r\n.\r\n", "x\r\n.\r\n"]) {
    const driver = new Driver().feed(`${ENVELOPE}DATA\r\nSubject: x\r\n`);
    driver.take();
    driver.machine.refuseBody(WORDS);
    driver.machine.refuseBody(replies.tooLarge);
    driver.feed(`QUIT\r\n`);
    assertEquals(driver.output, "");
    driver.feed(end).feed("NOOP\r\n");
    assertEquals(driver.take(), ["451 4.7.1 My words", String(replies.ok)]);
    assertEquals(driver.events.slice(-1), ["drop 451"]);
  }
});

Deno.test("ServerProtocol.refuseBody() counts for a body that came with its end", () => {
  for (const command of ["DATA\r\nx\r\n.\r\n", "BDAT 1 LAST\r\nx"]) {
    const machine = greeted();
    machine.receive(bytesOf(ENVELOPE + command));
    let output = "";
    for (;;) {
      const effect = machine.next();
      if (effect.effect === "read") break;
      if (effect.effect === "body") machine.refuseBody(WORDS);
      if (effect.effect === "ask") {
        machine.answer(effect.ask === "message" ? "deny" : undefined);
      }
      if (effect.effect === "write") {
        output += new TextDecoder().decode(effect.bytes);
      }
    }
    assertEquals(output.split("\r\n").at(-2), "451 4.7.1 My words", command);
  }
});

Deno.test("ServerProtocol.challenge() goes through an AUTH exchange", () => {
  const answers = ["VXNlcm5hbWU6", "UGFzc3dvcmQ6"];
  const driver = new Driver({ authentication: "allowed" }, (ask, machine) => {
    if (ask.ask !== "auth" && ask.ask !== "authLine") return undefined;
    const challenge = answers.shift();
    if (challenge === undefined) return undefined;
    machine.challenge(challenge);
    return "handled";
  });
  driver.feed("HELO x\r\nAUTH login\r\n");
  assertEquals(driver.machine.state.reading, "auth");
  driver.feed("dXNlcg==\r\nQUIT\r\nNOOP\r\n");
  assertEquals(driver.take().slice(2), [
    "334 VXNlcm5hbWU6",
    "334 UGFzc3dvcmQ6",
    String(replies.authenticated),
    String(replies.ok),
  ]);
  assertEquals(driver.events, [
    "auth LOGIN -",
    "authLine dXNlcg==",
    "authLine QUIT",
  ]);
  assertEquals(driver.machine.state.authenticated, true);
});

Deno.test("ServerProtocol tells of an AUTH line that cannot be used", () => {
  const rows = [["x".repeat(12287), "undefined"], ["\xff", '"\\n"'], [
    "a\rb",
    '"\\n"',
  ]] as const;
  for (const [line, want] of rows) {
    const driver = new Driver({ authentication: "allowed" }, (ask, machine) => {
      if (ask.ask === "authLine") {
        assertEquals(String(JSON.stringify(ask.text)), want);
        return replies.lineTooLong;
      }
      if (ask.ask !== "auth") return undefined;
      machine.challenge("");
      return "handled";
    });
    driver.feed(`HELO x\r\nAUTH X =\r\n${line}\r\nNOOP\r\n`);
    assertEquals(driver.take().slice(2), [
      "334 ",
      String(replies.lineTooLong),
      String(replies.ok),
    ]);
    assertEquals(driver.machine.state.authenticated, false);
  }
});

Deno.test("ServerProtocol refuses AUTH without a mechanism, or not offered", () => {
  const driver = new Driver({ authentication: "allowed" }).feed("HELO x\r\n");
  driver.take();
  for (const line of ["AUTH", "AUTH PLAIN a b", `AUTH ${"X".repeat(21)}`]) {
    driver.feed(`${line}\r\n`);
    assertEquals(driver.take()[0]!.slice(0, 9), "501 5.5.4", line);
  }
  const none = new Driver().feed("HELO x\r\nAUTH PLAIN\r\n");
  assertEquals(none.take()[2], String(replies.notImplemented));
});

Deno.test("ServerProtocol.tlsStarted() forgets what was said in the clear", () => {
  const driver = new Driver({
    startTls: "allowed",
    authentication: "allowed",
  }).feed("EHLO x\r\nAUTH PLAIN AAAA\r\n");
  assertEquals(driver.machine.state.authenticated, true);
  driver.feed("STARTTLS\r\n");
  const { machine } = driver;
  assertEquals(
    [
      machine.state.tls,
      machine.state.helo,
      machine.state.extended,
      machine.state.authenticated,
    ],
    [true, undefined, false, false],
  );
  assertEquals(machine.state.phase, "greeted");
  driver.take();
  driver.feed("EHLO x\r\n");
  const lines = driver.take();
  assertEquals(lines.includes("250-AUTH PLAIN"), true);
  assertEquals(lines.includes("250-STARTTLS"), false);
});

Deno.test("ServerProtocol.tlsStarted() forgets the line that had begun in the clear", () => {
  const driver = new Driver({ startTls: "allowed" });
  for (const begun of ["QU", "NOOP\n", "\x16"]) {
    driver.feed(begun).take();
    driver.machine.tlsStarted();
    driver.feed("QUIT x\r\n");
    assertEquals(driver.take(), [String(replies.noArgument)]);
  }
});

Deno.test("ServerProtocol.tlsStarted() before the greeting is implicit TLS", () => {
  const machine = new ServerProtocol(testProfile());
  machine.tlsStarted();
  assertEquals(machine.state.phase, "connecting");
  assertEquals(machine.next(), { effect: "ask", ask: "connect" });
});

Deno.test("ServerProtocol keeps the envelope until the last reply", () => {
  const driver = new Driver({ asks: "all" }, (ask, machine) => {
    if (ask.ask === "message") {
      assertEquals(machine.bodySize, 3);
      assertEquals(
        machine.state.envelope!.recipients.map((recipient) =>
          recipient.address.toPath()
        ),
        ["<c@d>", "<c@d>"],
      );
    }
    return undefined;
  });
  driver.feed(`${ENVELOPE}RCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n`);
  assertEquals(driver.machine.state.envelope, undefined);
  assertEquals(driver.take().at(-1), String(replies.messageOk));
});

Deno.test("ServerProtocol answers 5,000 pipelined NOOPs in bounded writes", () => {
  const driver = new Driver().feed("NOOP\r\n".repeat(5000));
  const lines = driver.take();
  assertEquals(lines.length, 5001);
  assertEquals(lines[5000], String(replies.ok));
  assertEquals(driver.largestWrite < 16384 + 512, true);
});

Deno.test("ServerProtocol puts the replies of one packet into one write", () => {
  const driver = new Driver();
  driver.largestWrite = 0;
  driver.take();
  driver.feed("NOOP\r\nNOOP\r\nNOOP\r\n");
  assertEquals(driver.largestWrite, 3 * "250 2.0.0 OK\r\n".length);
});

Deno.test("ServerProtocol.send() puts text in its place among the replies", () => {
  const driver = new Driver(
    { asks: { mail: true } },
    (ask, machine) => {
      if (ask.ask !== "mail") return undefined;
      machine.send("250 2.1.0 My own words\r\n");
      return "silent-allow";
    },
  );
  driver.feed("HELO x\r\nMAIL FROM:<a@b>\r\nNOOP\r\n");
  assertEquals(driver.take().slice(2), [
    "250 2.1.0 My own words",
    String(replies.ok),
  ]);
  assertEquals(driver.machine.state.phase, "mail");
});

Deno.test("ServerProtocol sends the profile's greeting and goodbye", () => {
  const driver = new Driver({
    greeting: new SmtpReply(220, ["mx.test", "second line"]),
    goodbye: new SmtpReply(221, "So long", { enhanced: "2.0.0" }),
  }).feed("QUIT\r\n");
  assertEquals(driver.take(), [
    "220-mx.test",
    "220 second line",
    "221 2.0.0 So long",
  ]);
});
