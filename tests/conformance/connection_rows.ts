/** Rows about connections: greeting, clients that speak no SMTP, and the end. */

import { Probe } from "./probe.ts";
import { type Finding, type Row, shown, type Subject } from "./row.ts";

/** The processes of a server: the first, and all that come from it. */
async function processes(pid: number): Promise<number[]> {
  const children = `/proc/${pid}/task/${pid}/children`;
  const text = await Deno.readTextFile(children).catch(() => "");
  const below = text.split(" ").filter((word) => word !== "").map(Number);
  return [pid, ...(await Promise.all(below.map(processes))).flat()];
}

async function timeToGreeting({ port }: Subject): Promise<Finding> {
  const times: number[] = [];
  for (let round = 0; round < 21; round++) {
    const before = performance.now();
    using probe = await Probe.connect(port);
    await probe.reply();
    times.push(performance.now() - before);
  }
  // The least counts: an intended wait is in each of them, other load is not.
  const ms = Math.min(...times);
  return { seen: `${ms.toFixed(1)} ms`, good: ms < 2 };
}

/** The server is stopped while the client speaks, so that the client is first. */
async function earlyTalker({ port, pid }: Subject): Promise<Finding> {
  const held = await processes(pid);
  let probe: Probe;
  for (const pid of held) Deno.kill(pid, "SIGSTOP");
  try {
    probe = await Probe.connect(port);
    await probe.send("EHLO client.test\r\n");
  } finally {
    for (const pid of held) Deno.kill(pid, "SIGCONT");
  }
  using _ = probe;
  const codes = await probe.rest();
  const isRefused = codes[0] !== 220 || !codes.includes(250);
  return {
    seen: isRefused
      ? `refused, ${shown(codes.find((code) => code !== 220) ?? "")}`
      : "accepted",
    good: isRefused,
  };
}

/** How long a client that only sends this line may go on. */
function hangsUp(line: string): (subject: Subject) => Promise<Finding> {
  return async ({ port }) => {
    using probe = await Probe.connect(port);
    await probe.reply();
    await probe.send(`${line}\r\n`.repeat(15));
    const codes = await probe.rest(2000);
    const good = codes.at(-1) === "closed";
    return { seen: good ? `closed, ${codes.at(-2)}` : "stays", good };
  };
}

async function endlessLine({ port }: Subject): Promise<Finding> {
  using probe = await Probe.greet(port);
  await probe.send("x".repeat(200_000));
  const code = await probe.code(1000);
  return { seen: shown(code), good: code !== "silent" };
}

async function resetInData({ port }: Subject): Promise<Finding> {
  {
    using probe = await Probe.greet(port);
    await probe.envelope();
    await probe.send("DATA\r\n");
    await probe.reset();
  }
  using probe = await Probe.connect(port);
  const good = await probe.code() === 220;
  return { seen: good ? "goes on" : "gone", good };
}

/** The rows. */
export const connectionRows: readonly Row[] = [
  {
    name: "Time to greeting, best of 21",
    target: "below 2 ms",
    timed: true,
    look: timeToGreeting,
  },
  {
    name: "EHLO before the greeting",
    target: "refused",
    look: earlyTalker,
  },
  {
    name: "15 unknown commands",
    target: "closed",
    look: hangsUp("FOO"),
  },
  {
    name: "`GET / HTTP/1.1`",
    target: "closed",
    look: async ({ port }) => {
      using probe = await Probe.connect(port);
      await probe.reply();
      await probe.send("GET / HTTP/1.1\r\nHost: peer.test\r\n\r\n");
      const codes = await probe.rest();
      const good = codes.at(-1) === "closed";
      return { seen: good ? `closed, ${shown(codes[0]!)}` : "stays", good };
    },
  },
  {
    name: "200 KB without the end of a line",
    target: "an answer within 1 s",
    look: endlessLine,
  },
  {
    name: "Connection reset inside DATA",
    target: "goes on",
    look: resetInData,
  },
];
