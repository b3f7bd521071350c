/**
 * Domains whose hosts accept a connection and send nothing, which costs their
 * owner nothing: mail for other domains is still delivered.
 *
 * The promise of SECURITY.md: "Every wait has an end".
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.4.1 | RFC 5321 section 4.5.4.1}
 */

import { assert, assertEquals } from "@std/assert";
import { testDns } from "../../lib/testing/mod.ts";
import type { DnsResolver } from "../../lib/dns/seams.ts";
import { startPair } from "../support/queue/relaying.ts";
import { TestClient } from "../support/server.ts";
import { within } from "../support/wait.ts";

/** Listens on addresses of the loopback, all on one port, and sends nothing. */
function silentHosts(port: number, count: number): Disposable {
  const listeners = Array.from(
    { length: count },
    (_, n) =>
      Deno.listen({ hostname: `127.77.${n >> 7}.${1 + (n & 127)}`, port }),
  );
  return {
    [Symbol.dispose]: () => {
      for (const listener of listeners) listener.close();
    },
  };
}

/** `deadN.test` leads to silent host N, or to the only one; `dest.test` and `goodN.test` to 127.0.0.1. */
function resolver(isOne: boolean): DnsResolver {
  return (name, type) => {
    if (type === "MX") {
      return Promise.resolve([{ preference: 10, exchange: `mx.${name}` }]);
    }
    const number = /^mx\.dead(\d+)\.test\.$/.exec(name)?.[1];
    if (type !== "A") return Promise.reject(new Deno.errors.NotFound("none"));
    if (number === undefined) return Promise.resolve(["127.0.0.1"]);
    const n = isOne ? 0 : Number(number);
    return Promise.resolve([`127.77.${n >> 7}.${1 + (n & 127)}`]);
  };
}

for (const isOne of [true, false]) {
  const where = isOne ? "one silent address" : "as many silent addresses";
  Deno.test(`SmtpServer relays good mail beside 130 domains at ${where}`, async () => {
    await using pair = await startPair({
      near: { dns: testDns(resolver(isOne)) },
      relay: { schedule: "1h" },
    });
    const { port } = pair.far.addresses[0]!;
    using _silent = silentHosts(port, isOne ? 1 : 130);
    for (let sender = 0; sender < (isOne ? 1 : 13); sender++) {
      const count = isOne ? 130 : 10;
      for (let n = 0; n < count; n++) {
        using client = await TestClient.connect(pair.near);
        await client.envelope(`a@dead${sender * count + n}.test`);
        assert((await client.data("Subject: x\r\n\r\nx")).startsWith("250"));
      }
    }
    for (let n = 0; n < 30; n++) {
      using client = await TestClient.connect(pair.near);
      await client.envelope(`you@good${n}.test`);
      await client.data("Subject: x\r\n\r\nx");
    }
    // A greeting may take five minutes: mail behind it would be late for this.
    for (let n = 0; n < 30; n++) await within(pair.farStore.next(), "mail");
    assertEquals(pair.farStore.messages.length, 30);
  });
}
