/**
 * Authentication-Results and DMARC against Python's authres and mailauth: each
 * reads the fields of the other as they were meant, and mailauth decides the cases
 * of RFC 9989 as `checkDmarc()` does. Skipped where the program is missing.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8601#section-2.2 | RFC 8601 section 2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc9989 | RFC 9989}
 */

import { assert, assertEquals } from "@std/assert";
import {
  formatAuthenticationResults,
  parseAuthenticationResults,
  type ResultsToReport,
} from "../../lib/trust/authentication_results.ts";
import { checkDmarc } from "../../lib/trust/dmarc.ts";
import type {
  AuthResult,
  DkimResult,
  SpfResult,
} from "../../lib/trust/result.ts";
import { zone } from "../support/zone.ts";

const ROOT = new URL("../../", import.meta.url);
const PEERS = new URL("tests/interop/peers/", ROOT).pathname;
const NODE_PATH = new URL(".ci/tools/node_modules", ROOT).pathname;

/** What a reader says of a field: the server, and the results with their properties. */
type Read = readonly [
  id: string,
  rows: readonly (readonly [
    method: string,
    result: string,
    reason: string | null,
    properties: Readonly<Record<string, string>>,
  ])[],
];

function isThere(program: string, args: readonly string[]): boolean {
  try {
    return new Deno.Command(program, {
      args: [...args],
      env: { NODE_PATH },
      stdout: "null",
      stderr: "null",
    }).outputSync().success;
  } catch {
    return false;
  }
}

// The system's own Python has authres; another one in PATH may lack it.
const hasAuthres = isThere("/usr/bin/python3", ["-c", "import authres"]);
const hasMailauth = isThere("node", ["-e", 'require("mailauth/lib/tools")']);

async function ask(
  program: string,
  script: string,
  given: unknown,
): Promise<Record<string, unknown>> {
  const child = new Deno.Command(program, {
    args: [`${PEERS}${script}`],
    env: { NODE_PATH, PYTHONDONTWRITEBYTECODE: "1" },
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(given)));
  await writer.close();
  const { stdout, success } = await child.output();
  assert(success, `${script} failed`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

const WORDS: readonly AuthResult[] = [
  ...["pass", "fail", "softfail", "neutral"] as const,
  ...["none", "policy", "temperror", "permerror"] as const,
];
const LOCAL_PARTS = [
  ...["ann", "a.b+c", "a/b=c", '"a b"', '"a;b"', '"(a"', '"a@b"', '"a\\"b"'],
  ...["a;b", "a (b) c", "jürgen", "a\r\nX: y", "'a'", "a%20b", "{a}", ""],
];

function dkimOf(result: AuthResult, local: string): DkimResult {
  return {
    result,
    domain: "bücher.example",
    selector: "s2026a.mail",
    identity: `${local}@bücher.example`,
    algorithm: "rsa-sha256",
    keyBits: 2048,
    testing: result === "none",
    reason: result === "pass" ? undefined : `Because of; (${result}) "x"`,
    signature: "aBc/12+=",
  };
}

function ours(): readonly ResultsToReport[] {
  const all: ResultsToReport[] = [{}, { dkim: [] }];
  for (const result of WORDS) {
    for (const local of LOCAL_PARTS) {
      const spf: SpfResult = {
        result,
        identity: "mailfrom",
        domain: "example.com",
        reason: `Why ${result} and not another word of the list of words`,
        lookups: 1,
      };
      all.push({
        spf,
        from: `${local}@example.com`,
        helo: { ...spf, identity: "helo", domain: "out.example.com" },
        dkim: [dkimOf(result, local), dkimOf("pass", "")],
        dmarc: { result, author: "example.com", policy: "reject" },
        arc: { result, instance: 2, sealedBy: ["a.example"] },
        reverse: { result, name: "out.example.com", ip: "2001:db8::1" },
      });
    }
  }
  return all;
}

function asRead(value: string): Read {
  const read = parseAuthenticationResults(value);
  assert(read !== undefined, value);
  return [
    read.authservId,
    read.methods.map(({ method, result, reason, properties }) =>
      [method, result, reason ?? null, properties] as const
    ),
  ];
}

function assertTheirs(value: string, wants: {
  readonly reason: string | null;
  readonly properties: Readonly<Record<string, string>>;
}): void {
  const [id, [row]] = asRead(value);
  assertEquals(id, "mx.example.org");
  assertEquals([row?.[2], row?.[3]], [wants.reason, wants.properties], value);
}

Deno.test({
  name: "authres reads our fields, and we read its own",
  ignore: !hasAuthres,
  async fn(t) {
    const values = ours().map((results) =>
      formatAuthenticationResults("mx.example.org", results)
    );
    const properties = {
      "smtp.mailfrom": "a.b@example.com",
      "header.d": "example.com",
      "header.b": "a/b=",
    };
    const make = WORDS.map((word) => [
      "dkim",
      word,
      `good; "${word}" (x)`,
      Object.entries(properties).map(([key, value]) => [
        ...key.split("."),
        value,
      ]),
    ]);
    const { read, made } = await ask("/usr/bin/python3", "authres_peer.py", {
      fields: values.map((value) => `Authentication-Results: ${value}`),
      make,
    });
    for (const [at, value] of values.entries()) {
      assertEquals((read as Read[])[at], asRead(value), value);
    }
    for (const [at, word] of WORDS.entries()) {
      await t.step(word, () => {
        const field = (made as string[])[at]!;
        assertTheirs(field.slice(field.indexOf(":") + 1), {
          reason: `good; "${word}" (x)`,
          properties,
        });
      });
    }
  },
});

Deno.test({
  name: "mailauth reads our fields, and we read its own",
  ignore: !hasMailauth,
  async fn(t) {
    const values = ours().map((results) =>
      formatAuthenticationResults("mx.example.org", results)
    );
    const header = { d: "example.com", s: "s (1); x", b: "aB/c+d==" };
    const { read, made } = await ask("node", "mailauth_peer.cjs", {
      fields: values.map((value) => `Authentication-Results: ${value}`),
      make: WORDS.map((result) => [
        "dkim",
        {
          result,
          comment: "a (b; c",
          smtp: { mailfrom: "a b@x.test" },
          header,
        },
      ]),
      cases: [],
    });
    for (const [at, value] of values.entries()) {
      const [, theirs] = (read as Read[])[at]!;
      // Of two results of SPF it keeps the last.
      const [, rows] = asRead(value);
      const last = rows.findLastIndex(([method]) => method === "spf");
      const kept = rows.filter(([method], at) =>
        method !== "spf" || at === last
      );
      assertEquals(inOrder(theirs), inOrder(kept), value);
    }
    for (const [at, word] of WORDS.entries()) {
      await t.step(word, () => {
        const [, [row]] = asRead((made as string[])[at]!);
        assertEquals(row?.slice(0, 2), ["dkim", word]);
        assertEquals(row?.[3]["header.d"], "example.com");
        assertEquals(row?.[3]["header.b"], "aB/c+d==");
        assertEquals(row?.[3]["header.s"], "s (1); x");
      });
    }
  },
});

/** The rows sorted, without the quotes of local parts, which mailauth removes. */
function inOrder(rows: Read[1]): string[] {
  return rows.filter(([method]) => method !== "none").map((
    [method, result, reason, properties],
  ) => {
    const list = Object.entries(properties).map(([key, value]) =>
      `${key}=${
        value.replace(/^"(.*)"@/, (_, local: string) =>
          `${local.replace(/\\(.)/g, "$1")}@`)
      }`
    );
    return JSON.stringify([method, result, reason, ...list.sort()]);
  }).sort();
}

Deno.test({
  name: "mailauth decides the cases of RFC 9989 as checkDmarc() does",
  ignore: !hasMailauth,
  async fn(t) {
    const path = new URL("tests/trust/data/dmarc/rfc9989-cases.json", ROOT);
    const cases = JSON.parse(await Deno.readTextFile(path));
    const { decided } = await ask("node", "mailauth_peer.cjs", {
      fields: [],
      make: [],
      cases,
    });
    for (const [at, one] of cases.entries()) {
      await t.step(one.name, async () => {
        const { dns } = zone(one.zone, { exists: one.exists });
        const { result, policy } = await checkDmarc({
          author: { domain: one.from },
          spf: one.spf === null ? undefined : {
            result: "pass",
            identity: "mailfrom",
            domain: one.spf,
            lookups: 0,
          },
          dkim: one.dkim.map((domain: string) => ({
            ...dkimOf("pass", ""),
            domain,
          })),
        }, { dns });
        assertEquals(
          { result, policy: policy ?? null },
          (decided as { result: AuthResult; policy: string | null }[])[at],
        );
      });
    }
  },
});
