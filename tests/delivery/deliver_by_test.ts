/**
 * Messages that must arrive in time: what goes on to the next hop, and what the
 * sender hears (RFC 2852).
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { SmtpReply } from "../../mod.ts";
import { SmtpClient } from "../../lib/client/mod.ts";
import type { DeliverBy } from "../../lib/protocol/timing.ts";
import type { MailParameters } from "../../lib/protocol/parameters.ts";
import { startPair } from "../support/queue/relaying.ts";
import { TestClient } from "../support/server.ts";
import { within } from "../support/wait.ts";

const LATER = new SmtpReply(451, "Later");
const MAIL = "Subject: in time\r\n\r\nText\r\n";
const NEAR = { domains: ["near.test"] };
const OFF = { disabledExtensions: ["DELIVERBY"] as const };
type Pair = Awaited<ReturnType<typeof startPair>>;

/** Sends a message from a local mailbox to the next hop. */
async function send(pair: Pair, rest: string): Promise<void> {
  using client = await TestClient.connect(pair.near);
  await client.reply();
  const [mail, rcpt = ""] = rest.split(" | ");
  await client.expect(
    ["EHLO client.test", "250"],
    [`MAIL FROM:<ann@near.test> ${mail}`, "250"],
    [`RCPT TO:<you@dest.test> ${rcpt}`.trimEnd(), "250"],
  );
  assertMatch(await client.data(MAIL.trimEnd()), /^250/);
}

/** The notice that the sender gets. */
async function notice({ nearStore }: Pair): Promise<string> {
  const { text } = await within(nearStore.next(), "the notice");
  return text.replace(/\r\n[ \t]/g, " ");
}

/** The value of BY that the next hop got. */
async function passedOn({ farStore }: Pair): Promise<DeliverBy | undefined> {
  const { parameters } = await within(farStore.next(), "the message");
  return parameters.by;
}

for (const threads of [0, 2]) {
  Deno.test(`the time that is left goes on (${threads} threads)`, async () => {
    await using pair = await startPair({ near: { ...NEAR, threads } });
    await send(pair, "BY=1000;R");
    const by = await passedOn(pair);
    assert(by?.mode === "return");
    assert(by.seconds > 900 && by.seconds <= 1000, `${by.seconds}`);
    assertEquals(pair.nearStore.messages.length, 0);
  });
}

Deno.test("a time that has passed goes on with the mode notify", async () => {
  await using pair = await startPair({ near: NEAR });
  await send(pair, "BY=-10;N");
  const by = await passedOn(pair);
  assert(by !== undefined && by.seconds <= -10);
});

Deno.test("mode R is returned if the next hop does not know DELIVERBY", async () => {
  await using pair = await startPair({ near: NEAR, far: OFF });
  await send(pair, "BY=1000;R");
  const text = await notice(pair);
  assertMatch(text, /^Subject: Your message could not be delivered\r$/m);
  assertMatch(text, /^Status: 5\.4\.7\r$/m);
  assertMatch(text, /^Action: failed\r$/m);
  assertMatch(text, /^Arrival-Date: .*\r\nDeliver-By-Date: \w+, \d\d/m);
  assertMatch(text, /does not take DELIVERBY/);
  assertMatch(text, /^It was to be delivered by \w+, \d\d/m);
  assertEquals(pair.farStore.messages.length, 0);
});

Deno.test("mode N goes to a next hop without DELIVERBY, and the sender hears of it", async () => {
  await using pair = await startPair({ near: NEAR, far: OFF });
  await send(pair, "BY=1000;N");
  assertEquals(await passedOn(pair), undefined);
  const text = await notice(pair);
  assertMatch(text, /^Action: relayed\r$/m);
  assertMatch(text, /^Deliver-By-Date: /m);
  assertMatch(text, /or passed on\r\nto another server\. It was to be/);
  await send(pair, "BY=1000;N | NOTIFY=NEVER");
  await passedOn(pair);
  assertEquals(pair.nearStore.messages.length, 1);
});

Deno.test("a trace tells the sender of each host, another time does not", async () => {
  await using pair = await startPair({ near: NEAR });
  await send(pair, "BY=1000;RT");
  assertEquals((await passedOn(pair))?.trace, true);
  assertMatch(await notice(pair), /^Action: relayed\r$/m);
  await send(pair, "BY=1000;NT | NOTIFY=NEVER");
  await send(pair, "BY=1000;N");
  await passedOn(pair);
  await passedOn(pair);
  assertEquals(pair.nearStore.messages.length, 1);
});

Deno.test("mode R is returned when its time is over, and never delivered afterwards", async () => {
  const handlers = { onMailFrom: () => LATER };
  await using pair = await startPair({
    ...{ near: NEAR, far: { handlers } },
    relay: {
      ...{ from: ["127.0.0.0/8"], schedule: "10s" },
    },
  });
  await send(pair, "BY=1;R");
  const text = await notice(pair);
  assertMatch(text, /^Subject: Your message could not be delivered\r$/m);
  assertMatch(text, /^Status: 5\.4\.7\r$/m);
  assertEquals(pair.farStore.messages.length, 0);
  assert(
    pair.records.some(({ event, fields }) =>
      event === "delivery" && fields?.status === "5.4.7"
    ),
  );
});

Deno.test("mode N tells the sender of the delay when its time is over, and goes on", async () => {
  let isClosed = true;
  const handlers = { onMailFrom: () => isClosed ? LATER : undefined };
  await using pair = await startPair({ near: NEAR, far: { handlers } });
  await send(pair, "BY=1;N");
  const text = await notice(pair);
  assertMatch(text, /^Subject: Your message is delayed\r$/m);
  assertMatch(text, /^Action: delayed\r$/m);
  assertMatch(text, /^Status: 4\.4\.7\r$/m);
  assertMatch(text, /^Deliver-By-Date: /m);
  isClosed = false;
  const by = await passedOn(pair);
  assert(by !== undefined && by.seconds <= 0);
});

Deno.test("the client says BY to a server that takes it, and refuses to lose it", async () => {
  await using pair = await startPair({ near: NEAR, far: OFF });
  const sendTo = async (port: number, parameters: MailParameters) => {
    await using client = await SmtpClient.connect({ host: "127.0.0.1", port });
    const { recipients, deliverByPassedOn = false } = await client.send({
      ...{ from: "ann@near.test", to: ["bob@near.test"], data: MAIL },
      parameters,
    });
    const { code, enhanced } = recipients[0]!.reply;
    return `${code} ${enhanced} ${deliverByPassedOn}`;
  };
  const near = pair.near.addresses[0]!.port;
  const far = pair.far.addresses[0]!.port;
  const by: DeliverBy = { seconds: 60, mode: "return" };
  assertEquals(await sendTo(near, { by }), "250 2.0.0 true");
  assertEquals(await sendTo(far, { by }), "554 5.4.7 false");
  const notify: DeliverBy = { seconds: 60, mode: "notify" };
  assertEquals(await sendTo(far, { by: notify }), "250 2.0.0 false");
  assertEquals(await sendTo(near, { holdFor: 60 }), "554 5.3.3 false");
});
