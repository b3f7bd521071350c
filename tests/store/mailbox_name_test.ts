/** Names of mailboxes from addresses: safe as file names, and unique. */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { Address } from "../../lib/protocol/address.ts";
import { mailboxName, safeComponent } from "../../lib/store/mailbox_name.ts";
import { seededFraction } from "../support/random.ts";

const addresses: readonly [address: string, want: string][] = [
  ["user@example.com", "user@example.com"],
  ["User@Example.COM", "user@example.com"],
  ["first.last+tag=x@example.com", "first.last+tag=x@example.com"],
  ["postmaster", "postmaster"],
  ['"user"@example.com', "user@example.com"],
  ['"us\\er"@example.com', "user@example.com"],
  ['"a b"@example.com', "a%20b@example.com"],
  ['"a@b"@example.com', "a%40b@example.com"],
  ['"a\\"b"@example.com', "a%22b@example.com"],
  ['"a\\\\b"@example.com', "a%5Cb@example.com"],
  ['""@example.com', "@example.com"],
  ['".."@example.com', "%2E.@example.com"],
  ['"../../etc/passwd"@example.com', "%2E.%2F..%2Fetc%2Fpasswd@example.com"],
  ['"/etc/passwd"@example.com', "%2Fetc%2Fpasswd@example.com"],
  ["-rf@example.com", "%2Drf@example.com"],
  ["a%2Eb@example.com", "a%252eb@example.com"],
  ["con.x@example.com", "%63on.x@example.com"],
  ["NUL.x@example.com", "%6Eul.x@example.com"],
  ["con@example.com", "con@example.com"],
  ["user@[192.0.2.1]", "user@%5B192.0.2.1%5D"],
  ["user@[IPv6:2001:db8::1]", "user@%5Bipv6%3A2001%3Adb8%3A%3A1%5D"],
  ["box@example.lock", "box@example%2Elock"],
  ["jürgen@example.com", "j%C3%BCrgen@example.com"],
  ["jürgen@bücher.example", "j%C3%BCrgen@xn--bcher-kva.example"],
  ["ann@BÜCHER.example", "ann@xn--bcher-kva.example"],
  ["ann@XN--Bcher-KVA.example", "ann@xn--bcher-kva.example"],
  ["ann@[IPv6:2001:DB8:0::1]", "ann@%5Bipv6%3A2001%3Adb8%3A%3A1%5D"],
  ["\u212Aim@example.com", "%E2%84%AAim@example.com"],
];

Deno.test("mailboxName() is readable for ordinary and safe for other addresses", () => {
  for (const [address, want] of addresses) {
    assertEquals(mailboxName(Address.parse(address)), want);
  }
});

Deno.test("mailboxName() keeps the case of the local part only when asked", () => {
  const address = Address.parse("User@Example.com");
  assertEquals(mailboxName(address, { keepCase: true }), "User@example.com");
  assertEquals(mailboxName(address, { keepCase: false }), "user@example.com");
});

Deno.test("mailboxName() refuses the null sender", () => {
  assertThrows(
    () => mailboxName(Address.NULL),
    TypeError,
    "Cannot name a mailbox",
  );
});

Deno.test("safeComponent() lets no text leave its folder", () => {
  const rows: readonly [text: string, want: string][] = [
    ["..", "%2E%2E"],
    [".", "%2E"],
    ["...", "%2E.%2E"],
    ["../x", "%2E.%2Fx"],
    ["a/../../b", "a%2F..%2F..%2Fb"],
    ["..\\x", "%2E.%5Cx"],
    ["C:\\x", "C%3A%5Cx"],
    ["/", "%2F"],
    ["~root", "%7Eroot"],
    ["a\0b", "a%00b"],
    ["a\r\nb", "a%0D%0Ab"],
    ["-x", "%2Dx"],
    ["x.", "x%2E"],
    ["x ", "x%20"],
    ["CON", "%43ON"],
    ["com1.txt", "%63om1.txt"],
    ["LPT9", "%4CPT9"],
    ["console", "console"],
    [".lock", "%2Elock"],
    ["user.lock", "user%2Elock"],
    ["user.LOCK", "user%2ELOCK"],
    ["a@b", "a@b"],
    ["\ud800", "%ud800"],
    ["\ufffd", "%EF%BF%BD"],
  ];
  for (const [text, want] of rows) assertEquals(safeComponent(text), want);
  assertThrows(() => safeComponent(""), TypeError);
});

Deno.test("safeComponent() cuts long texts and keeps them distinct", () => {
  const names = new Set<string>();
  for (const tail of ["a", "b", "é", "/"]) {
    for (const length of [190, 199, 200, 201, 5000]) {
      const name = safeComponent("x".repeat(length) + tail);
      assert(name.length <= 200, name);
      assertMatch(name, /^[A-Za-z0-9._+=@%~-]+$/);
      names.add(name);
    }
  }
  assertEquals(names.size, 20);
  assertEquals(safeComponent("y".repeat(200)), "y".repeat(200));
  assert(!/%.?~/.test(safeComponent("é".repeat(500))));
});

Deno.test("safeComponent() gives different texts different and safe names", () => {
  const random = seededFraction(7);
  const alphabet = [
    ..."aA.-_%~@/\\\0 :2eEéCON\ud800\ufffd1lock",
    ".lock",
    "..",
  ];
  const seen = new Map<string, string>();
  for (let round = 0; round < 20_000; round++) {
    let text = "";
    for (let left = 1 + random() * 6; left > 0; left--) {
      text += alphabet[Math.trunc(random() * alphabet.length)];
    }
    if (text === "") continue;
    const name = safeComponent(text);
    assertMatch(name, /^[A-Za-z0-9_+=@%][A-Za-z0-9._+=@%~-]*$/);
    assert(!/\.$|\.lock$/i.test(name), name);
    assertEquals(seen.get(name) ?? text, text, name);
    seen.set(name, text);
  }
});
