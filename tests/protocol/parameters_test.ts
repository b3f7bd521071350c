/**
 * Parameters of MAIL and RCPT: SIZE, BODY, SMTPUTF8, AUTH and DSN (RFC 1870,
 * RFC 6152, RFC 6531, RFC 4954 section 5, RFC 3461 section 4).
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  atMailbox,
  formatMailParameters,
  formatRcptParameters,
  type MailParameterRules,
  type MailParameters,
  parseMailParameters,
  parseRcptParameters,
  type RcptParameters,
} from "../../lib/protocol/parameters.ts";
import { randomText, seeded } from "../support/random.ts";

const ALL: MailParameterRules = {
  size: true,
  eightBitMime: true,
  binaryMime: true,
  smtpUtf8: true,
  dsn: true,
  auth: true,
  futureRelease: true,
  deliverBy: true,
  requireTls: true,
};
const NOTHING: MailParameterRules = {
  size: false,
  eightBitMime: false,
  binaryMime: false,
  smtpUtf8: false,
  dsn: false,
  auth: false,
  futureRelease: false,
  deliverBy: false,
  requireTls: false,
};
const DSN = { dsn: true, utf8: false };
const DSN_UTF8 = { dsn: true, utf8: true };

const MAIL: [name: string, text: string, want: MailParameters][] = [
  ["SIZE", " SIZE=100", { size: 100 }],
  ["SIZE zero", " size=0", { size: 0 }],
  [
    "SIZE of 20 digits",
    " SIZE=99999999999999999999",
    { size: Number.MAX_SAFE_INTEGER },
  ],
  ["BODY", " BODY=8BitMime", { body: "8BITMIME" }],
  ["BODY=7BIT", " BODY=7BIT", { body: "7BIT" }],
  ["BODY=BINARYMIME", " BODY=BINARYMIME", { body: "BINARYMIME" }],
  ["SMTPUTF8", " smtputf8", { smtpUtf8: true }],
  ["RET", " RET=hdrs", { ret: "HDRS" }],
  ["ENVID", " ENVID=QQ+2B314159", { envid: "QQ+314159" }],
  ["ENVID with space", " ENVID=a+20b", { envid: "a b" }],
  ["ENVID of 100", ` ENVID=${"e".repeat(100)}`, { envid: "e".repeat(100) }],
  ["AUTH", " AUTH=e+3Dmc2@example.com", { auth: "e=mc2@example.com" }],
  ["AUTH unknown", " AUTH=<>", { auth: "<>" }],
  ["AUTH beyond ASCII", " AUTH=+C3+A9@x", { auth: "é@x" }],
  ["HOLDFOR", " HOLDFOR=60", { holdFor: 60 }],
  ["HOLDUNTIL", " holduntil=2027-02-28T08:00:00Z", {
    holdUntil: "2027-02-28T08:00:00Z",
  }],
  ["HOLDUNTIL in a zone", " HOLDUNTIL=2027-02-28t08:00:00.25+01:30", {
    holdUntil: "2027-02-28t08:00:00.25+01:30",
  }],
  ["BY", " BY=120;R", { by: { seconds: 120, mode: "return" } }],
  ["BY with a sign and trace", " by=+120;nt", {
    by: { seconds: 120, mode: "notify", trace: true },
  }],
  ["BY in the past", " BY=-5;N", { by: { seconds: -5, mode: "notify" } }],
  ["BY now", " BY=-0;N", { by: { seconds: 0, mode: "notify" } }],
  ["REQUIRETLS", " requiretls", { requireTls: true }],
  ["several", " SIZE=1 BODY=7BIT RET=FULL", {
    size: 1,
    body: "7BIT",
    ret: "FULL",
  }],
  ["spaces", "   SIZE=1  RET=FULL ", { size: 1, ret: "FULL" }],
  ["spaces only", "  ", {}],
  ["tabs", "\tSIZE=1\t RET=FULL\t", { size: 1, ret: "FULL" }],
  ["AUTH with the name of an account", " AUTH=ann", { auth: "<>" }],
  ["AUTH that is no xtext", " AUTH=ann+list@b.example", { auth: "<>" }],
  ["AUTH that is empty", " AUTH=", { auth: "<>" }],
  ["AUTH twice", " AUTH=ann AUTH=<>", { auth: "<>" }],
  ["SIZE twice", " SIZE=1 size=1", { size: 1 }],
  ["two sizes, of which the larger counts", " SIZE=20 SIZE=10", { size: 20 }],
  ["BODY twice", " BODY=8BITMIME BODY=8bitmime", { body: "8BITMIME" }],
  ["SMTPUTF8 twice", " SMTPUTF8 SMTPUTF8", { smtpUtf8: true }],
  ["AUTH with a route", " AUTH=@a:b@c", { auth: "<>" }],
];

const MAIL_REFUSED: [name: string, text: string, want: string][] = [
  ["no space", "SIZE=1", "501 5.5.4 Space required after the path"],
  ["unknown", " COLOR=RED", "555 5.5.4 Parameter COLOR is not recognized here"],
  ["constructor", " constructor=1", "555 5.5.4 Parameter CONSTRUCTOR is"],
  ["hasOwnProperty", " hasOwnProperty", "555 5.5.4 Parameter HASOWNPROPERTY"],
  ["__proto__", " __proto__=1", "501 5.5.4 Malformed parameter __proto__"],
  ["NOTIFY of RCPT", " NOTIFY=NEVER", "555 5.5.4 Parameter NOTIFY is"],
  [
    "a long keyword",
    ` ${"x".repeat(400)}`,
    `555 5.5.4 Parameter ${"X".repeat(32)}... is`,
  ],
  ["controls", " \x01a\x7fé", "501 5.5.4 Malformed parameter ?a??"],
  ["no keyword", " =1", "501 5.5.4 Malformed"],
  ["empty value", " SIZE=", "501 5.5.4 Malformed parameter SIZE"],
  ["two equals signs", " SIZE=1=2", "501 5.5.4 Malformed parameter SIZE"],
  ["SIZE twice, one malformed", " SIZE=1 SIZE=x", "501 5.5.4 Malformed"],
  [
    "BODY twice, not alike",
    " BODY=7BIT BODY=8BITMIME",
    "501 5.5.4 Parameter BODY given twice",
  ],
  [
    "AUTH twice, not alike",
    " AUTH=a@b AUTH=c@d",
    "501 5.5.4 Parameter AUTH given twice",
  ],
  ["RET twice", " RET=FULL RET=FULL", "501 5.5.4 Parameter RET given twice"],
  ["ENVID twice", " ENVID=a ENVID=a", "501 5.5.4 Parameter ENVID given twice"],
  ...[
    ...["HOLDFOR", "HOLDFOR=-1", "HOLDFOR=1234567890", "HOLDFOR=1.5"],
    ...["HOLDUNTIL", "HOLDUNTIL=2027-02-29T08:00:00Z"],
    ...["HOLDUNTIL=2027-02-28T08:00:00", "HOLDUNTIL=2027-13-01T08:00:00Z"],
    ...["HOLDUNTIL=2027-02-28T24:00:00Z", "HOLDUNTIL=tomorrow"],
    ...["BY=10", "BY=10;X", "BY=0;R", "BY=-1;RT", "BY=1234567890;N"],
    ...["BY=10;NTT", "BY=;N", "REQUIRETLS=1"],
  ].map((text): [string, string, string] => [
    text,
    ` ${text}`,
    `501 5.5.4 Malformed parameter ${text.split("=")[0]}`,
  ]),
  ["BY twice", " BY=1;R BY=1;R", "501 5.5.4 Parameter BY given twice"],
  ["SIZE without value", " SIZE", "501 5.5.4 Malformed parameter SIZE"],
  ["SIZE negative", " SIZE=-1", "501 5.5.4 Malformed parameter SIZE"],
  ["SIZE hexadecimal", " SIZE=0x10", "501 5.5.4 Malformed parameter SIZE"],
  ["SIZE of 21 digits", ` SIZE=${"1".repeat(21)}`, "501 5.5.4 Malformed"],
  ["SIZE in other digits", " SIZE=\u0661", "501 5.5.4 Malformed"],
  ["keyword with long s", " \u017fIZE=1", "501 5.5.4 Malformed parameter ?IZE"],
  ["BODY unknown", " BODY=9BIT", "501 5.5.4 Malformed parameter BODY"],
  ["BODY with dotless i", " BODY=8B\u0131TMIME", "501 5.5.4 Malformed"],
  ["SMTPUTF8 with value", " SMTPUTF8=1", "501 5.5.4 Malformed"],
  ["RET unknown", " RET=NONE", "501 5.5.4 Malformed parameter RET"],
  ["ENVID of 101", ` ENVID=${"e".repeat(101)}`, "501 5.5.4 Malformed"],
  ["ENVID without a value", " ENVID", "501 5.5.4 Malformed"],
  ["ENVID not xtext", " ENVID=a+2", "501 5.5.4 Malformed"],
  ["ENVID with a line end", " ENVID=a+0D+0AX:", "501 5.5.4 Malformed"],
  ["ENVID beyond ASCII", " ENVID=+C3+A9", "501 5.5.4 Malformed"],
  ["AUTH with a line end", " AUTH=a+0D+0A@b", "501 5.5.4 Malformed"],
];

const RCPT: [name: string, text: string, want: RcptParameters][] = [
  ["NOTIFY=NEVER", " NOTIFY=never", { notify: ["NEVER"] }],
  ["NOTIFY list", " NOTIFY=DELAY,Failure,SUCCESS", {
    notify: ["DELAY", "FAILURE", "SUCCESS"],
  }],
  ["NOTIFY with doubles", " NOTIFY=FAILURE,failure,DELAY,FAILURE", {
    notify: ["FAILURE", "DELAY"],
  }],
  ["ORCPT with an empty address", " ORCPT=rfc822;", {
    orcpt: { type: "rfc822", address: "" },
  }],
  ["ORCPT utf-8 with an empty address", " ORCPT=utf-8;", {
    orcpt: { type: "utf-8", address: "" },
  }],
  ["ORCPT", " ORCPT=rfc822;Bob+2Bx@example.com", {
    orcpt: { type: "rfc822", address: "Bob+x@example.com" },
  }],
  ["ORCPT of another type", " ORCPT=x400;/c=us/".replace("c=", "c+3D"), {
    orcpt: { type: "x400", address: "/c=us/" },
  }],
  ["ORCPT utf-8 in ASCII", " ORCPT=utf-8;j\\x{F6}rg\\x{2B}x@e.com", {
    orcpt: { type: "utf-8", address: "jörg+x@e.com" },
  }],
  ["ORCPT utf-8 beyond the BMP", " ORCPT=UTF-8;\\x{1F600}@e.com", {
    orcpt: { type: "UTF-8", address: "😀@e.com" },
  }],
];

const RCPT_REFUSED: [name: string, text: string][] = [
  ["NOTIFY without value", " NOTIFY"],
  ["NOTIFY unknown", " NOTIFY=ALWAYS"],
  ["NOTIFY NEVER and more", " NOTIFY=NEVER,DELAY"],
  ["NOTIFY with a comma last", " NOTIFY=DELAY,"],
  ["NOTIFY with long s", " NOTIFY=\u017fUCCESS"],
  ["ORCPT without type", " ORCPT=a@b"],
  ["ORCPT with empty type", " ORCPT=;a@b"],
  ["ORCPT with a type no atom", " ORCPT=rfc(822;a@b"],
  ["ORCPT with a line end", " ORCPT=rfc822;a+0D+0AX:@b"],
  ["ORCPT of 501", ` ORCPT=rfc822;${"a".repeat(494)}`],
  ["ORCPT beyond ASCII", " ORCPT=rfc822;é@b"],
  ["ORCPT utf-8 unescaped", " ORCPT=utf-8;é@b"],
  ["ORCPT utf-8 with a plus", " ORCPT=utf-8;a+2B@b"],
  ["ORCPT utf-8 with a backslash", " ORCPT=utf-8;a\\@b"],
  ["ORCPT utf-8 with a control", " ORCPT=utf-8;\\x{0A}@b"],
  ["ORCPT utf-8 with half a pair", " ORCPT=utf-8;\\x{D800}@b"],
  ["ORCPT utf-8 past Unicode", " ORCPT=utf-8;\\x{110000}@b"],
  ["twice", " ORCPT=rfc822;a@b ORCPT=rfc822;a@b"],
];

function refusal(
  result: { parameters: unknown } | { reply: unknown },
): string {
  return "reply" in result ? String(result.reply) : "taken";
}

for (const [name, text, want] of MAIL) {
  Deno.test(`parseMailParameters() takes ${name}`, () => {
    assertEquals(parseMailParameters(text, ALL), { parameters: want });
    const printed = formatMailParameters(want);
    assertEquals(parseMailParameters(printed, ALL), { parameters: want });
  });
}

for (const [name, text, want] of MAIL_REFUSED) {
  Deno.test(`parseMailParameters() refuses ${name}`, () => {
    const reply = refusal(parseMailParameters(text, ALL));
    assertEquals(reply.slice(0, want.length), want);
  });
}

for (const [name, text, want] of RCPT) {
  Deno.test(`parseRcptParameters() takes ${name}`, () => {
    assertEquals(parseRcptParameters(text, DSN), { parameters: want });
    assertEquals(parseRcptParameters(formatRcptParameters(want), DSN), {
      parameters: want,
    });
  });
}

for (const [name, text] of RCPT_REFUSED) {
  Deno.test(`parseRcptParameters() refuses ${name}`, () => {
    const reply = refusal(parseRcptParameters(text, DSN));
    assertEquals(reply.slice(0, 10), "501 5.5.4 ");
  });
}

Deno.test("parseMailParameters() refuses what is not offered", () => {
  const texts = "SIZE=1 BODY=7BIT SMTPUTF8 RET=FULL ENVID=a".split(" ");
  for (const text of texts) {
    const reply = refusal(parseMailParameters(` ${text}`, NOTHING));
    assertEquals(reply.slice(0, 10), "555 5.5.4 ");
  }
});

Deno.test("parseMailParameters() takes AUTH where no log-in is offered, and keeps nothing of it", () => {
  for (const text of [" AUTH=<>", " AUTH=a@b", " AUTH=ann", " AUTH="]) {
    assertEquals(parseMailParameters(text, NOTHING), { parameters: {} });
  }
});

Deno.test("parseMailParameters() refuses a BODY that is not offered", () => {
  const eight = { ...NOTHING, eightBitMime: true };
  assertEquals(
    refusal(parseMailParameters(" BODY=BINARYMIME", eight)),
    "501 5.5.4 Malformed parameter BODY",
  );
  assertEquals(parseMailParameters(" BODY=8BITMIME", eight), {
    parameters: { body: "8BITMIME" },
  });
});

Deno.test("parseRcptParameters() refuses what is not offered", () => {
  const none = { dsn: false, utf8: true };
  for (const text of [" NOTIFY=NEVER", " ORCPT=rfc822;a@b"]) {
    assertEquals(
      refusal(parseRcptParameters(text, none)).slice(0, 10),
      "555 5.5.4 ",
    );
  }
});

Deno.test("parseRcptParameters() takes ORCPT beyond ASCII under SMTPUTF8", () => {
  assertEquals(parseRcptParameters(" ORCPT=utf-8;jörg@b", DSN_UTF8), {
    parameters: { orcpt: { type: "utf-8", address: "jörg@b" } },
  });
  assert("reply" in parseRcptParameters(" ORCPT=utf-8;\ufffd@b", DSN_UTF8));
});

Deno.test("parse*Parameters() share one frozen object for none", () => {
  const mail = parseMailParameters("", ALL);
  assert(mail === parseMailParameters("", NOTHING));
  assert("parameters" in mail && Object.isFrozen(mail.parameters));
  assertEquals(mail, { parameters: {} });
  assertEquals(parseRcptParameters("", DSN), { parameters: {} });
});

Deno.test("format*Parameters() print what stands in a command", () => {
  assertEquals(formatMailParameters({}), "");
  assertEquals(
    formatMailParameters({
      size: 5,
      body: "8BITMIME",
      smtpUtf8: true,
      ret: "HDRS",
      envid: "a+b",
      auth: "c=d@e",
    }),
    " SIZE=5 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb AUTH=c+3Dd@e",
  );
  assertEquals(formatRcptParameters({}), "");
  assertEquals(
    formatRcptParameters({
      notify: ["SUCCESS", "DELAY"],
      orcpt: { type: "utf-8", address: "é+\\@b" },
    }),
    " NOTIFY=SUCCESS,DELAY ORCPT=utf-8;\\x{E9}\\x{2B}\\x{5C}@b",
  );
});

Deno.test("formatRcptParameters() prints no line end", () => {
  const orcpt = { type: "rfc822", address: "a\r\nRSET" };
  assertEquals(formatRcptParameters({ orcpt }), " ORCPT=rfc822;a+0D+0ARSET");
  assertThrows(
    () => formatRcptParameters({ orcpt: { type: "a\r\n", address: "b" } }),
    TypeError,
    'type "a\\r\\n": want an atom',
  );
});

Deno.test("parse*Parameters() never throw, and what they take they print", () => {
  const random = seeded(3);
  const pieces = [..." =;,+\\\r\0é<>"].concat(
    ...[
      " SIZE=",
      " BODY=",
      "8BITMIME",
      " SMTPUTF8",
      " RET=",
      "FULL",
      " ENVID=",
    ],
    ...[" AUTH=", "<>", "a@b", "12", " NOTIFY=", "NEVER", "DELAY", " ORCPT="],
    ...["rfc822;", "utf-8;", "+41", "\\x{E9}", "\ud800", "__proto__"],
  );
  for (let round = 0; round < 20_000; round++) {
    const text = randomText(random, { pieces, length: 8 });
    const mail = parseMailParameters(text, ALL);
    if ("parameters" in mail) {
      const printed = formatMailParameters(mail.parameters);
      assertEquals(parseMailParameters(printed, ALL), mail, text);
    }
    const rcpt = parseRcptParameters(text, DSN_UTF8);
    if ("parameters" in rcpt) {
      const printed = formatRcptParameters(rcpt.parameters);
      assertEquals(parseRcptParameters(printed, DSN), rcpt, text);
    }
  }
});

Deno.test("atMailbox() leaves out what is about the way of a message", () => {
  const plain: MailParameters = { size: 1, body: "8BITMIME" };
  assertEquals(atMailbox(plain), plain);
  const by = { seconds: 60, mode: "return" } as const;
  const asked = { ...plain, holdFor: 60, by, requireTls: true } as const;
  assertEquals(atMailbox(asked), plain);
});
