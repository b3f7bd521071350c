/**
 * Signatures made here, read by dkimpy, OpenDKIM, Mail::DKIM and mailauth: each
 * accepts them, and not after a change. dkimpy computes the same signatures. A real
 * client logs in at a real server, whose mail verifies at its destination, also
 * when it was converted to 7 bits on the way.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376 | RFC 6376},
 * {@link https://www.rfc-editor.org/rfc/rfc8463 | RFC 8463}
 */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { AccountList } from "../../mod.ts";
import { type DkimKey, DkimPrivateKey, signDkim } from "../../lib/trust/mod.ts";
import { bytesOf } from "../support/bytes.ts";
import { TestFolder } from "../support/folder.ts";
import { run } from "../support/process.ts";
import { startPair } from "../support/queue/relaying.ts";
import { within } from "../support/wait.ts";

const PYTHON = "/usr/bin/python3";
const TOOLS = new URL("../../.ci/tools/", import.meta.url).pathname;

const rsa = await DkimPrivateKey.generate("rsa");
const ed25519 = await DkimPrivateKey.generate("ed25519");
const KEYS: readonly DkimKey[] = [
  { domain: "near.test", selector: "r", key: rsa },
  { domain: "near.test", selector: "e", key: ed25519, expireAfterMs: 864e5 },
];
const RECORDS = JSON.stringify({
  "r._domainkey.near.test": rsa.record,
  "e._domainkey.near.test": ed25519.record,
});
const BOTH = ["r pass", "e pass"];

/** Messages of several shapes, with the line ends of the wire. */
const MESSAGES: readonly string[] = [
  "From: Ann <ann@near.test>\r\nSubject: hello\r\n\r\nText\r\n",
  "From: ann@near.test\r\n\r\n",
  "from:ann@near.test\r\nTO: a@dest.test,\r\n\t b@dest.test\r\n" +
  "Subject:   a \t  b  \r\nList-Unsubscribe: <mailto:x@near.test>\r\n" +
  "MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=iso-8859-1\r\n" +
  "Message-ID: <1@near.test>\r\n\r\n  a \t b  \r\n\r\n\r\n.x\r\nGr\xfc\xdfe \r\n\r\n \t\r\n\r\n",
  `From: ann@near.test\r\nX-Long: ${"x".repeat(900)}\r\n\r\n${
    "line of text \r\n".repeat(20_000)
  }`,
];

const DKIMPY = `
import sys, json, dkim
keys = json.loads(sys.argv[1])
message = sys.stdin.buffer.read()
def txt(name, timeout=5):
    found = keys.get(name.decode().rstrip("."))
    return found and found.encode()
count = sum(name.lower() == b"dkim-signature" for name, _ in dkim.DKIM(message).headers)
for at in range(count):
    one = dkim.DKIM(message)
    try:
        right = one.verify(idx=at, dnsfunc=txt)
    except dkim.DKIMException:
        right = False
    print(one.selector.decode(), "pass" if right else "fail")
`;
const MAIL_DKIM = `
use Mail::DKIM::Verifier; use Mail::DKIM::DNS; use JSON::PP;
binmode STDIN; my $message = do { local $/; <STDIN> };
my $keys = decode_json($ARGV[0]);
no warnings;
*Mail::DKIM::DNS::query = sub {
  my $found = $keys->{$_[0] =~ s/\\.$//r};
  return $found ? bless({ text => $found }, "Record") : ();
};
*Mail::DKIM::DNS::query_async = sub {
  my ($name, $type, %with) = @_;
  my @found = Mail::DKIM::DNS::query($name, $type);
  return sub { $with{Callbacks}{Success}->(@found) };
};
sub Record::type { "TXT" }
sub Record::char_str_list { $_[0]{text} }
sub Record::txtdata { $_[0]{text} }
my $dkim = Mail::DKIM::Verifier->new;
$dkim->PRINT($message); $dkim->CLOSE;
print $_->selector, " ", $_->result, "\\n" for $dkim->signatures;
`;
const MAILAUTH = `
const { dkimVerify } = require("mailauth/lib/dkim/verify");
const keys = JSON.parse(process.argv[1]);
(async () => {
  const { results } = await dkimVerify(require("fs").readFileSync(0), {
    resolver: async (name) => [[keys[name]]] });
  for (const { selector, status } of results)
    console.log(selector, status.result);
})();
`;

/** What each program says of the signatures of a message, `SELECTOR RESULT` from the top. */
const READERS: Readonly<
  Record<string, (message: Uint8Array) => Promise<readonly string[]>>
> = {
  dkimpy: (input) => lines(PYTHON, ["-c", DKIMPY, RECORDS], { input }),
  "Mail::DKIM": (input) => lines("perl", ["-e", MAIL_DKIM, RECORDS], { input }),
  mailauth: (input) =>
    lines("node", ["-e", MAILAUTH, RECORDS], { input, cwd: TOOLS }),
  OpenDKIM: readByOpenDkim,
};

async function lines(
  program: string,
  args: readonly string[],
  options: { readonly input: Uint8Array; readonly cwd?: string },
): Promise<readonly string[]> {
  const { stdout } = await run(program, args, options);
  return stdout.split("\n").filter((line) => line !== "");
}

async function readByOpenDkim(
  message: Uint8Array,
): Promise<readonly string[]> {
  await using folder = await TestFolder.create();
  const { path } = folder;
  const records = Object.entries(JSON.parse(RECORDS));
  await folder.write(
    "dns",
    records.map((row) => `${row.join(" ")}\n`).join(""),
  );
  const settings = `Mode v\nTestDNSData ${path}/dns\nAlwaysAddARHeader yes\n`;
  await folder.write("conf", settings);
  await Deno.writeFile(`${path}/message`, message);
  const args = ["-x", `${path}/conf`, "-vv", "-t", `${path}/message`];
  const { stdout } = await run("opendkim", args, { anyCode: true });
  const found = stdout.matchAll(/dkim=(\w+)[^;]*? header\.s=(\w+)/g);
  return [...found].map(([, result, selector]) => `${selector} ${result}`);
}

/** Mail::DKIM knows Ed25519 only with CryptX of a later version than Debian's. */
function wanted(name: string): readonly string[] {
  return name === "Mail::DKIM" ? ["r pass", "e invalid"] : BOTH;
}

for (const [name, read] of Object.entries(READERS)) {
  Deno.test(`${name} accepts our signatures, and no changed message`, async () => {
    for (const text of MESSAGES) {
      const signed = await signDkim(bytesOf(text), KEYS) + text;
      assertEquals(
        await read(bytesOf(signed)),
        wanted(name),
        text.slice(0, 99),
      );
    }
    const text = MESSAGES[0]!;
    const signed = await signDkim(bytesOf(text), KEYS) + text;
    for (
      const changed of [
        signed.replace("hello", "hallo"),
        signed.replace("Text", "text"),
        signed.replace("\r\n\r\n", "\r\nCc: eve@dest.test\r\n\r\n"),
      ]
    ) {
      const results = await read(bytesOf(changed));
      assertEquals(results.filter((one) => one.endsWith("pass")), []);
    }
  });
}

const RECOMPUTE = `
import sys, re, base64, hashlib, dkim
from dkim import crypto
from dkim.canonicalization import CanonicalizationPolicy
import nacl.signing
message = sys.stdin.buffer.read()
private, seed = open(sys.argv[1], "rb").read(), base64.b64decode(sys.argv[2])
headers, body = dkim.rfc822_parse(message)
policy = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
for field in headers[:2]:
    sig = dkim.parse_tag_value(field[1])
    names = [name.strip().lower() for name in sig[b"h"].split(b":")]
    hasher = dkim.HashThrough(hashlib.sha256())
    dkim.hash_headers(hasher, policy, policy.canonicalize_headers(headers), names, field, sig)
    made = (crypto.RSASSA_PKCS1_v1_5_sign(hasher, crypto.parse_pem_private_key(private))
            if sig[b"a"] == b"rsa-sha256"
            else nacl.signing.SigningKey(seed).sign(hasher.digest()).signature)
    given = base64.b64decode(re.sub(rb"\\s", b"", sig[b"b"]))
    digest = base64.b64encode(hashlib.sha256(policy.canonicalize_body(body)).digest())
    print(sig[b"s"].decode(), made == given, digest == re.sub(rb"\\s", b"", sig[b"bh"]))
`;

Deno.test("dkimpy computes the same signatures and hashes", async () => {
  await using folder = await TestFolder.create();
  const pem = await folder.write("key.pem", rsa.toPem());
  const der = atob(ed25519.toPem().split("\n").slice(1, -2).join(""));
  const seed = btoa(der.slice(-32));
  for (const text of MESSAGES) {
    const input = bytesOf(await signDkim(bytesOf(text), KEYS) + text);
    assertEquals(
      await lines(PYTHON, ["-c", RECOMPUTE, pem, seed], { input }),
      ["r True True", "e True True"],
    );
  }
});

for (const sevenBit of [false, true]) {
  Deno.test(`mail of swaks verifies where it arrives${sevenBit ? ", after a conversion to 7 bits" : ""}`, async () => {
    await using folder = await TestFolder.create();
    await using pair = await startPair({
      near: {
        ...{ domains: ["near.test"], dkim: KEYS, allowInsecureAuth: true },
        accounts: new AccountList({ ann: "secret" }),
      },
      relay: { from: [], allow: "authenticated" },
      far: {
        disabledExtensions: sevenBit
          ? ["8BITMIME", "BINARYMIME", "SMTPUTF8"]
          : [],
      },
    });
    const mail = await folder.write(
      "mail",
      "From: Ann <ann@near.test>\nTo: you@dest.test\nSubject: hello\n" +
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n" +
        "Content-Transfer-Encoding: 8bit\n\nGr\u00fc\u00dfe\n",
    );
    const { address, port } = pair.near.addresses[0]!;
    await run("swaks", [
      ...["--server", `${address}:${port}`, "--auth", "PLAIN"],
      ...["--auth-user", "ann", "--auth-password", "secret"],
      ...["--from", "ann@near.test", "--to", "you@dest.test", "--data", mail],
    ]);
    const { bytes, text } = await within(pair.farStore.next(), "the message");
    assertStringIncludes(text, sevenBit ? "Gr=C3=BC" : "Gr\u00fc\u00dfe");
    for (const [name, read] of Object.entries(READERS)) {
      assertEquals(await read(bytes), wanted(name), name);
    }
  });
}
