/**
 * Finds out that a name server which is believed validates nothing (DNSSEC): DANE
 * would be without effect, and nothing else would show it. Stands alone: it
 * watches answers, and makes none.
 *
 * Never takes domains without DNSSEC for such a server, because most domains are
 * without: after some answers that are not validated it asks for a name that every
 * validating server can validate.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4035#section-3.2.3 | RFC 4035 section 3.2.3}
 */

import type { DnsQuestion } from "./dns_message.ts";
import { formatNameServer, type NameServer } from "./name_server.ts";
import type { DnsAsk } from "./seams.ts";
import { Deadline } from "./single_flight.ts";

/** Answers without validation in a row after which the server is tried. */
const ENOUGH = 5;
/** A zone with DNSSEC that every resolver reaches. */
const SIGNED: DnsQuestion = { type: "NS", name: "com" };

/** Options of {@linkcode ValidationWatch}. */
export interface ValidationWatchOptions {
  /** Asks one question once. */
  readonly ask: DnsAsk;
  /** Gets the warning. */
  readonly onWarning: (message: string) => void;
}

/** Where and how long the server may be tried. */
export interface Trial {
  readonly server: NameServer;
  /** The time that is left of the question before, in milliseconds. */
  readonly leftMs: number;
  readonly signal: AbortSignal;
}

/** Watches whether answers are validated, until that is known. */
export class ValidationWatch {
  readonly #options: ValidationWatchOptions;
  /** Answers until the server is tried. */
  #left = ENOUGH;
  /** Whether there is nothing more to find out, or it is being found out. */
  #isOver = false;

  constructor(options: ValidationWatchOptions) {
    this.#options = options;
  }

  /** A server that is believed has answered. Never rejects. */
  async answered(
    isValidated: boolean,
    where: Trial,
  ): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = isValidated || --this.#left === 0;
    if (isValidated || !this.#isOver) return;
    try {
      await this.#try(where);
    } catch {
      // Without an answer nothing is known.
      this.#left = ENOUGH;
      this.#isOver = false;
    }
  }

  async #try({ server, leftMs, signal: outer }: Trial): Promise<void> {
    const { ask, onWarning } = this.#options;
    // The question that came before must not be late because of this one.
    using deadline = new Deadline(leftMs / 2, outer);
    const { signal } = deadline;
    const { authentic } = await ask(SIGNED, { server, signal, edns: true });
    if (authentic) return;
    onWarning(
      `Name server ${
        formatNameServer(server)
      } does not validate answers, so mail is delivered without DANE: want DNSSEC validation turned on in it, or another one on this machine that validates`,
    );
  }
}
