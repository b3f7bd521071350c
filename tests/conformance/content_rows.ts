/**
 * Rows about content: its end, its changes and its cost. A server that sees an end
 * where others do not can be made to run the rest of a message as commands (SMTP
 * smuggling).
 */

import { Probe } from "./probe.ts";
import { type Finding, type Row, shown, type Subject } from "./row.ts";

const HEAD = "Subject: x\r\n\r\n";

/** The outcome of a message with `end` inside and a command behind it. */
async function falseEnd(subject: Subject, end: string): Promise<string> {
  using probe = await Probe.greet(subject.port);
  const codes = await probe.message(
    `${HEAD}a${end}NOOP\r\nx\r\n.\r\nQUIT\r\n`,
  );
  const [first = "silent", second] = codes;
  if (second === 250) return "ends the message";
  if (first === 250) {
    const isRepaired = end.includes("\n") &&
      !/(?<!\r)\n|\r(?!\n)/.test(await subject.delivered());
    return isRepaired ? "made CRLF" : "kept";
  }
  return `refused, ${shown(first)}`;
}

function falseEnds(
  ends: readonly string[],
): (subject: Subject) => Promise<Finding> {
  return async (subject) => {
    const seen = new Set<string>();
    for (const end of ends) seen.add(await falseEnd(subject, end));
    return {
      seen: [...seen].join("; "),
      good: [...seen].every((outcome) => /^(?:refused|made)/.test(outcome)),
    };
  };
}

/** The body that arrives; the server's reply where it refuses the body. */
async function arrives(subject: Subject, body: string): Promise<string> {
  using probe = await Probe.greet(subject.port);
  const [code = "silent"] = await probe.message(`${HEAD}${body}.\r\n`);
  if (code !== 250) return `refused, ${shown(code)}`;
  const mail = await subject.delivered();
  return mail.slice(/\r?\n\r?\n/.exec(mail)!.index).replace(
    /^(?:\r?\n){2}/,
    "",
  );
}

async function dotsAfterLineFeed(subject: Subject): Promise<Finding> {
  const body = await arrives(subject, "a\n..\r\nb\r\n");
  if (body.startsWith("refused")) return { seen: body, good: true };
  const good = !/[^\r]\n\.\r\n/.test(body);
  return { seen: good ? "harmless" : "becomes `LF . CRLF`", good };
}

async function dotInFront(subject: Subject): Promise<Finding> {
  const body = await arrives(subject, ".x\r\n");
  const [line = ""] = body.split(/\r?\n/);
  return { seen: `\`${line}\``, good: line === "x" };
}

async function longLine(subject: Subject): Promise<Finding> {
  const body = await arrives(subject, `${"x".repeat(5000)}\r\n`);
  const good = body.includes("x".repeat(5000));
  if (body.startsWith("refused")) return { seen: body, good };
  return { seen: good ? "unchanged" : "broken up", good };
}

async function tooLarge({ port }: Subject): Promise<Finding> {
  using probe = await Probe.greet(port);
  await probe.envelope();
  await probe.say("DATA");
  await probe.send(`${HEAD}${`${"x".repeat(63)}\r\n`.repeat(20_000)}.\r\n`);
  const code = await probe.code();
  return { seen: shown(code), good: code === 552 };
}

/** Milliseconds to take a message of 900 KB of these lines; the best of five. */
async function cost(port: number, line: string): Promise<number> {
  const times: number[] = [];
  const content = HEAD + line.repeat(900_000 / line.length) + ".\r\n";
  using probe = await Probe.greet(port);
  for (let round = 0; round < 5; round++) {
    await probe.envelope();
    await probe.say("DATA");
    const before = performance.now();
    await probe.send(content);
    await probe.code(30_000);
    times.push(performance.now() - before);
  }
  return Math.min(...times);
}

async function costOfDots({ port }: Subject): Promise<Finding> {
  const plain = await cost(port, "ab\r\n");
  const ratio = await cost(port, "..\r\n") / plain;
  return { seen: `${ratio.toFixed(1)} times`, good: ratio < 2 };
}

async function beforeGoAhead({ port }: Subject): Promise<Finding> {
  using probe = await Probe.greet(port);
  await probe.envelope();
  await probe.send(`DATA\r\n${HEAD}x\r\n.\r\n`);
  const first = await probe.code();
  const second = await probe.code();
  const good = first === 354 && second === 250;
  return {
    seen: good ? "accepted" : `${shown(first)}, ${shown(second)}`,
    good,
  };
}

/** The rows. */
export const contentRows: readonly Row[] = [
  {
    name: "`LF . LF`, `LF . CRLF`, `CRLF . LF` in content",
    target: "refused or made CRLF, in step",
    look: falseEnds(["\n.\n", "\n.\r\n", "\r\n.\n"]),
  },
  {
    name:
      "`CR . CR`, `CRLF . CR`, `CR . CRLF`, `CRLF NUL . CRLF`, `CR CRLF . CR CRLF`",
    target: "refused or one message, in step",
    look: async (subject) => {
      const found = await falseEnds([
        ...["\r.\r", "\r\n.\r", "\r.\r\n", "\r\n\0.\r\n", "\r\r\n.\r\r\n"],
      ])(subject);
      return { ...found, good: !found.seen.includes("ends") };
    },
  },
  {
    name: "`a LF .. CRLF` in content",
    target: "refused or harmless",
    look: dotsAfterLineFeed,
  },
  { name: "The line `.x`", target: "`x`", look: dotInFront },
  {
    name: "A line of 5,000 bytes",
    target: "unchanged",
    look: longLine,
  },
  {
    name: "1.3 MB where the limit is 1 MB",
    target: "552",
    look: tooLarge,
  },
  {
    name: "Content in one packet with DATA",
    target: "accepted",
    look: beforeGoAhead,
  },
  {
    name: "900 KB of lines `..`, against lines `ab`",
    target: "below 2 times",
    timed: true,
    look: costOfDots,
  },
];
