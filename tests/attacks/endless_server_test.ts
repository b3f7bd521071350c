/**
 * Servers that answer for ever: each reply comes in time, and there is always
 * another. A session and a delivery have a total time limit.
 *
 * The promise of SECURITY.md: "Every wait has an end".
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2 | RFC 5321 section 4.5.3.2}
 */

import { makeDelivery } from "../support/client/fake_server.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Address } from "../../lib/protocol/address.ts";
import { ClientProtocol } from "../../lib/protocol/client/protocol.ts";
import { SmtpClient } from "../../lib/client/client.ts";
import { SmtpClientError } from "../../lib/client/error.ts";
import { clientTimeouts } from "../../lib/client/session.ts";
import { ScriptedHop } from "../support/client/scripted_hop.ts";
import { bytesOf } from "../support/bytes.ts";

const LOGIN = { username: "ann", password: "secret" };

for (
  const [name, challenge] of [
    ["that are base64", "334 aGVsbG8="],
    ["that are empty", "334 "],
    ["that are no base64", "334 ?"],
  ] as const
) {
  Deno.test(`SmtpClient gives up a log-in of endless challenges ${name}`, async () => {
    await using hop = new ScriptedHop((line) =>
      line.startsWith("EHLO")
        ? "250-hop\r\n250 AUTH CRAM-MD5 PLAIN LOGIN"
        : line === "QUIT"
        ? "221 Bye"
        : challenge
    );
    const error = await assertRejects(
      () =>
        SmtpClient.connect({
          host: "127.0.0.1",
          port: hop.port,
          login: LOGIN,
          security: "none",
          allowInsecureAuth: true,
        }),
      SmtpClientError,
    );
    assertEquals(error.stage, "authenticate");
    assert(hop.lines.length < 40, `${hop.lines.length} lines`);
    assert(hop.lines.includes("*"));
  });
}

Deno.test("ClientProtocol cancels at the eleventh challenge, and then breaks", () => {
  const client = new ClientProtocol({ hostname: "me.example" });
  client.open();
  client.next();
  client.receive(bytesOf("220 x\r\n"));
  client.next();
  client.receive(bytesOf("250 x\r\n"));
  client.next();
  client.authenticate("LOGIN");
  const lines: string[] = [];
  for (let round = 0; round < 100; round++) {
    const effect = client.next();
    if (effect.kind === "failed") {
      assertEquals(effect.fault.kind, "protocol");
      assertEquals(lines.length, 12);
      assertEquals(lines.at(-1), "*\r\n");
      return;
    }
    if (effect.kind === "challenge") client.respond(bytesOf("x"));
    if (effect.kind === "read") client.receive(bytesOf("334 eA==\r\n"));
    if (effect.kind === "write") {
      lines.push(new TextDecoder().decode(effect.bytes));
    }
  }
  throw new Error("The exchange goes on for ever");
});

/** Answers late, each time a little before the limit of the step. */
function slowHop(step: string): ScriptedHop {
  return new ScriptedHop(async (line, pause) => {
    if (line.startsWith(step)) await pause(100);
    if (line.startsWith("EHLO")) return "250 hop";
    return line.startsWith("DATA") ? "354 Go on" : "250 Ok";
  });
}

const STEPS_MS = {
  greeting: 150,
  hello: 150,
  startTls: 150,
  authenticate: 150,
  reset: 150,
  mail: 150,
  rcpt: 150,
  data: 150,
  body: 150,
  dataEnd: 150,
};

Deno.test("SmtpClient.send() has a total for all recipients", async () => {
  await using hop = slowHop("RCPT");
  await using client = await SmtpClient.connect({
    host: "127.0.0.1",
    port: hop.port,
    // Each reply comes in its time: what ends it is the total alone.
    timeouts: { rcpt: 60_000, message: 500 },
  });
  const to = Array.from({ length: 1000 }, (_, at) => `r${at}@d.example`);
  const { recipients } = await client.send({
    from: "a@me.example",
    to,
    data: "Subject: x\r\n\r\nx\r\n",
  });
  assert(recipients.every(({ accepted, broken }) => !accepted && broken));
  assertEquals(recipients.at(-1)?.reply.enhanced, "4.4.2");
  assert(hop.lines.length < 100, `${hop.lines.length} lines`);
});

Deno.test("Delivery.deliver() has a total for all hosts", async () => {
  await using hop = new ScriptedHop(async (line, pause) => {
    if (line.startsWith("MAIL")) await pause(100);
    return line.startsWith("EHLO") ? "250 hop" : "451 Later";
  });
  const smarthosts = Array.from({ length: 200 }, () => ({
    host: "127.0.0.1",
    port: hop.port,
  }));
  await using delivery = makeDelivery({
    dns: {
      mx: () => Promise.reject(new Error("Not asked")),
      addresses: () => Promise.reject(new Error("Not asked")),
    },
    smarthosts,
    timeouts: { delivery: 500 },
  });
  const content = new TextEncoder().encode("Subject: x\r\n\r\nx\r\n");
  const report = await delivery.deliver({
    id: "m1",
    from: Address.parse("a@me.example"),
    parameters: {},
    recipients: [{ address: Address.parse("b@d.example"), parameters: {} }],
    destination: "d.example",
    size: content.length,
    acceptedAt: 0,
    attempt: 1,
    content: () => ReadableStream.from([content]),
  });
  assertEquals(report.recipients[0]?.status, "deferred");
  assertEquals(report.recipients[0]?.reply?.code, 451);
  assert(hop.connections < 100, `${hop.connections} connections`);
});

Deno.test("clientTimeouts() gives totals that follow the limits of the steps", () => {
  const { opening, message, delivery } = clientTimeouts();
  assertEquals([opening, message, delivery], [600_000, 1_800_000, 3_600_000]);
  const short = clientTimeouts({ ...STEPS_MS, rcpt: 10_000 });
  assertEquals([short.opening, short.message], [5000, 30_000]);
  assertEquals(clientTimeouts({ message: 7 }).delivery, 14);
});
