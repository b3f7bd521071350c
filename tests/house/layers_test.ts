/**
 * The lint plugin of the house: each rule with code that it reports and code
 * that it lets pass.
 *
 * CONTRIBUTING.md names the rules.
 */

import { assertEquals, assertMatch } from "@std/assert";
import plugin, { ROOMS } from "../../.ci/layers.ts";

interface Row {
  readonly name: string;
  readonly file: string;
  readonly source: string;
  /** What is reported, in order: the rule and a part of the message. */
  readonly want: readonly (readonly [rule: string, text: string])[];
}

const IMPORTS: readonly Row[] = [
  {
    name: "a room may import itself",
    file: "lib/protocol/command.ts",
    source: `import { SmtpReply } from "./reply.ts";`,
    want: [],
  },
  {
    name: "every room may import the ground",
    file: "lib/protocol/address.ts",
    source: `import { checkOptions } from "../options.ts";`,
    want: [],
  },
  {
    name: "protocol may not import another room",
    file: "lib/protocol/command.ts",
    source: `import type { Transport } from "../net/transport.ts";`,
    want: [["imports", `must not import "lib/net/transport.ts"`]],
  },
  {
    name: "protocol may not import built-ins",
    file: "lib/protocol/command.ts",
    source: `import { Buffer } from "node:buffer";`,
    want: [["imports", "protocol/ is pure"]],
  },
  {
    name: "the ground may import the ground only",
    file: "lib/log.ts",
    source: `import { checkOptions } from "./options.ts";
import { Address } from "./protocol/address.ts";`,
    want: [["imports", `must not import "lib/protocol/address.ts"`]],
  },
  {
    name: "session may import the types of queue only",
    file: "lib/session/handlers.ts",
    source: `import type { Relay } from "../queue/relay.ts";
import { RelayQueue } from "../queue/queue.ts";`,
    want: [["imports", `must not import "lib/queue/queue.ts"`]],
  },
  {
    name: "queue may not import delivery",
    file: "lib/queue/queue.ts",
    source: `import { deliver } from "../delivery/delivery.ts";`,
    want: [["imports", `"queue" must not import "lib/delivery/delivery.ts"`]],
  },
  {
    name: "session may not import the server",
    file: "lib/session/connection.ts",
    source: `import { SmtpServer } from "../server/server.ts";`,
    want: [["imports", `"session" must not import "lib/server/server.ts"`]],
  },
  {
    name: "an export from counts as an import",
    file: "lib/message/message.ts",
    source: `export { a } from "../queue/a.ts"; export * from "../dns/b.ts";`,
    want: [["imports", "lib/queue/a.ts"], ["imports", "lib/dns/b.ts"]],
  },
  {
    name: "a dynamic import and a resolved worker count as imports",
    file: "lib/net/a.ts",
    source: `await import("../server/server.ts");
new Worker(import.meta.resolve("../threads/worker.ts"));`,
    want: [["imports", "lib/server/server.ts"], [
      "imports",
      "lib/threads/worker.ts",
    ]],
  },
  {
    name: "one file of a room may be open to others",
    file: "lib/dns/client.ts",
    source: `import { parseIp } from "../protocol/ip.ts";
import type { Transport } from "../net/transport.ts";`,
    want: [["imports", "lib/net/transport.ts"]],
  },
  {
    name: "lib may not leave lib",
    file: "lib/server/server.ts",
    source: `import { a } from "../../tests/support/a.ts";
import { b } from "../../cli.ts"; import { c } from "../../mod.ts";`,
    want: [
      ["imports", `must not import "tests/support/a.ts"`],
      ["imports", `must not import "cli.ts"`],
      ["imports", `must not import "mod.ts"`],
    ],
  },
  {
    name: "a room without a line in the table is reported",
    file: "lib/extra/a.ts",
    source: `import { a } from "../log.ts";`,
    want: [["imports", `Room "extra" has no line`]],
  },
  {
    name: "lib and mod.ts use no packages",
    file: "mod.ts",
    source: `import "npm:a"; import "jsr:@b/c"; import "https://d/e.ts";
import "@std/fs"; import "http://f/g.ts"; import "node:net";`,
    want: [
      ["imports", `must not import "npm:a"`],
      ["imports", `must not import "jsr:@b/c"`],
      ["imports", `must not import "https://d/e.ts"`],
      ["imports", `must not import "@std/fs"`],
      ["imports", `must not import "http://f/g.ts"`],
    ],
  },
  {
    name: "mod.ts lists any room but the command line",
    file: "mod.ts",
    source: `export { SmtpServer } from "./lib/server/server.ts";
export { serve } from "./lib/cli/serve.ts";`,
    want: [["imports", `must not import "lib/cli/serve.ts"`]],
  },
  {
    name:
      "the command line uses the entry points, and cli.ts its own room, too",
    file: "cli.ts",
    source: `import { SmtpServer } from "./mod.ts";
import { serve } from "./lib/cli/serve.ts";
import manifest from "./deno.json" with { type: "json" };
import { parseArgs } from "@std/cli/parse-args";
import { FileSpool } from "./lib/spool/file_spool.ts";`,
    want: [["imports", "lib/spool/file_spool.ts"]],
  },
  {
    name: "the command line imports nothing from inside a room",
    file: "lib/cli/serve.ts",
    source: `import { SmtpServer } from "../../mod.ts";
import { FileSpool } from "../spool/file_spool.ts";`,
    want: [["imports", "lib/spool/file_spool.ts"]],
  },
  {
    name: "examples import the package as users do",
    file: "examples/a.ts",
    source: `import { SmtpServer } from "@smtp/server";
import { Cidr } from "../lib/net/cidr.ts";`,
    want: [["imports", "lib/net/cidr.ts"]],
  },
  {
    name: "tests import what they like",
    file: "tests/server/server_test.ts",
    source: `import "npm:a"; import "../lib/net/a.ts"; import "@std/assert";`,
    want: [],
  },
];

const PURITY: readonly Row[] = [
  {
    name: "protocol names no clock, chance or platform",
    file: "lib/protocol/a.ts",
    source: `const a = [Deno.pid, new Date(), Math.random(), performance.now()];
let timer = setTimeout(f, 1); crypto.getRandomValues(b); fetch(c);`,
    want: [
      ["purity", "no Deno"],
      ["purity", "no Date"],
      ["purity", "no Math.random"],
      ["purity", "no performance"],
      ["purity", "no setTimeout"],
      ["purity", "no crypto"],
      ["purity", "no fetch"],
    ],
  },
  {
    name: "protocol waits for nothing",
    file: "lib/protocol/a.ts",
    source: `async function f(): Promise<void> { await g(); }
const h = async () => {};
class I { async j() { for await (const k of l) m(k); } }`,
    want: [
      ["purity", "no async function"],
      ["purity", "no Promise"],
      ["purity", "no await"],
      ["purity", "no async function"],
      ["purity", "no async function"],
      ["purity", "no for await"],
    ],
  },
  {
    name: "names of members are no globals",
    file: "lib/protocol/a.ts",
    source: `interface A { Date: string; crypto(): void; }
const a = { console: 1, fetch() {} }; b.Date; c?.performance; Math.max(1, 2);`,
    want: [],
  },
  {
    name: "a time that is given is pure, the clock is not",
    file: "lib/protocol/a.ts",
    source: `const a = (time: number): Date => new Date(time);
const b = Date.now();`,
    want: [["purity", "no Date"]],
  },
  {
    name: "other rooms may be impure",
    file: "lib/net/a.ts",
    source:
      `export const f = async () => { await Deno.stat("a"); new Date(); };`,
    want: [],
  },
  {
    name: "the library is silent",
    file: "lib/net/a.ts",
    source: `console.log("a"); this.console.log("b");`,
    want: [["silence", "The library is silent"]],
  },
  {
    name: "the command line, examples and tests may print",
    file: "cli.ts",
    source: `console.log("a");`,
    want: [],
  },
];

const WORDING: readonly Row[] = [
  {
    name: "a message that fits",
    file: "lib/a.ts",
    source: `throw new RangeError(\`Cannot use port "\${p}": want 0 to 65535\`);
throw new Deno.errors.NotFound("Cannot open it"); new TypeError(text);
new TypeError(\`\${what} is odd, see \${where}\`); new Error();
new UsageError(\`--\${name}: want a value\`);`,
    want: [],
  },
  {
    name: "a message starts upper-case",
    file: "lib/a.ts",
    source: `new Error("bad port"); new RangeError(\`port \${p}\`);
new AddressSyntaxError("a" + "b", 1); new Deno.errors.NotFound('"x" not found');`,
    want: [
      ["error-message", "starts with an upper-case letter"],
      ["error-message", "starts with an upper-case letter"],
      ["error-message", "starts with an upper-case letter"],
      ["error-message", "starts with an upper-case letter"],
    ],
  },
  {
    name: "a message ends without a period",
    file: "cli.ts",
    source:
      `new Error("Bad."); new Error(\`Bad \${port}.\`); new Error("Bad" + ".");`,
    want: [
      ["error-message", "ends without a period"],
      ["error-message", "ends without a period"],
      ["error-message", "ends without a period"],
    ],
  },
  {
    name: "a message handed to the parent class counts",
    file: "lib/log.ts",
    source: `class A extends Error { constructor() { super("bad thing"); } }
class B extends Shape { constructor() { super("bad thing"); } }`,
    want: [["error-message", "starts with an upper-case letter"]],
  },
  {
    name: "replies and other classes are no messages",
    file: "lib/a.ts",
    source:
      `new SmtpReply(250, "ok."); new SmtpError(550, "no."); new URL("a.");`,
    want: [],
  },
];

const SYNTAX: readonly Row[] = [
  {
    name: "a constructor may be private",
    file: "lib/dns/a.ts",
    source: `class A { private constructor(e: string) { b(e); } }`,
    want: [],
  },
  {
    name: "no private keyword",
    file: "tests/a_test.ts",
    source: `class A { private a = 1; private b() {} #c = 2; public d = 3;
  constructor(private readonly e: string) {} }`,
    want: [
      ["plain-syntax", "#name"],
      ["plain-syntax", "#name"],
      ["plain-syntax", "#name"],
    ],
  },
  {
    name: "a constructor may be private",
    file: "lib/a.ts",
    source:
      `export class A { private constructor() {} static make(): A { return new A(); } }`,
    want: [],
  },
  {
    name: "no enum",
    file: "examples/a.ts",
    source: `enum A { B } const enum C { D }`,
    want: [["plain-syntax", "union"], ["plain-syntax", "union"]],
  },
  {
    name: "no default export",
    file: "lib/a.ts",
    source: `export default 1; const b = 2; export { b as default };`,
    want: [["plain-syntax", "default"], ["plain-syntax", "default"]],
  },
  {
    name: "a handler module has a default export",
    file: "examples/greylist_handlers.ts",
    source: `export default {};`,
    want: [],
  },
];

const SECRETS: readonly Row[] = [
  {
    name: "secrets are not compared by an operator",
    file: "lib/sasl/a.ts",
    source: `if (secret === given || a.password !== b) c();
if (known == token || this.#signature != theirs || row[0] === proof[0]) c();
const same = want.toHex() === digest.toHex() || \`\${mac}\` === d + e;
switch (storedKey) { case known: c(); }`,
    want: [
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
    ],
  },
  {
    name: "secrets are not compared by a method",
    file: "lib/session/authentication.ts",
    source: `list.includes(password); secret.localeCompare(given);
stored.startsWith(token); Buffer.compare(a, hash); a.equals(proof!);
Object.is(await b, userPassword); secrets.indexOf(secret ?? "");`,
    want: [
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
    ],
  },
  {
    name: "facts about a secret may be compared",
    file: "lib/sasl/a.ts",
    source: `if (secret === undefined || secret === "" || proof === null) a();
if (typeof secret === "string" && proof.length === signature.length) a();
if (verifier.iterations === sent.iterations || final.nonce !== nonce) a();
if (password.startsWith("SCRAM-SHA-256$") || equalSecrets(secret, given)) a();`,
    want: [],
  },
  {
    name: "the one comparison of secrets compares nothing by itself",
    file: "lib/sasl/digest.ts",
    source: `import { timingSafeEqual } from "node:crypto";
const a = timingSafeEqual(left, right) && typeof left === "string";
for (const at of left) if (left[at] !== right[at]) b();
const c = String(left) === String(right) || left.length === right.length;`,
    want: [
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
      ["constant-time", "equalSecrets"],
    ],
  },
  {
    name: "no second file compares in constant time",
    file: "lib/store/a.ts",
    source: `import { timingSafeEqual } from "node:crypto";`,
    want: [["constant-time", "equalSecrets"]],
  },
  {
    name: "elsewhere names may be compared",
    file: "lib/queue/a.ts",
    source: `if (token === other || digest !== known) a();`,
    want: [],
  },
];

const PROSE: readonly Row[] = [
  {
    name: "comments are in plain English",
    file: "tests/a_test.ts",
    source: ["/", "** Octets of whoever asks. */\n/", "/ borne"].join(""),
    want: [
      ["prose", "say byte"],
      ["prose", "name the thing"],
      ["prose", "say allowed"],
    ],
  },
  {
    name: "quotations and code may say what they like",
    file: "lib/a.ts",
    source: `/** RFC 5321: "octets"; see \`octets()\`. */
const nobody = 1;`,
    want: [],
  },
];

function found(row: Row): string[] {
  const diagnostics = Deno.lint.runPlugin(plugin, row.file, row.source);
  return diagnostics.toSorted((a, b) => a.range[0] - b.range[0])
    .map(({ id, message }) => `${id}: ${message}`);
}

for (
  const row of [
    ...IMPORTS,
    ...PURITY,
    ...WORDING,
    ...SYNTAX,
    ...SECRETS,
    ...PROSE,
  ]
) {
  Deno.test(`lint plugin: ${row.name}`, () => {
    const reports = found(row);
    const fits = reports.length === row.want.length &&
      row.want.every(([rule, text], index) => {
        const report = reports[index];
        return report?.startsWith(`house/${rule}:`) && report.includes(text);
      });
    if (!fits) assertEquals(reports, row.want.map((want) => want.join(": ")));
  });
}

Deno.test("lint plugin knows a file by its path below deno.json", () => {
  const file = new URL("../../lib/queue/queue.ts", import.meta.url).pathname;
  const source = `import { deliver } from "../delivery/delivery.ts";`;
  assertEquals(Deno.lint.runPlugin(plugin, file, source).length, 1);
});

Deno.test("table of rooms names existing rooms and has no cycle of values", () => {
  const reach = (room: string, seen: Set<string>): Set<string> => {
    for (const entry of ROOMS[room] ?? []) {
      const next = entry.includes("/") || entry.startsWith("type ")
        ? undefined
        : entry;
      if (next === undefined || /^(\*|entry)$/.test(next)) continue;
      if (seen.has(next)) continue;
      assertEquals(next in ROOMS, true, `"${next}" has no line`);
      seen.add(next);
      reach(next, seen);
    }
    return seen;
  };
  for (const room of Object.keys(ROOMS)) {
    assertEquals(
      reach(room, new Set()).has(room),
      false,
      `"${room}" is in a cycle`,
    );
  }
});

Deno.test("nothing that logs in compares secrets but by the one function that takes the same time for all", async () => {
  const reports: string[] = [];
  let count = 0;
  for (const folder of ["lib/sasl", "lib/session"]) {
    const root = new URL(`../../${folder}/`, import.meta.url);
    for await (const { name } of Deno.readDir(root)) {
      const source = await Deno.readTextFile(new URL(name, root));
      const file = `${folder}/${name}`;
      count++;
      for (const { id, range } of Deno.lint.runPlugin(plugin, file, source)) {
        if (id !== "house/constant-time") continue;
        reports.push(`${file}: ${source.slice(...range)}`);
      }
    }
  }
  assertEquals(reports, []);
  assertEquals(count > 20, true);
  const digest = new URL("../../lib/sasl/digest.ts", import.meta.url);
  assertMatch(
    await Deno.readTextFile(digest),
    /function equalSecrets\([^{]+\{\s*return timingSafeEqual\(/,
  );
});
