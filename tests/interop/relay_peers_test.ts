/**
 * Mail from this server through other mail servers, which the MX records of a
 * dnsmasq name, over STARTTLS, to a second server of ours: each message arrives as
 * it was sent.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5.1 | RFC 5321 section 5.1},
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207}
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { farCertificate } from "../support/queue/relaying.ts";
import { hasDnsmasq, startDnsmasq } from "../support/interop/dnsmasq.ts";
import {
  freePort,
  hasAiosmtpd,
  type PeerPlace,
  peerProgram,
  startAiosmtpd,
  startExim,
  startOpenSmtpd,
  startPostfix,
} from "../support/interop/relay_peers.ts";
import { startServer, TestClient } from "../support/server.ts";
import { within } from "../support/wait.ts";
import { TestFolder } from "../support/folder.ts";

interface Peer {
  readonly name: string;
  readonly address: string;
  readonly installed: boolean;
  readonly start: (place: PeerPlace) => Promise<AsyncDisposable>;
  /** How its Received field describes our connection. */
  readonly tls: RegExp;
}

const PEERS: readonly Peer[] = [
  {
    name: "postfix",
    address: "127.0.0.2",
    installed: peerProgram("postfix") !== undefined,
    start: startPostfix,
    tls: /using TLSv1\.3 with cipher/,
  },
  {
    name: "exim",
    address: "127.0.0.3",
    installed: peerProgram("exim4") !== undefined,
    start: startExim,
    tls: /with esmtps +\(TLS1\.3\)/,
  },
  {
    name: "opensmtpd",
    address: "127.0.0.4",
    installed: peerProgram("smtpd") !== undefined,
    start: startOpenSmtpd,
    // Debian's OpenSMTPD offers STARTTLS and fails at the handshake: the
    // message goes in the clear then.
    tls: /by opensmtpd\.test \(OpenSMTPD\) with ESMTP/,
  },
];

const CONTENT = [
  "From: Ann <ann@near.test>",
  "To: you@peer.test",
  "Message-ID: <m1@near.test>",
  "Date: Thu, 01 Jan 2026 00:00:00 +0000",
  "Subject: Every kind of line",
  "MIME-Version: 1.0",
  "Content-Type: text/plain; charset=utf-8",
  "Content-Transfer-Encoding: 8bit",
  "",
  ".",
  "..",
  ".dot in front",
  "Gr\xc3\xbc\xc3\x9fe",
  "x".repeat(990),
  "From here on",
  "",
  "end",
];
const BODY = CONTENT.slice(CONTENT.indexOf("") + 1).join("\r\n");

for (const peer of PEERS) {
  Deno.test({
    name: `relay through ${peer.name} arrives as it was sent`,
    ignore: !peer.installed || !hasDnsmasq(),
    fn: async () => {
      await using folder = await TestFolder.create();
      const port = freePort([peer.address]);
      await using dns = await startDnsmasq([
        `--mx-host=peer.test,mx.peer.test,10`,
        `--address=/mx.peer.test/${peer.address}`,
        "--local=/test/",
      ]);
      const store = new MemoryStore();
      await using far = await startServer({ store });
      await using _peer = await peer.start({
        folder: folder.path,
        address: peer.address,
        port,
        next: far.addresses[0]!.port,
        tls: await tlsFiles(folder.path),
      });
      await using near = await startServer({
        hostname: "near.test",
        dns: { nameServers: [dns.nameServer] },
        relay: {
          from: ["127.0.0.0/8"],
          remotePort: port,
          allowLoopback: true,
          schedule: "200ms",
        },
      });
      const got = within(store.next(), "the message");
      await submit(near);
      const message = await got;
      const text = message.text;
      assertStringIncludes(text, "by near.test");
      assert(peer.tls.test(text.replaceAll(/\r\n\s+/g, " ")), text);
      const sent = new TextEncoder().encode(
        decodeURIComponent(escape(BODY)) + "\r\n",
      );
      const end = message.bytes.subarray(-sent.length);
      assertEquals(
        new TextDecoder().decode(end),
        new TextDecoder().decode(sent),
      );
      assertEquals(
        message.recipients.map(({ address }) => `${address}`).sort(),
        ["me@peer.test", "you@peer.test"],
      );
      assertEquals(near.relays.count, 0);
    },
  });
}

Deno.test({
  name: "relay to aiosmtpd arrives once, and as it was sent",
  ignore: !hasAiosmtpd() || !hasDnsmasq(),
  fn: async () => {
    await using folder = await TestFolder.create();
    const address = "127.0.0.5";
    const port = freePort([address]);
    await using dns = await startDnsmasq([
      // The first exchanger has an address where nothing listens.
      "--mx-host=peer.test,mx1.peer.test,10",
      "--mx-host=peer.test,mx2.peer.test,20",
      "--address=/mx1.peer.test/127.0.0.6",
      `--address=/mx2.peer.test/${address}`,
      "--local=/test/",
    ]);
    await using _peer = await startAiosmtpd({
      folder: folder.path,
      address,
      port,
      tls: await tlsFiles(folder.path),
    });
    const { promise: done, resolve } = Promise.withResolvers<void>();
    await using near = await startServer({
      hostname: "near.test",
      dns: { nameServers: [dns.nameServer] },
      relay: {
        from: ["127.0.0.0/8"],
        remotePort: port,
        allowLoopback: true,
        schedule: "200ms",
      },
      handlers: { onRelayDone: () => resolve() },
    });
    await submit(near);
    await within(done, "onRelayDone");
    const files = await Array.fromAsync(
      Deno.readDir(`${folder.path}/mail/new`),
    );
    assertEquals(files.length, 1);
    const text = await Deno.readTextFile(
      `${folder.path}/mail/new/${files[0]!.name}`,
    );
    assertStringIncludes(
      text.replaceAll("\r\n", "\n"),
      decodeURIComponent(escape(BODY)).replaceAll("\r\n", "\n"),
    );
  },
});

async function tlsFiles(folder: string): Promise<PeerPlace["tls"]> {
  const certificate = await farCertificate();
  const tls = { cert: `${folder}/cert.pem`, key: `${folder}/key.pem` };
  await Deno.writeTextFile(tls.cert, certificate.toPem());
  await Deno.writeTextFile(tls.key, certificate.keyPem(), { mode: 0o600 });
  return tls;
}

async function submit(
  server: Awaited<ReturnType<typeof startServer>>,
): Promise<void> {
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    ["MAIL FROM:<ann@near.test> BODY=8BITMIME", "250"],
    ["RCPT TO:<you@peer.test>", "250"],
    ["RCPT TO:<me@peer.test>", "250"],
    ["DATA", "354"],
  );
  const stuffed = CONTENT.map((line) =>
    line.startsWith(".") ? `.${line}` : line
  );
  await client.send(`${stuffed.join("\r\n")}\r\n.\r\n`);
  assertStringIncludes(await client.reply(), "250");
}
