/**
 * Messages that other programs have signed with keys made here: dkimpy, OpenDKIM,
 * Mail::DKIM and mailauth. Ours accepts each, and none with a change. Bodies and
 * fields have the canonical forms that dkimpy gives them.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376 | RFC 6376},
 * {@link https://www.rfc-editor.org/rfc/rfc8463 | RFC 8463}
 */

import { assert, assertEquals } from "@std/assert";
import { BodyHashes } from "../../lib/trust/body_hash.ts";
import { canonicalField, rawFields } from "../../lib/trust/canonical_header.ts";
import { verifyDkim } from "../../lib/trust/dkim_verify.ts";
import { bytesOf, textOf, utf8 } from "../support/bytes.ts";
import { makeTestKey, type TestKey, textTable } from "../support/dkim.ts";
import { TestFolder } from "../support/folder.ts";
import { askMilter } from "../support/interop/milter.ts";
import { BackgroundProcess, run } from "../support/process.ts";
import { pieces, randomText, rounds, seeded } from "../support/random.ts";
import { until } from "../support/wait.ts";

const PYTHON = "/usr/bin/python3";

const DKIMPY = `
import sys, dkim
key, algorithm, header, body = sys.argv[1:]
message = sys.stdin.buffer.read()
field = dkim.sign(message, b"s", b"a.test", open(key, "rb").read(),
    canonicalize=(header.encode(), body.encode()),
    signature_algorithm=algorithm.encode())
sys.stdout.buffer.write(field + message)
`;
const MAIL_DKIM = `
use Mail::DKIM::Signer;
binmode STDIN; binmode STDOUT; my $message = do { local $/; <STDIN> };
my ($key, $algorithm, $method) = @ARGV;
my $dkim = Mail::DKIM::Signer->new(Algorithm => $algorithm, Method => $method,
  Domain => "a.test", Selector => "s",
  KeyFile => $key);
$dkim->PRINT($message); $dkim->CLOSE;
print $dkim->signature->as_string, "\\r\\n", $message;
`;
const MAILAUTH = `
const { dkimSign } = require("mailauth/lib/dkim/sign");
const [key, algorithm, canonicalization] = process.argv.slice(1);
(async () => {
  const message = require("fs").readFileSync(0);
  const { signatures, errors } = await dkimSign(message, {
    signatureData: [{ signingDomain: "a.test", selector: "s", canonicalization,
      algorithm, privateKey: require("fs").readFileSync(key) }] });
  if (errors.length > 0) throw errors[0].err;
  process.stdout.write(Buffer.concat([Buffer.from(signatures), message]));
})();
`;
const TOOLS = new URL("../../.ci/tools/", import.meta.url).pathname;

/** OpenDKIM signs what a mail server shows it. */
async function signByOpenDkim(signing: Signing): Promise<string[]> {
  const { path, key, header, body } = signing;
  await using folder = await TestFolder.create();
  const socket = `${folder.path}/socket`;
  const settings = {
    Mode: "s",
    Domain: "a.test",
    Selector: "s",
    KeyFile: path,
    Socket: `local:${socket}`,
    Canonicalization: `${header}/${body}`,
    SignatureAlgorithm: key.algorithm,
    RequireSafeKeys: "no",
  };
  const lines = Object.entries(settings).map((pair) => `${pair.join(" ")}\n`);
  const file = await folder.write("opendkim.conf", lines.join(""));
  await using _filter = BackgroundProcess.start("opendkim", ["-f", "-x", file]);
  await until(async () => {
    try {
      (await Deno.connect({ transport: "unix", path: socket })).close();
      return true;
    } catch {
      return false;
    }
  }, { what: "the socket of OpenDKIM" });
  const signed: string[] = [];
  for (const message of MESSAGES) {
    signed.push(await askMilter(socket, textOf(utf8(message))) + message);
  }
  return signed;
}

/** Signs each message by a run of the program, which reads it and writes it signed. */
async function signByRuns(
  program: string,
  args: readonly string[],
  options: { readonly cwd?: string } = {},
): Promise<string[]> {
  const signed: string[] = [];
  for (const input of MESSAGES) {
    signed.push((await run(program, args, { ...options, input })).stdout);
  }
  return signed;
}

interface Signing {
  /** The file with the private key. */
  readonly path: string;
  readonly key: TestKey;
  readonly header: string;
  readonly body: string;
}

/** Each program: which keys and forms it signs with, and how. */
const SIGNERS: readonly {
  readonly name: string;
  readonly types: readonly ("rsa" | "ed25519")[];
  /** Signs all of {@linkcode MESSAGES}. */
  sign(signing: Signing): Promise<string[]>;
}[] = [
  {
    name: "dkimpy",
    types: ["rsa", "ed25519"],
    sign({ path, key, header, body }) {
      const args = ["-c", DKIMPY, path, key.algorithm, header, body];
      return signByRuns(PYTHON, args);
    },
  },
  {
    name: "Mail::DKIM",
    types: ["rsa"],
    sign({ path, key, header, body }) {
      const args = ["-e", MAIL_DKIM, path, key.algorithm, `${header}/${body}`];
      return signByRuns("perl", args);
    },
  },
  {
    name: "mailauth",
    types: ["rsa", "ed25519"],
    sign({ path, key, header, body }) {
      const args = ["-e", MAILAUTH, path, key.algorithm, `${header}/${body}`];
      return signByRuns("node", args, { cwd: TOOLS });
    },
  },
  { name: "OpenDKIM", types: ["rsa"], sign: signByOpenDkim },
];

const DATE = "Date: Mon, 30 Nov 2026 12:00:00 +0000\r\n";
const MESSAGES = [
  `From: Ann <ann@a.test>\r\nTo: bob@b.test\r\n${DATE}Subject: Hi\r\n\r\nHello\r\n`,
  "Received: from a\r\n\tby b;  Mon, 30 Nov 2026 12:00:00 +0000\r\n" +
  "From:   Ann\r\n  <ann@a.test>\t \r\nto:bob@b.test\r\nSubject:\r\n" +
  "subject:\t\u00fc  two \r\n" + DATE +
  "X-Empty: \r\n\r\n \tHello  world \t\r\n\r\n.\r\n  \r\n\r\n\r\n",
  `${DATE}From: ann@a.test\r\nSubject: no body\r\n\r\n`,
  `${DATE}From: ann@a.test\r\nSubject: a long body\r\n\r\n` +
  "Lorem ipsum dolor  sit amet,\tconsetetur \r\n".repeat(3000) + "\r\n",
];

for (const { name, types, sign } of SIGNERS) {
  Deno.test(`What ${name} has signed is accepted, and nothing that was changed`, async () => {
    await using folder = await TestFolder.create();
    for (const type of types) {
      const key = makeTestKey(type);
      const path = await folder.write(`${type}.pem`, keyFile(name, key));
      const dns = textTable({ "s._domainkey.a.test": key.record });
      const verdict = async (text: string) =>
        (await verifyDkim(utf8(text), { dns }))
          .map(({ result, reason }) => reason ?? result).join();
      for (const header of ["simple", "relaxed"]) {
        for (const body of ["simple", "relaxed"]) {
          for (const signed of await sign({ path, key, header, body })) {
            const what = `${type} ${header}/${body} ${signed.slice(0, 1500)}`;
            assertEquals(await verdict(signed), "pass", what);
            assertEquals(
              await verdict(`${signed}more\r\n`),
              "The body is not the one that was signed",
            );
            const other = signed.replace(/\nFrom: */, "$&x");
            assert(other !== signed, what);
            assertEquals(
              await verdict(other),
              "The signature does not fit the header",
            );
          }
        }
      }
    }
  });
}

/** The private key as the program reads it. */
function keyFile(name: string, { privateKey, algorithm }: TestKey): string {
  if (name === "dkimpy" && algorithm === "ed25519-sha256") {
    const { d } = privateKey.export({ format: "jwk" });
    return Uint8Array.fromBase64(String(d), { alphabet: "base64url" })
      .toBase64();
  }
  const type = algorithm === "rsa-sha256" && name !== "mailauth"
    ? "pkcs1"
    : "pkcs8";
  return String(privateKey.export({ type, format: "pem" }));
}

const FORMS = `
import base64, hashlib, json, sys
from dkim.canonicalization import Simple, Relaxed
given = json.load(sys.stdin)
def bodies(text):
    body = text.encode("latin1")
    return [hashlib.sha256(f.canonicalize_body(body)).hexdigest() for f in (Simple, Relaxed)]
def field(text):
    name, value = text.encode("latin1").split(b":", 1)
    return [b":".join(f.canonicalize_headers([(name, value + b"\\r\\n")])[0]).decode("latin1")
        for f in (Simple, Relaxed)]
json.dump([[bodies(b) for b in given[0]], [field(h) for h in given[1]]], sys.stdout)
`;

Deno.test("Bodies and fields have the canonical forms that dkimpy gives them", async () => {
  const random = seeded(8463);
  const PIECES = ["a", "b c", " ", "  ", "\t", "\r\n", "\r\n", "\xe9", "."];
  const texts = Array.from({ length: rounds(2000) }, () =>
    // dkimpy keeps blanks after the last line end, against section 3.4.4.
    `${randomText(random, { pieces: PIECES, length: 20 })}\r\n`);
  const fields = Array.from({ length: rounds(500) }, () => {
    const options = { pieces: ["a", "B", " ", "\t", "\r\n\t", ":"], length: 9 };
    return `X-A${[" ", "", "\t"][random(3)]}:${randomText(random, options)}z`;
  });
  const { stdout } = await run(PYTHON, ["-c", FORMS], {
    input: JSON.stringify([texts, fields]),
  });
  const [bodies, headers] = JSON.parse(stdout) as [string[][], string[][]];
  for (const [at, text] of texts.entries()) {
    const hashes = new BodyHashes();
    const ours = (["simple", "relaxed"] as const)
      .map((form) => hashes.add({ form }));
    for (const piece of pieces(bytesOf(text), { seed: at, longest: 5 })) {
      hashes.write(piece);
    }
    hashes.end();
    const digests = ours.map(({ digest }) => digest.toHex());
    assertEquals(digests, bodies[at], JSON.stringify(text));
  }
  for (const [at, text] of fields.entries()) {
    const [field] = rawFields(bytesOf(text));
    const ours = (["simple", "relaxed"] as const)
      .map((form) => `${canonicalField(field!, form)}\r\n`);
    assertEquals(ours, headers[at], JSON.stringify(text));
  }
});
