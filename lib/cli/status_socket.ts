/**
 * The socket on which a running server answers the command `status`: both ends.
 * A process that may connect gets one JSON object; the server reads nothing from the
 * socket, so nothing that is sent to it can do anything. Its mode is 0600. A
 * stale socket is removed only if no process answers on it.
 */

import type { SmtpServer } from "../../mod.ts";
import { errorMessage, type LogRecord } from "../log.ts";
import { RateCounter, type StatusFacts, statusFacts } from "./status_facts.ts";
import { RunError } from "./output.ts";

/** The name of the socket in a spool folder. */
export const SOCKET_NAME = "status.sock";

/** Most connections that are answered at a time; others are closed at once. */
const MOST_CLIENTS = 8;
/** Longest time for one answer, in ms. */
const ANSWER_MS = 5000;
/** Most bytes of an answer. */
const MOST_BYTES = 1 << 20;

/** Why this process may not use a socket at the path; `undefined` if it may. */
function denial(path: string): string | undefined {
  if (Deno.build.os === "windows") return "there are no such sockets here";
  const wanted = [
    ["--allow-read", { name: "read", path }],
    ["--allow-write", { name: "write", path }],
    ["--allow-net", { name: "net", host: `unix:${path}` }],
  ] as const;
  // Asked for without a terminal's prompt.
  const missing = wanted.filter(([, permission]) =>
    Deno.permissions.querySync(permission).state !== "granted"
  ).map(([flag]) => flag);
  return missing.length === 0 ? undefined : `want ${missing.join(" and ")}`;
}

/** Most bytes of a socket's path: the system takes no more. */
const MOST_PATH_BYTES = 107;

/** Why the server could not answer at the path, as a sentence; `undefined` if it could. */
export async function socketFault(path: string): Promise<string | undefined> {
  const before = `--status ${path}: no socket for the command status: `;
  const reason = denial(path);
  if (reason !== undefined) return before + reason;
  if (new TextEncoder().encode(path).length > MOST_PATH_BYTES) {
    return `${before}want a path of ${MOST_PATH_BYTES} bytes or less`;
  }
  const info = await Deno.lstat(path).catch(() => undefined);
  if (info === undefined || info.isSocket) return undefined;
  return `${before}another file is in its place`;
}

/** The server's end of the socket, and its counts. */
export class StatusSocket {
  readonly #rates = new RateCounter();
  #listener: Deno.UnixListener | undefined;
  #facts: Promise<StatusFacts> | undefined;
  #clients = 0;

  /** Counts a record of the log. */
  count(record: LogRecord): void {
    this.#rates.count(record, performance.now());
  }

  /**
   * Begins to answer.
   *
   * @param path The path of the socket
   * @param about The server, and what it does not know of itself
   * @throws {RunError} If it cannot, or another process answers there
   */
  async open(
    path: string,
    about: { readonly server: SmtpServer; readonly version: string },
  ): Promise<void> {
    try {
      const reason = denial(path);
      if (reason !== undefined) throw new TypeError(reason);
      await removeStale(path);
      this.#listener = Deno.listen({ transport: "unix", path });
      await Deno.chmod(path, 0o600);
    } catch (error) {
      this.close();
      throw new RunError(
        `--status ${path}: no socket for the command status: ${
          errorMessage(error)
        }`,
      );
    }
    this.#run(this.#listener, { ...about, upSince: new Date() });
  }

  /** Stops to answer and removes the socket. */
  close(): void {
    const listener = this.#listener;
    this.#listener = undefined;
    if (listener === undefined) return;
    try {
      Deno.removeSync(listener.addr.path);
    } catch {
      // Someone has removed it.
    }
    listener.close();
  }

  async #run(
    listener: Deno.UnixListener,
    about: {
      readonly server: SmtpServer;
      readonly version: string;
      readonly upSince: Date;
    },
  ): Promise<void> {
    try {
      for await (const connection of listener) {
        this.#answer(connection, about).catch(() => {});
      }
    } catch {
      // Closed.
    }
  }

  async #answer(
    connection: Deno.UnixConn,
    about: {
      readonly server: SmtpServer;
      readonly version: string;
      readonly upSince: Date;
    },
  ): Promise<void> {
    using _ = connection;
    if (this.#clients >= MOST_CLIENTS) return;
    this.#clients++;
    // A client that does not read must not stay.
    const timer = setTimeout(() => connection.close(), ANSWER_MS);
    try {
      // Clients at the same time share the work.
      this.#facts ??= statusFacts(about.server, {
        ...about,
        rates: this.#rates,
      }).finally(() => this.#facts = undefined);
      const text = JSON.stringify(await this.#facts);
      let bytes = new TextEncoder().encode(text);
      while (bytes.length > 0) {
        bytes = bytes.subarray(await connection.write(bytes));
      }
    } finally {
      clearTimeout(timer);
      this.#clients--;
    }
  }
}

/** Removes a socket that a process has left behind. */
async function removeStale(path: string): Promise<void> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  if (!info.isSocket) throw new TypeError("Another file is in its place");
  let connection: Deno.UnixConn;
  try {
    connection = await Deno.connect({ transport: "unix", path });
  } catch {
    return await Deno.remove(path);
  }
  connection.close();
  throw new TypeError("Another process answers there");
}

/**
 * Asks the server behind a socket.
 *
 * @throws {RunError} If no server runs there, or it does not answer
 */
export async function askStatus(path: string): Promise<StatusFacts> {
  const fail = (why: string): never => {
    throw new RunError(`Cannot ask the server at "${path}": ${why}`);
  };
  const reason = denial(path);
  if (reason !== undefined) fail(reason);
  let connection: Deno.UnixConn;
  try {
    connection = await Deno.connect({ transport: "unix", path });
  } catch (error) {
    const isGone = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.ConnectionRefused ||
      error instanceof Deno.errors.ConnectionReset;
    return fail(isGone ? "no server runs there" : errorMessage(error));
  }
  using _ = connection;
  const text = await within(readAll(connection), ANSWER_MS);
  if (text === undefined) {
    return fail(`it does not answer within ${ANSWER_MS / 1000} s`);
  }
  try {
    const facts: unknown = JSON.parse(text);
    if (isFacts(facts)) return facts;
  } catch {
    // Reported below.
  }
  return fail("it gave no status");
}

/** Whether a value has the members of a status. */
function isFacts(value: unknown): value is StatusFacts {
  const { sessions, queue, rates, listeners } = (value ?? {}) as Partial<
    StatusFacts
  >;
  return sessions?.states !== undefined && rates?.accepted !== undefined &&
    Array.isArray(queue?.destinations) && Array.isArray(listeners);
}

async function readAll(connection: Deno.UnixConn): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(65536);
  let text = "";
  while (text.length <= MOST_BYTES) {
    const count = await connection.read(buffer).catch(() => null);
    if (count === null) break;
    text += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
  return text;
}

/** The value of a promise; `undefined` after `ms`. */
async function within<T>(
  promise: Promise<T>,
  ms: number,
): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(resolve, ms, undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
