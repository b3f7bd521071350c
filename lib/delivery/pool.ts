/**
 * Idle sessions, kept for the next message to the same place with the same
 * credentials. Ends each after a time (`idleMs`), after a number of messages
 * (`maxUses`), or when there are too many (`maxIdlePerKey`, `maxIdle`).
 *
 * Never keeps a session that is out of step: if the server sends anything on an
 * idle session, the session is closed at once.
 */

import {
  checkOptions,
  milliseconds,
  object,
  type Rule,
  type Rules,
  whole,
} from "../options.ts";
import type { SmtpClient } from "../client/client.ts";

/** Options of {@linkcode ClientPool}. */
export interface ClientPoolOptions {
  /**
   * Milliseconds for which a session may be idle.
   *
   * @default {5000}
   */
  readonly idleMs?: number | undefined;
  /**
   * Most idle sessions for one place; one more is closed.
   *
   * @default {20}
   */
  readonly maxIdlePerKey?: number | undefined;
  /**
   * Most idle sessions in total; the oldest is closed first.
   *
   * @default {100}
   */
  readonly maxIdle?: number | undefined;
  /**
   * Most messages of a session, which then ends.
   *
   * @default {100}
   */
  readonly maxUses?: number | undefined;
}

const RULES: Rules<ClientPoolOptions> = {
  idleMs: milliseconds,
  maxIdlePerKey: whole(),
  maxIdle: whole(),
  maxUses: whole(1),
};

/** The rule for {@linkcode ClientPoolOptions} inside other options. */
export const POOL_RULE: Rule = object(RULES, "{ idleMs: 5000 }");

interface Idle {
  readonly key: string;
  readonly client: SmtpClient;
  readonly timer: ReturnType<typeof setTimeout>;
}

/**
 * Keeps idle sessions.
 */
export class ClientPool {
  readonly #idle = new Set<Idle>();
  readonly #quitting = new Set<Promise<void>>();
  readonly #idleMs: number;
  readonly #maxIdlePerKey: number;
  readonly #maxIdle: number;
  readonly #maxUses: number;
  #closed = false;

  /**
   * Makes an empty pool.
   *
   * @param options Its bounds
   */
  constructor(options: ClientPoolOptions = {}) {
    checkOptions("ClientPool", options, RULES);
    this.#idleMs = options.idleMs ?? 5000;
    this.#maxIdlePerKey = options.maxIdlePerKey ?? 20;
    this.#maxIdle = options.maxIdle ?? 100;
    this.#maxUses = options.maxUses ?? 100;
  }

  /** Number of idle sessions. */
  get size(): number {
    return this.#idle.size;
  }

  /**
   * Takes an idle session out of the pool, the one that was used last.
   *
   * @param key Equal for sessions that can stand in for each other: made of host, address, port, security and credentials
   */
  take(key: string): SmtpClient | undefined {
    let found: Idle | undefined;
    for (const idle of this.#idle) if (idle.key === key) found = idle;
    if (!found) return undefined;
    this.#forget(found);
    return found.client;
  }

  /** Puts a session back. The pool keeps it or ends it with QUIT. */
  give(key: string, client: SmtpClient): void {
    const alike = [...this.#idle].filter((idle) => idle.key === key);
    const keeps = !this.#closed && client.isReusable &&
      client.sent < this.#maxUses && alike.length < this.#maxIdlePerKey;
    if (!keeps) return this.#end(client);
    const timer = setTimeout(() => {
      this.#forget(idle);
      this.#end(client);
    }, this.#idleMs);
    const idle: Idle = { key, client, timer };
    this.#idle.add(idle);
    client.watch(() => this.#forget(idle));
    for (const oldest of this.#idle) {
      if (this.#idle.size <= this.#maxIdle) return;
      this.#forget(oldest);
      this.#end(oldest.client);
    }
  }

  /** Ends all idle sessions with QUIT, and from now on every session that is put back. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const idle of [...this.#idle]) {
      this.#forget(idle);
      this.#end(idle.client);
    }
    await Promise.all(this.#quitting);
  }

  /** As {@linkcode ClientPool.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #forget(idle: Idle): void {
    clearTimeout(idle.timer);
    this.#idle.delete(idle);
  }

  #end(client: SmtpClient): void {
    const quit = client.quit().finally(() => this.#quitting.delete(quit));
    this.#quitting.add(quit);
  }
}
