/**
 * MTA-STS: the record that says that a domain has a policy, the policy itself, and
 * the hosts that it lists. Pure.
 *
 * Never throws: text that breaks the grammar is a value with a reason.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8461#section-3 | RFC 8461 section 3},
 * {@link https://www.rfc-editor.org/rfc/rfc8461#section-4.1 | section 4.1} (hosts)
 */

import { asciiDomain } from "../protocol/domain.ts";

/** A policy. */
export interface StsPolicy {
  /** The id of the record with which it was fetched. */
  readonly id: string;
  /** What a failure does: nothing is delivered, it is only counted, or nothing. */
  readonly mode: "enforce" | "testing" | "none";
  /** The patterns of hosts. */
  readonly hosts: readonly string[];
  /** Milliseconds for which it holds. */
  readonly maxAgeMs: number;
  /** Its lines, for reports. */
  readonly lines: readonly string[];
}

/** Text that is no policy. */
export interface StsFault {
  /** Why, as one sentence without a final period. */
  readonly fault: string;
}

/** Longest time that a policy may hold, in seconds: a year. */
const LONGEST_AGE = 31_557_600;
/** Most lines of a policy. */
const MOST_LINES = 1000;
/** Most characters of a host, however it is written. */
const LONGEST_HOST = 1000;
const ID = /^[A-Za-z0-9]{1,32}$/;
const FIELD = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*=[ \t]*([!-:<-~]*)$/;
/** The value is trimmed apart: a pattern for it would take time that is not linear. */
const LINE = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*:(.*)$/;
const HOST =
  /^(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;

/**
 * The id in the records at `_mta-sts.DOMAIN`; `undefined` without exactly one valid
 * record (RFC 8461 section 3.1).
 */
export function stsId(texts: readonly string[]): string | undefined {
  const records = texts.filter((text) => /^v=STSv1(?:[ \t]*;|$)/.test(text));
  if (records.length !== 1) return undefined;
  const fields = records[0]!.split(";");
  // A semicolon may follow the last field.
  if (fields.at(-1)!.trim() === "") fields.pop();
  let id: string | undefined;
  for (const [at, text] of fields.entries()) {
    const match = FIELD.exec(text.trim());
    if (match === null) return undefined;
    if (at > 0 && match[1] === "id" && id === undefined) id = match[2]!;
  }
  return id !== undefined && ID.test(id) ? id : undefined;
}

/** Reads a policy (RFC 8461 section 3.2). */
export function parseStsPolicy(
  text: string,
  id: string,
): StsPolicy | StsFault {
  const lines = text.split(/\r?\n/, MOST_LINES);
  const first = new Map<string, string>();
  const hosts: string[] = [];
  for (const line of lines) {
    if (line.trim() === "") continue;
    const match = LINE.exec(line);
    if (match === null) return { fault: "A line of the policy is malformed" };
    const name = match[1];
    const value = match[2]!.trim();
    if (name === "mx") {
      const host = value.length > LONGEST_HOST ? "" : asciiDomain(value);
      if (!HOST.test(host)) {
        return { fault: "A host of the policy is malformed" };
      }
      hosts.push(host);
    } else if (!first.has(name!)) first.set(name!, value);
  }
  if (first.get("version") !== "STSv1") {
    return { fault: "The policy has no version STSv1" };
  }
  const mode = first.get("mode");
  if (mode !== "enforce" && mode !== "testing" && mode !== "none") {
    return { fault: "The policy has no known mode" };
  }
  const age = first.get("max_age") ?? "";
  if (!/^\d{1,10}$/.test(age) || Number(age) > LONGEST_AGE) {
    return { fault: "The policy has no valid max_age" };
  }
  if (mode !== "none" && hosts.length === 0) {
    return { fault: "The policy lists no host" };
  }
  return {
    ...{ id, mode, hosts, maxAgeMs: Number(age) * 1000 },
    lines: lines.filter((line) => line.trim() !== ""),
  };
}

/** Whether a policy lists a host; `*.` stands for exactly one label. */
export function listsHost({ hosts }: StsPolicy, host: string): boolean {
  const name = asciiDomain(host);
  return hosts.some((pattern) => matchesHost(pattern, name));
}

/** Whether a pattern fits a host in lower case. */
export function matchesHost(pattern: string, host: string): boolean {
  if (!pattern.startsWith("*.")) return pattern === host;
  const dot = host.indexOf(".");
  return dot > 0 && host.slice(dot) === pattern.slice(1);
}
