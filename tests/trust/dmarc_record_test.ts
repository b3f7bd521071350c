/** DMARC policy records (RFC 9989 sections 4.7, 4.8 and 4.10.1). */

import { assertEquals } from "@std/assert";
import {
  parseDmarcRecord,
  reportDomain,
} from "../../lib/trust/dmarc_record.ts";

/** The policies p, sp and np, as `"none none none"`; "-" if the record is not applied. */
function policies(text: string): string | undefined {
  const record = parseDmarcRecord(text);
  if (record === undefined) return undefined;
  const { policies } = record;
  return policies === undefined
    ? "-"
    : `${policies.p} ${policies.sp} ${policies.np}`;
}

Deno.test("A record has three policies, or is not applied", async (t) => {
  const reports = "rua=mailto:d@a.test";
  const rows: readonly (readonly [text: string, want: string | undefined])[] = [
    ["v=DMARC1; p=reject", "reject reject reject"],
    ["v=DMARC1; p=reject; sp=none", "reject none none"],
    ["v=DMARC1; p=reject; np=none", "reject reject none"],
    ["v=DMARC1; sp=none; np=quarantine; p=reject", "reject none quarantine"],
    ["V=DMARC1;P=Reject;", "reject reject reject"],
    ["v=DMARC1;;p=none;=x;?;pct", "none none none"],
    ["v=DMARC1; p=none; p=reject", "none none none"],
    // A policy that cannot be read is "none" for a domain that wants reports.
    ["v=DMARC1", "-"],
    ["v=DMARC1; p=", "-"],
    ["v=DMARC1; p=no", "-"],
    [`v=DMARC1; p=no; ${reports}`, "none none none"],
    [`v=DMARC1; ${reports}`, "none none none"],
    ["v=DMARC1; p=reject; sp=no", "-"],
    [`v=DMARC1; p=reject; sp=no; ${reports}`, "none none none"],
    [`v=DMARC1; p=reject; np=no; ${reports}`, "none none none"],
    ["v=DMARC1; p=no; rua=d@a.test", "-"],
    ["v=DMARC1; p=no; rua=mailto:", "-"],
    // No records.
    ["v=DMARC2; p=reject", undefined],
    ["v=DMARC1p=reject", undefined],
    ["v=DMARC1 p=reject", undefined],
    ["v=dmarc1; p=reject", undefined],
    [" v=DMARC1; p=reject", undefined],
    ["p=reject", undefined],
    ["", undefined],
  ];
  for (const [text, want] of rows) {
    await t.step(text, () => assertEquals(policies(text), want));
  }
});

Deno.test("Other tags have defaults, and faults are named", () => {
  const plain = parseDmarcRecord("v=DMARC1; p=none")!;
  const { strictDkim, strictSpf, testing, psd, faults } = plain;
  assertEquals(
    { strictDkim, strictSpf, testing, psd, faults },
    {
      strictDkim: false,
      strictSpf: false,
      testing: false,
      psd: "u",
      faults: [],
    },
  );
  const full = parseDmarcRecord(
    "v=DMARC1; adkim = S; aspf=s ;t=Y;psd=N; rua=mailto:a@a.test!10m , x, https://b.test/; ruf=mailto:c@c.test",
  )!;
  assertEquals(
    [full.strictDkim, full.strictSpf, full.testing, full.psd],
    [true, true, true, "n"],
  );
  assertEquals(full.rua, ["mailto:a@a.test", "https://b.test/"]);
  assertEquals(full.ruf, ["mailto:c@c.test"]);
  assertEquals(full.faults, ["Tag rua= has an address that is no URI"]);
  const faulty = parseDmarcRecord("v=DMARC1; p=none; t=x; p=none; fo=; 1=2")!;
  assertEquals(faulty.faults, [
    "Tag p= stands there twice",
    "Tag fo= has no value",
    "A tag has no valid name",
    "Tag t= must be one of y, n",
  ]);
  assertEquals(faulty.testing, false);
});

Deno.test("reportDomain() is the domain of a mailto: address alone", () => {
  assertEquals(reportDomain("mailto:d@a.test"), "a.test");
  assertEquals(reportDomain("MAILTO:d@b@a.test?subject=x@y"), "a.test");
  assertEquals(reportDomain("https://d@a.test"), "");
  assertEquals(reportDomain("mailto:@a.test"), "");
});

Deno.test("A long record takes no longer than its length", () => {
  for (const part of [";", "a=b;", "rua=mailto:", ",", "!1", "=", " ", "a"]) {
    const long = part.repeat(60_000);
    policies(`v=DMARC1;${long}`);
    policies(`v=DMARC1; rua=mailto:d@a.test${long}`);
  }
});
