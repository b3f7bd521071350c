/** Senders of forwarded mail: rewritten, found again, and no one else's. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Address } from "../../lib/protocol/address.ts";
import { Srs } from "../../lib/trust/srs.ts";

const SECRET = "a secret of some length";
const OURS = "forward.test";
const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 30);
const srs = new Srs({ domain: OURS, secrets: [SECRET] });

Deno.test("A sender is rewritten and found again", () => {
  for (
    const address of [
      "ann@example.com",
      "ann+shop=x@sub.example.com",
      '"ann smith"@example.com',
      "jörg@example.com",
      "SRS@example.com",
    ]
  ) {
    const sender = srs.forward(address, NOW)!;
    assert(sender.endsWith(`@${OURS}`), sender);
    assertEquals(srs.reverse(sender, NOW), { address });
    // Hosts on the way change the case.
    const changed = srs.reverse(sender.toLowerCase(), NOW);
    assertEquals(changed?.address?.toLowerCase(), address.toLowerCase());
    assertEquals(
      srs.reverse(sender.replace("SRS0=", "srs0+"), NOW),
      { address },
    );
  }
});

Deno.test("The sender of another forwarder leads back to the first one", () => {
  const first = new Srs({
    domain: "one.test",
    secrets: ["another secret, long"],
  });
  const third = new Srs({
    domain: "three.test",
    secrets: ["a third secret, long"],
  });
  const one = first.forward("ann@example.com", NOW)!;
  const two = srs.forward(one, NOW)!;
  assert(two.startsWith("SRS1="), two);
  assertEquals(srs.reverse(two, NOW), { address: one });
  const three = third.forward(two, NOW)!;
  assertEquals(third.reverse(three, NOW), { address: one });
  assertEquals(first.reverse(one, NOW), { address: "ann@example.com" });
});

Deno.test("What came back through another forwarder leads to the first sender", () => {
  const other = new Srs({
    domain: "o.test",
    secrets: ["another secret, long"],
  });
  const one = srs.forward("eve@a.test", NOW)!;
  const three = srs.forward(other.forward(one, NOW)!, NOW)!;
  assert(three.startsWith("SRS1="), three);
  assertEquals(srs.reverse(three, NOW), { address: "eve@a.test" });
  assertEquals(srs.reverse(three, NOW + 30 * DAY), { fault: "expired" });
  // The hash of the other one is checked, too.
  const forged = srs.forward(
    `SRS1=x=${OURS}==AAAAAAAA=AA=a.test=eve@o.test`,
    NOW,
  )!;
  assertEquals(srs.reverse(forged, NOW), { fault: "forged" });
});

Deno.test("What other programs have rewritten has hashes of any kind", () => {
  for (
    const [address, first] of [
      ["SRS0=h+/9=2K=a.test=ann@one.test", "SRS0=h+/9=2K=a.test=ann@one.test"],
      ["SRS0+h+/9=2K=a.test=ann@one.test", "SRS0+h+/9=2K=a.test=ann@one.test"],
      [
        "SRS1=+0/1=one.test==xx=2K=a.test=ann@two.test",
        "SRS0=xx=2K=a.test=ann@one.test",
      ],
      [
        "srs1-8901=one.test=+xx=2K=a.test=ann@two.test",
        "SRS0+xx=2K=a.test=ann@one.test",
      ],
    ] as const
  ) {
    const sender = srs.forward(address, NOW)!;
    assert(sender.startsWith("SRS1="), sender);
    assertEquals(srs.reverse(sender, NOW), { address: first });
  }
});

Deno.test("A name that only looks rewritten is an address like others", () => {
  for (
    const address of ["SRS0=x@a.test", "SRS0@a.test", "SRS1=a=b@a.test"]
  ) {
    const sender = srs.forward(address, NOW)!;
    assertEquals(srs.reverse(sender, NOW), { address });
  }
});

Deno.test("What is rewritten is an address, and so is what it was", () => {
  for (
    const address of [
      "ann@[192.0.2.1]",
      "ann@[IPv6:2001:db8::1]",
      '""@a.test',
      '"a\\"b"@a.test',
      '"a@b"@a.test',
      '"<x>"@a.test',
    ]
  ) {
    const sender = Address.parse(srs.forward(address, NOW)!);
    const found = srs.reverse(String(sender), NOW)!;
    assertEquals(
      Address.parse(found.address!).toString().toLowerCase(),
      address.toLowerCase(),
    );
  }
  // The host of another forwarder is the client's text: it must be a domain.
  const made = srs.forward('"SRS1=x=a> b@c==y"@evil.test', NOW)!;
  assert(made.startsWith('"SRS0='), made);
});

Deno.test("A secret may be bytes", () => {
  const bytes = new TextEncoder().encode(SECRET);
  const same = new Srs({ domain: OURS, secrets: [bytes] });
  assertEquals(
    same.forward("ann@example.com", NOW),
    srs.forward("ann@example.com", NOW),
  );
});

Deno.test("Null senders and our own stay, and what is too long is not rewritten", () => {
  assertEquals(srs.forward(""), "");
  assertEquals(srs.forward(`bob@${OURS}`), `bob@${OURS}`);
  assertEquals(srs.forward(`${"a".repeat(60)}@example.com`), undefined);
});

Deno.test("A forged or old address goes nowhere", () => {
  const sender = srs.forward("ann@example.com", NOW)!;
  const [local] = sender.split("@");
  assertEquals(srs.reverse(sender, NOW + 21 * DAY)?.fault, undefined);
  assertEquals(srs.reverse(sender, NOW + 22 * DAY), { fault: "expired" });
  assertEquals(srs.reverse(sender, NOW + 1000 * DAY), { fault: "expired" });
  const forged = { fault: "forged" } as const;
  assertEquals(srs.reverse(sender.replace("=ann@", "=eve@"), NOW), forged);
  assertEquals(srs.reverse(sender.replace(/=..=/, "=AA="), NOW), forged);
  assertEquals(srs.reverse(`SRS0=AAAA=AA=x.test=eve@${OURS}`, NOW), forged);
  assertEquals(srs.reverse(`SRS0=@${OURS}`, NOW), forged);
  assertEquals(srs.reverse(`SRS1=AAAAAAAA=x.test==y@${OURS}`, NOW), forged);
  assertEquals(srs.reverse(`${local}@elsewhere.test`, NOW), undefined);
  assertEquals(srs.reverse(`ann@${OURS}`, NOW), undefined);
  const other = new Srs({ domain: OURS, secrets: ["another secret, long"] });
  assertEquals(other.reverse(sender, NOW), forged);
});

Deno.test("At midnight a host whose clock is ahead makes no expired address", () => {
  const sender = srs.forward("ann@a.test", NOW)!;
  assertEquals(srs.reverse(sender, NOW - 1), { address: "ann@a.test" });
  assertEquals(srs.reverse(sender, NOW - 2 * DAY), { fault: "expired" });
});

Deno.test("A new secret keeps the old addresses valid", () => {
  const sender = srs.forward("ann@example.com", NOW)!;
  const secrets = ["another secret, long", SECRET];
  const renewed = new Srs({ domain: OURS, secrets });
  assertEquals(renewed.reverse(sender, NOW), { address: "ann@example.com" });
  assert(renewed.forward("ann@example.com", NOW) !== sender);
});

Deno.test("A short secret and a bad number of days are refused, and shown in no error", () => {
  for (const secrets of [[], ["short"]]) {
    const error = assertThrows(
      () => new Srs({ domain: OURS, secrets }),
      RangeError,
    );
    assert(!error.message.includes('short"'));
  }
  for (const validDays of [0, 1.5, 512]) {
    assertThrows(
      () => new Srs({ domain: OURS, secrets: [SECRET], validDays }),
      RangeError,
    );
  }
});
