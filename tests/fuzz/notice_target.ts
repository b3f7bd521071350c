/**
 * Fuzz of delivery status notifications: whatever peers put into addresses, ENVID,
 * ORCPT and replies, the DSN is a report of three parts, with the fields of RFC
 * 3464 and no others.
 */

import { isAscii } from "../../lib/protocol/bytes.ts";
import { asciiMailbox } from "../../lib/protocol/domain.ts";
import { Address } from "../../lib/protocol/address.ts";
import {
  parseMailParameters,
  parseRcptParameters,
} from "../../lib/protocol/parameters.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import {
  type DsnInit,
  makeDsn,
  type StatusRecipient,
} from "../../lib/dsn/report.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";
import { readNotice } from "./notice_reader.ts";
import { bytesOf, textOf, utf8 } from "../support/bytes.ts";

/** Notices. */
export const noticeTarget: FuzzTarget = {
  name: "notice",
  check(random) {
    const init = notice(random);
    const { bytes, smtpUtf8, eightBit } = makeDsn(init);
    const text = textOf(bytes);
    const read = readNotice(text);
    const { recipients } = init.status;
    want(read.returned === textOf(init.returned), "another content", text);
    want(read.groups.length === 1 + recipients.length, "other groups", text);
    want(isOfFields(read.groups[0]!, MESSAGE_FIELDS), "fields", text);
    for (const [index, group] of read.groups.slice(1).entries()) {
      want(isOfFields(group, RECIPIENT_FIELDS), "fields", text);
      const [action] = group.filter(([name]) => name === "Action");
      want(action?.[1] === recipients[index]!.action, "action", text);
    }
    want(isOfFields(read.header, HEADER_FIELDS), "header", text);
    const body = text.slice(read.head.length);
    want(smtpUtf8 || isAscii(read.head), "8-bit header", text);
    want(eightBit || isAscii(body), "8-bit text", text);
    const to = new TextDecoder().decode(
      bytesOf(read.header.find(([name]) => name === "To")?.[1] ?? ""),
    );
    want(to === `<${asciiMailbox(init.to)}>`, "another addressee", to);
  },
};

const HEADER_FIELDS = [
  ...["Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted"],
  ...["MIME-Version", "Content-Type", "Content-Transfer-Encoding"],
];
const MESSAGE_FIELDS = [
  ...["Original-Envelope-Id", "Reporting-MTA", "Arrival-Date"],
];
const RECIPIENT_FIELDS = [
  ...["Original-Recipient", "Final-Recipient", "Action", "Status"],
  ...["Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date"],
  "Will-Retry-Until",
];

function want(condition: boolean, what: string, text: string): void {
  if (!condition) throw new Error(`Wrong (${what}): ${JSON.stringify(text)}`);
}

/** Whether the fields are some of those allowed, each at most once. */
function isOfFields(
  fields: readonly (readonly [string, string])[],
  allowed: readonly string[],
): boolean {
  const names = fields.map(([name]) => name);
  return new Set(names).size === names.length &&
    names.every((name) => allowed.includes(name));
}

const HOSTILE = [
  "550 5.1.1 No such user",
  "x\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; b@c",
  "\n.\r\nMAIL FROM:<evil@b.test>",
  "--=_abc123--\r\n\r\nContent-Type: text/html",
  "\u2028Status: 2.0.0\u2029\x85\x0b\x0c",
  "\u001b]0;x\u0007\u009b2J\u202eabc",
  "=?utf-8?q?=0d=0aBcc:_x?=",
  "\u4f60\u597d".repeat(400),
  "w".repeat(5000),
  `${"many words ".repeat(400)}`,
  "\ud800 half \udc00",
  "",
];
const ADDRESSES = [
  ...["a@b.test", '"a b"@b.test', '"\\"<x>"@b.test', "a@[IPv6:::1]", "c@d"],
  ...["\u4f60\u597d@b\xfccher.test", "__proto__@b.test", '"a;b, c"@b.test'],
  ...["\u202eevil@b.test", '"--=_abc123--"@b.test', "postmaster"],
  ...[`${"l".repeat(64)}@${`${"d".repeat(60)}.`.repeat(3)}test`],
];

function hostile(random: Random): string {
  return mutate(random, pick(random, HOSTILE));
}

function address(random: Random): string {
  const text = mutate(random, pick(random, ADDRESSES));
  try {
    const parsed = Address.parse(text);
    return parsed.isNull ? "a@b.test" : parsed.toString();
  } catch {
    return pick(random, ADDRESSES);
  }
}

function notice(random: Random): DsnInit {
  const kind = pick(random, ["failed", "delayed", "succeeded"] as const);
  const parsed = parseMailParameters(` ENVID=${xtext(random)}`, {
    ...{ size: true, eightBitMime: true, binaryMime: true, smtpUtf8: true },
    ...{ futureRelease: true, deliverBy: true, requireTls: true },
    ...{ dsn: true, auth: true },
  });
  const recipients: StatusRecipient[] = [];
  for (let left = random(4); left >= 0; left--) {
    recipients.push(recipient(random, kind));
  }
  return {
    kind,
    to: address(random),
    from: "MAILER-DAEMON@mx.test",
    now: random(2 ** 31) * 1000,
    unique: "abc123",
    status: {
      reportingMta: "mx.test",
      envid: "parameters" in parsed
        ? parsed.parameters.envid
        : chance(random, 2)
        ? hostile(random)
        : undefined,
      arrivedAt: 0,
      recipients,
    },
    smtpUtf8: chance(random, 2),
    returned: returned(random),
    isWhole: chance(random, 2),
  };
}

function xtext(random: Random): string {
  return mutate(random, pick(random, ["abc", "a+2Bb", "a+0D+0AX:+20y"]));
}

function recipient(
  random: Random,
  kind: DsnInit["kind"],
): StatusRecipient {
  const orcpt = mutate(
    random,
    pick(random, ["rfc822;a+40b", "utf-8;\\x{4F60}@b", "x;+0D+0AAction:+20y"]),
  );
  const parsed = parseRcptParameters(` ORCPT=${orcpt}`, {
    dsn: true,
    utf8: chance(random, 2),
  });
  const text = hostile(random);
  return {
    address: address(random),
    parameters: "parameters" in parsed ? parsed.parameters : {},
    action: kind === "succeeded" ? "relayed" : kind,
    answer: {
      at: random(2 ** 31) * 1000,
      text: chance(random, 2) ? String(new SmtpReply(550, text)) : text,
      isReply: chance(random, 2),
      status: "5.1.1",
      ...(chance(random, 2)
        ? { remoteMta: chance(random, 2) ? hostile(random) : "mx.b.test" }
        : {}),
    },
    ...(kind === "delayed" ? { retryUntil: 1000 } : {}),
  };
}

function returned(random: Random): Uint8Array {
  const text = mutate(
    random,
    pick(random, [
      "Subject: x\r\n",
      "Subject: x\r\n\r\nText\r\n--=_abc123\r\nContent-Type: text/html\r\n\r\n",
      "Subject: x\r\n\r\n\r\n--=_abc123--\r\n--=_abc1230--\r\n",
      "__proto__: x\r\nSubject: \u4f60\r\n",
    ]),
  );
  return utf8(text);
}
