/** `cli.ts lookup mta-sts` and `lookup tls-rpt`: what they say, and their exit codes. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { lookupMtaSts } from "../../lib/cli/lookup_sts.ts";
import { DnsClient } from "../../lib/dns/mod.ts";
import { testDns } from "../../lib/testing/mod.ts";
import { Certificate } from "../../lib/tls/mod.ts";
import { runCli } from "../support/cli.ts";
import { startWireServer, txtAnswer } from "../support/dns.ts";

const [SERVFAIL, NXDOMAIN] = [2, 3];
const certificate = await Certificate.selfSigned({
  names: ["mta-sts.dest.test"],
});
const POLICY =
  "version: STSv1\nmode: enforce\nmx: *.dest.test\nmax_age: 604800\n";
const RECORD = "v=STSv1; id=a1;";

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Looks at the policy of `dest.test`, whose web server is on this machine. */
async function look(
  options: {
    readonly texts?: readonly string[] | "failed";
    readonly policy?: string;
    readonly mx?: readonly string[];
    readonly json?: boolean;
  } = {},
): Promise<Said> {
  const { texts = [RECORD], policy = POLICY, json = false } = options;
  const { mx = ["mx.dest.test."] } = options;
  await using server = Deno.serve({
    ...{ hostname: "127.0.0.1", port: 0, onListen: () => {} },
    ...{ cert: certificate.toPem(), key: certificate.keyPem() },
  }, () => new Response(policy));
  const dns = new DnsClient(testDns((name, type) => {
    if (type === "A" && name === "mta-sts.dest.test.") {
      return Promise.resolve(["127.0.0.1"]);
    }
    if (type === "MX" && mx.length > 0) {
      return Promise.resolve(
        mx.map((exchange) => ({ preference: 10, exchange })),
      );
    }
    if (type === "TXT" && name === "_mta-sts.dest.test.") {
      if (texts === "failed") return Promise.reject(new Error("No answer"));
      if (texts.length > 0) return Promise.resolve(texts.map((one) => [one]));
    }
    return Promise.reject(new Deno.errors.NotFound("None"));
  }));
  let [out, err] = ["", ""];
  const code = await lookupMtaSts("dest.test", {
    ...{ dns, json, raw: new Map() },
    output: {
      out: (text: string) => void (out += text),
      err: (text: string) => void (err += text),
    } as never,
  }, {
    port: (server.addr as Deno.NetAddr).port,
    ...{ trusted: [certificate], allowLoopback: true },
  });
  return { code, out, err };
}

Deno.test("lookup mta-sts explains the policy, and says whether it lists the hosts", async () => {
  const { code, out, err } = await look();
  assertEquals([code, err], [0, ""]);
  assertEquals(out.trimEnd().split("\n"), [
    "_mta-sts.dest.test: v=STSv1; id=a1;",
    "https://mta-sts.dest.test/.well-known/mta-sts.txt:",
    "  mode enforce: mail goes to listed hosts only, with a verified certificate",
    "  mx *.dest.test",
    "  max_age 604800: it is kept for 7 days",
    "mx.dest.test: listed",
  ]);
});

Deno.test("lookup mta-sts names what is wrong, and its exit code says so", async (t) => {
  const rows: readonly (readonly [
    options: Parameters<typeof look>[0],
    code: number,
    want: RegExp,
  ])[] = [
    [{ mx: ["mx.other.test."] }, 1, /wrong: .*not list "mx\.other\.test"/],
    [{ mx: [] }, 1, /wrong: .*not list "dest\.test"/],
    [{ texts: [RECORD, RECORD] }, 1, /wrong: There are 2 records/],
    [{ texts: ["v=STSv1;"] }, 1, /wrong: The record has no id/],
    [{ texts: ["v=STSv1; id=a-b;"] }, 1, /wrong: The record is malformed/],
    [{ texts: [] }, 1, /no MTA-STS record/],
    [{ texts: "failed" }, 75, /No answer/],
    [{ policy: "hello" }, 1, /wrong: A line of the policy is malformed/],
    [
      { policy: POLICY.replace("enforce", "testing").replace("604800", "60") },
      0,
      /advice: The mode is testing[^]*advice: A max_age of less than a day/,
    ],
    [
      { policy: "version: STSv1\nmode: none\nmax_age: 60\n" },
      0,
      /mode none: there is no policy any more/,
    ],
  ];
  for (const [options, wanted, want] of rows) {
    await t.step(String(want), async () => {
      const { code, out, err } = await look(options);
      assertMatch(out + err, want);
      assertEquals(code, wanted);
    });
  }
});

Deno.test("lookup mta-sts --json has it all in one object", async () => {
  const { code, out } = await look({ json: true });
  assertEquals(code, 0);
  const { domain, status, policy, hosts, findings } = JSON.parse(out);
  assertEquals([domain, status, policy.mode], [
    "dest.test",
    "found",
    "enforce",
  ]);
  assertEquals(hosts, [{ host: "mx.dest.test", listed: true }]);
  assertEquals(findings, []);
});

const REPORTS: Readonly<Record<string, readonly string[]>> = {
  "_smtp._tls.good.test": [
    "v=TLSRPTv1; rua=mailto:tls@good.test,https://good.test/tls",
    "other",
  ],
  "_smtp._tls.twice.test": ["v=TLSRPTv1; rua=mailto:a@b.test", "v=TLSRPTv1;"],
  "_smtp._tls.half.test": ["v=TLSRPTv1; rua=mailto:a@b.test,ftp://b.test"],
};

async function lookup(
  ...args: readonly string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  await using names = await startWireServer((name) => {
    if (name.includes("broken.test")) return { rcode: SERVFAIL };
    const texts = REPORTS[name.toLowerCase()];
    return texts === undefined ? { rcode: NXDOMAIN } : txtAnswer(texts);
  });
  return await runCli(["lookup", ...args, "--dns", names.nameServer]);
}

Deno.test("lookup tls-rpt says where reports go", async () => {
  const { code, stdout, stderr } = await lookup("tls-rpt", "good.test");
  assertEquals([code, stderr], [0, ""]);
  assertEquals(stdout.trimEnd().split("\n"), [
    "_smtp._tls.good.test: v=TLSRPTv1; rua=mailto:tls@good.test,https://good.test/tls",
    "  reports by mail to tls@good.test",
    "  reports by POST to https://good.test/tls",
  ]);
  const { stdout: json } = await lookup("tls-rpt", "good.test", "--json");
  assertEquals(JSON.parse(json).places.length, 2);
});

Deno.test("lookup tls-rpt names what is wrong, and its exit code says so", async () => {
  const twice = await lookup("tls-rpt", "twice.test");
  assertEquals(twice.code, 1);
  assertStringIncludes(twice.stdout, "wrong: There are several records");
  const half = await lookup("tls-rpt", "half.test");
  assertEquals(half.code, 1);
  assertStringIncludes(
    half.stdout,
    'wrong: No report can go to "ftp://b.test"',
  );
  assertEquals((await lookup("tls-rpt", "none.test")).code, 1);
  assertEquals((await lookup("tls-rpt", "broken.test")).code, 75);
  assertEquals((await lookup("mta-sts", "none.test")).code, 1);
});
