/**
 * The order of commands: the reply in each phase, as a table (RFC 5321 section
 * 4.1.4).
 */

import { assertEquals } from "@std/assert";
import { replies } from "../../../lib/protocol/replies.ts";
import { refuseOutOfOrder } from "../../../lib/protocol/server/state.ts";
import { Driver, type ProfileInit } from "../../support/dialogue.ts";

/** The input that leads to each phase. */
const WAYS = {
  greeted: "",
  ready: "HELO x\r\n",
  mail: "HELO x\r\nMAIL FROM:<a@b>\r\n",
  refused: "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<no@d>\r\n",
  rcpt: "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n",
  bdat: "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 1\r\nx",
  lost: "HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 11\r\n0123456789x",
} as const;

type Way = keyof typeof WAYS;

/** Command lines; for each phase the code of the reply and the next phase. */
const MATRIX: Record<string, Record<Way, string>> = {
  "HELO y": every("250 ready"),
  "EHLO y": every("250 ready"),
  "LHLO y": {
    greeted: "500 greeted",
    ready: "500 ready",
    mail: "500 mail",
    refused: "500 mail",
    rcpt: "500 rcpt",
    bdat: "500 bdat",
    lost: "500 bdat-lost",
  },
  "MAIL FROM:<e@f>": {
    greeted: "503 greeted",
    ready: "250 mail",
    mail: "503 mail",
    refused: "503 mail",
    rcpt: "503 rcpt",
    bdat: "503 bdat",
    lost: "503 bdat-lost",
  },
  "RCPT TO:<e@f>": {
    greeted: "503 greeted",
    ready: "503 ready",
    mail: "250 rcpt",
    refused: "250 rcpt",
    rcpt: "250 rcpt",
    bdat: "503 bdat",
    lost: "503 bdat-lost",
  },
  DATA: {
    greeted: "503 greeted",
    ready: "503 ready",
    mail: "503 mail",
    refused: "554 mail",
    rcpt: "354 rcpt",
    bdat: "503 bdat",
    lost: "503 bdat-lost",
  },
  "BDAT 2\r\nok": {
    greeted: "503 greeted",
    ready: "503 ready",
    mail: "503 mail",
    refused: "554 mail",
    rcpt: "250 bdat",
    bdat: "250 bdat",
    lost: "503 bdat-lost",
  },
  "BDAT 2 LAST\r\nok": {
    greeted: "503 greeted",
    ready: "503 ready",
    mail: "503 mail",
    refused: "554 mail",
    rcpt: "250 ready",
    bdat: "250 ready",
    lost: "503 ready",
  },
  RSET: { ...every("250 ready"), greeted: "250 greeted" },
  NOOP: stays("250"),
  HELP: stays("214"),
  "VRFY x": stays("252"),
  "EXPN x": stays("502"),
  TURN: stays("500"),
  QUIT: every("221 closed"),
  "AUTH PLAIN AAAA": {
    greeted: "503 greeted",
    ready: "235 ready",
    mail: "503 mail",
    refused: "503 mail",
    rcpt: "503 rcpt",
    bdat: "503 bdat",
    lost: "503 bdat-lost",
  },
  STARTTLS: {
    greeted: "220 greeted",
    ready: "220 greeted",
    mail: "503 mail",
    refused: "503 mail",
    rcpt: "503 rcpt",
    bdat: "503 bdat",
    lost: "503 bdat-lost",
  },
};

function every(outcome: string): Record<Way, string> {
  const ways = Object.keys(WAYS) as Way[];
  return Object.fromEntries(ways.map((way) => [way, outcome])) as Record<
    Way,
    string
  >;
}

function stays(code: string): Record<Way, string> {
  return {
    greeted: `${code} greeted`,
    ready: `${code} ready`,
    mail: `${code} mail`,
    refused: `${code} mail`,
    rcpt: `${code} rcpt`,
    bdat: `${code} bdat`,
    lost: `${code} bdat-lost`,
  };
}

const PROFILE: ProfileInit = {
  startTls: "allowed",
  authentication: "allowed",
  maxSize: 10,
  asks: { rcpt: true },
};

function inPhase(way: Way): Driver {
  const driver = new Driver(
    PROFILE,
    (ask) =>
      ask.ask === "rcpt" && ask.address.localPart === "no" ? "deny" : undefined,
  ).feed(WAYS[way]);
  driver.take();
  return driver;
}

for (const [line, row] of Object.entries(MATRIX)) {
  for (const [way, want] of Object.entries(row) as [Way, string][]) {
    const [verb] = line.split(/[ \r]/);
    const shown = /LAST/.test(line) ? `${verb} LAST` : verb;
    Deno.test(`ServerProtocol answers ${shown} in "${way}" with ${want}`, () => {
      const crlf = line.startsWith("BDAT") ? "" : "\r\n";
      const driver = inPhase(way).feed(line + crlf);
      const codes = new Set(driver.take().map((reply) => reply.slice(0, 3)));
      assertEquals([...codes, driver.machine.state.phase].join(" "), want);
    });
  }
}

Deno.test("ServerProtocol serves no verb before the greeting is decided on", () => {
  const driver = new Driver({}, () => "deny");
  assertEquals(driver.take(), [String(replies.refusedConnection)]);
  assertEquals(driver.closed, "refused");
  assertEquals(driver.machine.state.phase, "closed");
});

Deno.test("refuseOutOfOrder() refuses every verb before the greeting and after the end", () => {
  for (const verb of ["HELO", "NOOP", "QUIT", "RSET", "MAIL"] as const) {
    for (const phase of ["connecting", "closed"] as const) {
      assertEquals(refuseOutOfOrder(verb, phase), replies.outOfOrder);
    }
  }
});

for (const authentication of ["allowed", "required"] as const) {
  for (const startTls of ["none", "allowed", "required"] as const) {
    const name = `authentication ${authentication}, STARTTLS ${startTls}`;
    Deno.test(`ServerProtocol holds MAIL and AUTH back with ${name}`, () => {
      const driver = new Driver({ authentication, startTls });
      driver.feed("HELO x\r\n").take();
      const code = (line: string) => {
        driver.feed(`${line}\r\n`);
        return driver.take().at(-1)!.slice(0, 9);
      };
      if (startTls === "required") {
        assertEquals(code("MAIL FROM:<a@b>"), "530 5.7.0");
        assertEquals(code("AUTH PLAIN AAAA"), "530 5.7.0");
        assertEquals(code("STARTTLS"), "220 2.0.0");
        assertEquals(code("AUTH PLAIN AAAA"), "503 5.5.1");
        driver.feed("HELO x\r\n");
        driver.take();
      }
      if (authentication === "required") {
        assertEquals(code("MAIL FROM:<a@b>"), "530 5.7.0");
      }
      assertEquals(code("AUTH PLAIN AAAA"), "235 2.7.0");
      assertEquals(code("AUTH PLAIN AAAA"), "503 5.5.1");
      assertEquals(code("MAIL FROM:<a@b>"), "250 2.1.0");
    });
  }
}
