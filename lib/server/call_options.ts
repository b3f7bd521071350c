/**
 * The options of the methods of a running server: `stop` and `serve`. Stands alone:
 * the file of the server's own options has no room for them.
 */

import { checkOptions, milliseconds, type Rules } from "../options.ts";
import { KIND_RULE } from "../net/listen_options.ts";
import type { ListenerKind } from "../protocol/listener_kind.ts";

/** Options of {@linkcode SmtpServer.stop}. */
export interface StopOptions {
  /** Milliseconds until sessions in a transaction get 421; the others get it at once. Default 10,000. */
  graceMs?: number | undefined;
}

const STOP_RULES: Rules<StopOptions> = { graceMs: milliseconds };

/** Options of {@linkcode SmtpServer.serve}. */
export interface ServeOptions {
  /** The kind of the session. Default `"smtp"`. */
  kind?: ListenerKind | undefined;
}

const SERVE_RULES: Rules<ServeOptions> = { kind: KIND_RULE };

/** Checks the options of {@linkcode SmtpServer.stop}. */
export function checkStopOptions(options: StopOptions): void {
  checkOptions("SmtpServer.stop", options, STOP_RULES, "{ graceMs: 1000 }");
}

/** Checks the options of {@linkcode SmtpServer.serve}. */
export function checkServeOptions(options: ServeOptions): void {
  checkOptions("SmtpServer.serve", options, SERVE_RULES, '{ kind: "lmtp" }');
}
