/**
 * Names that every JavaScript object has: a peer that sends one as the name of a
 * field, a keyword, a mailbox or a user gets the answer that any other name gets (CVE-2026-34752 Haraka: a header field named `__proto__` ended the
 * process).
 *
 * The promise of SECURITY.md: "No exception ends the process".
 */

import { assert, assertEquals } from "@std/assert";
import type { Credentials } from "../../lib/sasl/credentials.ts";
import { ClientCapabilities } from "../../lib/protocol/client/capabilities.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { startServer, TestClient } from "../support/server.ts";
import { TestFolder } from "../support/folder.ts";
import { logIn } from "../support/tls.ts";

const NAMES = [
  ...["__proto__", "constructor", "prototype", "toString", "valueOf"],
  ...["hasOwnProperty", "isPrototypeOf", "__defineGetter__", "then", "length"],
];

/** Properties that every object would have, had one of them reached its prototype. */
const { getPrototypeOf } = Object;
const before = Object.getOwnPropertyNames(Object.prototype).length;

function assertPrototypeIntact(): void {
  assertEquals(Object.getOwnPropertyNames(Object.prototype).length, before);
  assertEquals(getPrototypeOf({}), Object.prototype);
}

Deno.test("SmtpServer takes header fields named so for fields (CVE-2026-34752)", async () => {
  const store = new MemoryStore();
  const seen: [name: string, value: string][] = [];
  await using server = await startServer({
    store,
    addReceived: false,
    handlers: {
      onHeaders(_session, message, headers) {
        seen.push(...headers);
        for (const name of NAMES) {
          assertEquals(headers.get(name), "x");
          assertEquals(headers.getAll(name), ["x", "y"]);
          assert(headers.has(name.toUpperCase()));
          assertEquals(headers.get(`${name}2`), undefined);
        }
        headers.set("__proto__", "edited");
        assertEquals(headers.remove("constructor"), 2);
        assertEquals(message.recipients.length, 1);
      },
    },
  });
  using client = await TestClient.connect(server);
  await client.envelope();
  const fields = NAMES.map((name) => `${name}: x\r\n${name}: y\r\n`).join("");
  assertEquals((await client.data(fields)).slice(0, 3), "250");
  assertEquals(seen.length, 2 * NAMES.length);
  const { headers } = store.messages[0]!;
  assertEquals(headers.getAll("__proto__"), ["edited"]);
  assertEquals(headers.has("constructor"), false);
  assertPrototypeIntact();
});

Deno.test("SmtpServer knows no command, keyword, mechanism or name of that kind", async () => {
  const parameters: object[] = [];
  await using server = await startServer({
    accounts: new AccountList({ ann: "secret" }),
    allowInsecureAuth: true,
    limits: { maxErrors: 0 },
    handlers: {
      onMailFrom: (_session, _address, given) => void parameters.push(given),
      onVerify: () => undefined,
    },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  for (const name of NAMES) {
    await client.expect(
      [name, "500"],
      [`EHLO ${name}`, "250"],
      [`AUTH ${name}`, "504"],
      [`VRFY ${name}`, "252"],
      // A keyword has no underscore: that is a fault of form before all else.
      [`MAIL FROM:<a@b.test> ${name}=x`, name[0] === "_" ? "501" : "555"],
      [`MAIL FROM:<a@b.test> BODY=${name}`, "501"],
      [`MAIL FROM:<a@b.test> RET=${name}`, "501"],
      [`MAIL FROM:<a@b.test> ENVID=${name}`, "250"],
      [`RCPT TO:<c@d.test> ${name}`, name[0] === "_" ? "501" : "555"],
      [`RCPT TO:<c@d.test> NOTIFY=${name}`, "501"],
      ["RSET", "250"],
    );
  }
  assertEquals(
    parameters,
    NAMES.map((name) => ({ envid: name })),
  );
  assertPrototypeIntact();
});

Deno.test("SmtpServer keeps mailboxes of those names apart", async () => {
  await using folder = await TestFolder.create();
  await using server = await startServer({
    domains: NAMES,
    store: new MaildirStore({ folder: folder.path, sync: false }),
  });
  using client = await TestClient.connect(server);
  // Names with an underscore are no domains, but valid local parts.
  const domains = NAMES.filter((name) => !name.includes("_"));
  const recipients = NAMES.map((name, at) =>
    `${name}@${domains[at % domains.length]}`
  );
  await client.envelope(...recipients);
  assertEquals((await client.data("x")).slice(0, 3), "250");
  const found: string[] = [];
  for await (const { name } of Deno.readDir(folder.path)) found.push(name);
  assertEquals(
    found.sort(),
    recipients.map((address) => address.toLowerCase()).sort(),
  );
});

Deno.test("Nobody logs in under a name that every object has", async () => {
  const accounts = new AccountList({ ann: "secret" });
  const judged: (string | undefined)[] = [];
  const rows = [
    { accounts },
    {
      handlers: {
        onAuthenticate(_session: unknown, credentials: Credentials) {
          judged.push(credentials.username);
          const table: Record<string, string> = { ann: "secret" };
          return credentials.verify(
            Object.hasOwn(table, credentials.username)
              ? table[credentials.username]
              : undefined,
          );
        },
      },
    },
  ];
  for (const row of rows) {
    await using server = await startServer({ ...row, allowInsecureAuth: true });
    await Promise.all(
      NAMES.slice(0, 4).map(async (name) => {
        for (const mechanism of ["PLAIN", "LOGIN"] as const) {
          using client = await TestClient.connect(server);
          await client.reply();
          await client.expect(["EHLO client.test", "250"]);
          const login = { username: name, password: name };
          assertEquals(
            (await logIn(client, mechanism, login)).slice(0, 3),
            "535",
          );
        }
      }),
    );
  }
  assertEquals(judged.length, 8);
});

Deno.test("SmtpClient takes an offer of that name for nothing special", () => {
  const lines = ["x", ...NAMES, "__proto__ SIZE 5", "SIZE 10"];
  const offered = ClientCapabilities.parse(new SmtpReply(250, lines));
  assertEquals(offered.maxSize, 10);
  assertEquals(offered.mechanisms, []);
  assertEquals(offered.has("toString"), true);
  assertEquals(offered.has("isPrototypeOf2"), false);
  assertEquals(ClientCapabilities.NONE.has("constructor"), false);
  assertPrototypeIntact();
});
