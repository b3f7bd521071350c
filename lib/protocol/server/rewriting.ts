/**
 * The recipients of a transaction in which some became others: which of them
 * stand for which RCPT of the client, and which two are the same. It exists only
 * from the first such recipient on. Stands alone: `state.ts` owns the
 * transaction, and most transactions have none.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3461#section-4.2 | RFC 3461 section 4.2} (ORCPT),
 * {@link https://www.rfc-editor.org/rfc/rfc2033#section-4.2 | RFC 2033 section 4.2} (LMTP)
 */

import { type Address, unquoted } from "../address.ts";
import type { Recipient } from "../envelope.ts";
import type { RcptParameters } from "../parameters.ts";

/** The recipients that stand for one RCPT. */
export type Said = Recipient | readonly Recipient[];

/** What the client said in one RCPT. */
interface Candidate {
  readonly address: Address;
  readonly parameters: RcptParameters;
}

/** The recipients of one transaction. */
export class Rewriting {
  /** The recipients for each accepted RCPT, in order. */
  readonly said: Said[];
  readonly #recipients: Recipient[];
  readonly #known = new Map<string, Recipient>();

  /** @param recipients The recipients so far, to which others are added */
  constructor(recipients: Recipient[]) {
    this.#recipients = recipients;
    this.said = [...recipients];
    for (const one of recipients) {
      const key = keyOf(one);
      if (!this.#known.has(key)) this.#known.set(key, one);
    }
  }

  /** Adds a recipient that stays what it is. */
  keep(candidate: Candidate): void {
    this.said.push(this.#add(candidate));
  }

  /** Adds the recipients that a recipient becomes. */
  replace(candidate: Candidate, targets: readonly Address[]): void {
    const { address: original } = candidate;
    const parameters = withOriginal(candidate);
    const added = targets.map((address) =>
      this.#add({ address, parameters, original })
    );
    this.said.push([...new Set(added)]);
  }

  /** Adds a recipient, and returns it; or the one that is the same. */
  #add(recipient: Recipient): Recipient {
    const key = keyOf(recipient);
    const same = this.#known.get(key);
    if (same !== undefined) return same;
    this.#known.set(key, recipient);
    this.#recipients.push(recipient);
    return recipient;
  }
}

/** Equal for two recipients that would get the same message twice. NOTIFY counts: each wants its own DSNs. */
function keyOf({ address, parameters }: Recipient): string {
  const { localPart, asciiDomain } = address;
  const notify = parameters.notify?.toSorted().join() ?? "";
  return `${notify} ${unquoted(localPart)}@${asciiDomain}`;
}

/** Longest address that any server takes as ORCPT once it is encoded. */
const MOST_ORCPT = 120;

/** The parameters of a recipient that became another: ORCPT names the original. */
function withOriginal({ address, parameters }: Candidate): RcptParameters {
  if (parameters.orcpt !== undefined) return parameters;
  const text = address.toString();
  // Beyond ASCII a character may become nine, and ORCPT has at most 500.
  if (!address.isAscii && text.length > MOST_ORCPT / 3) return parameters;
  const type = address.isAscii ? "rfc822" : "utf-8";
  return { ...parameters, orcpt: { type, address: text } };
}
