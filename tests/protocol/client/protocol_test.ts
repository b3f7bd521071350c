/**
 * The client state machine: order of commands, pipelining, BDAT and LMTP (RFC
 * 5321 section 4.1.4, RFC 2920, RFC 3030, RFC 2033).
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  AuthExchange,
  ClientConversation,
} from "../../../lib/protocol/client/conversation.ts";
import { ClientProtocol } from "../../../lib/protocol/client/protocol.ts";
import type { ClientEnvelope } from "../../../lib/protocol/client/transaction.ts";
import { SmtpReply } from "../../../lib/protocol/reply.ts";
import {
  Drive,
  FakeServer,
  type FakeServerOptions,
} from "../../support/client/fake_server.ts";
import { bytesOf, textOf } from "../../support/bytes.ts";
import { seededFraction } from "../../support/random.ts";

const ENVELOPE: ClientEnvelope = {
  from: "<a@me.example>",
  recipients: [{ path: "<b@fake>" }, { path: "<c@fake>" }],
};
const CONTENT = ["Subject: x\r\n\r\n", ".dot\r\n", "end"];
const ARRIVED = "Subject: x\r\n\r\n.dot\r\nend\r\n";

function opened(options: FakeServerOptions = {}): Drive {
  const { lmtp } = options;
  const client = new ClientProtocol({ hostname: "me.example", lmtp });
  const drive = new Drive(client, new FakeServer(options));
  client.open();
  assertEquals(drive.run().kind, "done");
  drive.writes.length = 0;
  return drive;
}

/** The outcomes in short: `ok`, or step and code, or step and kind of fault. */
function outcomes({ client }: Drive): string {
  return client.outcomes.map((outcome) => {
    if (!outcome) return "undecided";
    if (outcome.accepted) return "ok";
    return `${outcome.phase} ${outcome.reply?.code ?? outcome.fault?.kind}`;
  }).join(", ");
}

function sent(
  options: FakeServerOptions,
  envelope: Partial<ClientEnvelope> = {},
): Drive {
  const drive = opened(options);
  drive.client.transaction({ ...ENVELOPE, ...envelope });
  drive.run(CONTENT);
  return drive;
}

Deno.test("ClientProtocol.open() greets, and falls back to HELO", () => {
  const rows: [FakeServerOptions, string, string[]][] = [
    [{}, "ready", ["EHLO me.example"]],
    [{ faults: { EHLO: "502 What" } }, "ready", [
      "EHLO me.example",
      "HELO me.example",
    ]],
    [{ faults: { EHLO: "452 Later" } }, "refused", ["EHLO me.example"]],
    [{ faults: { EHLO: "502 x", HELO: "550 x" } }, "refused", [
      "EHLO me.example",
      "HELO me.example",
    ]],
    [{ faults: { greeting: "554 No" } }, "refused", []],
    [{ faults: { greeting: "450 No" } }, "refused", []],
    [{ faults: { greeting: "421 No" } }, "broken", []],
    [{ faults: { greeting: "354 Go" } }, "broken", []],
    [{ faults: { greeting: "SSH-2.0" } }, "broken", []],
    [{ faults: { greeting: "drop" } }, "broken", []],
    [{ faults: { greeting: "220 a\r\n220 b" } }, "broken", []],
    [{ faults: { EHLO: "drop" } }, "broken", ["EHLO me.example"]],
    [{ lmtp: true }, "ready", ["LHLO me.example"]],
    [{ lmtp: true, faults: { LHLO: "500 x" } }, "refused", [
      "LHLO me.example",
    ]],
  ];
  for (const [options, state, lines] of rows) {
    const client = new ClientProtocol({
      hostname: "me.example",
      lmtp: options.lmtp,
    });
    const drive = new Drive(client, new FakeServer(options));
    client.open();
    drive.run();
    assertEquals([client.state, drive.server.lines], [state, lines]);
  }
});

Deno.test("ClientProtocol.transaction() waits for each reply without PIPELINING", () => {
  const drive = sent({});
  assertEquals(outcomes(drive), "ok, ok");
  assertEquals(drive.writes.length, 4 + 4);
  assertEquals(drive.server.messages[0]?.content, ARRIVED);
  assert(drive.client.isReusable);
});

Deno.test("ClientProtocol.transaction() sends all of MAIL to DATA at once with PIPELINING", () => {
  const drive = sent({ capabilities: ["PIPELINING"] });
  assertEquals(outcomes(drive), "ok, ok");
  assertEquals(
    drive.writes[0],
    "MAIL FROM:<a@me.example>\r\nRCPT TO:<b@fake>\r\nRCPT TO:<c@fake>\r\nDATA\r\n",
  );
  assertEquals(drive.server.messages[0]?.content, ARRIVED);
});

Deno.test("ClientProtocol.transaction() bounds what is under way", () => {
  const drive = opened({ capabilities: ["PIPELINING"] });
  const recipients = Array.from(
    { length: 250 },
    (_, at) => ({ path: `<r${at}@fake>` }),
  );
  drive.client.transaction({ ...ENVELOPE, recipients });
  drive.run(CONTENT);
  assertEquals(drive.writes[0]!.split("\r\n").length - 1, 100);
  assertEquals(drive.server.messages[0]!.rcpt.length, 250);
});

const BOTH: string[][] = [[], ["PIPELINING"]];
const FAULTS: [string, Record<string, string>, string, boolean][] = [
  ["MAIL 4xx", { MAIL: "451 x" }, "mail 451, mail 451", true],
  ["MAIL 5xx", { MAIL: "550 x" }, "mail 550, mail 550", true],
  ["MAIL dropped", { MAIL: "drop" }, "mail closed, mail closed", false],
  ["MAIL garbage", { MAIL: "x" }, "mail protocol, mail protocol", false],
  ["MAIL 421", { MAIL: "421 x" }, "mail 421, mail 421", false],
  [
    "MAIL early 354",
    { MAIL: "354 x" },
    "mail protocol, mail protocol",
    false,
  ],
  ["RCPT 4xx", { "RCPT 1": "450 x" }, "rcpt 450, ok", true],
  ["RCPT 5xx", { "RCPT 2": "550 x" }, "ok, rcpt 550", true],
  ["every RCPT 5xx", { RCPT: "550 x" }, "rcpt 550, rcpt 550", true],
  ["RCPT dropped", { "RCPT 2": "drop" }, "rcpt closed, rcpt closed", false],
  [
    "RCPT refused, then dropped",
    { "RCPT 1": "550 x", "RCPT 2": "drop" },
    "rcpt 550, rcpt closed",
    false,
  ],
  ["RCPT garbage", { "RCPT 1": "x" }, "rcpt protocol, rcpt protocol", false],
  ["RCPT 421", { "RCPT 2": "421 x" }, "rcpt 421, rcpt 421", false],
  [
    "RCPT early 354",
    { "RCPT 1": "354 x" },
    "rcpt protocol, rcpt protocol",
    false,
  ],
  ["DATA 4xx", { DATA: "451 x" }, "data 451, data 451", true],
  ["DATA 5xx", { DATA: "554 x" }, "data 554, data 554", true],
  ["DATA 2xx", { DATA: "250 x" }, "data protocol, data protocol", false],
  ["DATA dropped", { DATA: "drop" }, "data closed, data closed", false],
  ["DATA garbage", { DATA: "x" }, "data protocol, data protocol", false],
  ["DATA 421", { DATA: "421 x" }, "data 421, data 421", false],
  ["end 4xx", { end: "452 x" }, "dataEnd 452, dataEnd 452", true],
  ["end 5xx", { end: "554 x" }, "dataEnd 554, dataEnd 554", true],
  ["end dropped", { end: "drop" }, "dataEnd closed, dataEnd closed", false],
  ["end garbage", { end: "x" }, "dataEnd protocol, dataEnd protocol", false],
  ["end 421", { end: "421 x" }, "dataEnd 421, dataEnd 421", false],
  ["one reply too many", { end: "250 x\r\n250 y" }, "ok, ok", false],
];

Deno.test("ClientProtocol.transaction() decides every recipient at every fault", async (t) => {
  for (const capabilities of BOTH) {
    for (const [name, faults, want, reusable] of FAULTS) {
      await t.step(`${name} ${capabilities.join()}`, () => {
        const drive = sent({ capabilities, faults });
        assertEquals(outcomes(drive), want);
        assertEquals(drive.client.isReusable, reusable);
        if (!reusable) return;
        drive.client.transaction(ENVELOPE);
        drive.run(["again"]);
        assertEquals(drive.client.state, "ready");
      });
    }
  }
});

Deno.test("ClientProtocol.transaction() ends a DATA that got 354 without a recipient", () => {
  const drive = sent({
    capabilities: ["PIPELINING"],
    faults: { RCPT: "550 x", DATA: "354 Go" },
  });
  assertEquals(outcomes(drive), "rcpt 550, rcpt 550");
  assertEquals(drive.writes.at(-1), ".\r\n");
  assertEquals(drive.client.isReusable, false);
});

Deno.test("ClientProtocol.transaction() says RSET after one that was left", () => {
  const drive = sent({ faults: { RCPT: "550 x" } });
  drive.client.transaction(ENVELOPE);
  drive.run(CONTENT);
  assertEquals(drive.server.lines.filter((line) => line === "RSET").length, 1);
});

Deno.test("ClientProtocol speaks LMTP with a reply for each recipient", () => {
  const three = {
    recipients: ["<a@f>", "<b@f>", "<c@f>"].map((path) => ({ path })),
  };
  const rows: [Record<string, string>, string, boolean][] = [
    [{}, "ok, ok, ok", true],
    [{ "end 2": "550 x" }, "ok, dataEnd 550, ok", true],
    [
      { "RCPT 1": "550 x", "end 1": "452 x" },
      "rcpt 550, dataEnd 452, ok",
      true,
    ],
    [{ "end 3": "drop" }, "ok, ok, dataEnd closed", false],
    [{ "end 3": "421 x" }, "ok, ok, dataEnd 421", false],
    [{ "end 3": "250 x\r\n250 y" }, "ok, ok, ok", false],
    [{ DATA: "451 x" }, "data 451, data 451, data 451", true],
  ];
  for (const [faults, want, reusable] of rows) {
    for (const capabilities of BOTH) {
      const drive = sent({ lmtp: true, capabilities, faults }, three);
      assertEquals(outcomes(drive), want);
      assertEquals(drive.client.isReusable, reusable);
    }
  }
});

const CHUNKING = ["PIPELINING", "CHUNKING"];

Deno.test("ClientProtocol sends BDAT eagerly in one write with the envelope", () => {
  const drive = opened({ capabilities: CHUNKING });
  drive.client.transaction({ ...ENVELOPE, framing: "bdat", eager: true });
  assertEquals(drive.client.next().kind, "content");
  const plain = sent({ capabilities: CHUNKING }, {
    framing: "bdat",
    eager: true,
  });
  assertEquals(outcomes(plain), "ok, ok");
  assertEquals(plain.server.messages[0]?.content, ARRIVED);
  assertEquals(plain.writes.length, 2);
  assertEquals(
    plain.writes.at(-1),
    `BDAT ${ARRIVED.length} LAST\r\n${ARRIVED}`,
  );
});

Deno.test("ClientProtocol sends BDAT chunk by chunk and stops at a refusal", () => {
  const piece = "0123456789abcde\n".repeat(4096);
  const content = Array.from({ length: 40 }, () => piece);
  const rows: [Record<string, string>, boolean, string, boolean][] = [
    [{}, false, "ok, ok", true],
    [{}, true, "ok, ok", true],
    [{ BDAT: "552 x" }, false, "dataEnd 552, dataEnd 552", true],
    [{ RCPT: "550 x" }, false, "rcpt 550, rcpt 550", true],
    [{ RCPT: "550 x" }, true, "rcpt 550, rcpt 550", true],
    [{ MAIL: "550 x" }, true, "mail 550, mail 550", true],
    [{ BDAT: "drop" }, true, "dataEnd closed, dataEnd closed", false],
  ];
  for (const [faults, eager, want, reusable] of rows) {
    const drive = opened({ capabilities: CHUNKING, faults });
    drive.client.transaction({ ...ENVELOPE, framing: "bdat", eager });
    drive.run(content);
    assertEquals(outcomes(drive), want);
    assertEquals(drive.client.isReusable, reusable);
    const taken = drive.server.messages[0]?.content;
    if (want === "ok, ok") {
      assertEquals(taken?.length, 40 * piece.length + 40 * 4096);
    } else assert(drive.writes.join("").length < 12 * 70000);
  }
});

Deno.test("ClientProtocol leaves the line ends of binary content alone", () => {
  const drive = opened({ capabilities: [...CHUNKING, "BINARYMIME"] });
  drive.client.transaction({ ...ENVELOPE, framing: "binary" });
  drive.run(["a\n\r\0b"]);
  assertEquals(drive.server.messages[0]?.content, "a\n\r\0b");
});

/** Feeds the state machine by hand. Returns the bytes written and the effect that stopped it. */
function step(client: ClientProtocol, input: string): [string, string] {
  if (input !== "") client.receive(bytesOf(input));
  let written = "";
  for (;;) {
    const effect = client.next();
    if (effect.kind !== "write") return [written, effect.kind];
    written += textOf(effect.bytes);
  }
}

function ready(hello = "250 fake\r\n"): ClientProtocol {
  const client = new ClientProtocol({ hostname: "me" });
  client.open();
  step(client, "");
  step(client, "220 hi\r\n");
  assertEquals(step(client, hello), ["", "done"]);
  return client;
}

Deno.test("ClientProtocol.startTls() forgets what was offered in the clear", () => {
  const client = ready("250-fake\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n");
  client.startTls();
  assertEquals(step(client, ""), ["STARTTLS\r\n", "read"]);
  assertEquals(step(client, "220 Go\r\n"), ["", "startTls"]);
  assertEquals(client.capabilities.has("AUTH"), false);
  client.secured();
  assertEquals(step(client, ""), ["EHLO me\r\n", "read"]);
  assertEquals(step(client, "250-fake\r\n250 SIZE 10\r\n"), ["", "done"]);
  assertEquals(client.capabilities.maxSize, 10);
});

Deno.test("ClientProtocol.startTls() breaks at bytes injected after the reply", () => {
  for (const extra of ["250 fake\r\n", "2"]) {
    const client = ready("250 STARTTLS\r\n");
    client.startTls();
    step(client, "");
    assertEquals(step(client, `220 Go\r\n${extra}`), ["", "failed"]);
  }
});

Deno.test("ClientProtocol.startTls() goes on in the clear when refused", () => {
  const client = ready("250 STARTTLS\r\n");
  client.startTls();
  step(client, "");
  assertEquals(step(client, "454 4.7.0 Not now\r\n"), ["", "done"]);
  assertEquals(client.state, "ready");
});

Deno.test("ClientProtocol.authenticate() walks through challenges", () => {
  const client = ready();
  client.authenticate("LOGIN");
  assertEquals(step(client, ""), ["AUTH LOGIN\r\n", "read"]);
  assertEquals(step(client, "334 VXNlcg==\r\n"), ["", "challenge"]);
  client.respond(bytesOf("me"));
  assertEquals(step(client, ""), ["bWU=\r\n", "read"]);
  assertEquals(step(client, "334 \r\n"), ["", "challenge"]);
  client.respond(bytesOf(""));
  assertEquals(step(client, ""), ["\r\n", "read"]);
  assertEquals(step(client, "235 2.7.0 Welcome\r\n"), ["", "done"]);
  assertEquals(client.state, "ready");
});

Deno.test("ClientProtocol.authenticate() sends an initial response where it fits", () => {
  const rows: [Uint8Array, string][] = [
    [bytesOf("\0a\0b"), "AUTH PLAIN AGEAYg==\r\n"],
    [bytesOf(""), "AUTH PLAIN =\r\n"],
    [bytesOf("x".repeat(400)), "AUTH PLAIN\r\n"],
  ];
  for (const [initial, want] of rows) {
    const client = ready();
    client.authenticate("PLAIN", initial);
    assertEquals(step(client, ""), [want, "read"]);
    if (initial.length < 400) continue;
    const [line, kind] = step(client, "334 \r\n");
    assertEquals([line.length, kind], [538, "read"]);
  }
});

Deno.test("ClientConversation forgets the lines of AUTH with the last reply", () => {
  for (const code of [235, 535]) {
    const conversation = new ClientConversation({ hostname: "me.example" });
    conversation.state = "ready";
    conversation.begin("authenticate", "authenticating");
    conversation.auth = new AuthExchange("PLAIN", bytesOf("\0ann\0hunter2"));
    conversation.pipeline.push("AUTH", conversation.auth.command);
    conversation.pipeline.send();
    conversation.take(new SmtpReply(code, "Decided"));
    assertEquals(conversation.state, "ready");
    assertEquals(conversation.auth, undefined);
    assertEquals(conversation.pipeline.sent, 0);
  }
});

Deno.test("ClientProtocol.authenticate() cancels what it cannot read", () => {
  const client = ready();
  client.authenticate("CRAM-MD5");
  step(client, "");
  assertEquals(step(client, "334 !!!\r\n"), ["*\r\n", "read"]);
  assertEquals(step(client, "501 5.5.2 Cancelled\r\n"), ["", "done"]);
});

Deno.test("ClientProtocol.quit() is done even when the server has gone", () => {
  const client = ready();
  client.quit();
  assertEquals(step(client, ""), ["QUIT\r\n", "read"]);
  client.end();
  assertEquals(step(client, ""), ["", "done"]);
  assertEquals(client.state, "closed");
});

Deno.test("ClientProtocol takes a refusal in the middle of the content", () => {
  for (
    const [reply, want] of [["552 Big", 552], ["421 x", 421], [
      "250 x",
      undefined,
    ]] as const
  ) {
    const client = ready();
    client.transaction(ENVELOPE);
    step(client, "");
    for (const go of ["250 x", "250 x", "250 x", "354 x"]) {
      step(client, `${go}\r\n`);
    }
    client.content(bytesOf("much"));
    assertEquals(step(client, ""), ["much", "content"]);
    assertEquals(step(client, `${reply}\r\n`), ["", "failed"]);
    const [outcome] = client.outcomes;
    assertEquals([outcome?.phase, outcome?.reply?.code], ["body", want]);
  }
});

Deno.test("ClientProtocol throws at orders in the wrong state", () => {
  const client = new ClientProtocol({ hostname: "me" });
  assertThrows(() => client.transaction(ENVELOPE), Error, "Cannot begin");
  assertThrows(
    () => client.content(bytesOf("x")),
    Error,
    "Cannot take content",
  );
  assertThrows(() => client.next(), Error, "Cannot tell what is next");
});

Deno.test("ClientProtocol lets nothing end a command line early", () => {
  assertThrows(
    () => new ClientProtocol({ hostname: "me\r\nQUIT" }),
    TypeError,
    "want no control characters",
  );
  const client = ready();
  for (
    const bad of [
      { ...ENVELOPE, from: "<a@b>\r\nRSET" },
      { ...ENVELOPE, parameters: "SIZE=1\nX" },
      { ...ENVELOPE, recipients: [{ path: "<a@b\0>" }] },
      { ...ENVELOPE, recipients: [] },
    ]
  ) {
    assertThrows(() => client.transaction(bad), TypeError);
    assertEquals(client.state, "ready");
  }
});

Deno.test("ClientProtocol.next() never throws and never hangs on random replies", () => {
  const random = seededFraction(3);
  const replies = [
    "250 x\r\n",
    "250-x\r\n250 PIPELINING\r\n",
    "354 x\r\n",
    "220 x\r\n",
    "550 x\r\n",
    "421 x\r\n",
    "451-",
    "\r\n",
    "x",
    "334 x\r\n",
  ];
  const pick = () => replies[Math.floor(random() ** 3 * replies.length)]!;
  for (let round = 0; round < 3000; round++) {
    const client = new ClientProtocol({
      hostname: "me",
      lmtp: round % 3 === 0,
    });
    client.open();
    let orders = 0;
    for (let turn = 0; turn < 200; turn++) {
      const effect = client.next();
      if (effect.kind === "failed") break;
      if (effect.kind === "read") client.receive(bytesOf(pick()));
      else if (effect.kind === "challenge") client.respond(bytesOf("x"));
      else if (effect.kind === "content") {
        if (random() < 0.5) client.content(bytesOf("line\r\n"));
        else client.endContent();
        if (random() < 0.1) client.receive(bytesOf(pick()));
      } else if (effect.kind === "done") {
        if (client.state !== "ready") break;
        for (const outcome of client.outcomes) assert(outcome);
        if (orders++ === 3) client.quit();
        else if (random() < 0.2) client.authenticate("X");
        else {client.transaction({
            ...ENVELOPE,
            framing: random() < 0.3 ? "bdat" : "data",
          });}
      }
    }
    if (client.state === "broken") {
      for (const outcome of client.outcomes) assert(outcome);
    }
  }
});
