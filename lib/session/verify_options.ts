/**
 * The option `verify`: what is checked of a message that comes from outside, and
 * what follows. Stands alone: the options of the server and of the command line
 * use it without the checks, which are loaded only if they are wanted.
 */

import { parsePeers } from "../net/cidr.ts";
import { NETWORKS_RULE } from "../net/listen_options.ts";
import {
  checkOptions,
  flag,
  list,
  milliseconds,
  oneOf,
  optionError,
  ownName,
  type Rule,
  type Rules,
  text,
  whole,
} from "../options.ts";
import type { Cidr } from "../net/cidr.ts";

/**
 * What is checked of a message from outside: SPF, DKIM, DMARC and ARC. The
 * results are in {@linkcode Message.authentication} and in an
 * Authentication-Results field on top of the message (RFC 8601). Fields of that
 * kind that bear our name already are removed.
 *
 * Checked is what comes without a login to a listener of the kind `smtp`, from an
 * address outside `exempt`.
 *
 * @example Refuse what the author's domain wants refused
 * ```ts
 * import { SmtpServer, type VerifyOptions } from "@smtp/server";
 *
 * const verify: VerifyOptions = { dmarc: "enforce", onTemporary: "defer" };
 * const server = new SmtpServer({ domains: ["example.com"], verify });
 * console.assert(!server.active);
 * ```
 */
export interface VerifyOptions {
  /**
   * What a failed DMARC policy does: `"report"`, a field only; `"enforce"`, 550
   * 5.7.1 where the author's domain asks for `reject`. It is refused after
   * `onMessage`, which overrules it by `true`, a positive reply or
   * `SILENT_ALLOW`. Mail for quarantine is accepted in both cases.
   *
   * @default {"report"}
   */
  dmarc?: "report" | "enforce" | undefined;
  /**
   * Our name in the field (RFC 8601 section 2.5); only fields with this name may be
   * believed.
   *
   * @default {the hostname} The server's name
   */
  authservId?: string | undefined;
  /**
   * Networks whose mail is not checked: gateways and own machines, as CIDR or
   * addresses, and `"unix"` for unix sockets. `[]` for none.
   *
   * @default {["127.0.0.0/8", "::1", "unix"]} This machine
   */
  exempt?: readonly string[] | undefined;
  /**
   * What an answer that does not come does: `"accept"`, or `"defer"` with 451, so
   * that the client comes back. A handler overrules it as above.
   *
   * @default {"accept"}
   */
  onTemporary?: "accept" | "defer" | undefined;
  /**
   * Domains whose ARC seal is believed: with a good chain of theirs a failed
   * DMARC policy refuses nothing.
   *
   * @default {[]} None
   */
  trustedSealers?: readonly string[] | undefined;
  /**
   * Number of bits that an RSA key must have, from 1024 to 8192 (RFC 8301). A
   * signature of a shorter key is "policy", and no pass for DMARC.
   *
   * @default {1024}
   */
  minKeyBits?: number | undefined;
  /**
   * Most DKIM signatures of a message that are looked at, from 1 to 100, from the
   * top; the others are skipped.
   *
   * @default {10}
   */
  maxSignatures?: number | undefined;
  /**
   * Milliseconds that a complete message waits for the checks; what is open then
   * is "temperror". A quarter of them is kept for the policy of the author's domain.
   *
   * @default {20000}
   */
  timeoutMs?: number | undefined;
  /**
   * Whether SPF is checked (RFC 7208). Without it DMARC passes by DKIM only, so it
   * and `dkim` should both be checked where `dmarc` is `"enforce"`: else good mail
   * is refused, and the server logs a warning when it starts.
   *
   * @default {true}
   */
  spf?: boolean | undefined;
  /**
   * Whether DKIM signatures are checked (RFC 6376).
   *
   * @default {true}
   */
  dkim?: boolean | undefined;
  /**
   * Whether the chain of forwarders is checked (RFC 8617).
   *
   * @default {true}
   */
  arc?: boolean | undefined;
  /**
   * Whether the name of the client's address is checked (`iprev`).
   *
   * @default {false}
   */
  reverse?: boolean | undefined;
  /**
   * Whether a Received-SPF field is added as well (RFC 7208 section 9.1).
   *
   * @default {false}
   */
  receivedSpf?: boolean | undefined;
}

const RULES: Rules<VerifyOptions> = {
  dmarc: oneOf("report", "enforce"),
  authservId: ownName,
  exempt: NETWORKS_RULE,
  onTemporary: oneOf("accept", "defer"),
  trustedSealers: list(
    text("a domain"),
    'an array of domains, as ["example.org"]',
  ),
  minKeyBits: whole(1024, 8192),
  maxSignatures: whole(1, 100),
  timeoutMs: milliseconds,
  spf: flag,
  dkim: flag,
  arc: flag,
  reverse: flag,
  receivedSpf: flag,
};

/** The rule for the option `verify`. */
export const VERIFY_RULE: Rule = {
  want: 'true, false, or options, as { dmarc: "enforce" }',
  check(value, at) {
    if (typeof value === "boolean") return;
    if (typeof value !== "object" || value === null) {
      throw optionError(at, value, this);
    }
    checkOptions(at.path, value, RULES, '{ dmarc: "enforce" }');
    (value as VerifyOptions).exempt?.forEach(parsePeers);
  },
};

/** The networks in `exempt`. */
export function exemptNetworks({ exempt }: VerifyOptions): readonly Cidr[] {
  return (exempt ?? ["127.0.0.0/8", "::1", "unix"]).map(parsePeers);
}
