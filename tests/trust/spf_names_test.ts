/**
 * Names that SPF macros make of local parts, over real questions: RFC 7208 section
 * 7.3 and RFC 8616 section 4. Names of hosts stay as strict as they were.
 */

import { assertEquals } from "@std/assert";
import { DnsClient } from "../../lib/dns/client.ts";
import { anyName } from "../../lib/dns/name.ts";
import { checkSpf } from "../../lib/trust/spf.ts";
import { startZoneServer, type Zone } from "../support/zone_server.ts";

const LONG = "l".repeat(64);
const ZONE: Zone = {
  "TXT users.test": ["v=spf1 exists:%{l}._spf.%{d} -all"],
  "A ann+lists._spf.users.test": ["127.0.0.2"],
  "A a=b._spf.users.test": ["127.0.0.2"],
  "A o'neill._spf.users.test": ["127.0.0.2"],
  "A a b._spf.users.test": ["127.0.0.2"],
  "A -x-._spf.users.test": ["127.0.0.2"],
  "A xn--jrgen-kva._spf.users.test": ["127.0.0.2"],
  "TXT include.test": ["v=spf1 include:%{l}.%{d} ~all"],
  "TXT a+b.include.test": ["v=spf1 +all"],
  "TXT xn--jrgen-kva.include.test": ["v=spf1 +all"],
  "TXT voids.test": [
    "v=spf1 exists:%{l}.a.%{d} exists:%{l}.b.%{d} exists:%{l}.c.%{d} -all",
  ],
  "TXT helo.test": ["v=spf1 exists:%{h}.%{d} -all"],
  "A xn--bcher-kva.example.helo.test": ["127.0.0.2"],
};

async function ask(from: string, helo = "client.test") {
  await using server = await startZoneServer(ZONE);
  const dns = new DnsClient({ nameServers: [server.nameServer] });
  const facts = { ip: "192.0.2.1", helo, from, receiver: "mx.test" };
  const { result } = await checkSpf(facts, { dns });
  return { result, asked: server.asked.map(({ question }) => question) };
}

Deno.test("SPF asks for the names of local parts that are no host names", async () => {
  for (
    const [from, want] of [
      ["Ann+Lists@users.test", "pass"],
      ["a=b@users.test", "pass"],
      ["o'neill@users.test", "pass"],
      ["a b@users.test", "pass"],
      ["-x-@users.test", "pass"],
      ["eve+x@users.test", "fail"],
      ["a+b@include.test", "pass"],
    ]
  ) {
    assertEquals((await ask(from!)).result, want, from);
  }
});

Deno.test("SPF asks no question for a local part that makes no name", async () => {
  for (const local of [LONG, "a..b", ".a", "a\tb", "a\0b", "jürgen"]) {
    const { result, asked } = await ask(`${local}@users.test`);
    assertEquals(result, "fail", local);
    assertEquals(asked, ["TXT users.test"], local);
  }
  // Such a term does not match; it is no mistake of the record.
  assertEquals((await ask("jürgen@include.test")).result, "softfail");
});

Deno.test("SPF counts void answers for such names as for all others", async () => {
  assertEquals((await ask("a+b@voids.test")).result, "permerror");
});

Deno.test("SPF takes the A-labels of the name in HELO", async () => {
  const { result } = await ask("eve@helo.test", "bücher.example");
  assertEquals(result, "pass");
});

Deno.test("Only a question that says so asks for a name that is no host name", async () => {
  await using server = await startZoneServer({
    "A a+b.example": ["192.0.2.1"],
    "A example.com secure": ["192.0.2.2"],
    "A example.com": { records: ["192.0.2.3"], secure: true },
  });
  const dns = new DnsClient({ nameServers: [server.nameServer] });
  const name = "A+b.example.";
  assertEquals((await dns.a(name)).status, "none");
  assertEquals(server.asked, []);
  const found = await dns.a(name, { anyLabel: true });
  assertEquals(found.status === "found" && found.records, ["192.0.2.1"]);
  assertEquals((await dns.a(name)).status, "none");
  // A space in a name must not lead to the cached answer to another question.
  await dns.a("example.com secure", { anyLabel: true });
  const secure = await dns.a("example.com", { secure: true });
  assertEquals(secure.status === "found" && secure.records, ["192.0.2.3"]);
});

Deno.test("anyName() keeps lengths, empty labels and ASCII", () => {
  const l63 = "+".repeat(63);
  const longest = `${"+".repeat(61)}.${l63}.${l63}.${l63}`;
  const rows: [string, string | undefined][] = [
    ["A+B.example.", "a+b.example"],
    [`${l63}.example`, `${l63}.example`],
    [`${l63}+.example`, undefined],
    [longest, longest],
    [`+${longest}`, undefined],
    ...["", ".", "a..b", ".a", "a..", "ü.a", "a\x7f.b"].map((
      text,
    ): [string, undefined] => [text, undefined]),
    ["a.".repeat(100_000), undefined],
  ];
  for (const [text, want] of rows) {
    assertEquals(anyName(text), want, text.slice(0, 80));
  }
});
