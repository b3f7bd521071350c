/** A queue that is killed loses nothing that it has accepted. */

import { assert } from "@std/assert";
import { FileSpool } from "../../lib/spool/file_spool.ts";
import { fileURLToPath } from "node:url";
import { rounds } from "../support/random.ts";

const CHILD = fileURLToPath(
  new URL("./kill_program.ts", import.meta.url),
);
const ROUNDS = rounds(3);

Deno.test("RelayQueue loses nothing when it is killed while it adds and delivers", async () => {
  const folder = await Deno.makeTempDir({ prefix: "smtp-spool-" });
  const accepted = new Set<string>();
  const delivered = new Set<string>();
  try {
    for (let round = 0; round < ROUNDS; round++) {
      await runAndKill(
        folder,
        { round, lines: 150 + 37 * round },
        (verb, address) => {
          (verb === "accepted" ? accepted : delivered).add(address);
        },
      );
    }
    const spool = new FileSpool(folder);
    await spool.open();
    const waiting = new Set<string>();
    for (const { envelope, progress } of spool.entries.values()) {
      const [one] = progress.recipients;
      if (one!.status === "pending") {
        waiting.add(envelope.recipients[0]!.address);
      }
    }
    for (const address of accepted) {
      const isSafe = waiting.has(address) || delivered.has(address);
      assert(isSafe, `${address} is neither delivered nor in the spool`);
    }
    assert(accepted.size > ROUNDS * 20, `${accepted.size} accepted`);
    await spool.close();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** Reads that many lines of the child, kills it, and reads the remaining lines. */
async function runAndKill(
  folder: string,
  run: { readonly round: number; readonly lines: number },
  onLine: (verb: string, address: string) => void,
): Promise<void> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-config", "-A", CHILD, folder, String(run.round)],
    stdout: "piped",
  }).spawn();
  let lines = 0;
  let rest = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    for (const line of parts) {
      const [verb, address] = line.split(" ");
      onLine(verb!, address!);
      if (++lines === run.lines) child.kill("SIGKILL");
    }
  }
  await child.status;
  assert(lines >= run.lines, `The child ended after ${lines} lines`);
}
