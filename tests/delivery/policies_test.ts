/**
 * The meaning of failures, MX order with seeded shuffling, the memories of hosts
 * and the TLS policy (RFC 5321 sections 4.2.1 and 5.1).
 */

import { BrokenTlsMemory } from "../../lib/delivery/host_memory.ts";
import type { Failure } from "../../lib/client/error.ts";
import { assert, assertEquals } from "@std/assert";
import type { MxOutcome } from "../../lib/dns/outcome.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import {
  isHostFailure,
  isTooManyRecipients,
  judgeFailure,
  mayEndSession,
} from "../../lib/delivery/outcome.ts";
import {
  literalAddress,
  orderAddresses,
  routeDomain,
} from "../../lib/delivery/route.ts";
import { acceptsCertificate, tlsStep } from "../../lib/client/opening.ts";
import { seededFraction } from "../support/random.ts";

function failed(
  stage: Failure["stage"],
  what: string,
  code = 550,
): Failure {
  const soft = what === "soft" || what === "none";
  return {
    stage,
    reply: new SmtpReply(soft ? 451 : code, "x"),
    fromPeer: what !== "none",
    broken: what === "none",
  };
}

Deno.test("judgeFailure() decides by what failed, how, and where", () => {
  // The verdicts: with more hosts, and at the last host.
  const rows: [Failure["stage"], "soft" | "hard" | "none", string][] = [
    ["connect", "none", "next defer"],
    ["tls", "none", "next defer"],
    ["greeting", "none", "next defer"],
    ["greeting", "soft", "next defer"],
    ["greeting", "hard", "next defer"],
    ["hello", "soft", "next defer"],
    ["hello", "hard", "next bounce"],
    ["startTls", "soft", "next defer"],
    ["authenticate", "soft", "next defer"],
    ["authenticate", "hard", "next defer"],
    ["reset", "none", "next defer"],
    ["mail", "soft", "next defer"],
    ["mail", "hard", "bounce bounce"],
    ["mail", "none", "next defer"],
    ["rcpt", "soft", "next defer"],
    ["rcpt", "hard", "bounce bounce"],
    ["data", "soft", "next defer"],
    ["data", "hard", "bounce bounce"],
    ["body", "none", "next defer"],
    ["body", "hard", "bounce bounce"],
    ["dataEnd", "soft", "next defer"],
    ["dataEnd", "hard", "bounce bounce"],
    ["dataEnd", "none", "defer defer"],
  ];
  for (const [stage, what, want] of rows) {
    const failure = failed(stage, what);
    const got = [true, false].map((moreHosts) =>
      judgeFailure(failure, { moreHosts })
    );
    assertEquals(got.join(" "), want, `${stage} ${what}`);
  }
});

Deno.test("judgeFailure() reads 552 to RCPT as 452", () => {
  const rows: [number, string | undefined, string, boolean][] = [
    [452, undefined, "defer", true],
    [452, "4.5.3", "defer", true],
    [452, "4.2.2", "defer", false],
    [552, undefined, "defer", true],
    [552, "5.5.3", "defer", true],
    [552, "5.2.2", "bounce", false],
    [550, undefined, "bounce", false],
  ];
  for (const [code, enhanced, verdict, tooMany] of rows) {
    const reply = new SmtpReply(code, "x", { enhanced });
    const failure = {
      stage: "rcpt",
      reply,
      fromPeer: true,
      broken: false,
    } as const;
    assertEquals(judgeFailure(failure, { moreHosts: false }), verdict);
    assertEquals(isTooManyRecipients(failure), tooMany);
  }
});

Deno.test("judgeFailure() never takes a refusal for lack of TLS or login for one of the message", () => {
  const stages = ["greeting", "hello", "mail", "rcpt", "data", "body"] as const;
  const rows: [number, string | undefined][] = [
    ...[523, 524, 530, 538].map((
      code,
    ): [number, undefined] => [code, undefined]),
    [550, "5.7.10"],
    [554, "5.7.11"],
  ];
  for (const stage of stages) {
    for (const [code, enhanced] of rows) {
      const reply = new SmtpReply(code, "x", { enhanced });
      const failure = { stage, reply, fromPeer: true, broken: false } as const;
      const name = `${code} ${enhanced} to ${stage}`;
      assertEquals(judgeFailure(failure, { moreHosts: false }), "defer", name);
      assertEquals(judgeFailure(failure, { moreHosts: true }), "next", name);
      assertEquals(isHostFailure(failure), true, name);
    }
  }
});

Deno.test("judgeFailure() returns no mail for a smarthost's refusal before MAIL", () => {
  for (const stage of ["greeting", "hello"] as const) {
    const failure = failed(stage, "hard", 554);
    const options = { moreHosts: false, smarthost: true };
    assertEquals(judgeFailure(failure, options), "defer");
  }
  const failure = failed("mail", "hard");
  const options = { moreHosts: false, smarthost: true };
  assertEquals(judgeFailure(failure, options), "bounce");
});

Deno.test("judgeFailure() returns no mail for a session that broke, whatever the replies before", () => {
  for (const stage of ["mail", "rcpt", "data"] as const) {
    const failure = { ...failed(stage, "hard"), broken: true };
    assertEquals(judgeFailure(failure, { moreHosts: false }), "defer", stage);
    assertEquals(judgeFailure(failure, { moreHosts: true }), "next", stage);
  }
});

Deno.test("mayEndSession() takes a refusal of MAIL or RSET on a used session for its end", () => {
  const rows: [Failure["stage"], string, boolean][] = [
    ["reset", "hard", true],
    ["mail", "hard", true],
    ["mail", "soft", true],
    ["mail", "none", true],
    ["rcpt", "hard", false],
    ["rcpt", "none", true],
    ["data", "soft", false],
    ["data", "none", true],
    ["dataEnd", "none", false],
    ["body", "none", false],
  ];
  for (const [stage, what, want] of rows) {
    assertEquals(mayEndSession(failed(stage, what)), want, `${stage} ${what}`);
  }
});

Deno.test("isHostFailure() tells the host from the message", () => {
  assertEquals(isHostFailure(failed("connect", "none")), true);
  assertEquals(isHostFailure(failed("greeting", "hard")), true);
  assertEquals(isHostFailure(failed("rcpt", "hard")), false);
  assertEquals(isHostFailure(failed("rcpt", "none")), true);
});

function mx(...hosts: [number, string][]): MxOutcome {
  return {
    status: "found",
    records: hosts.map(([preference, exchange]) => ({ preference, exchange })),
  };
}

Deno.test("routeDomain() orders hosts, or fails at once", () => {
  const rows: [string, MxOutcome, string[], string][] = [
    ["by preference", mx([20, "b"], [10, "a"], [30, "c"]), [], "a b c"],
    ["each once", mx([20, "A."], [10, "a"]), [], "a"],
    ["no MX", { status: "none", why: "no-such-record" }, [], "d.example"],
    ["cannot tell", { status: "none", why: "unknown" }, [], "d.example"],
    ["no domain", { status: "none", why: "no-such-name" }, [], "550 5.1.2"],
    ["no name", { status: "none", why: "not-a-name" }, [], "550 5.1.2"],
    ["null MX", { status: "null-mx" }, [], "556 5.1.10"],
    [
      "no answer",
      { status: "failed", reason: "SERVFAIL", code: "server-failure" },
      [],
      "451 4.4.3",
    ],
    ["own name cuts", mx([10, "a"], [20, "me"], [30, "c"]), ["ME"], "a"],
    ["own preference cuts", mx([10, "a"], [20, "me"], [20, "b"]), ["me"], "a"],
    ["own name best", mx([10, "me"], [20, "b"]), ["me."], "554 5.4.6"],
    [
      "own name in another spelling",
      mx([10, "xn--bcher-kva.test"], [20, "b"]),
      ["Bücher.test"],
      "554 5.4.6",
    ],
    [
      "own domain",
      { status: "none", why: "no-such-record" },
      ["d.example"],
      "554 5.4.6",
    ],
  ];
  for (const [name, answer, ownNames, want] of rows) {
    const route = routeDomain("d.example", {
      mx: answer,
      ownNames,
      random: seededFraction(1),
    });
    const got = "hosts" in route
      ? route.hosts.join(" ")
      : `${route.reply.code} ${route.reply.enhanced}`;
    assertEquals(got, want, name);
  }
});

Deno.test("routeDomain() spreads hosts of one preference", () => {
  const random = seededFraction(5);
  const first = new Map<string, number>();
  for (let round = 0; round < 3000; round++) {
    const route = routeDomain("d.example", {
      mx: mx([10, "a"], [10, "b"], [10, "c"], [20, "z"]),
      ownNames: [],
      random,
    });
    const hosts = "hosts" in route ? route.hosts : [];
    assertEquals(hosts[3], "z");
    const host = hosts[0]!;
    first.set(host, (first.get(host) ?? 0) + 1);
  }
  for (const host of ["a", "b", "c"]) {
    const count = first.get(host) ?? 0;
    assert(count > 850 && count < 1150, `${host} ${count}`);
  }
});

Deno.test("routeDomain() bounds the number of hosts", () => {
  const many = Array.from(
    { length: 500 },
    (_, at): [number, string] => [at, `h${at}`],
  );
  const route = routeDomain("d.example", {
    mx: mx(...many),
    ownNames: [],
    random: seededFraction(1),
  });
  assert("hosts" in route && route.hosts.length === 10);
});

Deno.test("orderAddresses() takes the families in turn", () => {
  const records = ["::1", "::2", "::3", "192.0.2.1", "192.0.2.2"];
  assertEquals(orderAddresses("h", { status: "found", records }), [
    "::1",
    "192.0.2.1",
    "::2",
    "192.0.2.2",
    "::3",
  ]);
  const none = orderAddresses("h", { status: "none", why: "no-such-name" });
  assert(none instanceof SmtpReply && none.enhanced === "5.1.2");
});

Deno.test("literalAddress() takes the address out of its brackets", () => {
  assertEquals(literalAddress("[192.0.2.1]"), "192.0.2.1");
  assertEquals(literalAddress("[IPv6:2001:db8::1]"), "2001:db8::1");
  assertEquals(literalAddress("[X-tag:abc]"), undefined);
  assertEquals(literalAddress("mx.example"), undefined);
});

Deno.test("tlsStep() and acceptsCertificate() follow the four policies", () => {
  const rows = [
    ["none", "skip skip", [true, true]],
    ["opportunistic", "use skip", [true, true]],
    ["required", "use refuse", [true, true]],
    ["verified", "use refuse", [true, false]],
  ] as const;
  for (const [security, steps, [good, bad]] of rows) {
    assertEquals(
      `${tlsStep(security, true)} ${tlsStep(security, false)}`,
      steps,
    );
    const judge = (error: string | undefined, verdict?: boolean) =>
      acceptsCertificate(security, { error, verdict });
    assertEquals([judge(undefined), judge("expired")], [good, bad]);
    assertEquals([judge("expired", true), judge(undefined, false)], [
      true,
      false,
    ]);
  }
});

Deno.test("BrokenTlsMemory forgets after a while, and never holds more than its limit", () => {
  const memory = new BrokenTlsMemory({ lifeMs: 100, maxHosts: 3 });
  for (const host of ["a", "b", "c", "a", "d"]) memory.remember(host, 0);
  assertEquals(memory.size, 3);
  const at = (host: string, now: number) =>
    memory.apply("opportunistic", { host, now });
  assertEquals(["a", "b", "c", "d"].map((host) => at(host, 99)), [
    "none",
    "opportunistic",
    "none",
    "none",
  ]);
  assertEquals(memory.apply("verified", { host: "a", now: 1 }), "verified");
  assertEquals(at("a", 100), "opportunistic");
  assertEquals(memory.size, 2);
});
