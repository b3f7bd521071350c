/**
 * Command lines: verbs, line limits and the BDAT argument (RFC 5321 sections
 * 2.4 and 4.5.3.1.4, RFC 3030 section 2).
 */

import { assertEquals } from "@std/assert";
import {
  AUTH_LINE_LIMIT,
  type Command,
  COMMAND_LINE_LIMIT,
  isHttp,
  lineLimit,
  parseBdat,
  parseCommand,
} from "../../lib/protocol/command.ts";

const COMMANDS: [line: string, verb: Command["verb"], argument: string][] = [
  ["NOOP", "NOOP", ""],
  ["noop", "NOOP", ""],
  ["StartTLS", "STARTTLS", ""],
  ["NOOP ", "NOOP", ""],
  ["NOOP\t", "NOOP", ""],
  ["NOOP a b ", "NOOP", "a b"],
  ["NOOP  a", "NOOP", "a"],
  ["NOOP \t a", "NOOP", "a"],
  ["MAIL FROM:<a@b> SIZE=1  ", "MAIL", "FROM:<a@b> SIZE=1"],
  ["MAILFROM:<a@b>", undefined, ""],
  ["MAIL\tFROM:<a@b>", "MAIL", "FROM:<a@b>"],
  ["MAIL\t \tFROM:<a@b>", "MAIL", "FROM:<a@b>"],
  ["", undefined, ""],
  [" NOOP", undefined, "NOOP"],
  ["STARTTLSFOO", undefined, ""],
  ["toString", undefined, ""],
  ["__proto__", undefined, ""],
  // Upper-casing and trimming beyond ASCII would turn these into verbs.
  ["R\u017fET", undefined, ""],
  ["QU\u0131T", undefined, ""],
  ["NOOP\u00a0", undefined, ""],
  ["NOOP\ufeff", undefined, ""],
  ["NOOP\v", undefined, ""],
  ["NOOP a\u00a0", "NOOP", "a\u00a0"],
  ["NOOP a\f", "NOOP", "a\f"],
  ["NOOP a \t ", "NOOP", "a"],
];

for (const [line, verb, argument] of COMMANDS) {
  Deno.test(`parseCommand() takes ${JSON.stringify(line)} apart`, () => {
    assertEquals(parseCommand(line), { verb, argument });
  });
}

const CHUNKS: [argument: string, want: ReturnType<typeof parseBdat>][] = [
  ["0", { size: 0, last: false }],
  ["1000", { size: 1000, last: false }],
  ["0001", { size: 1, last: false }],
  ["0 LAST", { size: 0, last: true }],
  ["12  last", { size: 12, last: true }],
  ["12\tlast", { size: 12, last: true }],
  ["999999999999999", { size: 999999999999999, last: false }],
  ["1000000000000000", undefined],
  ["", undefined],
  ["LAST", undefined],
  ["1 FIRST", undefined],
  ["1 LAST LAST", undefined],
  ["-1", undefined],
  ["1e3", undefined],
  ["\u0661", undefined],
];

for (const [argument, want] of CHUNKS) {
  Deno.test(`parseBdat() reads ${JSON.stringify(argument)}`, () => {
    assertEquals(parseBdat(argument), want);
  });
}

Deno.test("lineLimit() adds what the extensions add", () => {
  assertEquals(lineLimit(undefined), 510);
  assertEquals(lineLimit("NOOP"), 510);
  assertEquals(lineLimit("RCPT"), 1010);
  assertEquals(lineLimit("MAIL"), COMMAND_LINE_LIMIT);
  assertEquals(lineLimit("AUTH"), AUTH_LINE_LIMIT);
  assertEquals(AUTH_LINE_LIMIT, 12286);
});

const HTTP: [line: string, want: boolean][] = [
  ["GET / HTTP/1.1", true],
  ["OPTIONS * HTTP/1.1", true],
  ["Host: mx.test", true],
  ["PRI * HTTP/2.0", true],
  ["GET", false],
  ["GETTING / x", false],
  ["get / HTTP/1.1", false],
  ["NOOP GET /", false],
  ["HELP", false],
];

for (const [line, want] of HTTP) {
  Deno.test(`isHttp() says ${want} to "${line}"`, () => {
    assertEquals(isHttp(line), want);
  });
}
