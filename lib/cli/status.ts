/**
 * `cli.ts status`: asks the server that runs on a spool, and shows its sessions,
 * rates and queue, as text for people and as JSON for programs. The exit code
 * tells a health check whether the server runs.
 */

import { formatHostPort } from "../server/mod.ts";
import { flag, one, type RawSettings } from "./arguments.ts";
import { printableJson } from "../log.ts";
import { DEFAULT_SPOOL } from "./option.ts";
import { countText, fit, formatAge } from "./queue_text.ts";
import type { StatusFacts } from "./status_facts.ts";
import { askStatus, SOCKET_NAME } from "./status_socket.ts";
import {
  formatSize,
  oneLine,
  type Output,
  RunError,
  terminalWidth,
  UsageError,
} from "./output.ts";

/**
 * The path of the socket by the settings; `undefined` without one.
 *
 * @param spool The spool folder; `undefined` without one
 */
export function socketPath(
  raw: RawSettings,
  spool: string | undefined,
): string | undefined {
  const path = one(raw, "status");
  if (path === "none") return undefined;
  return path ?? (spool === undefined ? undefined : `${spool}/${SOCKET_NAME}`);
}

/**
 * Runs `status`; resolves with the exit code.
 *
 * @throws {UsageError} If there are arguments
 * @throws {RunError} If no server runs there, or it does not answer
 */
export async function status(
  [extra]: readonly string[],
  raw: RawSettings,
  output: Output,
): Promise<number> {
  if (extra !== undefined) {
    throw new UsageError(
      `Cannot run status ${extra}: want no words, perhaps --spool DIR`,
    );
  }
  const path = socketPath(raw, one(raw, "spool") ?? DEFAULT_SPOOL);
  if (path === undefined) {
    throw new RunError("--status none: the server answers on no socket");
  }
  const facts = await askStatus(path, raw.has("status"));
  if (flag(raw, "json")) output.out(`${printableJson(facts)}\n`);
  else {
    const options = { now: Date.now(), width: terminalWidth() };
    output.out([...statusLines(facts, options)].join(""));
  }
  return facts.active ? 0 : 1;
}

/** The lines of the status, each with its line feed. */
export function* statusLines(
  facts: StatusFacts,
  { now, width }: { readonly now: number; readonly width: number },
): Generator<string> {
  const { sessions, rates, queue } = facts;
  const line = (text: string) => `${fit(oneLine(text), width)}\n`;
  const since = Date.parse(facts.upSince);
  yield line(
    `server       ${facts.active ? "running" : "stopping"}, version ` +
      `${facts.version}, process ${facts.pid}`,
  );
  yield line(`up           ${formatAge(now - since)}, since ${facts.upSince}`);
  for (const at of facts.listeners) {
    yield line(`listening    on ${formatHostPort(at)} (${at.kind})`);
  }
  const states = Object.entries(sessions.states)
    .map(([state, count]) => `${count} ${state}`).join(", ");
  yield line(
    `sessions     ${sessions.total}${states === "" ? "" : `: ${states}`}; ` +
      `${sessions.tls} with TLS, ${sessions.loggedIn} logged in`,
  );
  for (const span of ["minute", "hour"] as const) {
    yield line(
      `last ${span.padEnd(7)} ${rates.accepted[span]} accepted, ` +
        `${rates.refused[span]} refusals`,
    );
    yield line(
      `             ${rates.delivered[span]} delivered, ` +
        `${rates.deferred[span]} deferred, ${rates.failed[span]} failed, ` +
        `${rates.bounces[span]} bounces`,
    );
  }
  yield line(
    `queue        ${countText(queue.total)}, ${formatSize(queue.bytes)}: ` +
      `${queue.active} active, ${queue.deferred} deferred, ` +
      `${queue.waiting} waiting, ${queue.held} held`,
  );
  if (queue.destinations.length === 0) return;
  yield `\n${row("MESSAGES", "NEXT TRY", "DESTINATION AND LAST ANSWER")}\n`;
  for (
    const { destination, messages, nextTryAt, answer } of queue.destinations
  ) {
    const at = nextTryAt === null ? undefined : Date.parse(nextTryAt);
    const next = at === undefined
      ? "held"
      : at <= now
      ? "now"
      : `in ${formatAge(at - now)}`;
    const text = answer === null ? destination : `${destination}: ${answer}`;
    yield line(row(String(messages), next, text));
  }
  if (queue.moreDestinations > 0) {
    yield `and ${queue.moreDestinations} more destinations\n`;
  }
}

function row(messages: string, next: string, text: string): string {
  return `${messages.padStart(8)}  ${next.padEnd(9)}  ${text}`;
}
