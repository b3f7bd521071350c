/**
 * `serve --log postfix` between real clients and a real Postfix: pflogsumm and
 * fail2ban count in its log what happened. Clients have the addresses that a
 * PROXY header names.
 */

import { assert, assertEquals } from "@std/assert";
import type { MechanismName } from "../../lib/sasl/mechanism_name.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { CliServer } from "../support/cli.ts";
import { fail2ban, pflogsumm } from "../support/interop/log_readers.ts";
import {
  freePort,
  peerProgram,
  startPostfix,
} from "../support/interop/relay_peers.ts";
import { TestFolder } from "../support/folder.ts";
import { startServer, TestClient } from "../support/server.ts";
import { logIn } from "../support/tls.ts";
import { until } from "../support/wait.ts";

/** What Postfix says to some recipients. */
const RESTRICTIONS = `smtpd_recipient_restrictions =
  check_recipient_access inline:{
    {gone@dest.test = 550 5.1.1 Gone}
    {later@dest.test = 450 4.7.1 Come back}
  }, permit_mynetworks, reject
`;

const FRIEND = "192.0.2.1";
const MECHANISMS: readonly MechanismName[] = [
  ...["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"] as const,
];

/** A client that comes from an address, as the proxy says. */
async function from(server: CliServer, address: string): Promise<TestClient> {
  const [port] = server.ports;
  const client = await TestClient.connect({
    addresses: [{ address: "127.0.0.1", port: port! }],
  });
  await client.send(`PROXY TCP4 ${address} 127.0.0.1 5000 25\r\n`);
  await client.reply();
  await client.expect(["EHLO client.example", "250"]);
  return client;
}

let sent = 0;

/** Sends a message; returns its bytes. */
async function send(
  client: TestClient,
  sender: string,
  ...to: string[]
): Promise<number> {
  await client.expect([`MAIL FROM:<${sender}>`, "250"]);
  for (const one of to) await client.expect([`RCPT TO:<${one}>`, "250"]);
  const content = `Message-ID: <m${++sent}@client.example>\r\n\r\n${
    "x".repeat(sent)
  }`;
  assertEquals((await client.data(content)).slice(0, 3), "250");
  return content.length + 2;
}

/** A client whose one recipient is refused. */
async function refused(
  server: CliServer,
  address: string,
  [to, want]: readonly [to: string, want: string],
): Promise<void> {
  using client = await from(server, address);
  await client.expect(["MAIL FROM:<a@b.example>", "250"]);
  await client.expect([`RCPT TO:<${to}>`, want], ["QUIT", "221"]);
}

/** What comes to an end in the log: the lines of `removed` for each queue id. */
function ends(log: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const [, id] of log.matchAll(/ (\w+): client=/g)) found.set(id!, 0);
  for (const [, id] of log.matchAll(/ (\w+): removed$/gm)) {
    found.set(id!, (found.get(id!) ?? 0) + 1);
  }
  return found;
}

for (const threads of [0, 2]) {
  Deno.test({
    name:
      `pflogsumm and fail2ban count what serve did with a real Postfix, with ${threads} threads`,
    ignore: peerProgram("postfix") === undefined,
    async fn() {
      await using folder = await TestFolder.create();
      await using peerFolder = await TestFolder.create();
      const certificate = await Certificate.selfSigned({ names: ["x.test"] });
      const files = {
        cert: `${peerFolder.path}/cert.pem`,
        key: `${peerFolder.path}/key.pem`,
      };
      await Deno.writeTextFile(files.cert, certificate.toPem());
      await Deno.writeTextFile(files.key, certificate.keyPem(), {
        mode: 0o600,
      });
      const store = new MemoryStore();
      await using far = await startServer({ store });
      const port = freePort(["127.0.0.2"]);
      await using _postfix = await startPostfix({
        ...{ folder: peerFolder.path, address: "127.0.0.2", port, tls: files },
        next: far.addresses[0]!.port,
      }, RESTRICTIONS);
      await folder.write("mailboxes", "you\nfull\n");
      await folder.write(
        "aliases",
        "loop-a: loop-b@near.test\nloop-b: loop-a@near.test\n",
      );
      await Deno.mkdir(`${folder.path}/mail/full@near.test/new`, {
        recursive: true,
      });
      await folder.write("mail/full@near.test/new/1", "x".repeat(40_000));
      await using server = await CliServer.start([
        ...["--log", "postfix", "--hostname", "mx.near.test", "--self-signed"],
        ...["--threads", String(threads), "--proxy-protocol", "127.0.0.0/8"],
        ...["--domain", "near.test", "--store", "maildir:mail"],
        ...["--quota", "30k", "--local-recipients", "mailboxes"],
        ...["--aliases", "aliases", "--relay-from", "192.0.2.0/24"],
        ...["--user", "ann:sesame", "--allow-insecure-auth"],
        ...["--smarthost", `127.0.0.2:${port}/none`, "--retry", "1h"],
        ...["--messages-per-minute", "5", "--user-messages-per-minute", "1"],
      ], { cwd: folder.path });
      let bytes = 0;
      let second = 0;
      {
        using friend = await from(server, FRIEND);
        const joe = "joe@client.example";
        bytes += await send(friend, joe, "you@near.test");
        second = await send(friend, joe, "you@near.test", "b@dest.test");
        bytes += second;
        bytes += await send(
          ...[friend, joe, "a@dest.test", "gone@dest.test"] as const,
          "later@dest.test",
        );
        await friend.expect(["QUIT", "221"]);
      }
      {
        using user = await from(server, "192.0.2.2");
        await logIn(user, "LOGIN", { username: "ann", password: "sesame" });
        bytes += await send(user, "ann@near.test", "c@dest.test");
        for (let turn = 0; turn < 3; turn++) {
          await user.expect(["MAIL FROM:<ann@near.test>", "450"]);
        }
        await user.expect(["QUIT", "221"]);
      }
      await refused(server, "203.0.113.1", ["x@far.test", "550 5.7.1"]);
      await refused(server, "203.0.113.2", ["no@near.test", "550 5.1.1"]);
      await refused(server, "203.0.113.3", ["loop-a@near.test", "554 5.4.6"]);
      await refused(server, "203.0.113.4", ["full@near.test", "452 4.2.2"]);
      for (const [index, mechanism] of MECHANISMS.entries()) {
        using client = await from(server, `203.0.113.${10 + index}`);
        await logIn(client, mechanism, { username: "ann", password: "wrong" })
          .catch(() => {});
        await client.say("QUIT");
      }
      {
        using client = await from(server, "203.0.113.20");
        await client.expect(["STARTTLS", "220"]);
        await client.send("this is no TLS at all\r\n");
        await client.rest();
      }
      {
        using client = await from(server, "203.0.113.21");
        await client.expect(["AUTH LOGIN", "334"], ["*", "501"]);
        await client.expect(["QUIT", "221"]);
      }
      {
        using client = await from(server, "203.0.113.22");
        for (let turn = 0; turn < 11; turn++) {
          if ((await client.say("NONSENSE")).startsWith("421")) break;
        }
      }
      {
        using client = await from(server, "203.0.113.23");
        for (let turn = 0; turn < 5; turn++) {
          await client.expect(["MAIL FROM:<a@b.example>", "250"]);
          await client.expect(["RSET", "250"]);
        }
        await client.expect(["MAIL FROM:<a@b.example>", "450"]);
        await client.expect(["QUIT", "221"]);
      }
      // b, a, c and the bounce reach the far end.
      await until(() => store.messages.length >= 4);
      await server.logged(/sender non-delivery notification/);
      await until(() => server.stderr.split(": removed\n").length > 4);
      const { stderr, code } = await server.end("SIGTERM");
      assertEquals(code, 0);
      await folder.write("mail.log", stderr);
      const file = `${folder.path}/mail.log`;

      const { text, counts } = await pflogsumm(file);
      const kept = /from=<>, size=(\d+),/.exec(stderr)![1];
      const want = {
        ...{ received: "4", delivered: "6", deferred: "1", bounced: "1" },
        ...{ forwarded: "0", rejected: "4", "bytes received": `${bytes}` },
        // The second message goes to two, and the bounce to its sender.
        "bytes delivered": `${bytes + second + Number(kept)}`,
        ...{ senders: "2", recipients: "5", connections: "14" },
      };
      for (const [name, count] of Object.entries(want)) {
        assertEquals(counts[name], count, `${name}\n${text}\n${stderr}`);
      }
      assert(!text.includes("no size data"), text);
      for (
        const said of [
          ...["450 4.7.1 <later@dest.test>", "550 5.1.1 <gone@dest.test>"],
          ...["<x@far.test>: Relay access denied", "User unknown"],
          ...["Mailbox full", "The aliases of this address lead back to it"],
          "3   perUser.messagesPerMinute limit exceeded: 1 from",
          "1   Message delivery request rate limit exceeded: 5 from",
          'Limit of the user "ann": Too many messages from this user',
        ]
      ) assert(text.includes(said), `${said}\n${text}`);
      assertEquals(
        stderr.match(/: client=.*/g),
        [
          ...[FRIEND, FRIEND, FRIEND].map((one) => `: client=unknown[${one}]`),
          ": client=unknown[192.0.2.2], sasl_method=LOGIN, sasl_username=ann",
        ],
      );
      // All but the message with the recipient that is deferred, and the bounce.
      assertEquals(
        [...ends(stderr).values()].sort(),
        [0, 1, 1, 1, 1],
        stderr,
      );

      const denied = ["203.0.113.1", "203.0.113.2"];
      const errors = "203.0.113.22";
      const tls = "203.0.113.20";
      const logins = ["203.0.113.10", "203.0.113.11", "203.0.113.12"];
      const scram = "203.0.113.13";
      const found = async (mode: string) => {
        const lines = await fail2ban(file, `postfix[mode=${mode}]`);
        return [
          ...new Set(
            lines.map((line) => /unknown\[([\d.]+)\]/.exec(line)![1]!),
          ),
        ].sort();
      };
      assertEquals(await found("normal"), [...denied, errors].sort());
      assertEquals(await found("auth"), logins);
      assertEquals(await found("extra"), [...denied, ...logins, errors].sort());
      assertEquals(await found("ddos"), [...logins, scram, tls].sort());
      assertEquals(
        await found("aggressive"),
        [...denied, ...logins, scram, tls, errors].sort(),
      );
    },
  });
}
