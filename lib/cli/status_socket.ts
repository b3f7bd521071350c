/**
 * The socket on which a running server answers the command `status`: both ends.
 * A process that may connect gets one JSON object; the server reads nothing from the
 * socket, so nothing that is sent to it can do anything. Its mode is 0600. A
 * stale socket is removed only if no process answers on it.
 */

import type { SmtpServer } from "../../mod.ts";
import { errorMessage, type LogRecord } from "../log.ts";
import { MOST_PATH_BYTES, UnixSocketFile } from "../server/mod.ts";
import { RateCounter, type StatusFacts, statusFacts } from "./status_facts.ts";
import { RunError } from "./output.ts";

/** The name of the socket in a spool folder. */
export const SOCKET_NAME = "status.sock";

/** Most connections that are answered at a time; others are closed at once. */
const MOST_CLIENTS = 8;
/** Longest time for one answer, in ms. */
const ANSWER_MS = 5000;
/** Wait after a connection that could not be accepted, as where no file descriptor is free, in ms. */
const RETRY_MS = 1000;
/** Most bytes of an answer. */
const MOST_BYTES = 1 << 20;

/** What to say to a user that has not named the socket. */
const OTHER_PLACES =
  ", or one without a spool: want --spool DIR as it has it, or --status PATH for both";

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
  #bound: Awaited<ReturnType<typeof UnixSocketFile.bind>> | undefined;
  #running: Promise<void> | undefined;
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
      this.#bound = await UnixSocketFile.bind({ path, mode: 0o600 });
    } catch (error) {
      throw new RunError(
        `--status ${path}: no socket for the command status: ${
          errorMessage(error)
        }`,
      );
    }
    this.#running = this.#run(this.#bound, { ...about, upSince: new Date() });
  }

  /** Stops to answer and removes the socket, but not what another process has put in its place. */
  async close(): Promise<void> {
    const bound = this.#bound;
    this.#bound = undefined;
    bound?.file.release(bound.listener);
    await this.#running;
  }

  /** Answers until it is closed. */
  async #run(
    bound: Awaited<ReturnType<typeof UnixSocketFile.bind>>,
    about: {
      readonly server: SmtpServer;
      readonly version: string;
      readonly upSince: Date;
    },
  ): Promise<void> {
    while (this.#bound === bound) {
      try {
        const connection = await bound.listener.accept();
        this.#answer(connection, about).catch(() => {});
      } catch {
        // Closed, or for now without a connection.
        if (this.#bound !== bound) break;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    bound.file.restore();
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

/**
 * Asks the server behind a socket.
 *
 * @param isNamed Whether the user has named the socket itself, by --status
 * @throws {RunError} If no server runs there, or it does not answer
 */
export async function askStatus(
  path: string,
  isNamed: boolean,
): Promise<StatusFacts> {
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
    if (!isGone) return fail(errorMessage(error));
    return fail(`no server runs there${isNamed ? "" : OTHER_PLACES}`);
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
