/**
 * What a session knows of relaying: whether its client may, and where mail for
 * other domains goes. The queue stands behind it and is none of the session's
 * business. Types only.
 */

import type { Message, Recipient } from "../message/message.ts";

/** Who wants to send mail elsewhere. */
export interface RelayClient {
  /** The client's IP address. */
  readonly remoteAddress: string;
  /** Who has logged in, `undefined` for nobody. */
  readonly username: string | undefined;
}

/** Takes mail for recipients that are not this server's own. */
export interface SessionRelaying {
  /** Whether a client may send to such recipients. */
  allows(client: RelayClient): boolean;
  /**
   * Takes a message for some of its recipients. Resolves when it is safe.
   *
   * @throws {SmtpError} If it cannot be kept, with the reply for the client
   */
  add(message: Message, recipients: readonly Recipient[]): Promise<void>;
}
