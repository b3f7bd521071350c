/**
 * What this server forwards, as other programs see it: dkimpy and mailauth check the
 * seal after a hop through Postfix, pyspf the sender, and postsrsd and this server
 * rewrite each other's senders and find them again.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { DkimPrivateKey, Srs } from "../../lib/trust/mod.ts";
import { textOf, utf8 } from "../support/bytes.ts";
import { TestFolder } from "../support/folder.ts";
import {
  freePort,
  listening,
  startPostfix,
} from "../support/interop/relay_peers.ts";
import { BackgroundProcess, run } from "../support/process.ts";
import { startServer, TestClient } from "../support/server.ts";
import { within } from "../support/wait.ts";
import { startZoneServer } from "../support/zone_server.ts";

const PYTHON = "/usr/bin/python3";
const TOOLS = new URL("../../.ci/tools/", import.meta.url).pathname;
const SECRET = "a secret of some length";
const key = await DkimPrivateKey.generate("rsa");
const RECORDS = JSON.stringify({ "s._domainkey.near.test": key.record });

const DKIMPY = `
import sys, dkim, os, json
records = json.loads(os.environ["RECORDS"])
def ask(name, timeout=5):
    return records[name.decode().rstrip(".")].encode()
print(dkim.arc_verify(sys.stdin.buffer.read(), dnsfunc=ask)[0].decode())
`;
const MAILAUTH = `
const { arc } = require("mailauth/lib/arc");
const { dkimVerify } = require("mailauth/lib/dkim/verify");
const records = JSON.parse(process.env.RECORDS);
const resolver = (name) => Promise.resolve([[records[name]]]);
(async () => {
  const message = require("fs").readFileSync(0);
  const { arc: chain } = await dkimVerify(message, { resolver });
  console.log((await arc(chain, { resolver })).status.result);
})();
`;
const PYSPF = `
import sys, spf
def ask(name, kind, strict=True, timeout=None, tcpfallback=True):
    if name == "near.test" and kind == "TXT":
        return [((name, kind), (b"v=spf1 ip4:192.0.2.1 -all",))]
    return []
spf.DNSLookup = ask
for ip in ["192.0.2.1", "192.0.2.2"]:
    print(spf.check2(i=ip, s=sys.argv[1], h="mx.near.test")[0])
`;

Deno.test("Mail forwarded through Postfix passes by its seal and its sender", async () => {
  await using stack = new AsyncDisposableStack();
  const store = new MemoryStore();
  const far = await startServer({ store });
  stack.defer(() => far.stop({ graceMs: 0 }));
  const folder = stack.use(await TestFolder.create());
  const certificate = await Certificate.selfSigned({ names: ["postfix.test"] });
  const port = freePort(["127.0.0.1"]);
  stack.use(
    await startPostfix({
      ...{ folder: folder.path, address: "127.0.0.1", port },
      next: far.addresses[0]!.port,
      tls: {
        cert: await folder.write("cert.pem", certificate.toPem()),
        key: await folder.write("tls.pem", certificate.keyPem()),
      },
    }),
  );
  const zone = stack.use(
    await startZoneServer({ "TXT else.test": ["v=spf1 ip4:127.0.0.1 -all"] }),
  );
  const near = await startServer({
    hostname: "mx.near.test",
    domains: ["near.test"],
    aliases: { "ann@near.test": "you@dest.test" },
    verify: { exempt: [] },
    dns: { nameServers: [zone.nameServer] },
    log: () => {},
    relay: {
      smarthosts: [{ host: "127.0.0.1", port }],
      allowLoopback: true,
      forwarding: {
        srs: { domain: "near.test", secrets: [SECRET] },
        arc: { domain: "near.test", selector: "s", key },
      },
    },
  });
  stack.defer(() => near.stop({ graceMs: 0 }));
  for (
    const parameters of ["", " BODY=8BITMIME", " BODY=BINARYMIME"]
  ) {
    using client = await TestClient.connect(near);
    await client.reply();
    await client.expect(
      ["EHLO client.test", "250"],
      [`MAIL FROM:<eve@else.test>${parameters}`, "250"],
      ["RCPT TO:<ann@near.test>", "250"],
    );
    const eight = parameters === "" ? "" : "Gr\xfc\xdfe";
    const data = "From: Eve <eve@else.test>\r\nTo: ann@near.test\r\n" +
      "Subject:  Hello\r\n\tthere\r\nMessage-ID: <1@else.test>\r\n" +
      "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n" +
      `Content-Transfer-Encoding: ${
        parameters.endsWith("BINARYMIME") ? "binary" : "8bit"
      }\r\nDate: Mon, 30 Nov 2026 12:00:00 +0000\r\n\r\n` +
      `Hello  Ann \r\n${eight}\r\n.dot\r\n\r\n\r\n`;
    await client.send(`BDAT ${data.length} LAST\r\n${data}`);
    assertMatch(await client.reply(), /^250 /, parameters);
    const got = await within(store.next(), "the forwarded message");
    const from = got.from.toString();
    assertMatch(from, /^SRS0=[A-Z2-7]{8}=..=else\.test=eve@near\.test$/);
    const options = { env: { RECORDS }, input: got.bytes };
    const python = await run(PYTHON, ["-c", DKIMPY], options);
    assertEquals(python.stdout, "pass\n", parameters + got.text);
    const node = await run("node", ["-e", MAILAUTH], {
      ...options,
      cwd: TOOLS,
    });
    assertEquals(node.stdout, "pass\n", parameters + got.text);
    const spf = await run(PYTHON, ["-c", PYSPF, from]);
    assertEquals(spf.stdout, "pass\nfail\n");
  }
});

/** Asks postsrsd as Postfix does (tcp_table(5)): the new address, or `undefined`. */
async function lookUp(
  port: number,
  address: string,
): Promise<string | undefined> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(utf8(`get ${encodeURIComponent(address)}\n`));
  // Its lines end with LF.
  let reply = "";
  for await (
    const bytes of connection.readable.values({ preventCancel: true })
  ) {
    reply += textOf(bytes);
    if (reply.endsWith("\n")) break;
  }
  return reply.startsWith("200 ")
    ? decodeURIComponent(reply.slice(4).trim())
    : undefined;
}

Deno.test("postsrsd and this server rewrite what the other has rewritten", async () => {
  await using folder = await TestFolder.create();
  const secret = await folder.write("secret", `${SECRET}, another one\n`);
  const ours = new Srs({ domain: "near.test", secrets: [SECRET] });
  for (const separator of ["=", "+", "-"]) {
    const forward = freePort(["127.0.0.1"]);
    const reverse = freePort(["127.0.0.1"]);
    await using _postsrsd = BackgroundProcess.start("postsrsd", [
      ...[`-s${secret}`, "-dpost.test", `-a${separator}`, "-4"],
      ...["-l127.0.0.1", `-f${forward}`, `-r${reverse}`],
    ]);
    await listening("127.0.0.1", forward);
    await listening("127.0.0.1", reverse);
    for (const sender of ["ann@a.test", "ann+x=y@a.test", "SRS@a.test"]) {
      // Theirs, forwarded by us: a bounce to ours leads to theirs, and on.
      const theirs = (await lookUp(forward, sender))!;
      assertMatch(theirs, /^SRS0.*@post\.test$/);
      const second = ours.forward(theirs)!;
      assertMatch(second, /^SRS1=.*@near\.test$/);
      const { address } = ours.reverse(second)!;
      assertEquals(address, theirs.replace(/^SRS0./, `SRS0${separator}`));
      assertEquals(await lookUp(reverse, address!), sender);

      // Ours, forwarded by them.
      const first = ours.forward(sender)!;
      const later = (await lookUp(forward, first))!;
      assertMatch(later, /^SRS1.*@post\.test$/);
      assertEquals(await lookUp(reverse, later), first);
      assertEquals(ours.reverse(first)?.address, sender);

      // Through both of them, and back to us: it leads to the first of all.
      const third = ours.forward(later)!;
      assertMatch(third, /^SRS1=.*@near\.test$/);
      assertEquals(ours.reverse(third)?.address, sender);
      const last = (await lookUp(forward, second))!;
      assertEquals(await lookUp(reverse, last), theirs);
    }
  }
});
