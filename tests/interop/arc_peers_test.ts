/**
 * Chains of seals that dkimpy, mailauth and this server make in turns: all three
 * accept each of them, and none after a change.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8617 | RFC 8617}
 */

import { assert, assertEquals } from "@std/assert";
import {
  type DkimKeyType,
  DkimPrivateKey,
  sealArc,
  verifyArc,
} from "../../lib/trust/mod.ts";
import { bytesOf, utf8 } from "../support/bytes.ts";
import { textTable } from "../support/dkim.ts";
import { run } from "../support/process.ts";

const PYTHON = "/usr/bin/python3";
const TOOLS = new URL("../../.ci/tools/", import.meta.url).pathname;
const NAME = "near.test";

const key = await DkimPrivateKey.generate("rsa");
const TABLE = { [`s._domainkey.${NAME}`]: key.record };
const RECORDS = JSON.stringify(TABLE);

const DKIMPY_SEALS = `
import sys, dkim, os
message = sys.stdin.buffer.read()
fields = dkim.arc_sign(message, b"s", b"near.test", os.environ["KEY"].encode(),
    b"near.test", include_headers=[b"from", b"to", b"subject"])
sys.stdout.buffer.write(b"".join(fields))
`;
const DKIMPY_CHECKS = `
import sys, dkim, os, json
records = json.loads(os.environ["RECORDS"])
def ask(name, timeout=5):
    return records[name.decode().rstrip(".")].encode()
print(dkim.arc_verify(sys.stdin.buffer.read(), dnsfunc=ask)[0].decode())
`;
const MAILAUTH = `
const { arc, sealMessage } = require("mailauth/lib/arc");
const { dkimVerify } = require("mailauth/lib/dkim/verify");
const records = JSON.parse(process.env.RECORDS);
const resolver = (name) => Promise.resolve([[records[name]]]);
(async () => {
  const message = require("fs").readFileSync(0);
  if (process.argv[1] === "check") {
    const { arc: chain } = await dkimVerify(message, { resolver });
    const { status } = await arc(chain, { resolver });
    return console.log(status.result);
  }
  process.stdout.write(await sealMessage(message, {
    signingDomain: "near.test", selector: "s", privateKey: process.env.KEY,
    authResults: "near.test; spf=pass", cv: process.argv[1] }));
})();
`;
const ENV = { KEY: key.toPem(), RECORDS };

/** A program that seals: gives back the fields of a set. */
type Sealer = (message: string, before: "none" | "pass") => Promise<string>;

const SEALERS: Readonly<Record<string, Sealer>> = {
  async ours(message, before) {
    return await sealArc(utf8(message), {
      ...{ domain: NAME, selector: "s", key },
    }, {
      arc: { result: before },
      authservId: NAME,
      results: `${NAME}; spf=pass smtp.mailfrom=ann@${NAME}`,
    });
  },
  async dkimpy(message, before) {
    // It takes what the last check said from the message.
    const results =
      `Authentication-Results: ${NAME}; arc=${before}; spf=pass smtp.mailfrom=ann@${NAME}\r\n`;
    const input = results + message;
    return (await run(PYTHON, ["-c", DKIMPY_SEALS], { env: ENV, input }))
      .stdout;
  },
  async mailauth(input, before) {
    const args = ["-e", MAILAUTH, before];
    return (await run("node", args, { env: ENV, input, cwd: TOOLS })).stdout;
  },
};

/** What each program says of a message. */
async function verdicts(input: string): Promise<string[]> {
  const { result } = await verifyArc(utf8(input), { dns: textTable(TABLE) });
  const python = await run(PYTHON, ["-c", DKIMPY_CHECKS], { env: ENV, input });
  const args = ["-e", MAILAUTH, "check"];
  const node = await run("node", args, { env: ENV, input, cwd: TOOLS });
  return [result, python.stdout.trim(), node.stdout.trim()];
}

const MESSAGE = "From: Ann <ann@near.test>\r\nTo: bob@b.test\r\n" +
  "Date: Mon, 30 Nov 2026 12:00:00 +0000\r\nSubject:  Hi\t there \r\n\r\n" +
  "Hello  \r\n\r\n\tAnn \r\n\r\n\r\n";

const PASS = ["pass", "pass", "pass"];
const FAIL = ["fail", "fail", "fail"];

for (
  const chain of [
    ["ours", "ours", "ours"],
    ["dkimpy", "ours", "mailauth"],
    ["mailauth", "ours", "dkimpy"],
    ["ours", "mailauth", "dkimpy", "ours"],
  ]
) {
  Deno.test(`A chain of seals by ${chain.join(", ")} is accepted by all`, async () => {
    let message = MESSAGE;
    let before: "none" | "pass" = "none";
    for (const name of chain) {
      const set = await SEALERS[name]!(message, before);
      assert(/^ARC-Seal:/im.test(set), set);
      message = set.trimEnd() + "\r\n" + message;
      before = "pass";
      assertEquals(await verdicts(message), PASS, message);
    }
    assertEquals(await verdicts(`${message}more\r\n`), FAIL);
    const other = message.replace(/\bcv=pass/, "cv=none");
    assertEquals(await verdicts(other), FAIL);
  });
}

Deno.test("A seal of ours by each type of key is accepted by mailauth and us", async () => {
  for (const type of ["rsa", "ed25519"] satisfies DkimKeyType[]) {
    const key = await DkimPrivateKey.generate(type);
    const set = await sealArc(
      utf8(MESSAGE),
      { domain: NAME, selector: "s", key },
      { arc: { result: "none" }, authservId: NAME },
    );
    const table = { [`s._domainkey.${NAME}`]: key.record };
    const input = set + MESSAGE;
    const found = await verifyArc(bytesOf(input), { dns: textTable(table) });
    assertEquals(found.result, "pass", found.reason);
    const env = { ...ENV, RECORDS: JSON.stringify(table) };
    const args = ["-e", MAILAUTH, "check"];
    const node = await run("node", args, { env, input, cwd: TOOLS });
    assertEquals(node.stdout, "pass\n");
  }
});
