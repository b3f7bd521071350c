/** Well-formed and malformed messages of a client, a table for each mechanism; random bytes. */

import { assert, assertEquals } from "@std/assert";
import {
  MECHANISM_NAMES,
  type MechanismName,
  parseMechanismName,
} from "../../lib/sasl/mechanism_name.ts";
import { ServerExchange } from "../../lib/sasl/server_exchange.ts";
import { createServerMechanism } from "../../lib/sasl/registry.ts";
import { challengeOf } from "../support/sasl_dialogue.ts";
import { utf8 } from "../support/bytes.ts";
import { seededFraction } from "../support/random.ts";

const DIGEST = "b913a602c7eda7a495b4e6e7334d3890";

/** Initial responses (for CRAM-MD5: responses) and their results. */
const ROWS: readonly {
  name: MechanismName;
  input: string;
  want: "verify" | "challenge" | "malformed" | "refused";
}[] = [
  { name: "PLAIN", input: "\0ann\0secret", want: "verify" },
  { name: "PLAIN", input: "bob\0ann\0secret", want: "verify" },
  { name: "PLAIN", input: "", want: "malformed" },
  { name: "PLAIN", input: "ann\0secret", want: "malformed" },
  { name: "PLAIN", input: "\0\0secret", want: "malformed" },
  { name: "PLAIN", input: "\0ann\0", want: "malformed" },
  { name: "PLAIN", input: "\0ann\0secret\0", want: "malformed" },
  { name: "PLAIN", input: "\0a\u0007n\0secret", want: "malformed" },
  { name: "PLAIN", input: "\u0007\0ann\0secret", want: "malformed" },
  { name: "PLAIN", input: "\0\u00ad\0secret", want: "malformed" },
  { name: "LOGIN", input: "ann", want: "challenge" },
  { name: "LOGIN", input: "", want: "malformed" },
  { name: "LOGIN", input: "a\0n", want: "malformed" },
  { name: "LOGIN", input: "a\u0007", want: "malformed" },
  { name: "CRAM-MD5", input: `ann ${DIGEST}`, want: "verify" },
  { name: "CRAM-MD5", input: `ann of x ${DIGEST}`, want: "verify" },
  { name: "CRAM-MD5", input: "", want: "malformed" },
  { name: "CRAM-MD5", input: DIGEST, want: "malformed" },
  { name: "CRAM-MD5", input: ` ${DIGEST}`, want: "malformed" },
  { name: "CRAM-MD5", input: `ann ${DIGEST}0`, want: "malformed" },
  { name: "CRAM-MD5", input: `ann ${DIGEST} `, want: "malformed" },
  {
    name: "CRAM-MD5",
    input: `ann ${DIGEST.toUpperCase()}`,
    want: "malformed",
  },
  { name: "CRAM-MD5", input: `a\0n ${DIGEST}`, want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,,n=ann,r=abc", want: "verify" },
  { name: "SCRAM-SHA-256", input: "y,,n=ann,r=abc", want: "verify" },
  { name: "SCRAM-SHA-256", input: "n,a=bob,n=a=2Cn=3D,r=a", want: "verify" },
  { name: "SCRAM-SHA-256", input: "n,,n=ann,r=abc,x=y", want: "verify" },
  { name: "SCRAM-SHA-256", input: "", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,n=ann,r=abc", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "x,,n=ann,r=abc", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "N,,n=ann,r=abc", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,b=bob,n=ann,r=abc", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,a=,n=ann,r=abc", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,a==,n=ann,r=abc", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,,n=,r=abc", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,,n=a=2c,r=abc", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,,n=ann", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,,n=ann,r=", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,,n=ann,r=a b", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,,n=ann,r=é", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,,r=abc,n=ann", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,,m=x,n=ann,r=abc", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,,n=ann,r=abc,", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "n,,n=a\u0007,r=abc", want: "malformed" },
  { name: "SCRAM-SHA-256", input: "p=x,,n=ann,r=abc", want: "refused" },
  { name: "SCRAM-SHA-256", input: "p=,,n=ann,r=abc", want: "malformed" },
  { name: "XOAUTH2", input: "user=a\x01auth=Bearer t\x01\x01", want: "verify" },
  { name: "XOAUTH2", input: "user=a\x01auth=bearer t\x01\x01", want: "verify" },
  { name: "XOAUTH2", input: "user=a\x01auth=\x01\x01", want: "refused" },
  { name: "XOAUTH2", input: "", want: "malformed" },
  {
    name: "XOAUTH2",
    input: "user=\x01auth=Bearer t\x01\x01",
    want: "malformed",
  },
  { name: "XOAUTH2", input: "user=a\x01auth=Bearer t\x01", want: "malformed" },
  {
    name: "XOAUTH2",
    input: "user=a\x01auth=Basic t\x01\x01",
    want: "malformed",
  },
  {
    name: "XOAUTH2",
    input: "user=a\x01auth=Bearer t t\x01\x01",
    want: "malformed",
  },
  {
    name: "OAUTHBEARER",
    input: "n,a=a,\x01auth=Bearer t\x01\x01",
    want: "verify",
  },
  {
    name: "OAUTHBEARER",
    input: "y,,\x01host=h\x01port=x\x01auth=Bearer t==\x01\x01",
    want: "verify",
  },
  { name: "OAUTHBEARER", input: "n,,\x01auth=\x01\x01", want: "refused" },
  { name: "OAUTHBEARER", input: "", want: "malformed" },
  { name: "OAUTHBEARER", input: "n,,\x01\x01", want: "malformed" },
  { name: "OAUTHBEARER", input: "n,,\x01", want: "malformed" },
  { name: "OAUTHBEARER", input: "n,,\x01host=h\x01\x01", want: "malformed" },
  {
    name: "OAUTHBEARER",
    input: "n,,auth=Bearer t\x01\x01",
    want: "malformed",
  },
  {
    name: "OAUTHBEARER",
    input: "p=x,,\x01auth=Bearer t\x01\x01",
    want: "malformed",
  },
  {
    name: "OAUTHBEARER",
    input: "n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01",
    want: "malformed",
  },
  { name: "EXTERNAL", input: "", want: "verify" },
  { name: "EXTERNAL", input: "ann", want: "verify" },
  { name: "EXTERNAL", input: "a\0n", want: "malformed" },
];

const OPTIONS = { hostname: "a", certificate: utf8("der") };

for (const { name, input, want } of ROWS) {
  Deno.test(`${name}: ${JSON.stringify(input)} is ${want}`, () => {
    const mechanism = createServerMechanism(name, OPTIONS);
    // CRAM-MD5 begins with a challenge; the others may be asked for the message.
    const direct = createServerMechanism(name, OPTIONS);
    const asked = mechanism.start(undefined);
    assertEquals(asked.type, "challenge");
    for (
      const step of [
        mechanism.step(utf8(input)),
        ...name === "CRAM-MD5" ? [] : [direct.start(utf8(input))],
      ]
    ) {
      assertEquals(step.type === "failure" ? step.failure : step.type, want);
    }
  });
}

Deno.test("every mechanism refuses what is no UTF-8", () => {
  const bytes = Uint8Array.of(0, 0xff, 0, 0xff);
  for (const name of MECHANISM_NAMES) {
    const mechanism = createServerMechanism(name, OPTIONS);
    mechanism.start(undefined);
    assertEquals(mechanism.step(bytes).type, "failure");
  }
});

Deno.test("CRAM-MD5 takes no initial response", () => {
  const step = createServerMechanism("CRAM-MD5", OPTIONS).start(utf8(""));
  assertEquals(step.type, "failure");
});

Deno.test("LOGIN asks for name and password", () => {
  const mechanism = createServerMechanism("LOGIN", OPTIONS);
  assertEquals(challengeOf(mechanism.start(undefined)), "Username:");
  assertEquals(challengeOf(mechanism.step(utf8("ann"))), "Password:");
  assertEquals(mechanism.step(utf8("")).type, "failure");
});

const FINAL_ROWS: readonly { name: string; input: string; want: string }[] = [
  { name: "nothing", input: "", want: "malformed" },
  { name: "no proof", input: "c=biws,r=abcdef", want: "malformed" },
  { name: "proof first", input: "p=AAAA,c=biws,r=abcdef", want: "malformed" },
  { name: "no base64", input: "c=biws,r=abcdef,p=AAA", want: "malformed" },
  {
    name: "an extension after the proof",
    input: "c=biws,r=abcdef,p=AAAA,x=y",
    want: "malformed",
  },
  { name: "a nonce cut off", input: "c=biws,r=abcde,p=AAAA", want: "refused" },
  { name: "another nonce", input: "c=biws,r=defabc,p=AAAA", want: "refused" },
  { name: "another flag", input: "c=eSws,r=abcdef,p=AAAA", want: "refused" },
  {
    name: "binding data",
    input: "c=biwsAA==,r=abcdef,p=AAAA",
    want: "refused",
  },
  { name: "a short proof", input: "c=biws,r=abcdef,p=AAAA", want: "refused" },
  {
    name: "an empty proof",
    input: "c=biws,r=abcdef,p=",
    want: "malformed",
  },
];

for (const { name, input, want } of FINAL_ROWS) {
  Deno.test(`SCRAM: a final message with ${name} is ${want}`, async () => {
    const handler = Promise.withResolvers<boolean>();
    const exchange = new ServerExchange(
      createServerMechanism("SCRAM-SHA-256", { hostname: "a", nonce: "def" }),
      {
        authenticate: async (credentials) => {
          const ok = await credentials.verify("secret");
          handler.resolve(ok);
          return ok;
        },
      },
    );
    await exchange.start(utf8("n,,n=ann,r=abc"));
    const result = await exchange.respond(utf8(input));
    assert(result.done);
    assertEquals(
      "failure" in result ? String(result.failure) : undefined,
      want,
    );
    assertEquals(await handler.promise, false);
  });
}

Deno.test("noise from a client never throws and never passes", async () => {
  const random = seededFraction(5);
  const seeds = ROWS.map(({ input }) => utf8(input));
  for (let round = 0; round < 3000; round++) {
    const name = MECHANISM_NAMES[round % MECHANISM_NAMES.length] ?? "PLAIN";
    const noise = () => {
      const seed = seeds[Math.floor(random() * seeds.length)] ?? utf8("");
      const bytes = random() < 0.3
        ? Uint8Array.from({ length: random() * 40 }, () => random() * 256)
        : seed.slice();
      const at = Math.floor(random() * bytes.length);
      if (random() < 0.6 && bytes.length > 0) bytes[at] = random() * 256;
      return bytes;
    };
    const exchange = new ServerExchange(createServerMechanism(name, OPTIONS), {
      authenticate: () => false,
    });
    let step = await exchange.start(random() < 0.5 ? undefined : noise());
    for (let turn = 0; turn < 4 && !step.done; turn++) {
      step = await exchange.respond(noise());
    }
    assert(!step.done || !("ok" in step && step.ok));
    exchange.cancel();
  }
});

Deno.test("parseMechanismName() knows names in any letter case", () => {
  for (const name of MECHANISM_NAMES) {
    assertEquals(parseMechanismName(name.toLowerCase()), name);
  }
  for (const text of ["", "NTLM", "PLAIN ", "SCRAM-SHA-1", "__proto__"]) {
    assertEquals(parseMechanismName(text), undefined);
  }
});
