/** Both sides against the examples of the RFCs. */

import { assert, assertEquals } from "@std/assert";
import { decodeBase64Strict, encodeBase64 } from "../../lib/sasl/encoding.ts";
import {
  createClientMechanism,
  createServerMechanism,
} from "../../lib/sasl/registry.ts";
import { ScramVerifier } from "../../lib/sasl/scram_verifier.ts";
import { ServerExchange } from "../../lib/sasl/server_exchange.ts";
import {
  challengeOf,
  credentialsOf,
  resultOf,
} from "../support/sasl_dialogue.ts";
import { utf8, utf8Text } from "../support/bytes.ts";

Deno.test("PLAIN: RFC 4616 section 4, acting for oneself and for another", async () => {
  const login = { username: "tim", password: "tanstaaftanstaaf" };
  const message = createClientMechanism("PLAIN", login).start();
  assertEquals(utf8Text(message), "\0tim\0tanstaaftanstaaf");
  const forAnother = createClientMechanism("PLAIN", {
    username: "Kurt",
    password: "xipj3plmq",
    authorizationId: "Ursel",
  }).start();
  assertEquals(utf8Text(forAnother), "Ursel\0Kurt\0xipj3plmq");
  const server = createServerMechanism("PLAIN", { hostname: "a" });
  const credentials = credentialsOf(server.start(forAnother ?? utf8("")));
  assertEquals(credentials.username, "Kurt");
  assertEquals(credentials.authorizationId, "Ursel");
  assertEquals(credentials.password, "xipj3plmq");
  assert(await credentials.verify("xipj3plmq"));
});

Deno.test("CRAM-MD5: RFC 2195 section 2", async () => {
  const challenge = "<1896.697170952@postoffice.reston.mci.net>";
  const answer = "tim b913a602c7eda7a495b4e6e7334d3890";
  const secret = "tanstaaftanstaaf";
  const client = createClientMechanism("CRAM-MD5", {
    username: "tim",
    password: secret,
  });
  assertEquals(client.start(), undefined);
  assertEquals(utf8Text(await client.step(utf8(challenge))), answer);

  const server = createServerMechanism("CRAM-MD5", {
    hostname: "postoffice.reston.mci.net",
    nonce: "1896.697170952",
  });
  assertEquals(challengeOf(server.start(undefined)), challenge);
  const credentials = credentialsOf(server.step(utf8(answer)));
  assert(await credentials.verify(secret));
  assert(!await credentials.verify("other"));
  assert(!await credentials.verify(undefined));
  const verifier = await ScramVerifier.create(secret, { iterations: 4096 });
  assert(!await credentials.verify(verifier));
});

Deno.test("SCRAM-SHA-256: RFC 7677 section 3", async () => {
  const clientNonce = "rOprNGfwEbeRWgbNEkqO";
  const serverNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
  const messages = [
    `n,,n=user,r=${clientNonce}`,
    `r=${clientNonce}${serverNonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`,
    `c=biws,r=${clientNonce}${serverNonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`,
    "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
  ] as const;
  const client = createClientMechanism("SCRAM-SHA-256", {
    username: "user",
    password: "pencil",
    nonce: clientNonce,
  });
  assertEquals(utf8Text(client.start()), messages[0]);
  assertEquals(utf8Text(await client.step(utf8(messages[1]))), messages[2]);
  assertEquals(utf8Text(await client.step(utf8(messages[3]))), "");
  client.finish();

  const verifier = await ScramVerifier.create("pencil", {
    iterations: 4096,
    salt: decodeBase64Strict("W22ZaJ0SNY7soEsUEjb6gQ=="),
  });
  const server = new ServerExchange(
    createServerMechanism("SCRAM-SHA-256", {
      hostname: "a",
      nonce: serverNonce,
    }),
    { authenticate: (credentials) => credentials.verify(verifier) },
  );
  const first = await server.start(utf8(messages[0]));
  assertEquals(challengeOf(first), messages[1]);
  const final = await server.respond(utf8(messages[2]));
  assertEquals(challengeOf(final), messages[3]);
  const end = resultOf(await server.respond(new Uint8Array(0)));
  assert(end.ok);
  assertEquals(end.username, "user");
});

Deno.test("OAUTHBEARER: RFC 7628 section 4.1 and the error of section 4.3", async () => {
  const message =
    "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB";
  const token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
  const client = createClientMechanism("OAUTHBEARER", {
    username: "user@example.com",
    token,
    host: "server.example.com",
    port: 143,
  });
  const initial = client.start() ?? new Uint8Array(0);
  assertEquals(encodeBase64(initial), message);

  const options = {
    hostname: "a",
    oauthScope: "example_scope",
    openIdConfiguration: "https://example.com/.well-known/openid-configuration",
  };
  const server = createServerMechanism("OAUTHBEARER", options);
  const credentials = credentialsOf(server.start(initial));
  assertEquals(credentials.username, "user@example.com");
  assertEquals(credentials.token, token);
  assertEquals(server.verified(true), { ok: true });
  const refusal = server.verified(false).challenge ?? new Uint8Array(0);
  assertEquals(JSON.parse(utf8Text(refusal)), {
    status: "invalid_token",
    scope: "example_scope",
    "openid-configuration":
      "https://example.com/.well-known/openid-configuration",
  });
  assertEquals(encodeBase64(await client.step(refusal)), "AQ==");
});

Deno.test("XOAUTH2: name and token as its documentation shows", () => {
  const client = createClientMechanism("XOAUTH2", {
    username: "someuser@example.com",
    token: "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg",
  });
  assertEquals(
    encodeBase64(client.start() ?? new Uint8Array(0)),
    "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==",
  );
});
