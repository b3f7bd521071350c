/**
 * The speed of commands: lines alone, lines parsed, and whole sessions of the
 * server state machine without a socket. A run is 100 lines, or one message.
 */

import { parseCommand } from "../../../lib/protocol/command.ts";
import { LineBuffer } from "../../../lib/protocol/line_buffer.ts";
import { ServerProtocol } from "../../../lib/protocol/server/protocol.ts";
import { testProfile } from "../../support/dialogue.ts";
import { bytesOf } from "../../support/bytes.ts";

const LINE = "RCPT TO:<someone@example.com> NOTIFY=NEVER\r\n";
const LINES = bytesOf(LINE.repeat(100));

Deno.bench("100 lines", { group: "lines" }, () => {
  const buffer = new LineBuffer(1000);
  let at = 0;
  while (buffer.next(LINES, at, LINES.length) === "line") at = buffer.position;
});

Deno.bench("100 lines, taken apart", { group: "lines" }, () => {
  const buffer = new LineBuffer(1000);
  let at = 0;
  while (buffer.next(LINES, at, LINES.length) === "line") {
    at = buffer.position;
    parseCommand(buffer.text);
  }
});

const profile = testProfile({ maxSize: 0, maxRecipients: 1000 });

/** Runs the state machine until it wants to read; accepts everything. */
function drive(machine: ServerProtocol): void {
  for (;;) {
    const { effect } = machine.next();
    if (effect === "read" || effect === "close") return;
    if (effect === "ask") machine.answer();
  }
}

function greeted(): ServerProtocol {
  const machine = new ServerProtocol(profile);
  drive(machine);
  machine.receive(bytesOf("EHLO client.test\r\n"));
  drive(machine);
  return machine;
}

const machine = greeted();
const ENVELOPE = [
  "MAIL FROM:<a@example.com> SIZE=1000\r\n",
  "RCPT TO:<b@example.com>\r\n",
  "DATA\r\n",
  `Subject: x\r\n\r\n${"A line of an ordinary mail.\r\n".repeat(30)}.\r\n`,
].map(bytesOf);

Deno.bench("a message, command by command", { group: "machine" }, () => {
  for (const part of ENVELOPE) {
    machine.receive(part.slice());
    drive(machine);
  }
});

Deno.bench("100 NOOPs in one packet", { group: "machine" }, () => {
  machine.receive(NOOPS);
  drive(machine);
});

const NOOPS = bytesOf("NOOP\r\n".repeat(100));
