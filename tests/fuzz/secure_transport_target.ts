/**
 * Fuzz of what a destination says of its TLS: records and policies of MTA-STS,
 * records that ask for reports, answers of web servers, and the counts of a day.
 * Nothing throws but the errors that are named, and nothing gets past its bounds.
 */

import { HttpsError, readAnswer } from "../../lib/secure_transport/https.ts";
import {
  listsHost,
  parseStsPolicy,
  stsId,
} from "../../lib/secure_transport/sts_policy.ts";
import { TlsDay } from "../../lib/secure_transport/tls_report.ts";
import { readTlsReportRecord } from "../../lib/secure_transport/tls_report_record.ts";
import { bytesOf } from "../support/bytes.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";

/** Records, policies, answers and counts. */
export const secureTransportTarget: FuzzTarget = {
  name: "secure_transport",
  async check(random) {
    checkRecords(random);
    checkPolicy(random);
    checkCounts(random);
    await checkAnswer(random);
  },
};

const STS = [
  ...["v=STSv1; id=20160831085700Z;", "v=STSv1; \t id=a  \t;", "v=STSv1"],
  ...["v=STSv1; id=a; more=a; ext=2", "v=STSv10; id=a", "v=spf1 -all"],
];
const REPORTS = [
  "v=TLSRPTv1; rua=mailto:reports@example.com",
  "v=TLSRPTv1;rua=mailto:a@example.com,https://r.example:8443/x?y;",
  "v=TLSRPTv1; rua=mailto:%61%0d%0a@b.test , https://u@h/;x=y",
];

function checkRecords(random: Random): void {
  const texts = Array.from(
    { length: 1 + random(2) },
    () => mutate(random, pick(random, STS)),
  );
  const id = stsId(texts);
  if (id !== undefined && !/^[A-Za-z0-9]{1,32}$/.test(id)) {
    throw new Error(`Took the id ${JSON.stringify(id)}`);
  }
  const { places = [] } = readTlsReportRecord([
    mutate(random, pick(random, REPORTS)),
  ]);
  for (const place of places) {
    const text = place.kind === "mail"
      ? place.address
      : `${place.host}${place.path}`;
    if (/[^\x20-\x7e]/.test(text)) {
      throw new Error(`Took the place ${JSON.stringify(text)}`);
    }
    if (place.kind === "web" && /\s/.test(text)) {
      throw new Error(`Took the path ${JSON.stringify(text)}`);
    }
  }
}

const POLICIES = [
  "version: STSv1\r\nmode: enforce\r\nmx: mail.test\r\nmx: *.test\r\nmax_age: 604800\r\n",
  "version: STSv1\nmode: testing\nmx: mx1.test\nmax_age: 1296000\n",
  "version: STSv1\nmode: none\nmax_age: 0\nmore: x\n",
];

function checkPolicy(random: Random): void {
  const policy = parseStsPolicy(mutate(random, pick(random, POLICIES)), "a");
  if ("fault" in policy) return;
  const { mode, hosts, maxAgeMs } = policy;
  if (mode !== "none" && hosts.length === 0) throw new Error("No host");
  if (!(maxAgeMs >= 0 && maxAgeMs <= 31_557_600_000)) {
    throw new Error(`Age ${maxAgeMs}`);
  }
  if (listsHost(policy, "a.b.test") && !hosts.includes("*.b.test")) {
    throw new Error(`"a.b.test" fits ${hosts}`);
  }
}

function checkCounts(random: Random): void {
  const day = new TlsDay("2026-11-30", "a1");
  for (let left = random(4); left > 0; left--) {
    day.add({
      destination: mutate(random, "dest.test"),
      policy: {
        type: pick(random, ["sts", "tlsa", "no-policy-found"]),
        domain: mutate(random, "dest.test"),
        lines: [mutate(random, "mode: enforce")],
      },
      outcome: pick(random, ["success", "certificate-expired"]),
      reason: mutate(random, "Certificate expired"),
    });
  }
  const text = day.toText();
  if (TlsDay.parse(text).toText() !== text) throw new Error(`Read ${text}`);
  try {
    TlsDay.parse(mutate(random, text));
  } catch (error) {
    if (!(error instanceof Error)) throw error;
  }
}

const ANSWERS = [
  "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
  "HTTP/1.0 404 Not found\r\n\r\nhello",
  "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
];
const MOST = 20;

async function checkAnswer(random: Random): Promise<void> {
  const made = pick(random, ANSWERS);
  const text = chance(random, 4) ? made : mutate(random, made);
  let rest = bytesOf(text);
  const read = (buffer: Uint8Array): Promise<number | null> => {
    if (rest.length === 0) return Promise.resolve(null);
    const part = rest.subarray(0, Math.min(buffer.length, 1 + random(20)));
    buffer.set(part);
    rest = rest.subarray(part.length);
    return Promise.resolve(part.length);
  };
  try {
    const { status, body } = await readAnswer({ read }, MOST);
    if (status < 100 || status > 599) throw new Error(`Status ${status}`);
    if (body.length > MOST) throw new Error(`${body.length} bytes`);
  } catch (error) {
    if (!(error instanceof HttpsError)) throw error;
  }
}
