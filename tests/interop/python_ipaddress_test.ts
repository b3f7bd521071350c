/**
 * Addresses and networks against Python's `ipaddress`: both must accept the same texts
 * and read them alike. Skipped where Python is missing.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4291#section-2.2 | RFC 4291 section 2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5952 | RFC 5952}
 */

import { assertEquals } from "@std/assert";
import { parseCidr } from "../../lib/net/cidr.ts";
import { parseIp, reverseName } from "../../lib/protocol/ip.ts";
import { seeded } from "../support/random.ts";

// Zone indexes are refused by design, and an IPv4-mapped address is reversed
// as IPv4: the Python side does the same.
const SCRIPT = `
import ipaddress, json, sys
def address(text):
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    if "%" in text:
        return None
    plain = getattr(ip, "ipv4_mapped", None) or ip
    return [list(ip.packed), plain.reverse_pointer]
def within(row):
    try:
        net = ipaddress.ip_network(row[0])
    except ValueError:
        return None
    return ipaddress.ip_address(row[1]) in net
given = json.load(sys.stdin)
json.dump([[address(t) for t in given[0]], [within(r) for r in given[1]]], sys.stdout)
`;

function hasPython(): boolean {
  try {
    return new Deno.Command("python3", { args: ["--version"] }).outputSync()
      .success;
  } catch {
    return false;
  }
}

async function askPython(given: unknown): Promise<[unknown[], unknown[]]> {
  const child = new Deno.Command("python3", {
    args: ["-c", SCRIPT],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(given)));
  await writer.close();
  return JSON.parse(new TextDecoder().decode((await child.output()).stdout));
}

const random = seeded(5952);

/** Texts that are addresses, nearly addresses, or rubbish. */
function addressText(): string {
  if (random(4) === 0) {
    const parts = Array.from({ length: 3 + random(3) }, () => random(300));
    return parts.map((part) => random(20) ? part : `0${part}`).join(".");
  }
  const parts = Array.from(
    { length: 1 + random(9) },
    () => random(2) ? "0" : random(0x12000).toString(16),
  );
  if (random(3) === 0) parts[random(parts.length)] = "";
  if (random(6) === 0) parts.push(`${random(260)}.0.2.${random(260)}`);
  const text = parts.join(":");
  const fix = ["", "", "::", ":", "::ffff:", "1::"];
  return fix[random(6)] + text + (random(5) ? "" : "::");
}

function networkText(): string {
  const bits = random(34);
  if (random(2)) return `10.${random(2) * 128}.0.0/${bits}`;
  return `2001:db8:${(random(2) * 0x8000).toString(16)}::/${bits + 15}`;
}

Deno.test({
  name: "parseIp() and parseCidr() agree with Python's ipaddress",
  ignore: !hasPython(),
  async fn() {
    const texts = Array.from({ length: 20_000 }, addressText);
    const networks = Array.from({ length: 2_000 }, () => [
      networkText(),
      random(2)
        ? `10.${random(256)}.${random(256)}.1`
        : `2001:db8:${random(65536).toString(16)}::1`,
    ]);
    const [addresses, memberships] = await askPython([texts, networks]);
    let taken = 0;
    for (const [index, text] of texts.entries()) {
      const bytes = parseIp(text);
      const ours = bytes === undefined ? null : [bytes, reverseName(text)];
      assertEquals(ours, addresses[index], text);
      if (ours !== null) taken++;
    }
    assertEquals(taken > 2_000, true, `only ${taken} texts were addresses`);
    for (const [index, [network, address]] of networks.entries()) {
      const label = `${network} contains ${address}`;
      assertEquals(within(network!, address!), memberships[index], label);
    }
  },
});

function within(network: string, address: string): boolean | null {
  try {
    return parseCidr(network).contains(address);
  } catch {
    return null;
  }
}
