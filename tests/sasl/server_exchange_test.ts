/** Client machines against server exchanges, with a handler. */

import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { AccountList, authenticateWith } from "../../lib/sasl/accounts.ts";
import type { ClientMechanismOptions } from "../../lib/sasl/client_mechanism.ts";
import {
  createClientMechanism,
  createServerMechanism,
} from "../../lib/sasl/registry.ts";
import type { Credentials } from "../../lib/sasl/credentials.ts";
import type { MechanismName } from "../../lib/sasl/mechanism_name.ts";
import { ScramVerifier } from "../../lib/sasl/scram_verifier.ts";
import {
  type ExchangeResult,
  ServerExchange,
} from "../../lib/sasl/server_exchange.ts";
import type { ServerMechanismOptions } from "../../lib/sasl/server_mechanism.ts";
import { challengeOf, converse, resultOf } from "../support/sasl_dialogue.ts";
import { utf8 } from "../support/bytes.ts";

type Judge = (credentials: Credentials) => boolean | Promise<boolean>;

const BINDING = utf8("digest of the certificate");
const WITH_PASSWORD: readonly MechanismName[] = [
  "SCRAM-SHA-256-PLUS",
  "SCRAM-SHA-256",
  "CRAM-MD5",
  "PLAIN",
  "LOGIN",
];
const OAUTH: readonly MechanismName[] = ["OAUTHBEARER", "XOAUTH2"];

function exchangeOf(
  name: MechanismName,
  authenticate: Judge,
  options: Partial<ServerMechanismOptions> = {},
): ServerExchange {
  const mechanism = createServerMechanism(name, {
    hostname: "mx.example.com",
    ...name.endsWith("-PLUS") ? { channelBinding: BINDING } : {},
    ...options,
  });
  return new ServerExchange(mechanism, { authenticate });
}

function login(
  name: MechanismName,
  authenticate: Judge,
  options: Partial<ClientMechanismOptions> = {},
): Promise<ExchangeResult> {
  const client = createClientMechanism(name, {
    username: "ann",
    password: "pässwörd",
    token: "abc.def~1",
    ...name.endsWith("-PLUS") ? { channelBinding: BINDING } : {},
    ...options,
  });
  return converse(client, exchangeOf(name, authenticate));
}

const verifier = await ScramVerifier.create("pässwörd", { iterations: 4096 });

for (const name of WITH_PASSWORD) {
  const byList = authenticateWith(new AccountList({ ann: "pässwörd" }));

  Deno.test(`${name}: the right secret is accepted`, async () => {
    const result = await login(name, byList);
    assertEquals(
      [result.ok, result.username, result.reason],
      [true, "ann", ""],
    );
    assertEquals(result.credentials?.mechanism, name);
  });

  Deno.test(`${name}: a wrong secret is refused`, async () => {
    const result = await login(name, byList, { password: "wrong" });
    assertEquals(
      [result.ok, result.failure, result.username],
      [false, "refused", "ann"],
    );
  });

  Deno.test(`${name}: an unknown user is refused in the same way`, async () => {
    const known = await login(name, byList, { password: "wrong" });
    const unknown = await login(name, byList, { username: "bob" });
    assertEquals(
      [unknown.ok, unknown.failure, unknown.reason],
      [known.ok, known.failure, known.reason],
    );
  });

  Deno.test(`${name}: a verifier does as well, but for CRAM-MD5`, async () => {
    const byVerifier = (credentials: Credentials) =>
      credentials.verify(verifier);
    assertEquals((await login(name, byVerifier)).ok, name !== "CRAM-MD5");
    const wrong = await login(name, byVerifier, { password: "wrong" });
    assertEquals(wrong.failure, "refused");
  });

  Deno.test(`${name}: an empty stored secret never fits`, async () => {
    const result = await login(name, (credentials) => credentials.verify(""));
    assertEquals(result.failure, "refused");
  });

  Deno.test(`${name}: what the handler throws ends the exchange`, async () => {
    const error = new Error("The database is away");
    const thrower = () => {
      throw error;
    };
    const result = await login(name, thrower);
    assertEquals([result.failure, result.error], ["error", error]);
    const late = await login(name, async (credentials) => {
      await credentials.verify("pässwörd");
      throw error;
    });
    assertEquals([late.failure, late.error], ["error", error]);
  });

  Deno.test(`${name}: the handler may try several secrets`, async () => {
    const result = await login(name, async (credentials) => {
      const all = await Promise.all(
        ["app-1", "pässwörd", "app-2"].map((secret) =>
          credentials.verify(secret)
        ),
      );
      return all.includes(true);
    });
    assert(result.ok);
  });

  Deno.test(`${name}: the handler names the identity`, async () => {
    const result = await login(name, (credentials) => {
      credentials.identity = "ann@example.com";
      return credentials.verify("pässwörd");
    });
    assertEquals([result.ok, result.username], [true, "ann@example.com"]);
  });

  Deno.test(`${name}: a cancelled exchange ends, and its handler with it`, async () => {
    const handler = Promise.withResolvers<boolean>();
    const exchange = exchangeOf(name, async (credentials) => {
      const ok = await credentials.verify("pässwörd");
      handler.resolve(ok);
      return ok;
    });
    const client = createClientMechanism(name, {
      username: "ann",
      password: "pässwörd",
      channelBinding: BINDING,
    });
    const scram = name.startsWith("SCRAM");
    const initial = client.start();
    // The mechanisms without a proof would end with the message.
    await exchange.start(scram && name.endsWith("PLUS") ? initial : undefined);
    const result = exchange.cancel();
    assertEquals([result.ok, result.failure], [false, "cancelled"]);
    if (name === "SCRAM-SHA-256-PLUS") {
      assertEquals(await handler.promise, false);
    }
  });
}

for (const name of OAUTH) {
  Deno.test(`${name}: the token is judged by the handler`, async () => {
    const right = await login(
      name,
      (credentials) => credentials.token === "abc.def~1",
    );
    assertEquals([right.ok, right.username], [true, "ann"]);
    const wrong = await login(name, () => false);
    assertEquals([wrong.ok, wrong.failure], [false, "refused"]);
  });

  Deno.test(`${name}: verify() compares the token`, async () => {
    const verify =
      (secret: string | ScramVerifier | undefined): Judge => (credentials) =>
        credentials.verify(secret);
    assert((await login(name, verify("abc.def~1"))).ok);
    for (const secret of ["abc", "", undefined, verifier]) {
      assert(!(await login(name, verify(secret))).ok);
    }
  });
}

Deno.test("OAUTHBEARER: an empty token gets the terms and a refusal", async () => {
  const exchange = exchangeOf("OAUTHBEARER", () => true);
  const step = await exchange.start(utf8("n,,\x01auth=\x01\x01"));
  assertEquals(JSON.parse(challengeOf(step)), { status: "invalid_token" });
  const result = resultOf(await exchange.respond(utf8("\x01")));
  assertEquals([result.ok, result.failure], [false, "refused"]);
});

Deno.test("EXTERNAL: the certificate is judged by the handler", async () => {
  const certificate = utf8("der");
  const judge = (credentials: Credentials) =>
    credentials.certificate === certificate;
  for (const authorizationId of ["", "ann"]) {
    const client = createClientMechanism("EXTERNAL", {
      username: "",
      authorizationId,
    });
    const exchange = exchangeOf("EXTERNAL", judge, { certificate });
    const result = await converse(client, exchange);
    assertEquals([result.ok, result.username], [true, authorizationId]);
  }
  const asked = exchangeOf("EXTERNAL", judge, { certificate });
  assertEquals(challengeOf(await asked.start(undefined)), "");
  assert(resultOf(await asked.respond(utf8(""))).ok);
});

Deno.test("EXTERNAL: without certificate, or by a secret, it is refused", async () => {
  const without = exchangeOf("EXTERNAL", () => true);
  assertEquals(
    resultOf(await without.start(utf8("ann"))).failure,
    "refused",
  );
  const bySecret = exchangeOf(
    "EXTERNAL",
    (credentials) => credentials.verify("secret"),
    { certificate: utf8("der") },
  );
  assert(!resultOf(await bySecret.start(utf8("ann"))).ok);
});

for (const name of ["PLAIN", "SCRAM-SHA-256"] as const) {
  Deno.test(`${name}: acting for another needs the handler's word`, async () => {
    const silent: Judge = (credentials) => credentials.verify("pässwörd");
    const refused = await login(name, silent, { authorizationId: "bob" });
    assertEquals([refused.ok, refused.failure], [false, "refused"]);
    const self = await login(name, silent, { authorizationId: "ann" });
    assertEquals([self.ok, self.username], [true, "ann"]);
    const granted = await login(name, (credentials) => {
      credentials.identity = credentials.authorizationId;
      return credentials.verify("pässwörd");
    }, { authorizationId: "bob" });
    assertEquals([granted.ok, granted.username], [true, "bob"]);
  });
}

Deno.test("SCRAM: a handler that says no at once is not seen to", async () => {
  const exchange = exchangeOf("SCRAM-SHA-256", () => false);
  const challenge = challengeOf(await exchange.start(utf8("n,,n=bob,r=abc")));
  assert(/^r=abc[^,]+,s=[^,]+,i=4096$/.test(challenge));
  assertEquals((await login("SCRAM-SHA-256", () => false)).failure, "refused");
});

Deno.test("SCRAM: a handler that says yes without verify() does not pass", async () => {
  assertEquals((await login("SCRAM-SHA-256", () => true)).failure, "refused");
  let pending: Promise<boolean> | undefined;
  const hasty: Judge = (credentials) => {
    pending = credentials.verify("wrong");
    return true;
  };
  assertEquals((await login("SCRAM-SHA-256", hasty)).failure, "refused");
  assertEquals(await pending, false);
});

async function saltOf(
  username: string,
  accounts: AccountList,
  saltKey?: Uint8Array,
): Promise<string> {
  const exchange = exchangeOf("SCRAM-SHA-256", authenticateWith(accounts), {
    decoy: accounts.decoy,
    saltKey,
  });
  const step = await exchange.start(utf8(`n,,n=${username},r=abc`));
  exchange.cancel();
  return challengeOf(step).replace(/^r=[^,]*,/, "");
}

Deno.test("SCRAM: unknown users have a salt of their own that stays", async () => {
  const plain = new AccountList({ ann: "secret" });
  const kept = new AccountList({ ann: verifier });
  for (const accounts of [plain, kept]) {
    const salts = [];
    for (const name of ["ann", "bob", "eve"]) {
      const salt = await saltOf(name, accounts);
      assertEquals(await saltOf(name, accounts), salt);
      salts.push(salt);
    }
    assertEquals(new Set(salts).size, 3);
    assertEquals(new Set(salts.map((salt) => salt.length)).size, 1);
    assertEquals(new Set(salts.map((salt) => salt.split(",")[1])).size, 1);
  }
});

Deno.test("SCRAM: threads that share the salt key give the same salts", async () => {
  const accounts = new AccountList({ ann: "secret" });
  const key = utf8("k".repeat(32));
  const salt = await saltOf("bob", accounts, key);
  assertEquals(await saltOf("bob", accounts, key.slice()), salt);
  assertNotEquals(await saltOf("bob", accounts, utf8("other")), salt);
});

Deno.test("SCRAM: the downgrade flag is noticed where PLUS is offered", async () => {
  const options = { channelBinding: BINDING };
  const judge = () => true;
  for (const [flag, fails] of [["n", false], ["y", true]] as const) {
    const exchange = exchangeOf("SCRAM-SHA-256", judge, options);
    const step = await exchange.start(utf8(`${flag},,n=ann,r=abc`));
    assertEquals(step.done, fails);
    if (step.done) assertEquals(step.failure, "refused");
    exchange.cancel();
  }
  const notOffered = exchangeOf("SCRAM-SHA-256", judge);
  assert(!(await notOffered.start(utf8("y,,n=ann,r=abc"))).done);
  notOffered.cancel();
});

Deno.test("SCRAM-SHA-256-PLUS: another channel or kind of binding is refused", async () => {
  const judge: Judge = (credentials) => credentials.verify("pässwörd");
  const other = await login("SCRAM-SHA-256-PLUS", judge, {
    channelBinding: utf8("digest of an impostor's certificate"),
  });
  assertEquals([other.ok, other.failure], [false, "refused"]);
  for (const header of ["p=tls-unique,,", "n,,", "y,,"]) {
    const exchange = exchangeOf("SCRAM-SHA-256-PLUS", judge);
    const step = await exchange.start(utf8(`${header}n=ann,r=abc`));
    assertEquals(resultOf(step).failure, "refused");
  }
  const bare = exchangeOf("SCRAM-SHA-256", judge);
  const step = await bare.start(utf8("p=tls-server-end-point,,n=ann,r=abc"));
  assertEquals(resultOf(step).failure, "refused");
});

Deno.test("ServerExchange.cancel() ends a call that waits for the handler", async () => {
  const exchange = exchangeOf("PLAIN", () => new Promise<boolean>(() => {}));
  const pending = exchange.start(utf8("\0ann\0secret"));
  const result = exchange.cancel();
  assertEquals(await pending, result);
  assertEquals([result.failure, result.username], ["cancelled", "ann"]);
});

Deno.test("ServerExchange.respond() wants an empty answer to the last word", async () => {
  const judge: Judge = (credentials) => credentials.verify("pässwörd");
  const client = createClientMechanism("SCRAM-SHA-256", {
    username: "ann",
    password: "pässwörd",
  });
  const exchange = exchangeOf("SCRAM-SHA-256", judge);
  const first = challengeOf(await exchange.start(client.start()));
  const proof = await client.step(utf8(first));
  await client.step(utf8(challengeOf(await exchange.respond(proof))));
  const result = resultOf(await exchange.respond(utf8("more")));
  assertEquals([result.ok, result.failure], [false, "malformed"]);
});

Deno.test("ServerExchange takes no turn out of order", async () => {
  const accept = () => exchangeOf("PLAIN", () => true);
  const message = utf8("\0ann\0secret");
  await assertRejects(() => accept().respond(message), Error, "new");
  const over = accept();
  await over.start(message);
  await assertRejects(() => over.respond(utf8("\0bob\0x")), Error, "over");
  await assertRejects(() => over.start(message), Error, "over");
  const cancelled = accept();
  cancelled.cancel();
  await assertRejects(() => cancelled.start(message), Error, "over");
  const busy = exchangeOf("PLAIN", () => new Promise<boolean>(() => {}));
  const pending = busy.start(message);
  await assertRejects(() => busy.respond(message), Error, "busy");
  busy.cancel();
  assertEquals(resultOf(await pending).failure, "cancelled");
});
