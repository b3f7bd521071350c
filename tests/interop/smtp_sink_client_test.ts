/**
 * The client against Postfix's test server, where that is installed.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2.1 | RFC 5321 section 4.2.1}
 */

import { assertEquals } from "@std/assert";
import { SmtpClient } from "../../lib/client/client.ts";

const SINK = "/usr/sbin/smtp-sink";

function installed(): boolean {
  try {
    return Deno.statSync(SINK).isFile;
  } catch {
    return false;
  }
}

/** A port that was free a moment ago. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Runs the server with its fault options, and a client that is connected to it. */
async function withSink(
  flags: readonly string[],
  use: (port: number) => Promise<void>,
): Promise<void> {
  const port = freePort();
  const child = new Deno.Command(SINK, {
    args: ["-u", "nobody", ...flags, `127.0.0.1:${port}`, "100"],
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    await listening(port);
    await use(port);
  } finally {
    child.kill();
    await child.status;
  }
}

async function listening(port: number): Promise<void> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
  }
}

const LARGE = `Subject: x\r\n\r\n${".\n0123456789abcde\r\n".repeat(100_000)}`;

// Flags of the server, then the outcome of two recipients.
const ROWS: readonly (readonly [
  name: string,
  flags: readonly string[],
  want: string,
])[] = [
  ["no fault", [], "ok, ok"],
  ["without PIPELINING", ["-p"], "ok, ok"],
  ["without 8BITMIME", ["-8"], "ok, ok"],
  ["only HELO", ["-e"], "ok, ok"],
  ["MAIL refused for now", ["-r", "mail"], "mail 450, mail 450"],
  ["MAIL refused", ["-f", "mail"], "mail 500, mail 500"],
  ["RCPT refused", ["-f", "rcpt"], "rcpt 500, rcpt 500"],
  ["DATA refused", ["-f", "data"], "data 500, data 500"],
  ["end refused", ["-f", "."], "dataEnd 500, dataEnd 500"],
  ["drop after RCPT", ["-q", "rcpt"], "rcpt own, rcpt own"],
  ["drop after DATA", ["-q", "data"], "data own, data own"],
  ["drop after the end", ["-q", "."], "dataEnd own, dataEnd own"],
];

Deno.test({
  name: "SmtpClient sends to smtp-sink, fault by fault",
  ignore: !installed(),
  fn: async (t) => {
    for (const [name, flags, want] of ROWS) {
      await t.step(name, () =>
        withSink(flags, async (port) => {
          for (const data of ["Subject: x\n\nGrüße", LARGE]) {
            await using client = await SmtpClient.connect({
              host: "127.0.0.1",
              port,
              hostname: "me.example",
            });
            const { recipients } = await client.send({
              from: "a@me.example",
              to: ["b@fake.example", "c@fake.example"],
              data,
            });
            const got = recipients.map(({ accepted, stage, reply, fromPeer }) =>
              accepted ? "ok" : `${stage} ${fromPeer ? reply.code : "own"}`
            );
            assertEquals(got.join(", "), want);
          }
        }));
    }
  },
});
