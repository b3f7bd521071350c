/**
 * `cli.ts verify`: what a message proves about its origin, as the server would say.
 * Stands alone: each command has its file.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8601 | RFC 8601}
 */

import { DnsClient } from "../dns/mod.ts";
import { printableJson } from "../log.ts";
import type { MessageAuthentication } from "../../mod.ts";
import { flag, one, type RawSettings } from "./arguments.ts";
import { readMessage } from "./dkim.ts";
import { ipOf } from "./lookup_spf.ts";
import { EX_TEMPFAIL, oneLine, type Output, UsageError } from "./output.ts";
import { dnsSettings } from "./relay_settings.ts";

/**
 * Prints the field; resolves with the exit code: 0 if the author's domain, or one of
 * SPF and DKIM where it has no policy, vouches for the message, 1 if not, 75 if an
 * answer did not come.
 *
 * @throws {UsageError} If there is no file or no client
 */
export async function verify(
  args: readonly string[],
  raw: RawSettings,
  output: Output,
): Promise<number> {
  const [file, extra] = args;
  const ip = ipOf(raw);
  if (file === undefined || extra !== undefined || ip === undefined) {
    throw new UsageError(
      "Command verify: want a file, or - for standard input, and --ip",
    );
  }
  const message = await readMessage(file);
  const { checkMessage } = await import("../trust/mod.ts");
  const authservId = one(raw, "authserv-id") ?? "localhost";
  const found = await checkMessage(message, {
    ip,
    helo: one(raw, "helo") ?? "",
    from: one(raw, "from") ?? "",
    receiver: authservId,
  }, { dns: new DnsClient(dnsSettings(raw)), authservId });
  if (flag(raw, "json")) {
    const { spf, helo, dkim, dmarc, arc } = found;
    output.out(`${printableJson({ spf, helo, dkim, dmarc, arc })}\n`);
  } else {
    const lines = `Authentication-Results: ${found}`.split("\r\n");
    for (const line of lines) output.out(`${oneLine(line)}\n`);
  }
  return exitCode(found);
}

function exitCode({ dmarc, spf, dkim }: MessageAuthentication): number {
  const others = [spf, ...dkim].map(({ result }) => result);
  const word = dmarc.result === "none"
    ? others.find((one) => one === "pass") ??
      others.find((one) => one === "temperror")
    : dmarc.result;
  if (word === "pass") return 0;
  return word === "temperror" ? EX_TEMPFAIL : 1;
}
