/**
 * BDAT, the verb with most holes in other servers: the chunk of a refused BDAT must
 * not run as commands (https://github.com/emersion/go-smtp/issues/315), a size must
 * not overflow or be read in two ways, and DATA and BDAT must not mix.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030}
 */

import { assertEquals } from "@std/assert";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { Driver, type ProfileInit } from "../support/dialogue.ts";
import { waysToCut } from "../support/random.ts";
import { startServer, TestClient } from "../support/server.ts";
import { bytesOf } from "../support/bytes.ts";

/** A chunk whose content looks like commands. */
const CHUNK =
  "RSET\r\nMAIL FROM:<evil@b.test>\r\nRCPT TO:<v@b.test>\r\nVRFY x\r\n";
const LINE = `BDAT ${CHUNK.length}`;
const MAIL = "MAIL FROM:<a@b.test>\r\n";
const RCPT = "RCPT TO:<c@d.test>\r\n";

/** Codes of the replies and messages taken, for each way to cut the bytes. */
function outcome(
  sent: string,
  profile: ProfileInit = {},
): { readonly codes: string; readonly messages: number; readonly end: string } {
  const seen = new Set<string>();
  for (const [, pieces] of waysToCut(bytesOf(sent))) {
    const driver = new Driver({ maxSize: 0, ...profile }).feedAll(pieces);
    const lines = driver.take().filter((line) => line[3] === " ");
    seen.add(JSON.stringify({
      codes: lines.slice(1).map((line) => line.slice(0, 3)).join(" "),
      messages: driver.events.filter((event) => event === "message").length,
      end: driver.closed ?? "open",
    }));
  }
  assertEquals(seen.size, 1, `Hangs on the packets: ${[...seen].join()}`);
  return JSON.parse([...seen][0]!);
}

const REFUSED: readonly [name: string, before: string, codes: string][] = [
  ["before HELO", "", "503"],
  ["before MAIL", "EHLO x\r\n", "250 503"],
  ["before RCPT", `EHLO x\r\n${MAIL}`, "250 250 503"],
  [
    "with every RCPT refused",
    `EHLO x\r\n${MAIL}RCPT TO:<c@d.test> X=y\r\n`,
    "250 250 555 554",
  ],
  [
    "after a message",
    `EHLO x\r\n${MAIL}${RCPT}BDAT 0 LAST\r\n`,
    "250 250 250 250 503",
  ],
  ["after RSET", `EHLO x\r\n${MAIL}${RCPT}RSET\r\n`, "250 250 250 250 503"],
];

for (const [name, before, codes] of REFUSED) {
  Deno.test(`The chunk of a BDAT refused ${name} is swallowed (go-smtp 315)`, () => {
    for (const last of ["", " LAST"]) {
      const got = outcome(`${before}${LINE}${last}\r\n${CHUNK}NOOP\r\n`);
      assertEquals(got.codes, `${codes} 250`, LINE + last);
      assertEquals(got.end, "open");
    }
  });
}

Deno.test("The chunks behind one that is too large are swallowed", () => {
  const got = outcome(
    `EHLO x\r\n${MAIL}${RCPT}${LINE}\r\n${CHUNK}${LINE} LAST\r\n${CHUNK}NOOP\r\n`,
    { maxSize: 10 },
  );
  assertEquals(got, {
    codes: "250 250 250 552 503 250",
    messages: 0,
    end: "open",
  });
});

Deno.test("The chunk of a refused message is swallowed", async () => {
  const store = new MemoryStore();
  await using server = await startServer({
    store,
    handlers: { onMessageStart: () => false },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  await client.send(`${MAIL}${RCPT}${LINE} LAST\r\n${CHUNK}NOOP\r\n`);
  const codes: string[] = [];
  for (let left = 4; left > 0; left--) {
    codes.push((await client.reply()).slice(0, 3));
  }
  assertEquals(codes, ["250", "250", "554", "250"]);
  assertEquals(store.messages.length, 0);
});

/** Sizes and lines from which the length of the chunk cannot be known. */
const UNREADABLE = [
  ...["BDAT", "BDAT ", "BDAT LAST", "BDAT x", "BDAT -1", "BDAT +5", "BDAT 5.0"],
  ...["BDAT 0x10", "BDAT 1e3", "BDAT 5,0", "BDAT 5 FIRST", "BDAT 5 LAST LAST"],
  ...["BDAT 5LAST", "BDAT LAST 5", "BDAT 5;LAST"],
  ...["BDAT 9007199254740993", "BDAT 18446744073709551616", "BDAT NaN"],
  ...["BDAT Infinity", `BDAT ${"9".repeat(400)}`, `BDAT ${"0".repeat(16)}5`],
  ...["BDAT \u0665", "BDAT \uff15", "BDAT 5\u00a0LAST", "BDAT\u00a05"],
  ...["BDAT 5\0", "BDAT\0 5", "BDAT 5 LAST\0", "BDAT 5 LAST\x07", "BDAT 5\r"],
  ...["BDAT 5\nLAST", "BDAT 5 LAST\r3", "bdat 5\n", "BDAT 5 \xff", "BDAT\x0b5"],
  ...[`BDAT ${" ".repeat(2000)}5`, `BDAT 5 LAST\n${" ".repeat(2000)}`],
];

Deno.test("After a BDAT that cannot be read nothing is run: the session ends", () => {
  for (const line of UNREADABLE) {
    for (
      const text of [
        line,
        String.fromCharCode(...new TextEncoder().encode(line)),
      ]
    ) {
      const got = outcome(`EHLO x\r\n${MAIL}${RCPT}${text}\r\n${CHUNK}`);
      const name = JSON.stringify(line.slice(0, 40));
      assertEquals(got.codes, "250 250 250 501", name);
      assertEquals([got.end, got.messages], ["errors", 0], name);
    }
  }
});

Deno.test("Without CHUNKING, BDAT ends the session, and its chunk is not run", () => {
  const got = outcome(`EHLO x\r\n${MAIL}${RCPT}${LINE}\r\n${CHUNK}`, {
    disabled: ["CHUNKING"],
  });
  assertEquals(got, { codes: "250 250 250 502", messages: 0, end: "errors" });
});

const READABLE: readonly [line: string, size: number][] = [
  ["BDAT 5 LAST", 5],
  ["BDAT\t5\t LAST", 5],
  ["bdat 005 last", 5],
  ["BDAT 000000000000005 LAST", 5],
  ["BDAT 5  LAST  ", 5],
  ["BDAT 08 LAST", 8],
  ["BDAT 010 LAST", 10],
  ["BDAT 0 LAST", 0],
];

Deno.test("A size is decimal, whatever zeros stand in front", () => {
  for (const [line, size] of READABLE) {
    const got = outcome(
      `EHLO x\r\n${MAIL}${RCPT}${line}\r\n${"x".repeat(size)}NOOP\r\n`,
    );
    assertEquals(got.codes, "250 250 250 250 250", line);
    assertEquals(got.messages, 1, line);
  }
});

Deno.test("A huge size is counted, not added up: nothing behind it is run", () => {
  for (const size of ["999999999999999", "4294967296", "2147483648"]) {
    const got = outcome(
      `EHLO x\r\n${MAIL}${RCPT}BDAT ${size} LAST\r\n${CHUNK}`,
    );
    assertEquals(got, { codes: "250 250 250", messages: 0, end: "open" }, size);
  }
  const twice = outcome(
    `EHLO x\r\n${MAIL}${RCPT}BDAT 4\r\nabcdBDAT 999999999999999\r\n${CHUNK}`,
    { maxSize: 10 },
  );
  assertEquals(twice.codes, "250 250 250 250");
});

const MIXED: readonly [name: string, sent: string, codes: string][] = [
  ["DATA behind a chunk", "BDAT 4\r\nabcdDATA\r\nNOOP\r\n", "250 503 250"],
  ["RCPT behind a chunk", `BDAT 4\r\nabcd${RCPT}NOOP\r\n`, "250 503 250"],
  ["MAIL behind a chunk", `BDAT 4\r\nabcd${MAIL}NOOP\r\n`, "250 503 250"],
  [
    "a chunk inside DATA",
    `DATA\r\n${LINE} LAST\r\n${CHUNK}\r\n.\r\nNOOP\r\n`,
    "354 250 250",
  ],
  [
    "an end of data inside a chunk",
    "BDAT 16 LAST\r\nx\r\n.\r\nMAIL FRO..NOOP\r\n",
    "250 250",
  ],
  ["BDAT behind DATA", `DATA\r\nx\r\n.\r\n${LINE}\r\n${CHUNK}`, "354 250 503"],
];

for (const [name, sent, codes] of MIXED) {
  Deno.test(`DATA and BDAT do not mix: ${name}`, () => {
    const got = outcome(`EHLO x\r\n${MAIL}${RCPT}${sent}`);
    assertEquals(got.codes, `250 250 250 ${codes}`);
  });
}

Deno.test("BODY=BINARYMIME goes by BDAT only", () => {
  const got = outcome(
    `EHLO x\r\nMAIL FROM:<a@b.test> BODY=BINARYMIME\r\n${RCPT}DATA\r\nNOOP\r\n`,
  );
  assertEquals(got.codes, "250 250 250 503 250");
});
