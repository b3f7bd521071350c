/**
 * The client's side of the mechanisms: choice and messages (RFC 4616, RFC
 * 2195, RFC 5802, RFC 7628).
 */

import {
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  chooseMechanism,
  createClientMechanism,
} from "../../lib/sasl/registry.ts";
import {
  MECHANISM_NAMES,
  type MechanismName,
} from "../../lib/sasl/mechanism_name.ts";
import { SaslError } from "../../lib/sasl/client_mechanism.ts";
import { utf8, utf8Text } from "../support/bytes.ts";
import { seededFraction } from "../support/random.ts";

const LOGIN = { username: "ann", password: "secret" };
const TOKEN = { username: "ann", token: "abc" };
const BINDING = utf8("binding");

Deno.test("chooseMechanism() takes the strongest that will do", () => {
  const secure = { secure: true };
  const open = { secure: false };
  const all = { ...LOGIN, ...TOKEN, external: true, channelBinding: BINDING };
  const rows = [
    [MECHANISM_NAMES, { ...all, ...secure }, "SCRAM-SHA-256-PLUS"],
    [MECHANISM_NAMES, { ...LOGIN, ...secure }, "SCRAM-SHA-256"],
    [["login", "plain"], { ...LOGIN, ...secure }, "PLAIN"],
    [["LOGIN"], { ...LOGIN, ...secure }, "LOGIN"],
    [["PLAIN", "CRAM-MD5"], { ...LOGIN, ...secure }, "CRAM-MD5"],
    [["PLAIN", "CRAM-MD5"], { ...LOGIN, ...open }, "CRAM-MD5"],
    [["PLAIN", "LOGIN"], { ...LOGIN, ...open }, undefined],
    [["PLAIN"], { ...LOGIN, ...open, allowInsecure: true }, "PLAIN"],
    [MECHANISM_NAMES, { ...TOKEN, ...secure }, "OAUTHBEARER"],
    [["XOAUTH2", "PLAIN"], { ...TOKEN, ...secure }, "XOAUTH2"],
    [["XOAUTH2", "OAUTHBEARER"], { ...TOKEN, ...open }, undefined],
    [
      ["EXTERNAL", "PLAIN"],
      { username: "", external: true, ...secure },
      "EXTERNAL",
    ],
    [["EXTERNAL", "PLAIN"], { ...LOGIN, ...secure }, "PLAIN"],
    [["NTLM", "GSSAPI"], { ...LOGIN, ...secure }, undefined],
    [[], { ...LOGIN, ...secure }, undefined],
    [["PLAIN"], { username: "ann", ...secure }, undefined],
  ] as const;
  for (const [offered, options, want] of rows) {
    assertEquals(chooseMechanism(offered, options), want);
  }
});

Deno.test("createClientMechanism() refuses what it cannot log in with", () => {
  const rows: readonly [MechanismName, Record<string, unknown>][] = [
    ["PLAIN", { password: undefined }],
    ["PLAIN", { password: "" }],
    ["PLAIN", { password: "hun\0ter2" }],
    ["PLAIN", { authorizationId: "a\0" }],
    ["SCRAM-SHA-256", { password: "hunter2\u0007" }],
    ["SCRAM-SHA-256", { username: "" }],
    ["SCRAM-SHA-256-PLUS", {}],
    ["XOAUTH2", {}],
    ["XOAUTH2", { token: "hunter2\x01" }],
    ["XOAUTH2", { token: "t", username: "a\x01" }],
    ["OAUTHBEARER", { token: "hunter2 x" }],
  ];
  for (const [name, change] of rows) {
    const error = assertThrows(
      () => createClientMechanism(name, { ...LOGIN, ...change }),
      TypeError,
    );
    assertEquals(error.message.includes("hun"), false);
  }
});

Deno.test("ScramClient.start() tells whether it could bind the channel", () => {
  const start = (name: MechanismName, channelBinding?: Uint8Array) =>
    utf8Text(
      createClientMechanism(name, {
        username: "a,n=",
        password: "x",
        nonce: "abc",
        channelBinding,
      }).start(),
    );
  assertEquals(start("SCRAM-SHA-256"), "n,,n=a=2Cn=3D,r=abc");
  assertEquals(start("SCRAM-SHA-256", BINDING), "y,,n=a=2Cn=3D,r=abc");
  assertEquals(
    start("SCRAM-SHA-256-PLUS", BINDING),
    "p=tls-server-end-point,,n=a=2Cn=3D,r=abc",
  );
});

Deno.test("ScramClient.start() uses a nonce once", () => {
  const start = () =>
    utf8Text(createClientMechanism("SCRAM-SHA-256", LOGIN).start());
  assertNotEquals(start(), start());
});

Deno.test("ScramClient.step() rejects a first message that is wrong", async () => {
  const messages = [
    "",
    "nonsense",
    "e=other-error",
    "r=abc,s=AAAA,i=4096",
    "r=xabc,s=AAAA,i=4096",
    "r=abcdef,s=AAAA",
    "r=abcdef,s=AAA,i=4096",
    "r=abcdef,s=AAAA,i=4095",
    "r=abcdef,s=AAAA,i=5000001",
    "r=abcdef,s=AAAA,i=99999999999999",
    "r=abcdef,s=AAAA,i=-1",
    "m=x,r=abcdef,s=AAAA,i=4096",
  ];
  for (const message of messages) {
    const client = createClientMechanism("SCRAM-SHA-256", {
      ...LOGIN,
      nonce: "abc",
    });
    await assertRejects(() => client.step(utf8(message)), SaslError);
  }
});

Deno.test("ScramClient trusts no server without the right signature", async () => {
  for (
    const final of ["", "e=other-error", "v=", "v=AAAA", `v=${"A".repeat(43)}=`]
  ) {
    const client = createClientMechanism("SCRAM-SHA-256", {
      ...LOGIN,
      nonce: "abc",
    });
    await client.step(utf8("r=abcdef,s=AAAA,i=4096"));
    assertThrows(() => client.finish(), SaslError);
    assertThrows(() => client.finish(utf8(final)), SaslError);
    await assertRejects(() => client.step(utf8(final)), SaslError);
    assertThrows(() => client.finish(), SaslError);
  }
});

Deno.test("a client does not finish with a server that has not asked", async () => {
  for (const name of ["LOGIN", "CRAM-MD5", "SCRAM-SHA-256"] as const) {
    const client = createClientMechanism(name, LOGIN);
    client.start();
    assertThrows(() => client.finish(), SaslError);
  }
  const oauth = createClientMechanism("XOAUTH2", TOKEN);
  oauth.finish();
  assertEquals(utf8Text(await oauth.step(utf8("{}"))), "");
  assertThrows(() => oauth.finish(), SaslError);
});

Deno.test("noise from a server makes a client reject with SaslError only", async () => {
  const random = seededFraction(6);
  for (let round = 0; round < 800; round++) {
    const name = MECHANISM_NAMES[round % MECHANISM_NAMES.length] ?? "PLAIN";
    const client = createClientMechanism(name, {
      ...LOGIN,
      ...TOKEN,
      channelBinding: BINDING,
      nonce: "abc",
    });
    client.start();
    for (let turn = 0; turn < 3; turn++) {
      const noise = random() < 0.5
        ? utf8("r=abcd,s=AAAA,i=4096")
        : Uint8Array.from({ length: random() * 40 }, () => random() * 256);
      if (random() < 0.5 && noise.length > 8) noise[8] = random() * 256;
      try {
        await client.step(noise);
      } catch (error) {
        if (!(error instanceof SaslError)) throw error;
      }
    }
  }
});
