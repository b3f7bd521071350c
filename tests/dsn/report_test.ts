/**
 * DSNs: their parts, fields and lengths (RFC 3461 section 6, RFC 3464, RFC 6533).
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  type DeliveryStatus,
  type DsnInit,
  formatDeliveryStatus,
  makeDsn,
} from "../../lib/dsn/report.ts";
import type { RecipientAnswer } from "../../lib/spool/envelope.ts";

const ANSWER: RecipientAnswer = {
  at: 0,
  text: "550 5.1.1 No such user",
  isReply: true,
  status: "5.1.1",
  remoteMta: "mx.one.org",
};

function status(over: Partial<DeliveryStatus> = {}): DeliveryStatus {
  return {
    reportingMta: "mx.example.com",
    arrivedAt: 0,
    recipients: [{
      address: "a@one.org",
      parameters: {},
      action: "failed",
      answer: ANSWER,
    }],
    ...over,
  };
}

function dsnInit(over: Partial<DsnInit> = {}): DsnInit {
  return {
    kind: "failed",
    to: "sender@example.com",
    from: "MAILER-DAEMON@mx.example.com",
    now: 0,
    unique: "abc123",
    status: status(),
    smtpUtf8: false,
    returned: new TextEncoder().encode("Subject: Hello\r\nX: y\r\n"),
    isWhole: false,
    ...over,
  };
}

function textOf(init: DsnInit): string {
  return new TextDecoder().decode(makeDsn(init).bytes);
}

Deno.test("formatDeliveryStatus() prints the fields of RFC 3464 in groups", () => {
  const text = formatDeliveryStatus(status({
    envid: "QQ314159",
    recipients: [
      {
        address: "a@one.org",
        parameters: { orcpt: { type: "rfc822", address: "old+b@one.org" } },
        action: "failed",
        answer: ANSWER,
      },
      {
        address: "b@two.org",
        parameters: {},
        action: "delayed",
        answer: {
          at: 1000,
          text: "Connection refused",
          isReply: false,
          status: "4.4.1",
        },
        retryUntil: 432_000_000,
      },
    ],
  }));
  assertEquals(text.split("\r\n"), [
    "Original-Envelope-Id: QQ314159",
    "Reporting-MTA: dns; mx.example.com",
    "Arrival-Date: Thu, 01 Jan 1970 00:00:00 +0000",
    "",
    "Original-Recipient: rfc822; old+b@one.org",
    "Final-Recipient: rfc822; a@one.org",
    "Action: failed",
    "Status: 5.1.1",
    "Remote-MTA: dns; mx.one.org",
    "Diagnostic-Code: smtp; 550 5.1.1 No such user",
    "Last-Attempt-Date: Thu, 01 Jan 1970 00:00:00 +0000",
    "",
    "Final-Recipient: rfc822; b@two.org",
    "Action: delayed",
    "Status: 4.4.1",
    "Diagnostic-Code: x-local; Connection refused",
    "Last-Attempt-Date: Thu, 01 Jan 1970 00:00:01 +0000",
    "Will-Retry-Until: Tue, 06 Jan 1970 00:00:00 +0000",
    "",
  ]);
});

Deno.test("formatDeliveryStatus() lets no stranger add a field or a line", () => {
  const evil = "x\r\nAction: delivered\r\n\r\n\u2028y\0z";
  const text = formatDeliveryStatus(status({
    envid: evil,
    recipients: [{
      address: "a@one.org",
      parameters: { orcpt: { type: "rfc822", address: evil } },
      action: "failed",
      answer: { ...ANSWER, text: evil, remoteMta: evil },
    }],
  }));
  assertEquals(text.match(/^Action:/gm)?.length, 1);
  assertEquals(text.match(/\r\n\r\n/g)?.length, 1);
  assert(/^[\x20-\x7e\r\n]*$/.test(text));
});

Deno.test("formatDeliveryStatus() folds long values", () => {
  const text = formatDeliveryStatus(status({
    recipients: [{
      address: `${"l".repeat(64)}@${"d".repeat(60)}.org`,
      parameters: {},
      action: "failed",
      answer: {
        ...ANSWER,
        text: `550 ${"many words ".repeat(60)}${"w".repeat(5000)}`,
      },
    }],
  }));
  for (const line of text.split("\r\n")) {
    assert(line.length < 998, `${line.length}`);
  }
  assertStringIncludes(text, " many\r\n words many words");
});

/** Properties of a message, and the DSN that they must lead to. */
const UTF8_ROWS = [
  {
    name: "ASCII throughout",
    init: dsnInit(),
    types: ["text/plain", "message/delivery-status", "text/rfc822-headers"],
    report: "delivery-status",
    utf8: false,
    eightBit: false,
  },
  {
    name: "the whole message, 8 bit",
    init: dsnInit({
      isWhole: true,
      returned: new TextEncoder().encode("Subject: Hello\r\n\r\nGrüße\r\n"),
    }),
    types: ["text/plain", "message/delivery-status", "message/rfc822"],
    report: "delivery-status",
    utf8: false,
    eightBit: true,
  },
  {
    name: "a recipient beyond ASCII",
    init: dsnInit({
      smtpUtf8: true,
      status: status({
        recipients: [{
          address: "größe@exämple.org",
          parameters: {
            orcpt: { type: "utf-8", address: "größe@exämple.org" },
          },
          action: "failed",
          answer: ANSWER,
        }],
      }),
    }),
    types: [
      "text/plain",
      "message/global-delivery-status",
      "message/global-headers",
    ],
    report: "global-delivery-status",
    utf8: false,
    eightBit: true,
  },
  {
    name: "a sender and a header block beyond ASCII",
    init: dsnInit({
      smtpUtf8: true,
      to: "sønder@example.com",
      isWhole: true,
      returned: new TextEncoder().encode("Subject: Grüße\r\n\r\nText\r\n"),
    }),
    types: ["text/plain", "message/delivery-status", "message/global"],
    report: "delivery-status",
    utf8: true,
    eightBit: true,
  },
] as const;

for (const row of UTF8_ROWS) {
  Deno.test(`makeDsn() labels its parts: ${row.name}`, () => {
    const text = textOf(row.init);
    const types = [...text.matchAll(/^Content-Type: ([\w/-]+)/gm)].map((
      [, type],
    ) => type);
    assertEquals(types, ["multipart/report", ...row.types]);
    assertStringIncludes(text, `report-type=${row.report};`);
    const { smtpUtf8, eightBit } = makeDsn(row.init);
    assertEquals([smtpUtf8, eightBit], [row.utf8, row.eightBit]);
  });
}

Deno.test("makeDsn() makes what Python's email package understands", async () => {
  const rows = UTF8_ROWS.map(({ init }) => textOf(init));
  const script = `
import sys, json, email, email.policy
out = []
for text in json.load(sys.stdin):
    m = email.message_from_bytes(text.encode(), policy=email.policy.default)
    parts = list(m.iter_parts())
    report = parts[1].get_payload()
    fields = [dict(p.items()) for p in report]
    if len(fields) == 1:
        text = report[0].as_bytes().decode().replace("\\r\\n", "\\n")
        fields = [dict(l.split(": ", 1) for l in g.split("\\n") if ": " in l) for g in text.split("\\n\\n")]
    out.append({
        "defects": [str(d) for p in m.walk() for d in p.defects],
        "type": m.get_content_type(), "report": m.get_param("report-type"),
        "to": m["To"].addresses[0].addr_spec, "auto": m["Auto-Submitted"], "parts": len(parts),
        "action": fields[1].get("Action"), "final": str(fields[1].get("Final-Recipient")),
        "words": "No such user" in parts[0].get_content(),
    })
print(json.dumps(out))
`;
  const child = new Deno.Command("python3", {
    args: ["-c", script],
    stdin: "piped",
    stdout: "piped",
    env: { PYTHONIOENCODING: "utf-8" },
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(rows)));
  await writer.close();
  const { stdout, success } = await child.output();
  assert(success);
  const seen = JSON.parse(new TextDecoder().decode(stdout));
  for (const [index, row] of UTF8_ROWS.entries()) {
    const { defects, type, report, parts, action, auto, words } = seen[index];
    assertEquals(defects, [], row.name);
    assertEquals(
      [type, report, parts, action, auto, words],
      ["multipart/report", row.report, 3, "failed", "auto-replied", true],
      row.name,
    );
  }
  assertEquals(seen[0].to, "sender@example.com");
  assertStringIncludes(seen[2].final, "utf-8; größe@exämple.org");
});

Deno.test("makeDsn() makes no line of over 998 bytes, whatever is long", () => {
  for (const text of ["w", "\u4f60", "\u{1f600}"]) {
    const long = text.repeat(3000);
    const { bytes } = makeDsn(dsnInit({
      smtpUtf8: true,
      status: status({
        envid: long,
        recipients: [{
          address: "gr\u00f6\u00dfe@one.org",
          parameters: { orcpt: { type: "utf-8", address: long } },
          action: "failed",
          answer: { ...ANSWER, text: long, remoteMta: long },
        }],
      }),
    }));
    for (let start = 0; start < bytes.length;) {
      const end = bytes.indexOf(10, start) + 1 || bytes.length;
      assert(end - start <= 1000, `${end - start} bytes`);
      start = end;
    }
    // No character may be cut in two.
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  }
});

Deno.test("makeDsn() attributes only replies to a host", () => {
  const of = (isReply: boolean) => {
    const answer = { ...ANSWER, text: "Needs SMTPUTF8", isReply };
    const [recipient] = status().recipients;
    return textOf(dsnInit({
      status: status({ recipients: [{ ...recipient!, answer }] }),
    }));
  };
  assertStringIncludes(of(true), "mx.one.org said: Needs SMTPUTF8");
  assertStringIncludes(of(true), "Remote-MTA: dns; mx.one.org");
  assertStringIncludes(of(false), "    Needs SMTPUTF8\r\n");
  assertEquals(/said|Remote-MTA/.test(of(false)), false);
});
