/**
 * Messages that handlers change, with the programs of others: swaks submits,
 * Postfix is the next hop of one domain and bounces to the new sender, Python's
 * email package reads what is kept as this package does.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2047 | RFC 2047},
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-3.4 | RFC 5322 section 3.4}
 */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { TestFolder } from "../support/folder.ts";
import {
  freePort,
  peerProgram,
  startPostfix,
} from "../support/interop/relay_peers.ts";
import { run } from "../support/process.ts";
import { startServer } from "../support/server.ts";
import { until, within } from "../support/wait.ts";

const READ = `
import email, email.policy, json, sys
message = email.message_from_binary_file(open(sys.argv[1], "rb"), policy=email.policy.default)
print(json.dumps({
    "names": list(message.keys()),
    "subject": str(message["Subject"]),
    "to": [[a.display_name, a.addr_spec] for a in message["To"].addresses],
    "time": message["Date"].datetime.timestamp() * 1000,
    "text": message.get_content(),
}))
`;

const MESSAGE = [
  "From: Ann <ann@a.test>",
  'To: "Smith, Bob" <bob@a.test>, =?utf-8?Q?=C3=84nne?= <c@d.test>, team: e@f.test;',
  "Date: Mon, 30 Nov 2026 21:25:31 +0100",
  "Subject: =?utf-8?B?R3LDvMOfZQ==?= from =?iso-8859-1?Q?J=F8rn?=",
  "",
  "Text",
].join("\r\n");

async function swaks(port: number, ...flags: string[]): Promise<void> {
  await run("swaks", [
    ...["--server", "127.0.0.1", "--port", String(port)],
    ...["--ehlo", "client.example", "--data", "-", ...flags],
  ], { input: MESSAGE });
}

for (const threads of [0, 2]) {
  Deno.test(`swaks submits what a handler changes, and Python reads it alike (${threads} threads)`, async () => {
    await using folder = await TestFolder.create();
    let seen: unknown;
    await using server = new SmtpServer({
      listen: "127.0.0.1:0",
      threads,
      log: () => {},
      domains: {
        "a.test": { store: new MaildirStore({ folder: folder.path }) },
      },
      handlers: {
        onMessage(_session, message) {
          const { headers } = message;
          headers.set("Subject", `[Außen] ${headers.text("Subject")}`);
          message.prepend("X-Seen", "grüßend gelesen");
          seen = {
            subject: headers.text("Subject"),
            to: headers.addresses("To").map((one) => [one.name, one.address]),
            time: headers.date()?.getTime(),
          };
        },
      },
    });
    await server.start();
    await swaks(
      server.addresses[0]!.port,
      ...["--from", "ann@b.test", "--to", "bob@a.test"],
    );
    const [path] = await folder.files();
    const { stdout } = await run("python3", [
      ...["-c", READ, `${folder.path}/${path}`],
    ]);
    const { names, text, ...read } = JSON.parse(stdout);
    assertEquals(read, seen);
    assertEquals(names.slice(0, 3), ["Return-Path", "X-Seen", "Received"]);
    assertEquals(text.trimEnd(), "Text");
    assertEquals(read.subject, "[Außen] Grüße from Jørn");
  });
}

Deno.test({
  name: "Postfix, the smarthost of one domain, bounces to the new sender",
  ignore: peerProgram("postfix") === undefined,
  fn: async () => {
    await using folder = await TestFolder.create();
    const address = "127.0.0.1";
    const port = freePort([address]);
    const certificate = await Certificate.selfSigned({
      names: ["postfix.test"],
    });
    const tls = {
      cert: await folder.write("cert.pem", certificate.toPem()),
      key: await folder.write("key.pem", certificate.keyPem()),
    };
    const store = new MemoryStore();
    await using far = await startServer({
      store,
      handlers: {
        onRcptTo: (_session, { localPart }) => localPart !== "refused",
      },
    });
    await using _postfix = await startPostfix({
      ...{ folder: folder.path, address, port, tls },
      next: far.addresses[0]!.port,
    });
    await using near = await startServer({
      hostname: "near.test",
      allowInsecureAuth: true,
      accounts: new AccountList({ "ann@a.test": "secret" }),
      domains: {
        "a.test": { relay: { smarthosts: [{ host: address, port }] } },
      },
      relay: { allow: "authenticated", security: "opportunistic" },
      handlers: {
        async onMessage(_session, message) {
          const [, refused] = message.recipients;
          if (refused === undefined) return;
          const copy = message.forRecipients([refused]);
          copy.prepend("X-Copy", "1");
          await near.relays.add(copy, {
            smarthosts: [{ host: address, port }],
            from: "owner@list.test",
          });
        },
      },
    });
    const submit = (...to: string[]) =>
      swaks(
        near.addresses[0]!.port,
        ...["--from", "ann@a.test", "--to", to.join(",")],
        ...["--auth", "PLAIN", "--auth-user", "ann@a.test"],
        ...["--auth-password", "secret"],
      );
    const direct = within(store.next(), "the message of the user");
    await submit("you@far.test");
    const { text, from } = await direct;
    assertEquals(String(from), "ann@a.test");
    assertStringIncludes(text, "by postfix.test (Postfix)");
    await submit("you@far.test", "refused@far.test");
    // The DSN about the user's own copy goes to the user.
    const notice = await until(() =>
      store.messages.find(({ from, recipients }) =>
        from.isNull && String(recipients[0]!.address) === "owner@list.test"
      )
    );
    assertStringIncludes(notice!.text, "X-Copy: 1");
  },
});
