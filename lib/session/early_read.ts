/**
 * The read that begins before the greeting, and the policy for what it finds: a
 * client that speaks before it is spoken to is a spammer's program, or speaks
 * TLS. The policy is the server's (`earlyTalkers`): it stands alone because the
 * connection has no policy of its own.
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
  /** Bytes that came before the greeting. */
  #count = 0;

  /** @param buffer Takes the bytes */
  constructor(buffer: Uint8Array<ArrayBuffer>) {
    this.#buffer = buffer;
  }

  /**
   * Reads before anything is said, to learn whether the client waits for the
   * greeting. The empty write is one turn of the event loop: enough for bytes
   * that are here already, and no wait for any that are not.
   */
  async begin(transport: Transport): Promise<void> {
    this.#reading = transport.read(this.#buffer).then((count) => {
      this.#count = count ?? 0;
      return count;
    });
    // The session sees the failure when it takes the read; until then it is no unhandled one.
    this.#reading.catch(() => {});
    await transport.write(NOTHING);
  }

  /** Whether the read has begun and the session has not taken it over. */
  get isPending(): boolean {
    return this.#reading !== undefined;
  }

  /** Gives the read to the session; `undefined` where it has it already. */
  take(): Promise<number | null> | undefined {
    const reading = this.#reading;
    this.#reading = undefined;
    return reading;
  }

  /** The reply to a client that has spoken before the greeting; `undefined` where that is read as commands. */
  refusal(
    { earlyTalkers, limits }: SessionContext,
    { remoteAddress }: SmtpSession,
  ): SmtpReply | undefined {
    // Later on, after XCLIENT, it is the client's turn to speak.
    if (!this.isPending || this.#count === 0) return undefined;
    // No command begins like TLS: an answer in the clear helps most before any other.
    const said = this.#buffer.subarray(0, this.#count);
    if (beginsTls(said)) return replies.tlsOnPlain;
    if (earlyTalkers === "allow") return undefined;
    return limits.exempt.some((network) => network.contains(remoteAddress))
      ? undefined
      : replies.earlyTalker;
  }
}
