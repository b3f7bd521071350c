/**
 * Mail over unix sockets from the programs of others: Postfix delivers to the
 * LMTP socket as it would to Dovecot's, Python's smtplib and curl speak to the
 * sockets of the command line. Dovecot itself has no part: as a client it knows
 * hosts and ports only (`submission_host`, `submission_relay_host`, and the host
 * of a proxied user).
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033}
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import {
  freePort,
  peerProgram,
  startPostfix,
} from "../support/interop/relay_peers.ts";
import { readMaildir } from "../support/interop/server.ts";
import { CliServer } from "../support/cli.ts";
import { run } from "../support/process.ts";
import { farCertificate } from "../support/queue/relaying.ts";
import { startServer } from "../support/server.ts";
import { TestFolder } from "../support/folder.ts";
import { within } from "../support/wait.ts";

const CONTENT = "Subject: by socket\r\n\r\n.dot in front\r\nend\r\n";

/** A script that sends on an LMTP socket. Python reads one reply, so it has one recipient. */
const LMTP = `
import smtplib, sys
with smtplib.LMTP(sys.argv[1]) as client:
    client.sendmail("me@example.org", "ann@example.com", "Subject: x\\r\\n\\r\\nhi\\r\\n")
`;

/** The number of a group of this machine. */
async function groupNumber(name: string): Promise<number> {
  const { stdout } = await run("getent", ["group", name]);
  return Number(stdout.split(":")[2]);
}

Deno.test({
  name: "Postfix delivers by LMTP to a unix socket of its group",
  ignore: peerProgram("postfix") === undefined,
  async fn() {
    await using folder = await TestFolder.create();
    const path = `${folder.path}/lmtp.sock`;
    const store = new MemoryStore();
    await using _server = await startServer({
      listen: { path, kind: "lmtp", group: await groupNumber("postfix") },
      domains: ["peer.test"],
      store,
      handlers: {
        onRcptTo: (_session, address) => address.localPart !== "none",
      },
    });
    const tls = { cert: `${folder.path}/c.pem`, key: `${folder.path}/k.pem` };
    const certificate = await farCertificate();
    await Deno.writeTextFile(tls.cert, certificate.toPem());
    await Deno.writeTextFile(tls.key, certificate.keyPem(), { mode: 0o600 });
    await Deno.mkdir(`${folder.path}/postfix`);
    const address = "127.0.0.7";
    const port = freePort([address]);
    await using _postfix = await startPostfix(
      {
        ...{ folder: `${folder.path}/postfix`, address, port, tls },
        next: freePort(["127.0.0.1"]),
      },
      [
        "virtual_mailbox_domains = peer.test",
        `virtual_transport = lmtp:unix:${path}`,
        "",
      ].join("\n"),
    );
    await run("curl", [
      ...["-sS", `smtp://${address}:${port}/client.example`],
      ...["--mail-from", "ann@near.test", "--mail-rcpt", "you@peer.test"],
      ...["--mail-rcpt", "none@peer.test", "-T", "-"],
    ], { input: CONTENT });
    const message = await within(store.next(), "the message");
    assertEquals(message.recipients.map((one) => String(one.address)), [
      "you@peer.test",
    ]);
    const received = message.text.replaceAll("\r\n\t", " ");
    assertStringIncludes(
      received,
      "Received: from postfix.test by mx.test with LMTP id ",
    );
    assert(message.text.endsWith("\r\n\r\n.dot in front\r\nend\r\n"));
  },
});

Deno.test("smtplib and curl deliver to the sockets of the command line", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await CliServer.start([
    ...["--listen", "unix:s.sock", "--listen", "unix:l.sock/lmtp"],
    ...["--store", "maildir:mail", "--hostname", "mx.test"],
  ], { cwd, listeners: 2 });
  assertStringIncludes(server.stdout, `listening on unix:${cwd}/s.sock (smtp)`);
  await run("python3", ["-c", LMTP, `${cwd}/l.sock`]);
  const [, line] = /^ {2}(printf .*)$/m.exec(server.stdout)!;
  await run("sh", ["-c", line!]);
  const [kept] = await readMaildir(`${cwd}/mail/you@example.com`);
  assertStringIncludes(kept!, "It works.");
  const [message] = await readMaildir(`${cwd}/mail/ann@example.com`);
  assertStringIncludes(message!, "by mx.test with LMTP");
});
