/** No text, JSON or console output of an object contains a secret. */

import { assert } from "@std/assert";
import { inspect } from "node:util";
import { AccountList, parseAccounts } from "../../lib/sasl/accounts.ts";
import {
  createClientMechanism,
  createServerMechanism,
} from "../../lib/sasl/registry.ts";
import { MECHANISM_NAMES } from "../../lib/sasl/mechanism_name.ts";
import { ScramVerifier } from "../../lib/sasl/scram_verifier.ts";
import { ServerExchange } from "../../lib/sasl/server_exchange.ts";
import { utf8 } from "../support/bytes.ts";

const SECRET = "hunter2";

function assertSilent(value: unknown, words: readonly string[] = [SECRET]) {
  const deep = { depth: 9, getters: true, showHidden: true };
  const shown = [
    value instanceof ScramVerifier ? "" : String(value),
    JSON.stringify(value),
    Deno.inspect(value, deep),
    inspect(value, deep),
  ].join("\n");
  for (const word of words) assert(!shown.includes(word), shown);
}

for (const name of MECHANISM_NAMES) {
  Deno.test(`${name}: neither side shows its secret`, async () => {
    const client = createClientMechanism(name, {
      username: "ann",
      password: SECRET,
      token: SECRET,
      channelBinding: utf8("binding"),
    });
    const mechanism = createServerMechanism(name, {
      hostname: "a",
      certificate: utf8("der"),
      ...name.endsWith("PLUS") ? { channelBinding: utf8("binding") } : {},
    });
    const exchange = new ServerExchange(mechanism, {
      authenticate: async (credentials) => {
        assertSilent(credentials);
        assertSilent({ nested: [credentials] });
        return await credentials.verify(SECRET);
      },
    });
    assertSilent(client);
    let step = await exchange.start(client.start());
    while (!step.done) {
      step = await exchange.respond(await client.step(step.challenge));
      assertSilent([client, mechanism, exchange, step]);
    }
    assertSilent(step);
  });
}

Deno.test("AccountList shows no secret, ScramVerifier no keys", async () => {
  const verifier = await ScramVerifier.create(SECRET, { iterations: 4096 });
  const keys = verifier.toString().split("$").slice(2).join().split(":");
  const words = [SECRET, ...keys];
  assertSilent(new AccountList({ ann: SECRET, bob: verifier }), words);
  assertSilent(parseAccounts(`ann:${SECRET}`), words);
  assertSilent(verifier, words);
  assertSilent({ verifier, list: [verifier] }, words);
});
