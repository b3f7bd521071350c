/**
 * What a worker does not have for itself, as calls to the main thread: stores
 * that stay there, the queue, accounts, and the budgets of log-ins.
 */

import type {
  Message,
  MessageStore,
  Recipient,
  SaveOptions,
} from "../message/message.ts";
import type { RelayOptions } from "../queue/relay.ts";
import { ScramVerifier } from "../sasl/scram_verifier.ts";
import type { Accounts, KnownAccount } from "../sasl/accounts.ts";
import type { LoginAttempt, LoginCounter } from "../session/login_guard.ts";
import { headOf, type OfferedBodies } from "./bodies.ts";
import type { Channel } from "./channel.ts";
import type { MainFace, MessageCall, WorkerFace } from "./api.ts";
import { decodeSecret, encodeMessage } from "./wire.ts";
import { decodeError } from "./wire_errors.ts";

/** How a worker reaches the main thread with a message. */
export interface RemoteAccess {
  /** To the main thread. */
  readonly channel: Channel<WorkerFace, MainFace>;
  /** Offers the bodies of messages. */
  readonly bodies: OfferedBodies;
}

/** Offers the message to the main thread for as long as `call` lasts. */
async function offering<T>(
  message: Message,
  { bodies }: RemoteAccess,
  call: (offer: MessageCall) => Promise<T>,
): Promise<T> {
  const body = bodies.offer(message.body);
  try {
    return await call({ message: encodeMessage(message), body });
  } finally {
    bodies.withdraw(body);
  }
}

/** A store of the main thread. */
export class RemoteStore implements MessageStore {
  /** What it is there. */
  readonly kind: string;
  readonly #access: RemoteAccess;
  readonly #chosen: number | undefined;

  /**
   * @param kind What it is there
   * @param options How to get there; which of the stores that a handler chose for the message it is, the server's own when not given
   */
  constructor(
    kind: string,
    options: { readonly access: RemoteAccess; readonly chosen?: number },
  ) {
    this.kind = kind;
    this.#access = options.access;
    this.#chosen = options.chosen;
  }

  /** Keeps the message there. */
  async save(message: Message, options: SaveOptions): Promise<void> {
    const { channel } = this.#access;
    const failure = await offering(
      message,
      this.#access,
      (offer) =>
        channel.call("save", {
          ...offer,
          partial: options.partial,
          chosen: this.#chosen,
        }, { octets: headOf(message.body) }),
    );
    if (failure !== undefined) throw decodeError(failure, message.recipients);
  }
}

/** The queue of the main thread: resolves with the name that the message has there. */
export function remoteRelay(
  access: RemoteAccess,
): (message: Message, options?: RelayOptions) => Promise<string> {
  const { channel } = access;
  return (message, options = {}) => {
    const { recipients = message.recipients, schedule, ...rest } = options;
    return offering(
      message.forRecipients(recipients as Recipient[]),
      access,
      (offer) =>
        channel.call("relay", {
          ...offer,
          options: schedule === undefined
            ? rest
            : { ...rest, schedule: schedule.toString() },
        }, { octets: headOf(message.body), isRich: true }),
    );
  };
}

/** The accounts of the main thread. */
export class RemoteAccounts implements Accounts {
  /** What unknown users are compared with. */
  readonly decoy: ScramVerifier | undefined;
  readonly #channel: Channel<WorkerFace, MainFace>;

  /** @param decoy The text of the verifier that unknown users are compared with */
  constructor(channel: Channel<WorkerFace, MainFace>, decoy?: string) {
    this.#channel = channel;
    this.decoy = decoy === undefined ? undefined : ScramVerifier.parse(decoy);
  }

  /** Asks there. */
  async find(username: string): Promise<KnownAccount> {
    return decodeSecret(await this.#channel.call("find", username));
  }
}

/** The budgets of log-ins, which all threads share. */
export class RemoteGuard implements LoginCounter {
  readonly #channel: Channel<WorkerFace, MainFace>;

  /** @param channel To the main thread */
  constructor(channel: Channel<WorkerFace, MainFace>) {
    this.#channel = channel;
  }

  /** See {@linkcode LoginCounter}. */
  enter(attempt: LoginAttempt): Promise<boolean> {
    return this.#channel.call("enter", attempt);
  }

  /** See {@linkcode LoginCounter}. */
  leave(attempt: LoginAttempt): void {
    this.#channel.note("leave", attempt);
  }

  /** See {@linkcode LoginCounter}. */
  fail(attempt: LoginAttempt): Promise<void> {
    return this.#channel.call("fail", attempt);
  }

  /** See {@linkcode LoginCounter}. */
  succeed(attempt: LoginAttempt): void {
    this.#channel.note("succeed", attempt);
  }

  /** See {@linkcode LoginCounter}. */
  release(): void {
    this.#channel.note("release", undefined);
  }
}
