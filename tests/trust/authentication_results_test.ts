/**
 * Authentication-Results (RFC 8601 sections 2.2, 2.7 and 5): what is printed, that
 * no text of a peer becomes syntax in it, what is read, and which fields bear a name.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  bearsAuthservId,
  formatAuthenticationResults,
  parseAuthenticationResults,
  type ResultsToReport,
} from "../../lib/trust/authentication_results.ts";
import type { DkimResult, SpfResult } from "../../lib/trust/result.ts";

const ID = "mx.example.org";

const DKIM: DkimResult = {
  result: "pass",
  domain: "example.com",
  selector: "s2026a",
  identity: "@example.com",
  algorithm: "rsa-sha256",
  keyBits: 2048,
  testing: false,
  signature: "aBc/12+=",
};
const SPF: SpfResult = {
  result: "pass",
  identity: "mailfrom",
  domain: "example.com",
  lookups: 1,
};

/** The field, unfolded, without the name of the server. */
function shown(results: ResultsToReport): string {
  const value = formatAuthenticationResults(ID, results);
  for (const line of `Authentication-Results: ${value}`.split("\r\n")) {
    assert(line.trim() !== "" && line.length <= 998, line);
  }
  assert(!/[^\r\n -~]/.test(value), JSON.stringify(value));
  assert(!/\r\n(?! )|(?<!\r)\n|\r(?!\n)/.test(value), JSON.stringify(value));
  return value.replaceAll("\r\n", "").slice(`${ID}; `.length);
}

Deno.test("A field has every result, one a line, in 78 characters", () => {
  const value = formatAuthenticationResults(ID, {
    reverse: { result: "pass", name: "out.example.com", ip: "2001:db8::1" },
    spf: SPF,
    helo: { ...SPF, identity: "helo", domain: "out.example.com" },
    from: "ann@example.com",
    dkim: [DKIM, {
      ...DKIM,
      result: "permerror",
      reason: "The key record has no key",
      signature: "x",
      testing: true,
      unsigned: 12,
    }],
    dmarc: {
      result: "pass",
      author: "example.com",
      policy: "reject",
      recordAt: "example.com",
      alignedBy: ["spf"],
    },
    arc: { result: "fail", instance: 3, sealedBy: ["a.test"] },
  });
  assertEquals(value.split("\r\n"), [
    "mx.example.org;",
    ' iprev=pass (out.example.com) policy.iprev="2001:db8::1";',
    " spf=pass smtp.mailfrom=ann@example.com;",
    " spf=pass smtp.helo=out.example.com;",
    " dkim=pass (2048-bit key) header.d=example.com header.i=@example.com",
    ' header.s=s2026a header.a=rsa-sha256 header.b="aBc/12+=";',
    " dkim=permerror (2048-bit key, test mode, 12 bytes unsigned)",
    ' reason="The key record has no key" header.d=example.com',
    " header.i=@example.com header.s=s2026a header.a=rsa-sha256 header.b=x;",
    " dmarc=pass header.from=example.com policy.dmarc=reject;",
    " arc=fail (i=3)",
  ]);
});

Deno.test("A field without results says none, and a message without signatures dkim=none", () => {
  assertEquals(formatAuthenticationResults(ID, {}), `${ID};\r\n none`);
  assertEquals(shown({ dkim: [] }), "dkim=none");
});

Deno.test("A null sender has one result of SPF, that of HELO", () => {
  const helo = { ...SPF, identity: "helo", domain: "h.test" } as const;
  assertEquals(
    shown({ spf: helo, helo, from: "" }),
    "spf=pass smtp.helo=h.test",
  );
});

Deno.test("The name of the server is a word, quoted, or refused", () => {
  const id = (name: string) =>
    formatAuthenticationResults(name, {}).split("\r\n")[0];
  assertEquals(id("mx.bücher.example"), "mx.xn--bcher-kva.example;");
  assertEquals(id("two words"), '"two words";');
  for (const name of ["", "a\r\nb", "a\0", "x".repeat(1000), "é è"]) {
    assertThrows(
      () => id(name),
      TypeError,
      "Cannot make Authentication-Results",
    );
  }
});

/** Texts of peers that would be syntax if they stood in the field as they are. */
const TRICKS = [
  ...["a;b", "a; dkim=pass header.d=bank.test", "(", ")", "((", "a(b)c", '"'],
  ...["\\", '\\"', '";', "a b", "a\r\nX: y", "a\r\n b", "\r\n\r\n", "\0", "é"],
  ...["=", ",", "<a>", "a@b", "[1.2.3.4]", "", " ", "%s", "x".repeat(5000)],
  ...["a\u2028b", "\ud800", "none", "reason=x", "header.d=x", "--", "a.b"],
];

Deno.test("No text of a peer becomes syntax in the field", () => {
  for (const trick of TRICKS) {
    for (const inside of [trick, `${trick}.test`, `"${trick}"`, `x${trick}`]) {
      const results: ResultsToReport = {
        reverse: { result: "pass", name: inside, ip: inside },
        spf: { ...SPF, result: "fail", domain: inside, reason: inside },
        helo: { ...SPF, identity: "helo", domain: inside },
        from: `${inside}@example.com`,
        dkim: [
          { ...DKIM, domain: inside, selector: inside, signature: inside },
          { ...DKIM, identity: `${inside}@a.test`, algorithm: inside },
          { ...DKIM, result: "fail", reason: inside, identity: inside },
        ],
        dmarc: { result: "fail", author: inside, reason: inside },
        arc: {
          result: "fail",
          instance: 1,
          sealedBy: [inside],
          reason: inside,
        },
      };
      const text = shown(results);
      const read = parseAuthenticationResults(`${ID}; ${text}`);
      assertEquals(
        read?.methods.map(({ method, result }) => `${method}=${result}`),
        [
          ...["iprev=pass", "spf=fail", "spf=pass", "dkim=pass", "dkim=pass"],
          ...["dkim=fail", "dmarc=fail", "arc=fail"],
        ],
        JSON.stringify(inside),
      );
      const domains = read!.methods.map(({ properties }) =>
        properties["header.d"]
      );
      assert(!domains.includes("bank.test"), text);
      // Without quoted strings no trick is left.
      const bare = text.replace(/"(?:[^"\\]|\\.)*"/g, "");
      assert(!/bank\.test|X:/.test(bare), text);
    }
  }
});

Deno.test("A local part is printed as it is, quoted, or left out", () => {
  const of = (from: string) =>
    shown({ spf: SPF, from }).replace("spf=pass smtp.mailfrom=", "");
  assertEquals(of("a.b+c/d=e@Example.com"), "a.b+c/d=e@example.com");
  assertEquals(of('"a b"@example.com'), '"a b"@example.com');
  assertEquals(of('"a;\\"(b"@example.com'), '"a;\\"(b"@example.com');
  assertEquals(of("a b@example.com"), '"a b"@example.com');
  assertEquals(of("jürgen@bücher.example"), "xn--bcher-kva.example");
  assertEquals(of("a@[192.0.2.1]"), '"a@[192.0.2.1]"');
  assertEquals(of("a\r\n@example.com"), "example.com");
});

Deno.test("A reason is one line of ASCII, of 200 characters at most", () => {
  const reason = `The\r\n\tkey "x" \\ é ${"long ".repeat(100)}`;
  const text = shown({ dkim: [{ ...DKIM, result: "fail", reason }] });
  assert(text.includes('reason="The key \\"x\\" \\\\ ? long'), text);
  assert(text.length < 400);
});

Deno.test("parseAuthenticationResults() reads what RFC 8601 and other servers write", async (t) => {
  const rows: readonly (readonly [value: string, want: string | undefined])[] =
    [
      // RFC 8601 appendix B.
      ["example.org 1; none", "example.org"],
      [
        "example.com;\r\n spf=pass smtp.mailfrom=example.net",
        "example.com spf=pass{smtp.mailfrom:example.net}",
      ],
      [
        "example.com;\r\n\tauth=pass (cram-md5) smtp.auth=sender@example.net;\r\n\tspf=pass smtp.mailfrom=example.net",
        "example.com auth=pass{smtp.auth:sender@example.net} spf=pass{smtp.mailfrom:example.net}",
      ],
      [
        "foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n policy (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it) 1362471462",
        "foo.example.net dkim=fail{policy.expired:1362471462}",
      ],
      [
        'example.com; dkim=pass reason="good signature" header.i=@mail-router.example.net; dkim=fail reason="bad signature" header.i=@newyork.example.com',
        "example.com dkim=pass(good signature){header.i:@mail-router.example.net} dkim=fail(bad signature){header.i:@newyork.example.com}",
      ],
      // As others write it.
      [
        "mx.google.com;\r\n       dkim=pass header.i=@a.test header.s=s header.b=aB/c+d==;\r\n       spf=pass (google.com: domain of x@a.test designates 1.2.3.4 as permitted sender) smtp.mailfrom=x@a.test;\r\n       dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=a.test",
        "mx.google.com dkim=pass{header.i:@a.test,header.s:s,header.b:aB/c+d==} spf=pass{smtp.mailfrom:x@a.test} dmarc=pass{header.from:a.test}",
      ],
      [
        "mx; dmarc=pass action=none header.from=a.test;compauth=pass reason=100",
        "mx dmarc=pass{action:none,header.from:a.test} compauth=pass(100)",
      ],
      [
        "mx; iprev=pass policy.iprev=2001:db8::1;",
        "mx iprev=pass{policy.iprev:2001:db8::1}",
      ],
      ['mx; spf=none smtp.mailfrom=""', "mx spf=none{smtp.mailfrom:}"],
      ["mx; spf=none smtp.mailfrom=", "mx spf=none{smtp.mailfrom:}"],
      [
        'mx; spf=pass smtp.mailfrom="a b;c"@a.test',
        'mx spf=pass{smtp.mailfrom:"a b;c"@a.test}',
      ],
      ['"mx;1" ; SPF=PASS', "mx;1 spf=pass"],
      ["mx", "mx"],
      ["mx;", "mx"],
      ["mx 2; anything (goes", "mx"],
      ["mx; none; spf=pass", "mx spf=pass"],
      [
        "mx; dkim=pass header.d=a.test header.d=b.test",
        "mx dkim=pass{header.d:a.test}",
      ],
      ["mx; spf=pass (open", "mx spf=pass"],
      // What is no such field.
      ["", undefined],
      ["spf=pass smtp.mailfrom=a.test", undefined],
      ["mx spf=pass", undefined],
      ["mx 1x; none", undefined],
      ["mx; spf", undefined],
      ["mx; =pass", undefined],
      ["mx; spf=", undefined],
      ["mx; spf=pass smtp", undefined],
      ["mx; spf=pass smtp.=x", undefined],
      ['mx; spf=pass reason="open', undefined],
      ["mx; spf=pass\0", undefined],
      ["mx; spf=pass\r\nX: y", undefined],
      ["i=1; mx; none", undefined],
      ["mx; spf/x=pass", undefined],
    ];
  for (const [value, want] of rows) {
    await t.step(JSON.stringify(value), () => {
      const read = parseAuthenticationResults(value);
      const text = read && [
        read.authservId,
        ...read.methods.map(({ method, result, reason, properties }) => {
          const list = Object.entries(properties).map(([key, one]) =>
            `${key}:${one}`
          );
          return `${method}=${result}` + (reason ? `(${reason})` : "") +
            (list.length > 0 ? `{${list}}` : "");
        }),
      ].join(" ");
      assertEquals(text, want);
    });
  }
  assertEquals(parseAuthenticationResults("mx 2; x")?.version, 2);
  assertEquals(
    parseAuthenticationResults("mx; dkim/2=pass")?.methods[0]?.version,
    2,
  );
});

Deno.test("bearsAuthservId() takes for the name what any reader could", async (t) => {
  const yes = [
    ...["mx.example.org; spf=pass", " MX.Example.ORG;none", "mx.example.org"],
    ...[
      "(x) mx.example.org; none",
      "(a;b(c)) mx.example.org",
      "mx.example.org.",
    ],
    ...[
      '"mx.example.org"; none',
      '"mx\\.example.org"; none',
      "mx.example.org(c);",
    ],
    ...["\r\n mx.example.org\r\n\t; none", "mx.example.org 1; none"],
    ...[
      "mx.example.org spf=pass",
      "mx.example.org\0; none",
      "\0mx.example.org;",
    ],
    ...["mx.(x)example.org; none", "mx . example . org; none"],
    ...["=?utf-8?q?mx=2Eexample=2Eorg?=; none", "\tmx.example.org\t1;"],
    ...[
      "mx.example.org (open; spf=pass",
      '"mx.example.org',

      '" mx.example.org "',
    ],
    ...["mx.example.org\nspf=pass", "mx.example.org\\;"],
  ];
  const no = [
    ...["other.example.org; none", "mx.example.org.evil.test; none", ""],
    ...["a.mx.example.org; none", "other (mx.example.org); none", ";"],
    ...["other; spf=pass smtp.mailfrom=mx.example.org", "mx.example.or"],
    ...["mx.example.org1; none", "other mx.example.org; none"],
  ];
  for (const value of yes) {
    await t.step(`yes: ${JSON.stringify(value)}`, () => {
      assert(bearsAuthservId(value, ID));
      assert(bearsAuthservId(value, "MX.example.org"));
    });
  }
  for (const value of no) {
    await t.step(`no: ${JSON.stringify(value)}`, () => {
      assert(!bearsAuthservId(value, ID));
    });
  }
  // U-labels, as UTF-8 bytes of a field and as text.
  const bytes = "b\xc3\xbccher.example; none";
  assert(bearsAuthservId(bytes, "xn--bcher-kva.example"));
  assert(bearsAuthservId("bücher.example; none", "xn--bcher-kva.example"));
  assert(bearsAuthservId("xn--bcher-kva.example; none", "bücher.example"));
});

Deno.test("Long values take no longer than their length", () => {
  for (
    const part of [
      ...["(", "()", '"', "\\", ";", "a", "a-", "; a=b c.d=e", "a=", " ", "@"],
      ...['"\\"', "=?utf-8?q?a?= ", "((a)", "; spf=pass (a", "-", ".", "\xff"],
    ]
  ) {
    const value = part.repeat(100_000);
    for (const one of [value, `mx; ${value}`, `mx; spf=pass ${value}`]) {
      parseAuthenticationResults(one);
      bearsAuthservId(one, ID);
    }
    shown({
      spf: { ...SPF, domain: value, result: "fail", reason: value },
      from: value,
      dkim: [{ ...DKIM, identity: value, domain: value, selector: value }],
    });
  }
});
