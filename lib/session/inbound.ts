/**
 * Where a session reads: its buffers, shared with other sessions while it waits,
 * and the read that finds a client speaking before the greeting.
 */

import { NOTHING } from "../protocol/bytes.ts";
import type { Transport } from "../net/transport.ts";
import {
  ARENA_BUFFER_SIZE,
  arenaBuffers,
  isArenaBuffer,
} from "../protocol/body_scanner.ts";
import { beginsTls } from "../protocol/command.ts";
import { replies } from "../protocol/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { ReadPhase } from "../protocol/server/effects.ts";
import type { SessionContext } from "./context.ts";
import type { SmtpSession } from "./session.ts";

/** Size of a small buffer in bytes: room for a pipelined envelope of some dozen recipients. */
const COMMAND_BUFFER_SIZE = 4096;

/** Free large buffers. Those of the scanner's arena are the fastest; they come first and always return. */
const spareLarge: Uint8Array<ArrayBuffer>[] = arenaBuffers();
/** Free small buffers. */
const spareSmall: Uint8Array<ArrayBuffer>[] = [];

/** The most free buffers of a kind; the garbage collector takes the rest. */
const KEPT = 64;

/** The buffers of one session. */
export class SessionBuffers {
  /**
   * The small buffer, borrowed for the whole session: to allocate one costs as
   * much as the rest of the session's start.
   */
  readonly command: Uint8Array<ArrayBuffer> = spareSmall.pop() ??
    new Uint8Array(COMMAND_BUFFER_SIZE);
  /** The buffer of the current read. */
  current: Uint8Array<ArrayBuffer> = this.command;
  #body: Uint8Array<ArrayBuffer> | undefined;

  /** Chooses the buffer of the next read: the large one for content, else the small one. */
  use(phase: ReadPhase): Uint8Array<ArrayBuffer> {
    if (phase === "data" || phase === "bdat") {
      this.#body ??= spareLarge.pop() ?? new Uint8Array(ARENA_BUFFER_SIZE);
      return this.current = this.#body;
    }
    this.#returnBody();
    return this.current = this.command;
  }

  #returnBody(): void {
    const body = this.#body;
    if (body === undefined) return;
    this.#body = undefined;
    if (spareLarge.length < KEPT || isArenaBuffer(body)) spareLarge.push(body);
  }

  /**
   * Returns the buffers, with the client's commands erased. No read into one of
   * them may be pending.
   */
  giveBack(): void {
    this.#returnBody();
    if (spareSmall.length < KEPT) spareSmall.push(this.command.fill(0));
  }
}

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
    const isExempt = remoteAddress === "unix" ||
      limits.exempt.some((network) => network.contains(remoteAddress));
    return isExempt ? undefined : replies.earlyTalker;
  }
}
