/** Programs that read Postfix's log, over lines that this server's records become. */

import type { LogRecord } from "../../../lib/log.ts";
import { PostfixLines } from "../../../lib/logging/postfix.ts";
import { run } from "../process.ts";

/** The records as lines of Postfix's log, a second apart. */
export function postfixLog(
  records: readonly LogRecord[],
  begin: number = Date.now() - 3_600_000,
): string {
  const lines = new PostfixLines({ hostname: "mx.example.com", process: 4711 });
  return records.map((record, index) =>
    lines.lines(record, begin + index * 1000)
  ).join("");
}

/** The report of pflogsumm over a log: the counts by name, and all of it. */
export async function pflogsumm(
  file: string,
): Promise<{ readonly text: string; readonly counts: Record<string, string> }> {
  const { stdout: text } = await run("pflogsumm", [
    ...["--smtpd-stats", "--verbose-msg-detail", file],
  ]);
  const counts: Record<string, string> = {};
  for (const [, count, name] of text.matchAll(/^ +(\d+k?) +(\S.*)$/gm)) {
    // The first is the count of the whole; later tables have parts.
    counts[name!.replace(/ +\(.*\)$/, "")] ??= count!;
  }
  return { text, counts };
}

/**
 * The lines of a log that fail2ban's filter for Postfix counts, in a mode.
 *
 * @param config The folder with fail2ban's configuration
 */
export async function fail2ban(
  file: string,
  filter: string,
  config = "/etc/fail2ban",
): Promise<readonly string[]> {
  const { stdout } = await run("fail2ban-regex", [
    ...["--config", config, "--print-all-matched", "--no-check-all"],
    ...[file, filter],
  ]);
  const [, matched = ""] = /Matched line\(s\):\n((?:\|.*\n)*)/.exec(stdout) ??
    [];
  return matched.split("\n").filter((line) => /^\|\s+\S/.test(line))
    .map((line) => line.replace(/^\|\s+/, ""));
}
