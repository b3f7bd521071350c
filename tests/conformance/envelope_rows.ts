/** Rows about envelopes: parameters, addresses and limits. */

import { Probe } from "./probe.ts";
import { type Finding, type Row, shown, type Subject } from "./row.ts";

/** The reply to MAIL with each of these. */
function mail(
  lines: readonly string[],
  good: (code: number) => boolean,
): (subject: Subject) => Promise<Finding> {
  return async ({ port }) => {
    const codes: (number | string)[] = [];
    for (const line of lines) {
      using probe = await Probe.greet(port);
      codes.push(await probe.say(`MAIL FROM:${line}`));
    }
    return {
      seen: [...new Set(codes.map(shown))].join(", "),
      good: codes.every((code) => typeof code === "number" && good(code)),
    };
  };
}

async function manyRecipients({ port }: Subject): Promise<Finding> {
  using probe = await Probe.greet(port);
  await probe.say("MAIL FROM:<a@example.com>");
  const codes: (number | string)[] = [];
  for (let at = 0; at < 1200; at += 100) {
    const lines = Array.from(
      { length: 100 },
      (_, index) => `RCPT TO:<user${at + index}@example.com>\r\n`,
    );
    await probe.send(lines.join(""));
    for (let left = lines.length; left > 0; left--) {
      codes.push(await probe.code());
      if (typeof codes.at(-1) === "string") break;
    }
    if (typeof codes.at(-1) === "string") break;
  }
  const taken = codes.filter((code) => code === 250).length;
  const next = codes.find((code) => code !== 250);
  return {
    seen: next === undefined ? `all ${taken}` : `${taken}, then ${shown(next)}`,
    good: next === 452,
  };
}

const refused = (code: number) => code >= 500 && code < 600;

/** The rows. */
export const envelopeRows: readonly Row[] = [
  {
    name: "MAIL with an unknown parameter",
    target: "555",
    look: mail(["<a@example.com> FOO=BAR"], (code) => code === 555),
  },
  {
    name: "`REQUIRETLS` without TLS, `HOLDFOR=60` without login",
    target: "555",
    look: mail(
      ["<a@example.com> REQUIRETLS", "<a@example.com> HOLDFOR=60"],
      (code) => code === 555,
    ),
  },
  {
    name: "`BY=120;N`, a time of delivery",
    target: "250",
    look: mail(["<a@example.com> BY=120;N"], (code) => code === 250),
  },
  {
    name: "`BY=0;R`, `BY=1` and `BY=1;X`",
    target: "501",
    look: mail(
      ["BY=0;R", "BY=1", "BY=1;X"].map((by) => `<a@example.com> ${by}`),
      (code) => code === 501,
    ),
  },
  {
    name: '`<"a b"@example.com>` and `<"a@b"@example.com>`',
    target: "250",
    look: mail(
      ['<"a b"@example.com>', '<"a@b"@example.com>'],
      (code) => code === 250,
    ),
  },
  {
    name: "An address in UTF-8 without SMTPUTF8",
    target: "refused",
    look: mail(["<gr\xc3\xbc\xc3\x9fe@example.com>"], refused),
  },
  {
    name: "A local part of 300 bytes",
    target: "refused",
    look: mail([`<${"x".repeat(300)}@example.com>`], refused),
  },
  {
    name: "A local part of 200 bytes",
    target: "250",
    look: mail([`<${"x".repeat(200)}@example.com>`], (code) => code === 250),
  },
  {
    name: "`MAIL FROM: a@example.com` and `MAIL FROM:< a@example.com >`",
    target: "250",
    look: mail(
      [" a@example.com", "< a@example.com >"],
      (code) => code === 250,
    ),
  },
  {
    name: "`<a..b@example.com>` and `<a@example.com.>`",
    target: "refused",
    look: mail(["<a..b@example.com>", "<a@example.com.>"], refused),
  },
  {
    name: "`<a@example.com>` with `BODY=8BITMIME` twice",
    target: "250",
    look: mail(
      ["<a@example.com> BODY=8BITMIME BODY=8BITMIME"],
      (code) => code === 250,
    ),
  },
  {
    name: "`<a@example.com> AUTH=ann`",
    target: "250",
    look: mail(["<a@example.com> AUTH=ann"], (code) => code === 250),
  },
  {
    name: "`SIZE=` beyond the limit",
    target: "552",
    look: mail(["<a@example.com> SIZE=1300000"], (code) => code === 552),
  },
  {
    name: "1,200 recipients",
    target: "a limit, then 452",
    look: manyRecipients,
  },
];
