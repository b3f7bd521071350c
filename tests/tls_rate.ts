/**
 * Messages a second over TLS, side by side in one run: a bare `Deno.listenTls`
 * responder that checks nothing, this server on `Deno.listenTls` (smtps), and
 * this server after STARTTLS. The client is a process of its own. Prints the
 * medians, the share of the responder's rate and, on Linux, the processor time
 * that the server spent on a message: on a busy machine that is the figure to
 * compare.
 *
 * ```sh
 * deno task bench:tls
 * ```
 */

import { DiscardStore } from "../lib/store/mod.ts";
import { Certificate, SmtpServer } from "../mod.ts";

const ROUNDS = 5;
const CONNECTIONS = 8;
const MESSAGES = 1500; // of each connection in a round
const BODY = `${(`${"x".repeat(78)}\r\n`).repeat(51)}.\r\n`;

const encoder = new TextEncoder();
const replies = {
  hello: encoder.encode("220 bare\r\n"),
  ok: encoder.encode("250 ok\r\n"),
  go: encoder.encode("354 go\r\n"),
};

/** The least that answers the client: it looks at one byte of a command and at the end of a body. */
async function answer(conn: Deno.TlsConn): Promise<void> {
  const buffer = new Uint8Array(65536);
  let data = false;
  try {
    await conn.write(replies.hello);
    for (;;) {
      const count = await conn.read(buffer);
      if (count === null) break;
      if (data && buffer[count - 3] !== 46) continue;
      const starts: boolean = !data && (buffer[0]! & 0xdf) === 0x44;
      data = starts;
      await conn.write(starts ? replies.go : replies.ok);
    }
  } catch {
    // The client is gone.
  }
  conn.close();
}

/** Serves one of the three in this process until it is killed; prints the port. */
async function serve(what: string): Promise<void> {
  const certificate = await Certificate.selfSigned({ names: ["localhost"] });
  if (what === "bare") {
    const listener = Deno.listenTls({
      hostname: "127.0.0.1",
      port: 0,
      cert: certificate.toPem(),
      key: certificate.keyPem(),
    });
    console.log(listener.addr.port);
    for await (const conn of listener) void answer(conn);
  }
  const kind = what === "smtps" ? "smtps" : "smtp";
  const server = new SmtpServer({
    listen: `127.0.0.1:0/${kind}`,
    certificate,
    store: new DiscardStore(),
  });
  await server.start();
  console.log(server.addresses[0]!.port);
}

/** Sends the messages of one round and prints how many a second. */
async function send(port: number, startTls: boolean): Promise<void> {
  const buffers = Array.from(
    { length: CONNECTIONS },
    () => new Uint8Array(4096),
  );
  const connect = async (index: number) => {
    const target = { hostname: "localhost", port };
    const options = { unsafelyDisableHostnameVerification: true };
    const buffer = buffers[index]!;
    if (!startTls) {
      const conn = await Deno.connectTls({ ...target, ...options });
      await conn.read(buffer);
      return conn;
    }
    const plain = await Deno.connect(target);
    await plain.read(buffer);
    for (const line of ["EHLO x\r\n", "STARTTLS\r\n"]) {
      await plain.write(encoder.encode(line));
      await plain.read(buffer);
    }
    return await Deno.startTls(plain, target);
  };
  const conns = await Promise.all(buffers.map((_, index) => connect(index)));
  const steps = ["MAIL FROM:<a@b.example>\r\n", "RCPT TO:<c@d.example>\r\n"]
    .concat("DATA\r\n", BODY).map((text) => encoder.encode(text));
  const talk = async (conn: Deno.TlsConn, buffer: Uint8Array) => {
    const say = async (bytes: Uint8Array) => {
      for (let at = 0; at < bytes.length;) {
        at += await conn.write(bytes.subarray(at));
      }
      await conn.read(buffer);
    };
    await say(encoder.encode("EHLO x\r\n"));
    for (let sent = 0; sent < MESSAGES; sent++) {
      for (const step of steps) await say(step);
    }
  };
  const begun = performance.now();
  await Promise.all(conns.map((conn, index) => talk(conn, buffers[index]!)));
  const seconds = (performance.now() - begun) / 1000;
  for (const conn of conns) conn.close();
  console.log(CONNECTIONS * MESSAGES / seconds);
}

/** Runs this file in a child process; gives the first line that it prints. */
async function child(
  ...args: string[]
): Promise<{ line: string; process: Deno.ChildProcess }> {
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--unsafely-ignore-certificate-errors"],
      ...[import.meta.filename!, ...args],
    ],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = process.stdout.pipeThrough(new TextDecoderStream())
    .getReader();
  let text = "";
  while (!text.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`Process "${args.join(" ")}" ended early`);
    text += value;
  }
  reader.releaseLock();
  return { line: text.trim(), process };
}

/** The processor time of a process so far, in us; `NaN` where the platform does not tell. */
function processorTime(pid: number): number {
  try {
    const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(" ");
    // User and system time, in ticks of 10 ms.
    return (Number(fields[13]) + Number(fields[14])) * 10_000;
  } catch {
    return NaN;
  }
}

async function compare(): Promise<void> {
  const names = ["bare", "smtps", "starttls"];
  const servers = await Promise.all(names.map((name) => child("serve", name)));
  const rates = new Map<string, number[]>(names.map((name) => [name, []]));
  const costs = new Map<string, number[]>(names.map((name) => [name, []]));
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [index, name] of names.entries()) {
      const server = servers[index]!;
      const before = processorTime(server.process.pid);
      const { line, process } = await child("send", server.line, name);
      await process.status;
      if (round === 0) continue;
      rates.get(name)!.push(Number(line));
      const spent = processorTime(server.process.pid) - before;
      costs.get(name)!.push(spent / (CONNECTIONS * MESSAGES));
    }
  }
  for (const { process } of servers) process.kill();
  const median = (values: number[]) =>
    values.toSorted((a, b) => a - b)[values.length >> 1]!;
  const bare = rates.get("bare")!;
  for (const [name, values] of rates) {
    const share = median(values.map((value, round) => value / bare[round]!));
    const cost = median(costs.get(name)!);
    console.log(
      `${name.padEnd(10)} ${median(values).toFixed(0).padStart(7)} msg/s  ${
        share.toFixed(2)
      } of bare${
        Number.isNaN(cost) ? "" : `  ${cost.toFixed(1)} us a message`
      }`,
    );
  }
}

if (import.meta.main) {
  const [command, first, second] = Deno.args;
  if (command === "serve") await serve(first!);
  else if (command === "send") await send(Number(first), second === "starttls");
  else await compare();
}
