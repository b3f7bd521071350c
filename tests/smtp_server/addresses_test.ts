/**
 * The adapter for programs of smtp-server: what MAIL and RCPT accept, and what
 * the callbacks get of it. A row for each case of that package's tests of
 * addresses, parameters and DSN.
 */

import { assertEquals } from "@std/assert";
import { SmtpClient } from "../../lib/client/mod.ts";
import { ScriptedClient } from "../../lib/testing/mod.ts";
import type {
  SMTPServerAddress,
  SMTPServerEnvelope,
  SMTPServerOptions,
} from "../../lib/smtp_server/mod.ts";
import { OPEN, run } from "../support/smtp_server.ts";

/** What the callback gets, or the code of the refusal. */
type Want = SMTPServerAddress | number;

const plain = (address: string): Want => ({ address, args: false });

/** The replies and the addresses of callbacks, a connection for each command. */
async function answers(
  options: SMTPServerOptions,
  commands: readonly string[],
): Promise<Want[]> {
  let seen: SMTPServerAddress | undefined;
  await using running = await run({
    ...{ ...OPEN, ...options },
    onMailFrom(address, _session, callback) {
      seen = address;
      callback();
    },
    onRcptTo(address, _session, callback) {
      seen = address;
      callback();
    },
  });
  const all: Want[] = [];
  for (const command of commands) {
    await using client = await ScriptedClient.connect(running.place);
    await client.expect(220);
    await client.expect(250, "EHLO c.example");
    if (command.startsWith("RCPT")) {
      await client.expect(250, "MAIL FROM:<x@y.example>");
    }
    seen = undefined;
    await client.sendRaw(new TextEncoder().encode(`${command}\r\n`));
    const { code } = await client.read();
    all.push(code === 250 && seen !== undefined ? seen : code);
  }
  return all;
}

async function check(
  options: SMTPServerOptions,
  rows: Readonly<Record<string, Want>>,
): Promise<void> {
  const commands = Object.keys(rows);
  const got = await answers(options, commands);
  assertEquals(
    Object.fromEntries(commands.map((command, at) => [command, got[at]])),
    { ...rows },
  );
}

Deno.test("addresses and parameters as callbacks get them", async () => {
  await check({ hideDSN: false }, {
    "MAIL FROM:<test@example.com>": plain("test@example.com"),
    "MAIL FROM:<>": plain(""),
    "MAIL FROM:<s@example.com> SIZE=12345    RET=HDRS  ": {
      address: "s@example.com",
      args: { SIZE: "12345", RET: "HDRS" },
    },
    "MAIL FROM : <test@example.com>": 501,
    "MAIL TO:<test@example.com>": 501,
    "MAIL FROM:<s@example.com> CUSTOM=a+ABc+20foo": 555,
    "MAIL FROM:<s@example.com> ENVID=ab+2Bcd": {
      address: "s@example.com",
      args: { ENVID: "ab+cd" },
    },
    "MAIL FROM:<s@example.com> BODY=8BITMIME SMTPUTF8": {
      address: "s@example.com",
      args: { BODY: "8BITMIME", SMTPUTF8: true },
    },
    "RCPT TO:<c@d.example> NOTIFY=SUCCESS,FAILURE": {
      address: "c@d.example",
      args: { NOTIFY: "SUCCESS,FAILURE" },
      dsn: { notify: ["SUCCESS", "FAILURE"] },
    },
    "RCPT TO:<c@d.example> ORCPT=rfc822;user@d.example": {
      address: "c@d.example",
      args: { ORCPT: "rfc822;user@d.example" },
      dsn: { orcpt: "rfc822;user@d.example" },
    },
  });
});

Deno.test("IP literals in their shortest form", async () => {
  await check({}, {
    "RCPT TO:<test@[192.168.5.146]>": plain("test@[192.168.5.146]"),
    "MAIL FROM:<s@[127.0.0.1]> SIZE=1234": {
      address: "s@[127.0.0.1]",
      args: { SIZE: "1234" },
    },
    "RCPT TO:<test@[IPv6:2001:db8::1]>": plain("test@[IPv6:2001:db8::1]"),
    "MAIL FROM:<s@[IPv6:::1]>": plain("s@[IPv6:::1]"),
    "RCPT TO:<test@[ipv6:fe80::1]>": plain("test@[IPv6:fe80::1]"),
    "RCPT TO:<t@[IPv6:2001:0db8:0000:0000:0000:0000:0000:0001]>": plain(
      "t@[IPv6:2001:db8::1]",
    ),
    "MAIL FROM:<s@[IPv6:0000:0000:0000:0000:0000:0000:0000:0001]>": plain(
      "s@[IPv6:::1]",
    ),
    "RCPT TO:<test@[IPv6:::ffff:192.168.1.1]>": plain(
      "test@[IPv6:::ffff:192.168.1.1]",
    ),
    "RCPT TO:<test@[IPv6:::ffff:c0a8:0101]>": plain(
      "test@[IPv6:::ffff:c0a8:101]",
    ),
    "RCPT TO:<test@[999.999.999.999]>": 501,
    "RCPT TO:<test@[192.168.1]>": 501,
    "RCPT TO:<test@[IPv6:invalid]>": 501,
    "RCPT TO:<test@[]>": 501,
    "RCPT TO:<test@[notanip]>": 501,
  });
});

Deno.test("malformed addresses are refused, dots in local parts unless lenient", async () => {
  const dots = (want: (address: string) => Want) => ({
    "MAIL FROM:<ilo.@example.com>": want("ilo.@example.com"),
    "MAIL FROM:<.test@example.com>": want(".test@example.com"),
    "MAIL FROM:<te..st@example.com>": want("te..st@example.com"),
    "RCPT TO:<te..st.@example.com>": want("te..st.@example.com"),
  });
  const always = {
    "MAIL FROM:<test@example..com>": 501,
    "MAIL FROM:<test@example.com.>": 501,
    "MAIL FROM:<test@.example.com>": 501,
    [`MAIL FROM:<${"a".repeat(300)}@example.com>`]: 501,
    "MAIL FROM:<test>": 501,
    "MAIL FROM:<@example.com>": 501,
    "MAIL FROM:<test@>": 501,
    "RCPT TO:<>": 501,
    // Brackets may be missing, as in much that scripts send.
    "MAIL FROM:test@example.com": plain("test@example.com"),
    "MAIL FROM:<>": plain(""),
    'MAIL FROM:<"a b"@example.com>': plain('"a b"@example.com'),
  };
  await check({}, { ...dots(() => 501), ...always });
  await check({ lenientAddressParsing: true }, { ...dots(plain), ...always });
});

Deno.test("control and invisible characters are refused, also if lenient", async () => {
  for (const lenientAddressParsing of [false, true]) {
    await check({ lenientAddressParsing, hideDSN: false }, {
      "MAIL FROM:<te\x00st@example.com>": 500,
      "MAIL FROM:<te\x1bst@example.com>": 500,
      "MAIL FROM:<te\x7fst@example.com>": 500,
      "MAIL FROM:<te\u0085st@example.com> SMTPUTF8": 501,
      "MAIL FROM:<test@exam\u200Bple.com> SMTPUTF8": 501,
      "MAIL FROM:<test@exam\u2060ple.com> SMTPUTF8": 501,
      "MAIL FROM:<test@exam\uFEFFple.com> SMTPUTF8": 501,
      "MAIL FROM:<test@example.com> ENVID=ab\x00cd": 500,
      "MAIL FROM:<test@example.com> ENVID=ab+0D+0Acd": 501,
    });
  }
});

Deno.test("parameters with faults, or that are not offered, are refused", async () => {
  await check({ hideDSN: false }, {
    "MAIL FROM:<a@b.example> BODY=INVALID": 501,
    "MAIL FROM:<a@b.example> BODY": 501,
    "MAIL FROM:<a@b.example> SMTPUTF8=1": 501,
    "MAIL FROM:<a@b.example> RET=NONE": 501,
    "MAIL FROM:<a@b.example> REQUIRETLS": 555,
    "MAIL FROM:<õ@b.example>": 553,
    "RCPT TO:<c@d.example> NOTIFY=INVALID": 501,
    "RCPT TO:<c@d.example> NOTIFY=NEVER,FAILURE": 501,
    "RCPT TO:<c@d.example> ORCPT=bad": 501,
  });
  await check({ hide8BITMIME: true, hideSMTPUTF8: true, hideSize: true }, {
    "MAIL FROM:<a@b.example> RET=FULL": 555,
    "MAIL FROM:<a@b.example> BODY=8BITMIME": 501,
    "MAIL FROM:<a@b.example> SMTPUTF8": 555,
    "MAIL FROM:<a@b.example> SIZE=1": 555,
    "RCPT TO:<c@d.example> NOTIFY=NEVER": 555,
  });
});

Deno.test("an envelope before MAIL, and what MAIL says of it", async () => {
  const envelopes: SMTPServerEnvelope[] = [];
  await using running = await run({
    ...{ ...OPEN, hideDSN: false },
    onConnect(session, callback) {
      envelopes.push({ ...session.envelope });
      callback();
    },
    onMailFrom(_address, session, callback) {
      envelopes.push({ ...session.envelope });
      callback();
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  const { lines } = await client.expect(250, "EHLO c.example");
  const offered = ["8BITMIME", "SMTPUTF8", "DSN"];
  assertEquals(offered.filter((name) => !lines.includes(name)), []);
  const hidden = ["REQUIRETLS", "ENHANCEDSTATUSCODES"];
  assertEquals(hidden.filter((name) => lines.includes(name)), []);
  const mail = "MAIL FROM:<a@b.example> BODY=8BITMIME SMTPUTF8 ENVID=x";
  await client.expect(250, mail);
  const none = { mailFrom: false as const, rcptTo: [], requireTLS: false };
  assertEquals(envelopes, [
    {
      ...{ ...none, bodyType: "7bit", smtpUtf8: false },
      dsn: { ret: null, envid: null },
    },
    {
      ...{ ...none, bodyType: "8bitmime", smtpUtf8: true },
      dsn: { ret: null, envid: "x" },
    },
  ]);
});

Deno.test("REQUIRETLS is offered after STARTTLS if hideREQUIRETLS is false", async () => {
  const seen: unknown[] = [];
  await using running = await run({
    ...{ ...OPEN, hideSTARTTLS: false, hideREQUIRETLS: false },
    onMailFrom({ args }, { envelope }, callback) {
      seen.push(args, envelope.requireTLS);
      callback();
    },
  });
  await using plain = await ScriptedClient.connect(running.place);
  await plain.expect(220);
  const { lines } = await plain.expect(250, "EHLO c.example");
  assertEquals(lines.includes("REQUIRETLS"), false);
  await using client = await SmtpClient.connect({
    ...{ host: "127.0.0.1", port: running.port, security: "required" },
  });
  const { accepted } = await client.send({
    ...{ from: "a@b.example", to: ["c@d.example"], data: "A: b\r\n\r\n" },
    parameters: { requireTls: true },
  });
  assertEquals(accepted, true);
  assertEquals((seen[0] as Record<string, unknown>).REQUIRETLS, true);
  assertEquals(seen[1], true);
});
