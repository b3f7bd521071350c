/**
 * The Received-SPF field. Stands alone: SPF is asked without it, as most servers
 * write an Authentication-Results field only.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7208#section-9.1 | RFC 7208 section 9.1}
 */

import type { SpfResult } from "./result.ts";
import type { SpfFacts } from "./spf.ts";

/** The value of the field. Text of the client never leaves its quotes. */
export function formatReceivedSpf(
  { result, identity, domain, mechanism, reason }: SpfResult,
  { ip, helo, from, receiver }: SpfFacts,
): string {
  const what = comment(reason ?? `${domain || "the client"}: ${result}`);
  const pairs: readonly [string, string | undefined][] = [
    ["receiver", receiver],
    ["identity", identity],
    ["client-ip", ip],
    ["envelope-from", from],
    ["helo", helo],
    ["mechanism", mechanism],
  ];
  const shown = pairs.filter((pair): pair is [string, string] =>
    pair[1] !== undefined && pair[1] !== ""
  ).map(([name, value]) => `${name}=${word(value)}`);
  return `${result} (${what}) ${shown.join("; ")}`;
}

/** Text for a comment: printable, without brackets and backslashes. */
function comment(text: string): string {
  return text.replace(/[^ -~]|[()\\]/g, "?").slice(0, 200);
}

/** A dot-atom as it is, everything else as a quoted string. */
function word(value: string): string {
  if (
    /^[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+(?:\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+)*$/
      .test(value)
  ) {
    return value;
  }
  const plain = value.replace(/[^ -~]/g, "?").slice(0, 400);
  return `"${plain.replace(/["\\]/g, "\\$&")}"`;
}
