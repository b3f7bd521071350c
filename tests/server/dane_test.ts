/**
 * DANE in a server: when it says that it cannot use it, and that programs get what
 * became of the TLS of deliveries, with threads too.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { SmtpClient } from "../../lib/client/client.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import type { LogRecord } from "../../lib/log.ts";
import { startPair } from "../support/queue/relaying.ts";
import { startServer } from "../support/server.ts";
import { within } from "../support/wait.ts";

const ELSEWHERE = { nameServers: ["192.0.2.53"] };
const HERE = { nameServers: ["127.0.0.1:9"] };
const from = ["127.0.0.0/8"];

/** The notices about DANE when a server starts. */
async function noticesOf(
  options: Pick<SmtpServerOptions, "dns" | "relay">,
): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  const server = await startServer({
    ...options,
    log: (record) => records.push(record),
  });
  await server.stop({ graceMs: 0 });
  return records.filter(({ message }) => message?.includes("DANE is off"));
}

Deno.test("A server that relays says once why it cannot use DANE", async () => {
  for (
    const relay of [
      { from },
      { from, smarthosts: ["smtp.example"] },
    ]
  ) {
    const notices = await noticesOf({ dns: ELSEWHERE, relay });
    assertEquals(notices.map(({ level }) => level), ["info"]);
    assertMatch(notices[0]!.message!, /trustAd/);
  }
});

Deno.test("Nothing is said where DANE is possible, or not wanted", async () => {
  for (
    const options of [
      { dns: HERE, relay: { from } },
      { dns: { ...ELSEWHERE, trustAd: true }, relay: { from } },
      { dns: ELSEWHERE },
      { dns: ELSEWHERE, relay: { from, policies: ["mta-sts"] } },
      { dns: ELSEWHERE, relay: { from, security: "none" } },
      { dns: ELSEWHERE, relay: { from, smarthosts: ["192.0.2.25"] } },
    ] as const satisfies Pick<SmtpServerOptions, "dns" | "relay">[]
  ) {
    assertEquals(await noticesOf(options), []);
  }
});

Deno.test("onTlsResult is called for mail that came in by a worker thread", async () => {
  const seen = Promise.withResolvers<string>();
  await using pair = await startPair({
    near: {
      threads: 2,
      handlers: {
        onTlsResult: (relay, { destination, host, outcome }) =>
          seen.resolve(`${relay.from} ${destination} ${host} ${outcome}`),
      },
    },
  });
  const { port } = pair.near.addresses[0]!;
  const client = await SmtpClient.connect({
    ...{ host: "127.0.0.1", port, security: "none" },
  });
  await client.send({
    from: "ann@near.test",
    to: ["bob@dest.test"],
    data: "Subject: hello\r\n\r\nText\r\n",
  });
  await client.quit();
  assertEquals(
    await within(seen.promise, "the result"),
    "ann@near.test dest.test mx.dest.test starttls-not-supported",
  );
});
