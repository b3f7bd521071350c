/**
 * The read that begins before the greeting, and the policy (`earlyTalkers`) for
 * the bytes it finds: a client that speaks before the greeting is a spammer's
 * program, or speaks TLS. The file stands alone because a connection has no
 * policy of its own.
 */

import type { Transport } from "../net/transport.ts";
import { beginsTls } from "../protocol/command.ts";
import { replies } from "../protocol/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { SessionContext } from "./context.ts";
import type { SmtpSession } from "./session.ts";

const NOTHING = new Uint8Array(0);

/** The read before the greeting of one session. */
export class EarlyRead {
  readonly #buffer: Uint8Array<ArrayBuffer>;
  #reading: Promise<number | null> | undefined;
  /** How many bytes came before the greeting. */
  #count = 0;

  constructor(buffer: Uint8Array<ArrayBuffer>) {
    this.#buffer = buffer;
  }

  /**
   * Starts the read before the greeting is sent. The empty write costs one turn
   * of the event loop: enough for bytes that have arrived already, without a
   * wait for others.
   */
  async begin(transport: Transport): Promise<void> {
    this.#reading = transport.read(this.#buffer).then((count) => {
      this.#count = count ?? 0;
      return count;
    });
    // The session handles a failure when it takes the read; until then it must not count as unhandled.
    this.#reading.catch(() => {});
    await transport.write(NOTHING);
  }

  /** Whether the read has begun and the session has not taken it. */
  get isPending(): boolean {
    return this.#reading !== undefined;
  }

  /** Gives the read to the session; `undefined` after the first call. */
  take(): Promise<number | null> | undefined {
    const reading = this.#reading;
    this.#reading = undefined;
    return reading;
  }

  /** The reply that rejects a client that spoke before the greeting; `undefined` if its bytes are read as commands. */
  refusal(
    { earlyTalkers, limits }: SessionContext,
    { remoteAddress }: SmtpSession,
  ): SmtpReply | undefined {
    // After XCLIENT the session asks again; then the client may speak.
    if (!this.isPending || this.#count === 0) return undefined;
    // No command begins like TLS. A plain reply helps such a client most.
    const said = this.#buffer.subarray(0, this.#count);
    if (beginsTls(said)) return replies.tlsOnPlain;
    if (earlyTalkers === "allow") return undefined;
    return limits.exempt.some((network) => network.contains(remoteAddress))
      ? undefined
      : replies.earlyTalker;
  }
}
