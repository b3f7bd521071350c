/**
 * The store that hands messages to another server by LMTP: Dovecot, Cyrus and
 * the like. Owns the sessions with that server, the result for each recipient,
 * and the memory of those that have a message which its client will send again.
 *
 * Never sends a message a second time after its content has begun to go out: the
 * client does, when it gets 451.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033}
 */

import { createHash } from "node:crypto";
import { type SentRecipient, SmtpClient } from "../client/client.ts";
import type { SendOptions } from "../client/message.ts";
import { TLS_SECURITY_RULE, type TlsSecurity } from "../client/next_hop.ts";
import type { SmtpClientOptions } from "../client/options.ts";
import { type ClientTimeouts, TIMEOUTS_RULE } from "../client/session.ts";
import { errorMessage } from "../log.ts";
import type { MessageBody } from "../message/body.ts";
import {
  type Message,
  type MessageStore,
  type Recipient,
  type SaveOptions,
  StoreError,
} from "../message/message.ts";
import {
  checkOptions,
  host,
  milliseconds,
  object,
  ownName,
  path,
  port,
  type Rules,
  whole,
} from "../options.ts";
import { atMailbox } from "../protocol/parameters.ts";
import { SmtpError } from "../protocol/reply.ts";
import { Underway } from "../store/per_recipient.ts";
import { ClientPool } from "./pool.ts";

/** Options of {@linkcode LmtpStore}: exactly one of `host` and `path`. */
export interface LmtpStoreOptions {
  /** Host name, or IP address without brackets. Default: none; give this or `path`. */
  readonly host?: string | undefined;
  /**
   * The port.
   *
   * @default {24}
   */
  readonly port?: number | undefined;
  /** Path of a unix socket. Default: none; give this or `host`. */
  readonly path?: string | undefined;
  /**
   * This server's name in LHLO: a domain or an address literal.
   *
   * @default {the literal of the connection's local address; "localhost" on a unix socket}
   */
  readonly hostname?: string | undefined;
  /**
   * The TLS policy.
   *
   * @default {"opportunistic"; "none" on a unix socket}
   */
  readonly security?: TlsSecurity | undefined;
  /**
   * Time limits in milliseconds. Default: those of RFC 5321 section 4.5.3.2.
   * `connect` also limits the wait for a free connection.
   */
  readonly timeouts?: Partial<ClientTimeouts> | undefined;
  /**
   * The connections, which are kept for the next message. Default: at most 10,
   * and 5000 ms each.
   */
  readonly pool?: {
    /**
     * Most connections at the same time; further messages wait.
     *
     * @default {10}
     */
    readonly max?: number | undefined;
    /**
     * Milliseconds for which a connection may be idle.
     *
     * @default {5000}
     */
    readonly idleMs?: number | undefined;
  } | undefined;
}

const RULES: Rules<LmtpStoreOptions> = {
  host,
  port,
  path,
  hostname: ownName,
  security: TLS_SECURITY_RULE,
  timeouts: TIMEOUTS_RULE,
  pool: object<NonNullable<LmtpStoreOptions["pool"]>>(
    { max: whole(1), idleMs: milliseconds },
    "{ max: 10 }",
  ),
};

/** The port of LMTP (IANA). */
const LMTP_PORT = 24;
/** Milliseconds to wait for a free connection, as for one that opens. */
const CONNECT_MS = 30_000;
/**
 * Refusals that are about the session, not about the mail: a server of another
 * kind, or one with wrong settings. Mail must not bounce for them.
 */
const OF_SESSION: ReadonlySet<number> = new Set([
  ...[500, 501, 502, 503, 504, 530, 535, 538],
]);

/** Milliseconds for which a recipient is remembered. */
const REMEMBERED_MS = 3_600_000;
/** Most recipients remembered. */
const MAX_REMEMBERED = 10_000;

/** The outcome of one transaction. */
interface Outcome {
  /** The recipients in their order. */
  readonly sent: readonly SentRecipient[];
  /** Whether the session had been idle. */
  readonly wasIdle: boolean;
}

/**
 * Hands each message to a server that speaks LMTP, by TCP or a unix socket, in
 * one transaction. Each recipient gets the server's own reply: 4xx stays
 * temporary, 5xx permanent. A failed connection is 451.
 *
 * On a listener for LMTP each recipient is answered separately. SMTP has one
 * reply for all: 250 if all have the message, the server's 5xx if it refused all
 * of them for good, else 4xx. Then the client sends the message again, and the
 * recipients that have it already do not get it twice: for an hour, or 10 000 recipients, the
 * store remembers them with the sender and a digest of the content. A restart
 * forgets them, and so does a change of the content on the way. The same holds
 * where the session has not waited for the server (`handlerTimeoutMs`), if the
 * content is in memory and no `threads` are in use.
 *
 * A connection that was lost while it was idle is replaced without a trace. One
 * that is lost after the content went out may have delivered: the client repeats
 * it, and a copy may arrive twice.
 *
 * Requires `allow-net`; for a unix socket `allow-net=unix:PATH`, and `allow-read`
 * and `allow-write` for the path.
 *
 * @example Receive by SMTP, keep in Dovecot
 * ```ts
 * import { LmtpStore, type LmtpStoreOptions } from "@smtp/server/store";
 *
 * const dovecot: LmtpStoreOptions = { path: "/run/dovecot/lmtp" };
 * const store = new LmtpStore(dovecot);
 * console.assert(store.kind === "lmtp");
 * const remote = new LmtpStore({ host: "mail.internal", pool: { max: 20 } });
 * await remote.close();
 * ```
 */
export class LmtpStore implements MessageStore {
  /** `"lmtp"`. */
  readonly kind = "lmtp";
  readonly #connection: SmtpClientOptions;
  readonly #idleMs: number;
  readonly #max: number;
  readonly #turns: Turns;
  /** Messages that clients of SMTP repeat. */
  readonly #delivered = new Deliveries();
  /** Messages that clients of LMTP repeat for all recipients. */
  readonly #unheard = new Deliveries();
  readonly #underway = new Underway();
  #pool: ClientPool | undefined;

  /**
   * Makes a store. Opens no connection until the first message.
   *
   * @param options The server, and how to connect to it
   * @throws {TypeError} If not exactly one of `host` and `path` is given, or `port` with `path`
   */
  constructor(options: LmtpStoreOptions) {
    checkOptions("LmtpStore", options, RULES, '{ host: "127.0.0.1" }');
    const { host, path, hostname, timeouts, pool = {} } = options;
    if ((host === undefined) === (path === undefined)) {
      throw new TypeError(
        'Cannot make an LMTP store: want either "host" or "path"',
      );
    }
    if (path !== undefined && options.port !== undefined) {
      throw new TypeError(
        'Cannot make an LMTP store: want "port" with "host" only',
      );
    }
    this.#connection = {
      host: host ?? "localhost",
      port: options.port ?? LMTP_PORT,
      path,
      hostname,
      timeouts,
      lmtp: true,
      security: options.security ??
        (path === undefined ? "opportunistic" : "none"),
    };
    this.#max = pool.max ?? 10;
    this.#idleMs = pool.idleMs ?? 5000;
    this.#turns = new Turns(this.#max, timeouts?.connect ?? CONNECT_MS);
  }

  /**
   * Hands the message over for all its recipients, save those that have it from
   * an earlier attempt.
   *
   * @throws {StoreError} If the server did not take it for some of them
   */
  save(message: Message, options: SaveOptions): Promise<void> {
    return this.#underway.track(this.#save(message, options.partial));
  }

  async #save(message: Message, partial: boolean): Promise<void> {
    const content = contentOf(message);
    const known = partial ? this.#unheard : this.#delivered;
    const repeat = await known.find(message, content);
    const left = message.recipients.filter((one) => !repeat?.has(one));
    const failures = await this.#deliver(message, left);
    // The session has not waited: its client has got 421, and repeats it for all.
    const isUnheard = content.body.isDiscarded;
    if (failures.size === 0 && !isUnheard) return repeat?.forget();
    // A client of LMTP repeats it for the failed recipients only, by itself.
    const isRepeated = !partial && failures.size < message.recipients.length;
    if (isRepeated || isUnheard) {
      const delivered = left.filter((one) => !failures.has(one));
      await known.add(content, delivered);
    }
    if (failures.size === 0) return;
    const [reason] = failures.values();
    throw new StoreError(
      `Cannot hand message "${message.id}" over for ${failures.size} of ${message.recipients.length} recipients: ${
        errorMessage(reason)
      }`,
      failures,
      { cause: reason },
    );
  }

  /** Delivers; gives the recipients without a copy, and why. */
  async #deliver(
    message: Message,
    recipients: readonly Recipient[],
  ): Promise<Map<Recipient, unknown>> {
    const failures = new Map<Recipient, unknown>();
    let left = recipients;
    let isFresh = false;
    while (left.length > 0) {
      let outcome: Outcome;
      try {
        outcome = await this.#attempt(message, left, isFresh);
      } catch (error) {
        // The server was not reached, or the content could not be read.
        const reason = new Error(errorMessage(error), { cause: error });
        for (const one of left) failures.set(one, reason);
        break;
      }
      const { sent, wasIdle } = outcome;
      const again = left.filter((_, index) =>
        (wasIdle && isUnsent(sent[index]!)) || isBeyondLimit(sent[index]!)
      );
      // A session that was idle may have been dead: once more, on a new one.
      const wasDead = wasIdle && sent.some(isUnsent);
      const goesOn = wasDead || again.length < left.length;
      for (const [index, recipient] of left.entries()) {
        const one = sent[index]!;
        if (one.accepted || (goesOn && again.includes(recipient))) continue;
        failures.set(recipient, reasonOf(one));
      }
      left = goesOn ? again : [];
      isFresh ||= wasDead;
    }
    return failures;
  }

  /** One transaction. */
  async #attempt(
    message: Message,
    recipients: readonly Recipient[],
    isFresh: boolean,
  ): Promise<Outcome> {
    await this.#turns.take();
    try {
      const pool = this.#pool ??= new ClientPool({
        idleMs: this.#idleMs,
        maxIdlePerKey: this.#max,
        maxIdle: this.#max,
      });
      const idle = isFresh ? undefined : pool.take(this.kind);
      const client = idle ?? await SmtpClient.connect(this.#connection);
      try {
        const options = await sendOptions(message, recipients);
        const { recipients: sent } = await client.send(options);
        return { sent, wasIdle: idle !== undefined };
      } finally {
        pool.give(this.kind, client);
      }
    } finally {
      this.#turns.leave();
    }
  }

  /** Waits for all calls of `save` under way, and ends the connections. The next message opens new ones. */
  async close(): Promise<void> {
    await this.#underway.settled();
    const pool = this.#pool;
    this.#pool = undefined;
    await pool?.close();
  }
}

/** What is sent to the server. */
async function sendOptions(
  message: Message,
  recipients: readonly Recipient[],
): Promise<SendOptions> {
  const { from, body, trace } = message;
  const size = trace.length + message.size;
  return {
    from,
    to: recipients.map(({ address, parameters }) => ({ address, parameters })),
    data: body.memory === undefined
      ? () => message.chunks()
      : await message.bytes(),
    parameters: { ...atMailbox(message.parameters), size },
  };
}

/** Whether the session broke before the content went out. */
function isUnsent({ broken, stage }: SentRecipient): boolean {
  return broken && stage !== "body" && stage !== "dataEnd";
}

/** Whether the server wants the recipient in another transaction. */
function isBeyondLimit({ reply, stage, accepted }: SentRecipient): boolean {
  return !accepted && stage === "rcpt" && reply.code === 452 &&
    reply.enhanced === "4.5.3";
}

/** Why a recipient has no copy: the server's reply, or an error that is temporary. */
function reasonOf({ reply, fromPeer, broken }: SentRecipient): Error {
  const isOfMail = !broken && !reply.isPositive && reply.code !== 421 &&
    (fromPeer ? !OF_SESSION.has(reply.code) : !reply.isTemporary);
  return isOfMail ? new SmtpError(reply) : new Error(
    `The LMTP server did not take the message: ${
      String(reply).replaceAll("\n", " / ")
    }`,
  );
}

/** Lets so many work at the same time; the others wait, but not for long. */
class Turns {
  #free: number;
  readonly #waitMs: number;
  readonly #waiting = new Set<() => void>();

  constructor(count: number, waitMs: number) {
    this.#free = count;
    this.#waitMs = waitMs;
  }

  /** @throws {Deno.errors.TimedOut} If the turn does not come in time */
  async take(): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    const timer = setTimeout(() => {
      this.#waiting.delete(resolve);
      const text = `no connection was free within ${this.#waitMs} ms`;
      reject(
        new Deno.errors.TimedOut(`Cannot reach the LMTP server: ${text}`),
      );
    }, this.#waitMs);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Passes the turn on. */
  leave(): void {
    for (const next of this.#waiting) {
      this.#waiting.delete(next);
      return next();
    }
    this.#free++;
  }
}

/** The recipients that have a message, whose client will send it again. */
interface Delivered {
  readonly recipients: Set<string>;
  /** When it is forgotten, in ms of `performance.now()`. */
  readonly until: number;
}

/** What {@linkcode Deliveries} knows about a message that came again. */
interface Repeat {
  /** Whether the recipient has it. */
  has(recipient: Recipient): boolean;
  /** Forgets it for its recipients: all of them have it, and its client knows. */
  forget(): void;
}

/**
 * Remembers which recipients have which message, by its sender and the digest of its content,
 * for messages that only some recipients got. A message is read for its digest
 * only if one of its sender and its size is remembered.
 */
class Deliveries {
  /** By sender, size and digest, the oldest first. */
  readonly #known = new Map<string, Delivered>();
  /** How many are known of a sender and a size. */
  readonly #alike = new Map<string, number>();
  #count = 0;

  async find(
    message: Message,
    content: Content,
  ): Promise<Repeat | undefined> {
    const { kind } = content;
    if (!this.#alike.has(kind)) return undefined;
    const key = await keyOf(content);
    const found = this.#known.get(key);
    if (found === undefined || found.until < performance.now()) {
      return undefined;
    }
    const has = ({ address }: Recipient) =>
      found.recipients.has(String(address));
    return {
      has,
      forget: () => {
        const kept = [...found.recipients].filter((text) =>
          !message.recipients.some(({ address }) => String(address) === text)
        );
        this.#put(key, kind, kept);
      },
    };
  }

  async add(
    content: Content,
    delivered: readonly Recipient[],
  ): Promise<void> {
    // The file of a message that is over is gone.
    if (content.memory === undefined && content.body.isDiscarded) return;
    const key = await keyOf(content);
    const before = this.#known.get(key)?.recipients ?? [];
    const texts = delivered.map(({ address }) => String(address));
    this.#put(key, content.kind, [...before, ...texts]);
    const now = performance.now();
    for (const [oldest, { until }] of this.#known) {
      if (until >= now && this.#count <= MAX_REMEMBERED) break;
      this.#put(oldest, oldest.slice(0, oldest.lastIndexOf(" ")), []);
    }
  }

  /** Remembers these recipients of a message instead of those before. */
  #put(key: string, kind: string, recipients: readonly string[]): void {
    const before = this.#known.get(key);
    if (before !== undefined) {
      this.#known.delete(key);
      this.#count -= before.recipients.size;
      const alike = this.#alike.get(kind)! - 1;
      if (alike === 0) this.#alike.delete(kind);
      else this.#alike.set(kind, alike);
    }
    if (recipients.length === 0) return;
    const now = new Set(recipients);
    const until = performance.now() + REMEMBERED_MS;
    this.#known.set(key, { recipients: now, until });
    this.#count += now.size;
    this.#alike.set(kind, (this.#alike.get(kind) ?? 0) + 1);
  }
}

/** What identifies a message, also when it is over. */
interface Content {
  /** Sender and size: equal for a message and its repetition. */
  readonly kind: string;
  readonly body: MessageBody;
  readonly memory: Uint8Array | undefined;
}

function contentOf({ from, body }: Message): Content {
  return { kind: `${from} ${body.size}`, body, memory: body.memory };
}

/** The kind and the digest of the content, without what this server has put before it. */
async function keyOf({ kind, body, memory }: Content): Promise<string> {
  const hash = createHash("sha256");
  if (memory !== undefined) hash.update(memory);
  else for await (const chunk of body.chunks()) hash.update(chunk);
  return `${kind} ${hash.digest("hex")}`;
}
