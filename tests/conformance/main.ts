/**
 * Sends the same bytes to this server and to others, and prints their answers as a
 * table. Exit code 1 if this server misses a target.
 *
 * ```sh
 * deno task conformance [--install] [--write] [--alone]
 * ```
 *
 * `--install` gets the others first (npm, and Debian as root), `--write` puts
 * the table into RESULTS.md, `--alone` looks at this server only.
 */

import { installPeers } from "../peers/install.ts";
import { markdownTable, writeBetweenMarks } from "../peers/markdown.ts";
import { others, ours, type Peer } from "../peers/peers.ts";
import { lookAt, rows } from "./look.ts";
import type { Finding } from "./row.ts";

/** The page with the table. */
const RESULTS = "tests/conformance/RESULTS.md";

/** A server and its findings. */
interface Column {
  readonly peer: Peer;
  readonly findings: readonly (Finding | undefined)[];
}

function cell(finding: Finding | undefined): string {
  if (finding === undefined) return "";
  return finding.good ? finding.seen : `**${finding.seen}**`;
}

function table(columns: readonly Column[]): string {
  const good = columns.map(({ findings }) =>
    `${findings.filter((finding) => finding?.good).length} of ${rows.length}`
  );
  return markdownTable(
    [
      ...["what is sent", "wanted"],
      ...columns.map(({ peer }) => `${peer.name} ${peer.version()}`),
    ],
    [
      ...rows.map(({ name, target }, at) => [
        name,
        target,
        ...columns.map(({ findings }) => cell(findings[at])),
      ]),
      ["as wanted", "", ...good],
    ],
  );
}

/** Examines each server; prints the reason where that is not possible. */
async function lookAtAll(
  peers: readonly Peer[],
): Promise<{ columns: Column[]; absent: string[] }> {
  const columns: Column[] = [];
  const absent: string[] = [];
  for (const peer of peers) {
    if (peer.version() === undefined) {
      absent.push(`${peer.name} (not installed)`);
      continue;
    }
    try {
      columns.push({ peer, findings: await lookAt(peer, { timed: true }) });
    } catch (error) {
      if (peer === ours) throw error;
      console.error(error);
      absent.push(`${peer.name} (does not start)`);
    }
  }
  return { columns, absent };
}

async function main(): Promise<number> {
  if (Deno.args.includes("--install")) await installPeers();
  const isAlone = Deno.args.includes("--alone");
  const { columns, absent } = await lookAtAll(
    isAlone ? [ours] : [ours, ...others],
  );
  const note = absent.length === 0 ? "" : `\nNot run: ${absent.join(", ")}.\n`;
  const text = table(columns) + note;
  console.log(text);
  if (Deno.args.includes("--write")) {
    await writeBetweenMarks(RESULTS, "conformance", text);
  }
  return columns[0]!.findings.every((finding) => finding?.good) ? 0 : 1;
}

Deno.exit(await main());
