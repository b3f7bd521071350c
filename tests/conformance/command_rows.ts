/** Rows about commands: line ends, order, pipelining, chunks and encryption. */

import { Probe } from "./probe.ts";
import { type Finding, type Row, shown, type Subject } from "./row.ts";

/** Whether a bare LF ends a command, so that the next line is another command. */
async function bareLineFeed({ port }: Subject): Promise<Finding> {
  using probe = await Probe.greet(port);
  await probe.send("NOOP\nNOOP\r\nQUIT\r\n");
  const codes = await probe.rest();
  const good = typeof codes[0] === "number" && codes[0] >= 400;
  return { seen: good ? `refused, ${codes[0]}` : "accepted", good };
}

async function manyCommands({ port }: Subject): Promise<Finding> {
  using probe = await Probe.greet(port);
  await probe.send("NOOP\r\n".repeat(5000));
  const codes = await probe.rest(1500);
  const count = codes.filter((code) => code === 250).length;
  return { seen: `${count}`, good: count === 5000 };
}

/** RFC 2920 section 3.1 allows it. */
async function mailBehindContent({ port }: Subject): Promise<Finding> {
  using probe = await Probe.greet(port);
  await probe.envelope();
  await probe.say("DATA");
  await probe.send("Subject: x\r\n\r\nx\r\n.\r\nMAIL FROM:<a@example.com>\r\n");
  await probe.code();
  const code = await probe.code();
  return { seen: shown(code), good: code === 250 };
}

/** The chunk of a refused BDAT looks like a command here. */
async function refusedChunk({ port }: Subject): Promise<Finding> {
  using probe = await Probe.connect(port);
  await probe.reply();
  await probe.send("EHLO client.test\r\n");
  const hello = await probe.reply();
  if (typeof hello === "string") return { seen: hello, good: false };
  if (!hello.lines.some((line) => /^250.CHUNKING/i.test(line))) {
    return { seen: "no CHUNKING", good: false };
  }
  await probe.send("BDAT 6 LAST\r\nNOOP\r\nQUIT\r\n");
  const codes = await probe.rest();
  const good = !codes.includes(250);
  return { seen: good ? "swallowed" : "run as a command", good };
}

async function injection({ port }: Subject): Promise<Finding> {
  using probe = await Probe.greet(port);
  await probe.send("STARTTLS\r\nNOOP\r\n");
  const code = await probe.code();
  if (code !== 220) return { seen: `refused, ${shown(code)}`, good: true };
  await probe.startTls();
  await probe.send("EHLO client.test\r\n");
  const reply = await probe.reply();
  // The answer to EHLO has several lines, that to NOOP has one.
  const good = typeof reply !== "string" && reply.lines.length > 1;
  return { seen: good ? "dropped" : "run", good };
}

async function mailAfterTls({ port }: Subject): Promise<Finding> {
  using probe = await Probe.greet(port);
  const ready = await probe.say("STARTTLS");
  if (ready !== 220) return { seen: "no STARTTLS", good: false };
  await probe.startTls();
  const code = await probe.say("MAIL FROM:<a@example.com>");
  return { seen: shown(code), good: code === 503 };
}

/** The rows. */
export const commandRows: readonly Row[] = [
  {
    name: "`NOOP` that ends with a bare LF",
    target: "refused",
    look: bareLineFeed,
  },
  {
    name: "5,000 pipelined NOOPs: answers",
    target: "5000",
    look: manyCommands,
  },
  {
    name: "The next MAIL in one packet with the end of DATA",
    target: "250",
    look: mailBehindContent,
  },
  {
    name: "The bytes of a refused BDAT",
    target: "swallowed",
    look: refusedChunk,
  },
  {
    name: "NOOP in one packet with STARTTLS",
    target: "dropped or refused",
    look: injection,
  },
  {
    name: "MAIL after STARTTLS without EHLO",
    target: "503",
    look: mailAfterTls,
  },
];
