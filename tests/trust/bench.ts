/**
 * DKIM signatures verified a second: this server's functions, mailauth in Node and
 * dkimpy in Python, each in a process of its own, over the same messages in the
 * same run. Prints the medians of five rounds and how many times the peers' rate
 * ours is, then the memory that a message of 50 MiB with three signatures takes.
 * A peer that is not there is left out.
 *
 * ```sh
 * deno task bench:trust
 * ```
 */

import { verifyDkim } from "../../lib/trust/mod.ts";
import { bytesOf } from "../support/bytes.ts";
import { makeTestKey, signForTest, textTable } from "../support/dkim.ts";

const ROUNDS = 5;
const ROUND_MS = 1000;
const NAME = "s._domainkey.a.test";

const NODE = `
const { dkimVerify } = require("mailauth/lib/dkim/verify");
const fs = require("fs");
const [path, record, ms] = process.argv.slice(1);
(async () => {
  const message = fs.readFileSync(path);
  const resolver = async () => [[record]];
  const once = async () => {
    const { results } = await dkimVerify(message, { resolver });
    if (results[0].status.result !== "pass") throw new Error("No pass");
  };
  for (let i = 0; i < 20; i++) await once();
  let count = 0; const start = performance.now(); let now = start;
  while ((now = performance.now()) < start + Number(ms)) { await once(); count++; }
  console.log(count / (now - start) * 1000);
})();
`;
const PYTHON = `
import sys, time, dkim
path, record, ms = sys.argv[1:]
message = open(path, "rb").read()
def once():
    assert dkim.verify(message, dnsfunc=lambda name, timeout=5: record.encode())
for i in range(3): once()
count = 0; start = time.perf_counter()
while True:
    now = time.perf_counter()
    if now > start + int(ms) / 1000: break
    once(); count += 1
print(count / (now - start))
`;

interface Contender {
  readonly name: string;
  readonly command: readonly [program: string, ...args: string[]];
  readonly cwd?: string;
}

const self = new URL(import.meta.url).pathname;
const contenders: readonly Contender[] = [
  {
    name: "@smtp/server",
    command: [
      Deno.execPath(),
      ...["run", "-A", "--unstable-net", ...Deno.args.filter(isMap)],
      ...[self, "serve"],
    ],
  },
  {
    name: "mailauth",
    command: ["node", "-e", NODE],
    cwd: new URL("../../.ci/tools/", import.meta.url).pathname,
  },
  { name: "dkimpy", command: ["/usr/bin/python3", "-c", PYTHON] },
];

if (Deno.args[0] === "serve") await verifyMany(Deno.args.slice(1));
else await compare();

function isMap(argument: string): boolean {
  return argument.startsWith("--import-map=");
}

/** Verifies one message until the time is over; prints how many a second. */
async function verifyMany(args: readonly string[]): Promise<void> {
  const [path, record, ms] = args;
  const message = await Deno.readFile(path!);
  const dns = textTable({ [NAME]: record! });
  const once = async () => {
    const [only] = await verifyDkim(message, { dns });
    if (only?.result !== "pass") throw new Error("No pass");
  };
  for (let left = 20; left > 0; left--) await once();
  const start = performance.now();
  let now = start;
  let count = 0;
  while ((now = performance.now()) < start + Number(ms)) {
    await once();
    count++;
  }
  console.log((count / (now - start)) * 1000);
}

async function compare(): Promise<void> {
  const key = makeTestKey("rsa");
  const folder = await Deno.makeTempDir();
  const head = "From: Ann <ann@a.test>\r\nTo: bob@b.test\r\n" +
    "Date: Mon, 30 Nov 2026 12:00:00 +0000\r\nSubject: Hi\r\n" +
    "Message-ID: <1@a.test>\r\nMIME-Version: 1.0\r\n\r\n";
  const line = "Lorem ipsum dolor sit amet, consetetur sadipscing elitr\r\n";
  for (const [what, size] of [["4 KiB", 4096], ["1 MiB", 2 ** 20]] as const) {
    const text = head + line.repeat(Math.floor(size / line.length));
    const path = `${folder}/message`;
    await Deno.writeFile(path, bytesOf(signForTest(text, key)));
    const args = [path, key.record, `${ROUND_MS}`];
    const rates = new Map<string, number[]>();
    for (let round = 0; round < ROUNDS; round++) {
      for (const contender of contenders) {
        const rate = await rateOf(contender, args);
        if (rate === undefined) continue;
        rates.set(contender.name, [...rates.get(contender.name) ?? [], rate]);
      }
    }
    const ours = median(rates.get(contenders[0]!.name)!);
    for (const [name, all] of rates) {
      const rate = median(all);
      console.log(
        `${what}, RSA-2048: ${name.padEnd(12)} ${rate.toFixed(0)}/s, ` +
          `ours ${(ours / rate).toFixed(1)} times`,
      );
    }
  }
  await Deno.remove(folder, { recursive: true });
  await measureMemory();
}

async function rateOf(
  { command: [program, ...first], cwd }: Contender,
  args: readonly string[],
): Promise<number | undefined> {
  try {
    const { success, stdout, stderr } = await new Deno.Command(program, {
      args: [...first, ...args],
      ...(cwd === undefined ? {} : { cwd }),
    }).output();
    if (success) return Number(new TextDecoder().decode(stdout));
    console.error(new TextDecoder().decode(stderr).slice(-300));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return undefined;
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
}

/** Most memory in use while 50 MiB with three signatures pass by. */
async function measureMemory(): Promise<void> {
  const key = makeTestKey("ed25519");
  const head = "From: ann@a.test\r\n\r\n";
  let signed = signForTest(head, key, { c: "relaxed/simple" });
  signed = signForTest(signed, key, { c: "relaxed/relaxed" });
  signed = signForTest(signed, key, { c: "simple/relaxed", l: "2" });
  const piece = bytesOf("word  word \t word\r\n".repeat(3000)).slice(0, 49_152);
  let left = Math.ceil((50 * 2 ** 20) / piece.length);
  const before = inUse();
  let most = before;
  const stream = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(bytesOf(signed)),
    pull(controller) {
      most = Math.max(most, inUse());
      if (left-- > 0) controller.enqueue(piece);
      else controller.close();
    },
  }, { highWaterMark: 0 });
  const start = performance.now();
  const results = await verifyDkim(stream, {
    dns: textTable({ [NAME]: key.record }),
  });
  console.log(
    `50 MiB, ${results.length} signatures: ` +
      `${((most - before) / 2 ** 20).toFixed(2)} MiB more in use, ` +
      `${(performance.now() - start).toFixed(0)} ms`,
  );
}

/** Bytes in use, after a collection where the program may ask for one. */
function inUse(): number {
  Reflect.get(globalThis, "gc")?.();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}
