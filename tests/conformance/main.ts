/**
 * Asks this server and those of others the same on the wire, and prints what
 * they answer as a table. Exit code 1 if this server misses a target.
 *
 * ```sh
 * deno task conformance [--install] [--write] [--alone]
 * ```
 *
 * `--install` gets the others first (npm, and Debian as root), `--write` puts
 * the table into README.md, `--alone` looks at this server only.
 */

import { installPeers } from "../peers/install.ts";
import { markdownTable, writeToReadme } from "../peers/markdown.ts";
import { others, ours, type Peer } from "../peers/peers.ts";
import { lookAt, rows } from "./look.ts";
import type { Finding } from "./row.ts";

/** A server and what was seen of it. */
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
    `${findings.filter((it) => it?.good).length} of ${rows.length}`
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

async function main(): Promise<number> {
  if (Deno.args.includes("--install")) await installPeers();
  const all = Deno.args.includes("--alone") ? [ours] : [ours, ...others];
  const columns: Column[] = [];
  const absent: string[] = [];
  for (const peer of all) {
    if (peer.version() === undefined) {
      absent.push(peer.name);
      continue;
    }
    columns.push({ peer, findings: await lookAt(peer, { timed: true }) });
  }
  const note = absent.length === 0
    ? ""
    : `\nNot run, as not installed: ${absent.join(", ")}.\n`;
  const text = table(columns) + note;
  console.log(text);
  if (Deno.args.includes("--write")) await writeToReadme("conformance", text);
  return columns[0]!.findings.every((it) => it?.good) ? 0 : 1;
}

Deno.exit(await main());
