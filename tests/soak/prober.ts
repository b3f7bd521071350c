/**
 * An honest client in a thread of its own, so that only the server makes it wait.
 * It sends one small message after the other and times each reply.
 */

import { TestClient } from "../support/server.ts";

/** Messages of the thread. */
export type Probed =
  /** A reply came. */
  | {
    /** After which command. */
    readonly step: string;
    /** Milliseconds from the command, or from connecting, to its last line. */
    readonly waitedMs: number;
    /** How many of them passed without a processor for the server or the client. */
    readonly idleMs: number;
  }
  /** A message was acknowledged or refused. */
  | { readonly id: string; readonly isTaken: boolean }
  /** Its session broke off. */
  | { readonly id: string; readonly error: string };

declare const self: {
  onmessage: ((event: MessageEvent<Order>) => void) | null;
  postMessage(message: Probed | "done"): void;
};

/** Messages to the thread: the server's address and process, and whether to go on. */
export interface Order {
  readonly port: number;
  readonly pid: number | undefined;
  readonly isOn: boolean;
}

/** Milliseconds between two messages. */
const REST_MS = 30;
let isOn = false;
let last = 0;
let running: Promise<void> = Promise.resolve();

self.onmessage = async ({ data }: MessageEvent<Order>) => {
  isOn = data.isOn;
  if (isOn) {
    running = run(data);
    return;
  }
  await running;
  self.postMessage("done");
};

async function run({ port, pid }: Order): Promise<void> {
  const idleMs = () =>
    idle(`/proc/${pid}/task/${pid}`) + idle("/proc/thread-self");
  while (isOn) {
    const to = last++ % 2 === 0 ? "you@near.test" : "ann@far.test";
    await one(port, { to, idleMs });
    await new Promise((resolve) => setTimeout(resolve, REST_MS));
  }
}

/** Milliseconds in which a thread could have run and had no processor. */
function idle(thread: string): number {
  try {
    const text = Deno.readTextFileSync(`${thread}/schedstat`);
    return Number(text.split(" ")[1]) / 1e6;
  } catch {
    // The process has ended, or the system does not tell.
    return 0;
  }
}

async function one(
  port: number,
  { to, idleMs }: { readonly to: string; readonly idleMs: () => number },
): Promise<void> {
  const id = `p${last}`;
  const tell = (probed: Probed) => self.postMessage(probed);
  let [began, idled] = [performance.now(), idleMs()];
  const waits: Probed[] = [];
  const heard = (step: string) => {
    const [now, idle] = [performance.now(), idleMs()];
    const wait = { waitedMs: now - began, idleMs: Math.max(0, idle - idled) };
    waits.push({ step, ...wait });
    [began, idled] = [now, idle];
  };
  try {
    using client = await TestClient.connect({
      addresses: [{ address: "127.0.0.1", port }],
    });
    await client.reply();
    heard("greeting");
    for (
      const line of [
        ...["EHLO soak.test", "MAIL FROM:<me@soak.test>", `RCPT TO:<${to}>`],
        "DATA",
      ]
    ) {
      await client.say(line);
      heard(line.slice(0, 4));
    }
    const reply = await client.say(`X-Soak: ${id}\r\n\r\nx\r\n.`);
    heard("end of content");
    for (const wait of waits) tell(wait);
    tell({ id, isTaken: reply.startsWith("250") });
    await client.send("QUIT\r\n").catch(() => {});
  } catch (error) {
    tell({ id, error: error instanceof Error ? error.message : `${error}` });
  }
}
