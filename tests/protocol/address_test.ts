/**
 * Paths and mailboxes: RFC 5321 sections 4.1.2, 4.1.3 and 4.5.3.1, RFC 6531
 * section 3.3.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  Address,
  AddressSyntaxError,
  type ParsedPath,
  parsePath,
  type PathFault,
} from "../../lib/protocol/address.ts";
import { randomText, seeded } from "../support/random.ts";

function found(path: ParsedPath | PathFault): ParsedPath {
  if ("error" in path) throw new Error(`${path.error} at ${path.offset}`);
  return path;
}

function refused(path: ParsedPath | PathFault): PathFault {
  if ("end" in path) throw new Error(`Took ${path.address}`);
  return path;
}

const L64 = "l".repeat(64);
const LABEL63 = "d".repeat(63);

/** Valid addresses: text, local part, domain. */
const RIGHT: [name: string, text: string, localPart: string, domain: string][] =
  [
    ["plain", "a@example.com", "a", "example.com"],
    ["case kept and folded", "A.b@EXAMPLE.Com", "A.b", "example.com"],
    [
      "every atom character",
      "!#$%&'*+-/=?^_`{|}~@x",
      "!#$%&'*+-/=?^_`{|}~",
      "x",
    ],
    ["single label", "root@localhost", "root", "localhost"],
    ["digits only", "1@2.3", "1", "2.3"],
    ["underscores in the domain", "a@_my_host_.d", "a", "_my_host_.d"],
    ["local part of 252", `${"l".repeat(252)}@c`, "l".repeat(252), "c"],
    [
      "quoted local part of 252",
      `"${"l".repeat(250)}"@c`,
      `"${"l".repeat(250)}"`,
      "c",
    ],
    ["hyphens inside", "a@b--c.xn--d", "a", "b--c.xn--d"],
    ["quoted with space", '"a b"@c', '"a b"', "c"],
    ["quoted with @", '"a@b"@c', '"a@b"', "c"],
    ["quoted with quote", '"\\""@c', '"\\""', "c"],
    ["quoted with backslash", '"\\\\"@c', '"\\\\"', "c"],
    ["quoted with >", '"a>b"@c', '"a>b"', "c"],
    ["quoted, empty", '""@c', '""', "c"],
    ["quoted dots", '".a..b."@c', '".a..b."', "c"],
    ["local part of 64", `${L64}@c`, L64, "c"],
    ["label of 63", `a@${LABEL63}`, "a", LABEL63],
    ["IPv4 literal", "a@[192.0.2.1]", "a", "[192.0.2.1]"],
    ["IPv6 literal", "a@[IPv6:2001:DB8::1]", "a", "[ipv6:2001:db8::1]"],
    ["IPv6 full", "a@[IPv6:1:2:3:4:5:6:7:8]", "a", "[ipv6:1:2:3:4:5:6:7:8]"],
    ["IPv6 any", "a@[ipv6:::]", "a", "[ipv6:::]"],
    [
      "IPv6 with IPv4",
      "a@[IPv6:::ffff:192.0.2.1]",
      "a",
      "[ipv6:::ffff:192.0.2.1]",
    ],
    [
      "IPv6 six and IPv4",
      "a@[IPv6:1:2:3:4:5:6:1.2.3.4]",
      "a",
      "[ipv6:1:2:3:4:5:6:1.2.3.4]",
    ],
    ["general literal", "a@[x400:c=de;a=b]", "a", "[x400:c=de;a=b]"],
    ["UTF-8 local part", "jörg@example.com", "jörg", "example.com"],
    ["UTF-8 quoted", '"jörg x"@example.com', '"jörg x"', "example.com"],
    ["U-label", "a@BÜCHER.Example", "a", "bÜcher.example"],
    ["mark in a U-label", "a@हिन्दी.भारत", "a", "हिन्दी.भारत"],
    ["beyond the BMP", "𝒶@𠀀.com", "𝒶", "𠀀.com"],
  ];

/** Malformed paths: the text before and after the error. */
const WRONG: [name: string, before: string, after: string][] = [
  ["no opening bracket", "a@b", ">"],
  ["text behind the address", "a@b", ",c@d"],
  ["not closed", "<a@b", ""],
  ["something behind", "<a@b", " c>"],
  ["no local part", "<@b", ">"],
  ["no domain", "<a@", ">"],
  ["no @", "<a", ">"],
  ["leading dot", "<", ".a@b>"],
  ["trailing dot", "<user.", "@example.com>"],
  ["double dot", "<a.", ".b@c>"],
  ["two @", "<a@b", "@c>"],
  ["space", "<a", " b@c>"],
  ["quote inside", "<a", '"b"@c>'],
  ["text behind the quotes", '<"a"', "b@c>"],
  ["quotes not closed", '<"a@b>', ""],
  ["control in quotes", '<"a', '\t"@b>'],
  ["CR in quotes", '<"a\\', '\r\n"@b>'],
  ["NUL", "<a", "\0@b>"],
  ["LF", "<a", "\n@b>"],
  ["DEL", "<a@b", "\x7f>"],
  ["C1 control", "<a", "\x85@b>"],
  ["half a pair", "<a", "\ud800@b>"],
  ["no UTF-8", "<a", "\ufffd@b>"],
  ["domain ends in a dot", "<a@b.", ">"],
  ["domain begins with a dot", "<a@", ".b>"],
  ["double dot in domain", "<a@b.", ".c>"],
  ["plus in domain", "<a@b", "+c>"],
  ["label begins with hyphen", "<a@", "-b>"],
  ["label ends in hyphen", "<a@b", "-.c>"],
  ["ideographic full stop", "<a@b", "\u3002c>"],
  ["no-break space in domain", "<a@b", "\u00a0c>"],
  ["label of 64", `<a@d${LABEL63}`, ">"],
  ["IPv4 of three", "<a@[", "1.2.3]>"],
  ["IPv4 of five", "<a@[", "1.2.3.4.5]>"],
  ["IPv4 above 255", "<a@[", "1.2.3.256]>"],
  ["IPv4 with leading zero", "<a@[", "1.2.3.04]>"],
  ["IPv4 empty", "<a@[", "]>"],
  ["IPv6 without tag", "<a@[", "::1]>"],
  ["IPv6 that looks like a tag", "<a@[", "2001:db8::1]>"],
  ["IPv6 of seven", "<a@[", "IPv6:1:2:3:4:5:6:7]>"],
  ["IPv6 of nine", "<a@[", "IPv6:1:2:3:4:5:6:7:8:9]>"],
  ["IPv6 twice ::", "<a@[", "IPv6:1::2::3]>"],
  ["IPv6 three colons", "<a@[", "IPv6:1:::2]>"],
  ["IPv6 single colon first", "<a@[", "IPv6::1:2:3:4:5:6:7]>"],
  ["IPv6 group of five", "<a@[", "IPv6:12345::]>"],
  ["IPv6 IPv4 not last", "<a@[", "IPv6:1.2.3.4::]>"],
  ["general without content", "<a@[", "x400:]>"],
  ["literal not closed", "<a@[1.2.3.4>", ""],
  ["text behind the literal", "<a@[1.2.3.4]", "x>"],
  ["route without colon", "<@a", ">"],
  ["route without domain", "<@", ":a@b>"],
  ["route ends in a comma", "<@a,", ":a@b>"],
  ["route without mailbox", "<@a:", ">"],
  ["route to postmaster", "<@a:postmaster", ">"],
];

for (const [name, text, localPart, domain] of RIGHT) {
  Deno.test(`Address.parse() takes ${name}`, () => {
    const address = Address.parse(text);
    assertEquals(address.localPart, localPart);
    assertEquals(address.domain, domain);
    assertEquals(String(address), text);
    assertEquals(address.toPath(), `<${text}>`);
    assertEquals(address.isLiteral, domain.startsWith("["));
    // deno-lint-ignore no-control-regex
    assertEquals(address.isAscii, /^[\x00-\x7f]*$/.test(text));
    assertEquals(address.isNull, false);
  });

  Deno.test(`parsePath() takes ${name}`, () => {
    const line = `MAIL FROM:<${text}> SIZE=1`;
    for (const kind of ["reverse", "forward"] as const) {
      const path = found(parsePath(line, 10, { kind, utf8: true }));
      assertEquals(path.end, line.length - 7);
      assertEquals(path.address, Address.parse(text));
    }
  });
}

for (const [name, before, after] of WRONG) {
  Deno.test(`parsePath() refuses ${name}`, () => {
    const text = `RCPT TO:${before}${after}`;
    const path = refused(
      parsePath(text, 8, { kind: "forward", utf8: true }),
    );
    assertEquals(path.offset, 8 + before.length);
    assertEquals(path.utf8, undefined);
    assertEquals(
      parsePath(text, 8, { kind: "forward", utf8: false }),
      path,
    );
  });
}

Deno.test("parsePath() drops a source route", () => {
  for (const route of ["@a:", "@a,@b.c:", "@a, @b.c:\t", "@a: "]) {
    const text = `<${route}c@d>`;
    const path = parsePath(text, 0, { kind: "forward", utf8: false });
    assertEquals(path, { address: Address.parse("c@d"), end: text.length });
  }
});

Deno.test("parsePath() takes an address without brackets, and blanks inside brackets", () => {
  const rows: [text: string, end: number][] = [
    ["a@b.c", 5],
    ["a@b.c SIZE=1", 5],
    ["a@b.c\tSIZE=1", 5],
    ["< a@b.c>", 8],
    ["<a@b.c >", 8],
    ["<\t a@b.c \t> SIZE=1", 11],
    ["@x,@y.z:a@b.c", 13],
    ["< @x:a@b.c>", 11],
  ];
  for (const [text, end] of rows) {
    for (const kind of ["reverse", "forward"] as const) {
      const path = found(parsePath(text, 0, { kind, utf8: false }));
      assertEquals(path, { address: Address.parse("a@b.c"), end }, text);
    }
  }
  const reverse = { kind: "reverse", utf8: false } as const;
  assertEquals(found(parsePath("< >", 0, reverse)).end, 3);
  const forward = { kind: "forward", utf8: false } as const;
  assertEquals(found(parsePath("Postmaster", 0, forward)).end, 10);
});

/** The error texts of addresses. */
const NAMED: [path: string, error: string][] = [
  ["<foo..bar@x>", "Two dots in a row in the local part"],
  ["<foo.@x>", "Local part ends in a dot"],
  ["<.foo@x>", "Local part begins with a dot"],
  ["<@>", "Domain is empty"],
  ["<a@>", "Domain is empty"],
  ["<a@x..y>", "Two dots in a row in the domain"],
  ["<a@x.>", "Domain ends in a dot"],
  ["a@x. SIZE=1", "Domain ends in a dot"],
  ["<a@.x>", "Domain begins with a dot"],
  ["<a@x+y>", 'Character not allowed in a domain: expected ">"'],
  ["<a@+y>", "Character not allowed in a domain"],
  ["<a;b@x>", "Character not allowed in a local part without quotes"],
  ["<a b@x>", "Space in the address"],
  ["<a @x>", "Space in the address"],
  ["<a@ x>", "Space in the address"],
  ["<a@\tx>", "Space in the address"],
  ["<a@x y>", "Space in the address"],
  ["<<a@x>>", 'Second "<" before the address'],
  ["<a(c)@x>", "Comment in the address"],
  ["<(c)a@x>", "Comment in the address"],
  ["<a@x(c)>", "Comment in the address"],
  ["<a@(c)x>", "Comment in the address"],
  ["a@x(c)", "Comment in the address"],
  ["Ann <a@x>", "Text before the address: expected <address> alone"],
  ['"Ann B" <a@x>', "Text before the address: expected <address> alone"],
  ["(Ann) <a@x>", "Text before the address: expected <address> alone"],
  [
    '<a."b"@x>',
    "Quotes around a part of the local part: expected them around all of it",
  ],
  ['<"a".b@x>', 'Expected "@" after the local part'],
  ["<a@[2001:db8::1]>", 'Expected "IPv6:" in the address literal'],
  ["<a@[::1]>", 'Expected "IPv6:" in the address literal'],
  ["<a@x@y>", 'Second "@" in the address'],
  ["<a>", 'Expected "@" and a domain after the local part'],
  ["<a@x", 'Expected ">" after the address'],
  ["a@x>", 'Expected "<" before the address'],
];

for (const [path, error] of NAMED) {
  Deno.test(`parsePath() names what is wrong with ${path}`, () => {
    const options = { kind: "reverse", utf8: true } as const;
    assertEquals(refused(parsePath(path, 0, options)).error, error);
  });
}

Deno.test("parsePath() takes <> as reverse-path only", () => {
  const reverse = parsePath("<> SIZE=1", 0, { kind: "reverse", utf8: false });
  assertEquals(reverse, { address: Address.NULL, end: 2 });
  assert("error" in parsePath("<>", 0, { kind: "forward", utf8: false }));
});

Deno.test("parsePath() takes the bare postmaster as forward-path only", () => {
  const path = found(
    parsePath("<PostMaster>", 0, { kind: "forward", utf8: false }),
  );
  assertEquals(path.address.localPart, "PostMaster");
  assertEquals(path.address.domain, "");
  assertEquals(path.address.toPath(), "<PostMaster>");
  assert(
    "error" in parsePath("<postmaster>", 0, { kind: "reverse", utf8: false }),
  );
});

Deno.test("parsePath() tells what SMTPUTF8 would make right", () => {
  const options = { kind: "forward", utf8: false } as const;
  for (const [text, offset] of [["<aé@b>", 2], ["<a@é>", 3]] as const) {
    const path = parsePath(text, 0, options);
    assertEquals(path, {
      error: "Character needs SMTPUTF8",
      offset,
      utf8: true,
    });
  }
  assert(!("utf8" in parsePath("<é.@b>", 0, options)));
});

Deno.test("parsePath() counts bytes", () => {
  const options = { kind: "forward", utf8: true } as const;
  assert("end" in parsePath(`<${"é".repeat(126)}@b>`, 0, options));
  assert("error" in parsePath(`<${"é".repeat(127)}@b>`, 0, options));
  assert("end" in parsePath(`<${"𝒶".repeat(63)}@b>`, 0, options));
  assert("error" in parsePath(`<${"𝒶".repeat(64)}@b>`, 0, options));
  for (const [before, after] of [["", ""], ["<", ">"], ["< \t", "\t >"]]) {
    const text = (size: number) => `${before}${"l".repeat(size)}@b${after}`;
    assert("end" in parsePath(text(252), 0, options));
    assert("error" in parsePath(text(253), 0, options));
  }
  const path = (bytes: number) =>
    `<${L64}@${`${LABEL63}.`.repeat(2)}${"e".repeat(bytes - 195)}>`;
  assertEquals(path(256).length, 256);
  assert("end" in parsePath(path(256), 0, options));
  assert("error" in parsePath(path(257), 0, options));
  const domain = `${`${LABEL63}.`.repeat(4)}`;
  assert("error" in parsePath(`<a@${domain}b>`, 0, options));
});

Deno.test("Address.parse() gives back what toString() printed", () => {
  for (const text of ["", "postmaster", "a@b", '"a b"@[1.2.3.4]']) {
    assertEquals(String(Address.parse(text)), text);
  }
  assert(Address.parse("").isNull);
  assert(Address.NULL.isAscii);
  assertEquals(Address.NULL.toPath(), "<>");
});

Deno.test("Address.parse() throws with the offset of the fault", () => {
  const rows: [string, number][] = [
    ["a b@example.com", 1],
    ["a", 1],
    ["<a@b>", 0],
    ["a@b>", 3],
    ["postmaster ", 10],
    [`${L64}@${`${LABEL63}.`.repeat(3)}x`, 258],
  ];
  for (const [text, offset] of rows) {
    const error = assertThrows(() => Address.parse(text), AddressSyntaxError);
    assertEquals(error.offset, offset);
  }
});

Deno.test("Address.parse() shows no control character in its error", () => {
  const error = assertThrows(
    () => Address.parse(`a\r\nb${"c".repeat(1e5)}`),
    AddressSyntaxError,
    'Cannot parse the address "a\\r\\nb',
  );
  assert(error.message.length < 500);
});

Deno.test("Address.parse() refuses characters beyond ASCII when told so", () => {
  const error = assertThrows(
    () => Address.parse("a@é.com", { utf8: false }),
    AddressSyntaxError,
    "SMTPUTF8",
  );
  assertEquals(error.offset, 2);
});

Deno.test("new Address() checks its parts", () => {
  assertEquals(String(new Address("a", "B.c")), "a@B.c");
  for (
    const [local, domain] of [
      ["", "b"],
      ["a", ""],
      ["a@b", "c"],
      ["a", "b>c"],
      ["a", "b\r\nc"],
      [L64, `${LABEL63}.${LABEL63}.${LABEL63}.x`],
    ] as const
  ) {
    assertThrows(() => new Address(local, domain), AddressSyntaxError);
  }
});

Deno.test("parsePath() never throws, and what it takes it prints", () => {
  const random = seeded(1);
  const pieces = [...'<>@.,:"\\[] -a1\t\r\n\0éK\u3002\ud83d\ude00\ufffd']
    .concat("ab", "IPv6:", "::", "1.2.3.4", "<a@b>", "postmaster", L64);
  for (let round = 0; round < 20_000; round++) {
    const inner = randomText(random, { pieces, length: 8 });
    const text = random(4) === 0 ? inner : `<${inner}>`;
    const kind = random(2) === 0 ? "reverse" : "forward";
    const path = parsePath(text, 0, { kind, utf8: random(2) === 0 });
    if ("error" in path) {
      assert(path.offset >= 0 && path.offset <= text.length, text);
      continue;
    }
    const again = Address.parse(String(path.address));
    assertEquals(again, path.address, text);
    const printed = path.address.toPath();
    const read = text.slice(0, path.end).replace(/[ \t]*>$/, "");
    assert(read.endsWith(`${path.address}`), text);
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x1f\x7f-\x9f]/.test(printed), text);
  }
});

Deno.test("an Address in JSON is its text", () => {
  const from = Address.parse('"a b"@Example.COM');
  const all = { from, to: [Address.NULL, new Address("postmaster", "")] };
  assertEquals(
    JSON.stringify(all),
    '{"from":"\\"a b\\"@Example.COM","to":["","postmaster"]}',
  );
});
