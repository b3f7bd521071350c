/**
 * Postfix with OpenDKIM on both sides of this server: what it signs passes here,
 * and what is signed here passes there.
 */

import { assertMatch } from "@std/assert";
import { DkimPrivateKey } from "../../lib/trust/mod.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { TestFolder } from "../support/folder.ts";
import {
  freePort,
  listening,
  startPostfix,
} from "../support/interop/relay_peers.ts";
import { BackgroundProcess } from "../support/process.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";
import { startZoneServer } from "../support/zone_server.ts";

const key = await DkimPrivateKey.generate("rsa");
const RECORDS = {
  "TXT s._domainkey.a.test": [key.record],
  "TXT a.test": ["v=spf1 ip4:127.0.0.1 -all"],
  "TXT _dmarc.a.test": ["v=DMARC1; p=reject"],
};

/** Postfix with OpenDKIM, which relays to a port on 127.0.0.1; gives its own port. */
async function startPair(
  stack: AsyncDisposableStack,
  mode: "s" | "v",
  next: number,
): Promise<number> {
  const folder = stack.use(await TestFolder.create());
  const milter = freePort(["127.0.0.1"]);
  const settings = {
    Mode: mode,
    Socket: `inet:${milter}@127.0.0.1`,
    RequireSafeKeys: "no",
    // What is no internal host is verified, and not signed.
    InternalHosts: mode === "s" ? "127.0.0.1" : "192.0.2.1",
    TestPublicKeys: await folder.write(
      "records",
      `s._domainkey.a.test ${key.record}\n`,
    ),
    AuthservID: "postfix.test",
    ...(mode === "s" && {
      ...{ Domain: "a.test", Selector: "s" },
      KeyFile: await folder.write("key.pem", key.toPem()),
      Canonicalization: "relaxed/relaxed",
    }),
  };
  const file = await folder.write(
    "opendkim.conf",
    Object.entries(settings).map((pair) => `${pair.join(" ")}\n`).join(""),
  );
  stack.use(BackgroundProcess.start("opendkim", ["-f", "-x", file]));
  await listening("127.0.0.1", milter);
  const certificate = await Certificate.selfSigned({ names: ["postfix.test"] });
  const port = freePort(["127.0.0.1"]);
  stack.use(
    await startPostfix(
      {
        ...{ folder: folder.path, address: "127.0.0.1", port, next },
        tls: {
          cert: await folder.write("cert.pem", certificate.toPem()),
          key: await folder.write("tls.pem", certificate.keyPem()),
        },
      },
      `smtpd_milters = inet:127.0.0.1:${milter}\nmilter_default_action = tempfail\n`,
    ),
  );
  return port;
}

/** Sends a message to a port. */
async function send(port: number): Promise<void> {
  const to = { addresses: [{ address: "127.0.0.1", port }] };
  using client = await TestClient.connect(to);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    ["MAIL FROM:<ann@a.test>", "250"],
    ["RCPT TO:<bob@b.test>", "250"],
    ["DATA", "354"],
    [
      "From: Ann <ann@a.test>\r\nTo: bob@b.test\r\nSubject: Hello\r\n" +
      "Date: Mon, 30 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@a.test>\r\n" +
      "\r\nHello  Bob \r\n\r\n.",
      "250",
    ],
  );
}

Deno.test("What Postfix with OpenDKIM signs passes here", async () => {
  await using stack = new AsyncDisposableStack();
  const dns = stack.use(await startZoneServer(RECORDS));
  const store = new MemoryStore();
  const server = await startServer({
    store,
    hostname: "mx.b.test",
    dns: { nameServers: [dns.nameServer] },
    verify: { dmarc: "enforce", exempt: [] },
  });
  stack.defer(() => server.stop({ graceMs: 0 }));
  await send(await startPair(stack, "s", server.addresses[0]!.port));
  await until(() => store.messages.length > 0, { what: "the message" });
  const [message] = store.messages;
  const field = message!.headers.get("Authentication-Results")!;
  assertMatch(field, /^mx\.b\.test;/);
  assertMatch(field, /dkim=pass .*header\.d=a\.test/);
  assertMatch(field, /dmarc=pass/);
});

Deno.test("What is signed here passes at Postfix with OpenDKIM", async () => {
  await using stack = new AsyncDisposableStack();
  const store = new MemoryStore();
  const sink = await startServer({ store });
  stack.defer(() => sink.stop({ graceMs: 0 }));
  const next = await startPair(stack, "v", sink.addresses[0]!.port);
  const server = await startServer({
    hostname: "mx.a.test",
    domains: ["a.test"],
    dkim: { domain: "a.test", selector: "s", key },
    relay: {
      from: ["127.0.0.0/8"],
      smarthosts: [{ host: "127.0.0.1", port: next }],
    },
  });
  stack.defer(() => server.stop({ graceMs: 0 }));
  await send(server.addresses[0]!.port);
  await until(() => store.messages.length > 0, { what: "the message" });
  const text = store.messages[0]!.text.replaceAll(/\r\n[ \t]+/g, " ");
  assertMatch(text, /\nAuthentication-Results: postfix\.test;.*dkim=pass/);
  assertMatch(text, /\nDKIM-Signature: v=1; a=rsa-sha256;.* d=a\.test;/);
});
