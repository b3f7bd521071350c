/** The SPF tests of mail-auth: 12 files of records, senders and results in a format of their own. */

import { assertEquals } from "@std/assert";
import type { DnsQuerier } from "../../lib/dns/outcome.ts";
import { canonicalIp } from "../../lib/protocol/ip.ts";
import { checkSpf } from "../../lib/trust/spf.ts";

const FOLDER = new URL("data/spf/mail-auth/", import.meta.url);

/** Rows where that program does not follow RFC 7208, and what the RFC says. */
const OTHERWISE: ReadonlyMap<string, string> = new Map([
  // Section 4.6: a syntax error anywhere ends with "permerror".
  ["all.yml 0", "permerror"],
  // Section 5: an IPv4-mapped address is IPv4, which ip6 never matches.
  ["ip.yml 10", "fail"],
  // Section 5.7: exists asks for A, whatever the client's address is.
  ["exists.yml 1", "fail"],
  ["macro.yml 3", "fail"],
  // Section 4.6.4: two void answers, ten exchangers.
  ["basic.yml 8", "permerror"],
  ["basic.yml 13", "permerror"],
  // The identity in HELO has a result of its own.
  ["basic.yml 17", "pass"],
]);

/** Records by question, as `"TXT test.org"`. */
type Records = Map<string, unknown[]>;

/** Reads one line about records, as `mx: test.org 192.0.2.1, 192.0.2.2`. */
function addRecord(zone: Records, key: string, value: string): void {
  const [name = "", ...words] = value.split(" ");
  const text = words.join(" ");
  const add = (question: string, record: unknown) => {
    zone.set(question, [...zone.get(question) ?? [], record]);
  };
  const parts = text.split(",").map((part) => part.trim());
  const addressType = (ip: string) => ip.includes(":") ? "AAAA" : "A";
  switch (key) {
    case "spf":
    case "exp":
      // A later record of a name takes the place of one before it.
      return void zone.set(`TXT ${name}`, [text]);
    case "ptr":
      for (const host of parts) add(`PTR ${canonicalIp(name)}`, host);
      return;
    case "mx":
      for (const [at, ip] of parts.entries()) {
        const exchange = `x${at}.${name}`;
        add(`MX ${name}`, { preference: at, exchange });
        add(`${addressType(ip)} ${exchange}`, ip);
      }
      return;
    default:
      for (const ip of parts) add(`${addressType(ip)} ${name}`, ip);
  }
}

function dnsOf(zone: Records): DnsQuerier {
  const query = (type: string, name: string): Promise<unknown> => {
    const records = zone.get(`${type} ${name.toLowerCase()}`);
    if (name.startsWith("_dns_error.")) {
      const reason = "No answer";
      return Promise.resolve({ status: "failed", code: "timeout", reason });
    }
    return Promise.resolve(
      records === undefined
        ? { status: "none", why: "no-such-name" }
        : { status: "found", records },
    );
  };
  return { query } as DnsQuerier;
}

for (const { name: file } of Deno.readDirSync(FOLDER)) {
  if (!file.endsWith(".yml")) continue;
  Deno.test(`SPF of mail-auth: ${file}`, async () => {
    let zone: Records = new Map();
    let facts: Record<string, string> = {};
    const got: string[] = [];
    const want: string[] = [];
    const text = await Deno.readTextFile(new URL(file, FOLDER));
    for (const line of text.split("\n")) {
      if (line.startsWith("---")) {
        zone = new Map();
        facts = {};
        continue;
      }
      const match = /^ +(?:- )?([a-z]+): *(.*?) *$/.exec(line);
      if (match === null) continue;
      const [, key = "", value = ""] = match;
      if (/^(?:a|aaaa|mx|ptr|spf|exp)$/.test(key)) addRecord(zone, key, value);
      else if (key !== "expect") facts[key] = value;
      else {
        const { domain = "", sender = "", ip = "" } = facts;
        const { result, explanation } = await checkSpf({
          ...{ ip, helo: domain, from: sender || `postmaster@${domain}` },
          receiver: "mx.test",
        }, { dns: dnsOf(zone) });
        const at = `${sender} ${ip} (${want.length}): `;
        const words = value.includes(" ") ? ` ${explanation}` : "";
        got.push(at + result + words);
        want.push(at + (OTHERWISE.get(`${file} ${want.length}`) ?? value));
      }
    }
    assertEquals(got, want);
  });
}
