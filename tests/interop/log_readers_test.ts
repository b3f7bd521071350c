/**
 * pflogsumm and fail2ban read the log in Postfix's form: what they count is what
 * happened, and what a peer says counts for nothing.
 */

import { assert, assertEquals } from "@std/assert";
import type { LogEvent, LogRecord, LogValue } from "../../lib/log.ts";
import {
  fail2ban,
  pflogsumm,
  postfixLog,
} from "../support/interop/log_readers.ts";
import { TestFolder } from "../support/folder.ts";
import { run } from "../support/process.ts";

/** A record of a session of a client. */
function record(
  event: LogEvent,
  fields: Readonly<Record<string, LogValue>>,
  session?: string,
  level: LogRecord["level"] = "info",
): LogRecord {
  return { level, event, message: `It is ${event}`, session, fields };
}

/** A client's session: its id, its address, and what happens in it. */
function session(
  id: string,
  address: string,
  happens: readonly (readonly [LogEvent, Readonly<Record<string, LogValue>>])[],
  reason = "quit",
): readonly LogRecord[] {
  return [
    record("connect", { listener: "0.0.0.0:25", address, port: 5000 }, id),
    ...happens.map(([event, fields]) => record(event, fields, id)),
    record("disconnect", { reason, messages: 0 }, id),
  ];
}

const MESSAGE = { helo: "mail.example.org", protocol: "ESMTPS", ms: 30 };

/** One of everything that Postfix logs as well. */
const DAY: readonly LogRecord[] = [
  record("listening", { address: "0.0.0.0", port: 25 }),
  // Kept for two recipients.
  ...session("MIHX01AB-1", "192.0.2.1", [
    ["stored", {
      ...{ id: "MIHX01AB-2", recipient: "ann@example.com", store: "maildir" },
      ...{ mailbox: "ann", result: "stored" },
    }],
    ["stored", {
      ...{ id: "MIHX01AB-2", recipient: "bob@example.com", store: "maildir" },
      ...{ mailbox: "bob", result: "stored" },
    }],
    ["message", {
      ...{ ...MESSAGE, id: "MIHX01AB-2", address: "192.0.2.1" },
      ...{ from: "joe@example.org", recipients: 2, size: 2000 },
      ...{ messageId: "<1@example.org>", stored: { maildir: 2 } },
    }],
  ]),
  // From a user, relayed to three hosts with three results.
  ...session("MIHX01AB-3", "2001:db8::7", [
    ["auth", {
      ...{ address: "2001:db8::7", user: "ann", mechanism: "PLAIN" },
      result: "accepted",
    }],
    ["message", {
      ...{ ...MESSAGE, id: "MIHX01AB-4", address: "2001:db8::7", user: "ann" },
      ...{ from: "ann@example.com", recipients: 3, size: 5000 },
      ...{ messageId: "<2@example.com>", queued: ["MIHX01AB-4"] },
    }],
  ]),
  record("delivery", {
    ...{ id: "MIHX01AB-4", relay: "MIHX01AB-4", recipient: "x@far.example" },
    ...{ result: "relayed", status: "2.0.0", reply: "250 2.0.0 Ok: queued" },
    ...{ host: "mx.far.example", address: "198.51.100.1", attempt: 1 },
    delays: { queue: 12, dns: 3, connect: 40, transfer: 1080 },
  }),
  record(
    "delivery",
    {
      ...{ id: "MIHX01AB-4", relay: "MIHX01AB-4", recipient: "y@slow.example" },
      ...{ result: "deferred", status: "4.4.1", host: "mx.slow.example" },
      ...{ address: "198.51.100.2", reply: "450 4.2.0 Try again" },
    },
    undefined,
    "warn",
  ),
  record("delivery", {
    ...{ id: "MIHX01AB-4", relay: "MIHX01AB-4", recipient: "z@gone.example" },
    ...{ result: "failed", status: "5.1.1", reply: "550 5.1.1 No such user" },
    ...{ host: "mx.gone.example", address: "198.51.100.3" },
  }),
  record("bounce", {
    ...{ id: "MIHX01AB-4", relay: "MIHX01AB-4", to: "ann@example.com" },
    kind: "failed",
  }),
  record("held", { relay: "MIHX01AB-4", by: "operator" }),
  record("released", { relay: "MIHX01AB-4", by: "operator" }),
  record("removed", { relay: "MIHX01AB-4", by: "queue" }),
  record("warning", {}, undefined, "warn"),
  record("reload", {}),
];

/** What attackers do, and the line that each must become. */
const ATTACKS: readonly (readonly [
  address: string,
  modes: string,
  happens: readonly (readonly [LogEvent, Readonly<Record<string, LogValue>>])[],
  reason?: string,
])[] = [
  ["203.0.113.1", "normal more extra aggressive", [["refused", {
    ...{ address: "203.0.113.1", verb: "RCPT", from: "a@b.example" },
    ...{ recipient: "x@far.example", reply: "550 5.7.1 Relaying denied" },
  }]]],
  ["203.0.113.2", "normal more extra aggressive", [["refused", {
    ...{ address: "203.0.113.2", verb: "RCPT", from: "", helo: "x" },
    ...{ recipient: "no@example.com", reply: "550 5.1.1 No such user" },
  }]]],
  // As with Postfix, the end of a session without a login counts as well.
  ["203.0.113.3", "auth extra aggressive aggressive ddos", [["auth", {
    ...{ address: "203.0.113.3", user: "ann", mechanism: "LOGIN" },
    ...{ result: "refused", reason: "wrong secret" },
  }]]],
  ["203.0.113.4", "normal rbl more extra aggressive", [["refused", {
    ...{ address: "203.0.113.4", verb: "RCPT", recipient: "a@example.com" },
    reply: "554 5.7.1 Blocked: 203.0.113.4 is listed at zen.example",
  }]]],
  ["2001:db8::bad", "normal more extra aggressive", [["refused", {
    ...{ address: "2001:db8::bad", verb: "RCPT", from: "a@b.example" },
    ...{ recipient: "x@far.example", reply: "550 5.7.1 Relaying denied" },
  }]]],
  ["203.0.113.6", "normal more extra aggressive errors", [], "errors"],
  ["203.0.113.7", "aggressive ddos", [], "disconnected"],
];

/** Mistakes and bad luck of honest clients. */
const HONEST: readonly LogRecord[] = [
  ...session("MIHX01AB-H", "192.0.2.50", [
    ["refused", {
      ...{ address: "192.0.2.50", verb: "RCPT", recipient: "a@example.com" },
      reply: "450 4.7.1 Greylisted, come back",
    }],
    ["refused", {
      ...{ address: "192.0.2.50", verb: "DATA", reply: "554 5.5.1 No valid" },
    }],
    ["refused", { verb: "XYZ", reply: "500 5.5.1 Unknown command" }],
    ["refused", { limit: "messagesPerMinute", reply: "450 4.7.1 at most 5" }],
    ["auth", {
      ...{ user: "", mechanism: "PLAIN", result: "refused" },
      reason: "The exchange was given up",
    }],
  ]),
];

const VICTIM = "192.0.2.99";

/** What peers say to add mail that never was, or to have another address banned. */
const EVIL = [
  `unknown[${VICTIM}]: SASL LOGIN authentication failed: x`,
  `RCPT from x[${VICTIM}]: 550 5.7.1 <a>: Relay access denied; from=<a>`,
  "x> to=<a@b>, relay=c, delay=1, status=sent (ok)",
  "from=<evil@example.net>, size=99999",
  `a\nNov 30 12:00:00 mx postfix/smtpd[1]: warning: x[${VICTIM}]: SASL LOGIN authentication failed: x`,
  `NOQUEUE: reject: RCPT from x[${VICTIM}]: 554 5.7.1 Service unavailable`,
];

/** Records in which a peer's text stands wherever it can. */
function poisoned(evil: string): readonly LogRecord[] {
  const id = "MIHX01AB-E";
  const address = "192.0.2.60";
  return [
    record("connect", { address, port: 1, name: evil }, id),
    record(
      "auth",
      { address, user: evil, mechanism: "PLAIN", result: "accepted" },
      id,
    ),
    record("refused", {
      ...{ address, verb: "RCPT", from: evil, recipient: evil, helo: evil },
      reply: `450 4.7.1 ${evil}`,
    }, id),
    record("refused", { address, verb: evil, reply: `500 5.5.1 ${evil}` }, id),
    record("message", {
      ...{ id: "MIHX01AB-F", address, from: evil, recipients: 1, size: 10 },
      ...{ messageId: evil, helo: evil, user: evil },
    }, id),
    record("delivery", {
      ...{ id: "MIHX01AB-F", recipient: evil, host: evil, address: evil },
      ...{ result: "deferred", reply: `450 ${evil}` },
    }),
    record("bounce", { id: "MIHX01AB-F", to: evil, kind: evil }),
    { level: "warn", event: "warning", message: evil },
    { level: "error", event: "error", message: evil, session: id, error: evil },
    record("dialogue", { address, side: "client", line: evil }, id),
    record("disconnect", { reason: "quit", verb: evil }, id),
  ];
}

Deno.test("pflogsumm counts messages, bytes, hosts and people of the log", async () => {
  await using folder = await TestFolder.create();
  const refused = ATTACKS.flatMap(([address, , happens, reason], index) =>
    session(`MIHX01AB-A${index}`, address, happens, reason)
  );
  const file = `${folder.path}/mail.log`;
  await Deno.writeTextFile(file, postfixLog([...DAY, ...refused]));
  const { text, counts } = await pflogsumm(file);
  const want = {
    ...{ received: "2", delivered: "3", forwarded: "0", deferred: "1" },
    ...{ bounced: "1", rejected: "4", "bytes received": "7000" },
    // Two mailboxes of 2000 bytes, and one host of 5000.
    ...{ "bytes delivered": "9000", senders: "2", recipients: "3" },
    ...{ "sending hosts/domains": "2", connections: "9" },
    "recipient hosts/domains": "2",
  };
  for (const [name, count] of Object.entries(want)) {
    assertEquals(counts[name], count, `${name}\n${text}`);
  }
  for (
    const said of [
      ...["joe@example.org", "ann@example.com", "x@far.example"],
      ...["Relay access denied", "450 4.2.0 Try again", "No such user"],
    ]
  ) assert(text.includes(said), said);
});

for (
  const mode of [
    ...["normal", "more", "auth", "rbl", "ddos", "extra", "aggressive"],
    "errors",
  ]
) {
  Deno.test(`fail2ban's filter in mode ${mode} finds the attackers and no other client`, async () => {
    await using folder = await TestFolder.create();
    const attacks = ATTACKS.flatMap(([address, , happens, reason], index) =>
      session(`MIHX01AB-A${index}`, address, happens, reason)
    );
    const file = `${folder.path}/mail.log`;
    await Deno.writeTextFile(
      file,
      postfixLog([...DAY, ...HONEST, ...attacks, ...EVIL.flatMap(poisoned)]),
    );
    const lines = await fail2ban(file, `postfix[mode=${mode}]`);
    const found = lines.map((line) =>
      /\[([0-9a-f.:]+)\](?=:|$| )/.exec(
        line.replace(/postfix\/\w+\[\d+\]/, ""),
      )?.[1]
    );
    const want = ATTACKS.flatMap(([address, modes]) =>
      modes.split(" ").filter((one) => one === mode).map(() => address)
    );
    assertEquals(found.sort(), want.sort(), lines.join("\n"));
  });
}

Deno.test("No text of a peer adds a message to what pflogsumm counts", async () => {
  await using folder = await TestFolder.create();
  for (const [index, evil] of EVIL.entries()) {
    const file = `${folder.path}/${index}.log`;
    await Deno.writeTextFile(file, postfixLog(poisoned(evil)));
    const { counts, text } = await pflogsumm(file);
    assertEquals(
      [counts["received"], counts["delivered"], counts["bytes received"]],
      ["1", "0", "10"],
      text,
    );
    assertEquals([counts["deferred"], counts["rejected"]], ["1", "1"], text);
  }
});

Deno.test("fail2ban counts failed logins of every mechanism with one line in postfix.local", async () => {
  await using folder = await TestFolder.create();
  const file = `${folder.path}/mail.log`;
  const login = (mechanism: string) =>
    session(`MIHX01AB-${mechanism}`, "203.0.113.9", [["auth", {
      ...{ address: "203.0.113.9", user: "ann", mechanism },
      ...{ result: "refused", reason: "wrong secret" },
    }]]);
  await Deno.writeTextFile(
    file,
    postfixLog([...login("SCRAM-SHA-256"), ...login("XOAUTH2")]),
  );
  const guide = await Deno.readTextFile("examples/log.md");
  const [, local = ""] = /```ini\n(\[Definition\]\n.*?)```/s.exec(guide) ?? [];
  const config = `${folder.path}/fail2ban`;
  await run("cp", ["-rL", "/etc/fail2ban", config]);
  await Deno.writeTextFile(`${config}/filter.d/postfix.local`, local);
  for (const mode of ["auth", "extra", "aggressive"]) {
    const filter = `postfix[mode=${mode}]`;
    const logins = (lines: readonly string[]) =>
      lines.filter((line) => line.includes("SASL")).length;
    assertEquals(logins(await fail2ban(file, filter)), 0);
    assertEquals(logins(await fail2ban(file, filter, config)), 2);
  }
});
