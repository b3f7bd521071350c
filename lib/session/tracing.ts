/**
 * Which sessions are traced: those of clients in some networks, or those that a
 * function of the program chooses. The dialogue asks it, and the server makes it.
 */

import type { Logger } from "../log.ts";
import type { Cidr } from "../net/cidr.ts";
import { NETWORKS_RULE } from "../net/listen_options.ts";
import { optionError, type Rule } from "../options.ts";
import type { Tracing } from "./context.ts";
import { logTraceFailure } from "./log.ts";
import type { SmtpSession } from "./session.ts";
import { isPromise } from "./verdicts.ts";

/** The rule for the option `trace`. */
export const TRACE_RULE: Rule = {
  want: `${NETWORKS_RULE.want}, or a function`,
  check(value, at) {
    if (typeof value === "function") return;
    if (!Array.isArray(value)) throw optionError(at, value, this);
    NETWORKS_RULE.check(value, at);
  },
};

/**
 * Checks that a function in `trace` can be called: sessions of a server with
 * threads are on other threads than the function.
 *
 * @throws {TypeError} If it cannot
 */
export function checkTracing(trace: unknown, threads = 0): void {
  if (typeof trace !== "function" || threads === 0) return;
  throw new TypeError(
    "Cannot use trace (a function) with threads: want networks, or the handler onDialogue",
  );
}

/** The sessions of clients in some networks. */
export class NetworkTracing implements Tracing {
  readonly #networks: readonly Cidr[];

  constructor(networks: readonly Cidr[]) {
    this.#networks = networks;
  }

  traces(session: SmtpSession): boolean {
    const { remoteAddress } = session;
    return this.#networks.some((network) => network.contains(remoteAddress));
  }
}

/** The sessions that a function chooses; none where it fails, which is logged once. */
export class ChosenTracing implements Tracing {
  readonly #choose: (session: SmtpSession) => unknown;
  readonly #log: Logger;
  #hasFailed = false;

  constructor(choose: (session: SmtpSession) => unknown, log: Logger) {
    this.#choose = choose;
    this.#log = log;
  }

  traces(session: SmtpSession): boolean {
    try {
      const wanted = this.#choose(session);
      if (typeof wanted === "boolean") return wanted;
      // A program may pass an async function where the type wants no promise.
      if (isPromise(wanted)) wanted.then(undefined, () => {});
      throw new TypeError(
        "Cannot use the result of the function in trace: want true or false",
      );
    } catch (error) {
      if (!this.#hasFailed) logTraceFailure(this.#log, session, error);
      this.#hasFailed = true;
      return false;
    }
  }
}
