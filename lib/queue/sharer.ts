/**
 * Equal values of many messages, kept once. Only saves memory: what it returns
 * equals what it was given.
 */

import type {
  RecipientAnswer,
  SpoolChange,
  StoredEnvelope,
} from "./stored_envelope.ts";

/** Values of which a large spool has few different ones. */
const SHARED_MAX = 10_000;

/**
 * Makes equal small values of many messages one value: in a spool of 100,000
 * messages they would take a third of the memory.
 */
export class Sharer {
  readonly #values = new Map<string, unknown>();

  /** The envelope, with shared parts. */
  envelope(envelope: StoredEnvelope): StoredEnvelope {
    return {
      ...envelope,
      from: this.#text(envelope.from),
      parameters: this.#value(envelope.parameters),
      options: this.#value(envelope.options),
      recipients: envelope.recipients.map(({ address, parameters }) => ({
        address,
        parameters: this.#value(parameters),
      })),
    };
  }

  /** The step of progress, with shared parts. */
  change(change: SpoolChange): SpoolChange {
    if (change.kind !== "result") return change;
    return {
      kind: "result",
      results: change.results.map((result) =>
        result.answer === undefined
          ? result
          : { ...result, answer: this.#answer(result.answer) }
      ),
    };
  }

  #answer(answer: RecipientAnswer): RecipientAnswer {
    const { at, isReply, remoteMta } = answer;
    const status = this.#text(answer.status);
    const text = this.#text(answer.text);
    return remoteMta === undefined
      ? { at, text, isReply, status }
      : { at, text, isReply, status, remoteMta: this.#text(remoteMta) };
  }

  #text(text: string): string {
    return this.#share(text, text);
  }

  #value<T>(value: T): T {
    return this.#share(JSON.stringify(value), value);
  }

  #share<T>(key: string, value: T): T {
    const known = this.#values.get(key);
    if (known !== undefined && typeof known === typeof value) return known as T;
    if (this.#values.size === SHARED_MAX) this.#values.clear();
    this.#values.set(key, value);
    return value;
  }
}
