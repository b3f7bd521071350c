/**
 * A client for tests: it sends exactly what it is told, reads one reply at a
 * time, and waits for nothing without a deadline. It knows no order of commands
 * and stuffs no dots: what a test wants to send wrong goes out wrong.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2 | RFC 5321 section 4.2}
 *
 * Dialogues as text: `C:` what the client sends, `S:` what the server must
 * answer. Parses them and compares replies with them; sends and reads nothing.
 */

import { anyNumber, checkOptions, type Rules } from "../options.ts";
import { AssertionError } from "node:assert";
import { DenoTransport } from "../net/deno_transport.ts";
import { formatHostPort } from "../net/listen_options.ts";
import type { SocketAddress, Transport } from "../net/transport.ts";
import { ReplyReader } from "../protocol/client/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";

/** Options of {@linkcode ScriptedClient.connect}. */
export interface ScriptedClientOptions {
  /**
   * Longest wait for a connection, a reply or the end, in ms.
   *
   * @default {5000}
   */
  timeoutMs?: number | undefined;
}

const RULES: Rules<ScriptedClientOptions> = { timeoutMs: anyNumber };

const READ_SIZE = 4096;
const encoder = new TextEncoder();

/**
 * An SMTP client that does what a test tells it to, and no more.
 *
 * A wait that runs out closes the connection: what would come later could not
 * be told from the answer to something else. Closed when disposed of.
 *
 * @example Run a dialogue
 * ```ts
 * import { ScriptedClient, startTestServer } from "@smtp/server/testing";
 *
 * await using server = await startTestServer({ domains: ["example.com"] });
 * await using client = await ScriptedClient.connect(server);
 * await client.script(`
 *   S: 220
 *   C: EHLO client.example
 *   S: 250
 *   C: MAIL FROM:<me@client.example>
 *   S: 250 2.1.0 ...
 *   C: RCPT TO:<you@elsewhere.example>
 *   S: 550 5.7.1 Relaying denied
 *   C: QUIT
 *   S: 221
 *   S: <closed>
 * `);
 * ```
 */
export class ScriptedClient implements AsyncDisposable {
  readonly #transport: Transport;
  readonly #timeoutMs: number;
  readonly #replies = new ReplyReader();
  readonly #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(READ_SIZE);
  #closed = false;

  /**
   * Made by {@linkcode ScriptedClient.connect}.
   *
   * @param transport The connection, which the client owns from here on
   */
  constructor(transport: Transport, options: ScriptedClientOptions = {}) {
    checkOptions("ScriptedClient", options, RULES);
    this.#transport = transport;
    this.#timeoutMs = options.timeoutMs ?? 5000;
    if (!(this.#timeoutMs > 0)) {
      throw new RangeError(
        `Cannot wait for "${this.#timeoutMs}" ms: want more than 0`,
      );
    }
  }

  /**
   * Connects to a server, which has a test server's `address` and `port`, or
   * takes over a connection that is there. Requires `allow-net` for the former.
   *
   * @param target Where the server is, or the connection to it
   * @throws {Deno.errors.ConnectionRefused} If nothing listens there
   * @throws {Deno.errors.TimedOut} If the wait runs out
   *
   * @example Connect to a server in this process
   * ```ts
   * import { ScriptedClient, startTestServer } from "@smtp/server/testing";
   *
   * await using server = await startTestServer();
   * await using client = await ScriptedClient.connect(server);
   * await client.expect(220);
   * ```
   */
  static async connect(
    target: SocketAddress | Transport,
    options: ScriptedClientOptions = {},
  ): Promise<ScriptedClient> {
    checkOptions("ScriptedClient", options, RULES);
    if ("read" in target) return new ScriptedClient(target, options);
    const { address, port } = target;
    const { timeoutMs = 5000 } = options;
    const controller = new AbortController();
    const timer = setTimeout(
      () =>
        controller.abort(
          new Deno.errors.TimedOut(
            `Cannot connect to ${formatHostPort(target)} in ${timeoutMs} ms`,
          ),
        ),
      timeoutMs,
    );
    try {
      const { signal } = controller;
      const conn = await Deno.connect({ hostname: address, port, signal });
      return new ScriptedClient(new DenoTransport(conn), options);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Sends a line, with the CRLF that it does not have yet.
   *
   * @throws {Deno.errors.TimedOut} If the wait runs out
   */
  async send(line: string): Promise<void> {
    await this.sendRaw(`${line}\r\n`);
  }

  /**
   * Sends bytes as they are; text as UTF-8.
   *
   * @throws {Deno.errors.TimedOut} If the wait runs out
   */
  async sendRaw(bytes: Uint8Array | string): Promise<void> {
    const octets = typeof bytes === "string" ? encoder.encode(bytes) : bytes;
    await this.#inTime(
      this.#transport.write(octets),
      `Cannot send ${octets.length} octets`,
    );
  }

  /**
   * Reads the next reply, whatever its code.
   *
   * @throws {Deno.errors.TimedOut} If the wait runs out
   * @throws {Deno.errors.UnexpectedEof} If the server has closed the connection
   * @throws {SyntaxError} If what came is no reply
   */
  async read(): Promise<SmtpReply> {
    const reply = await this.#next();
    if (reply === undefined) {
      throw new Deno.errors.UnexpectedEof(
        "Cannot read a reply: the server has closed the connection",
      );
    }
    return reply;
  }

  /**
   * Sends `line`, if there is one, and reads the reply, which must have `code`.
   *
   * @throws {AssertionError} If the reply has another code
   * @throws {Deno.errors.UnexpectedEof} If the server has closed the connection
   *
   * @example Greeting and EHLO
   * ```ts
   * import { connectInMemory } from "@smtp/server/testing";
   *
   * await using session = await connectInMemory();
   * await session.client.expect(220);
   * const reply = await session.client.expect(250, "EHLO client.example");
   * console.assert(reply.lines.includes("PIPELINING"));
   * ```
   */
  async expect(code: number, line?: string): Promise<SmtpReply> {
    if (line !== undefined) await this.send(line);
    const reply = await this.read();
    if (reply.code === code) return reply;
    const to = line === undefined ? "" : ` to "${line}"`;
    throw new AssertionError({
      message: `Cannot go on: want reply ${code}${to}, got "${reply}"`,
      actual: reply.code,
      expected: code,
      operator: "strictEqual",
    });
  }

  /**
   * Waits until the server closes the connection.
   *
   * @throws {AssertionError} If a reply comes instead
   * @throws {Deno.errors.TimedOut} If the wait runs out
   */
  async expectClosed(): Promise<void> {
    const reply = await this.#next();
    if (reply === undefined) return;
    throw new AssertionError({
      message: `Cannot go on: want the end of the connection, got "${reply}"`,
      actual: String(reply),
      expected: "<closed>",
      operator: "strictEqual",
    });
  }

  /**
   * Runs a dialogue, a line each: `C:` is sent with a CRLF, lines of `C:` that
   * follow each other in one write; `S:` is a reply that must come.
   *
   * `S: 250` stands for a whole reply with that code, `S: 250 ...` and
   * `S: 250-...` for one of its lines with `...` for any text in it, and
   * `S: <closed>` for the end of the connection. Blank lines and lines that
   * begin with `#` are skipped, as is white space before `C:` and `S:`.
   *
   * @throws {AssertionError} If the server says anything else; the message shows the dialogue up to there
   * @throws {SyntaxError} If the text is no dialogue
   *
   * @example A message, its envelope sent at once
   * ```ts
   * import { connectInMemory } from "@smtp/server/testing";
   *
   * await using session = await connectInMemory();
   * await session.client.script(`
   *   S: 220
   *   C: EHLO client.example
   *   S: 250
   *   C: MAIL FROM:<me@client.example>
   *   C: RCPT TO:<you@example.com>
   *   C: DATA
   *   S: 250 2.1.0 Sender OK
   *   S: 250 2.1.5 Recipient OK
   *   S: 354
   *   C: Subject: hello
   *   C:
   *   C: It works.
   *   C: .
   *   S: 250 2.0.0 Message accepted as ...
   * `);
   * console.assert(session.messages[0]?.text.endsWith("It works.\r\n"));
   * ```
   */
  async script(text: string): Promise<void> {
    const said: string[] = [];
    for (const step of parseScript(text)) await this.#step(step, said);
  }

  async #step(step: ScriptStep, said: string[]): Promise<void> {
    if (step.who === "client") {
      said.push(...step.lines.map((line) => `  C: ${line}`));
      await this.sendRaw(step.lines.map((line) => `${line}\r\n`).join(""));
      return;
    }
    let reply: SmtpReply | undefined;
    try {
      reply = await this.#next();
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw scriptError({ step, said, got: [`<${why}>`], cause });
    }
    const got = reply === undefined
      ? ["<closed>"]
      : reply.toString().split("\n");
    if (replyFault(step, reply)) throw scriptError({ step, said, got });
    said.push(...got.map((line) => `  S: ${line}`));
  }

  /** Closes the connection without a word. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#transport.close();
  }

  /** As {@linkcode ScriptedClient.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  /** The next reply; nothing where the server has closed the connection. */
  async #next(): Promise<SmtpReply | undefined> {
    const until = Date.now() + this.#timeoutMs;
    for (;;) {
      const found = this.#replies.next();
      if (found !== undefined) {
        if ("reply" in found) return found.reply;
        throw new SyntaxError(`Cannot read a reply: ${found.fault}`);
      }
      const count = await this.#receive(until - Date.now());
      if (count === null) {
        if (this.#replies.isEmpty) return undefined;
        throw new Deno.errors.UnexpectedEof(
          "Cannot read a reply: the server has closed the connection in the middle of it",
        );
      }
      this.#replies.push(this.#buffer.subarray(0, count));
    }
  }

  async #receive(ms: number): Promise<number | null> {
    try {
      return await this.#inTime(
        this.#transport.read(this.#buffer),
        "Cannot read a reply",
        ms,
      );
    } catch (error) {
      // A server that breaks the connection off has closed it all the same.
      if (!this.#closed && isGone(error)) return null;
      throw error;
    }
  }

  /** Waits for `work`, and closes the connection where that takes too long. */
  async #inTime<T>(
    work: Promise<T>,
    action: string,
    ms: number = this.#timeoutMs,
  ): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      reject(
        new Deno.errors.TimedOut(
          `${action}: the server took longer than ${this.#timeoutMs} ms`,
        ),
      );
      this.close();
    }, ms);
    try {
      return await Promise.race([work, promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.BrokenPipe;
}

/** The error of a dialogue that went wrong: what was said, then the difference. */
function scriptError(
  { step, said, got, cause }: {
    readonly step: ScriptStep;
    readonly said: readonly string[];
    readonly got: readonly string[];
    readonly cause?: unknown;
  },
): AssertionError {
  const error = new AssertionError({
    message: [
      `Cannot go on at line ${step.line} of the script (- wanted, + got):`,
      "",
      ...said,
      ...step.lines.map((line) => `- S: ${line}`),
      ...got.map((line) => `+ S: ${line}`),
    ].join("\n"),
    actual: got.join("\n"),
    expected: step.lines.join("\n"),
    operator: "script",
  });
  error.cause = cause;
  return error;
}

/** What one side says: lines of the client, sent at once, or one reply. */
export interface ScriptStep {
  /** Whose turn it is. */
  readonly who: "client" | "server";
  /** The lines without `C:` and `S:`; of a reply its lines, a code alone, or `<closed>`. */
  readonly lines: readonly string[];
  /** The number of the first line in the text, from 1. */
  readonly line: number;
}

/** The expectation that the connection ends. */
const CLOSED = "<closed>";
const LINE = /^\s*([CS]):(?: (.*))?$/;
const REPLY = /^[2-5]\d\d(?:\.\.\.|[ -].*)?$/;

/**
 * Parses a dialogue.
 *
 * @throws {SyntaxError} If a line is neither the client's nor a reply
 */
export function parseScript(
  text: string,
): ScriptStep[] {
  const steps: { who: "client" | "server"; lines: string[]; line: number }[] =
    [];
  let open = false;
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const trimmed = raw.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const line = index + 1;
    const match = LINE.exec(raw);
    if (match === null) {
      throw scriptSyntax(line, trimmed, '"C: ..." or "S: ..."');
    }
    const said = match[2] ?? "";
    if (match[1] === "C") {
      open = false;
      const last = steps.at(-1);
      if (last?.who === "client") last.lines.push(said);
      else steps.push({ who: "client", lines: [said], line });
      continue;
    }
    const wanted = said.trim();
    if (wanted !== CLOSED && !REPLY.test(wanted)) {
      throw scriptSyntax(line, trimmed, `a reply or ${CLOSED} after "S:"`);
    }
    if (open) steps.at(-1)!.lines.push(wanted);
    else steps.push({ who: "server", lines: [wanted], line });
    open = wanted[3] === "-";
  }
  return steps;
}

function scriptSyntax(line: number, text: string, want: string): SyntaxError {
  return new SyntaxError(
    `Cannot read line ${line} of the script, "${text}": want ${want}`,
  );
}

/** Whether a reply, `undefined` for the end of the connection, is another than the one wanted. */
export function replyFault(
  step: ScriptStep,
  reply: SmtpReply | undefined,
): boolean {
  const first = step.lines[0]!;
  if (first === CLOSED || reply === undefined) {
    return (first === CLOSED) !== (reply === undefined);
  }
  if (/^\d{3}(?:\.\.\.)?$/.test(first)) {
    return reply.code !== Number(first.slice(0, 3));
  }
  const got = reply.toString().split("\n");
  return got.length !== step.lines.length ||
    got.some((line, at) => !fits(line, step.lines[at]!));
}

/** Whether a line is the pattern, `...` standing for any text. */
function fits(line: string, pattern: string): boolean {
  const parts = pattern.split("...").map((part) =>
    part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
  );
  return new RegExp(`^${parts.join(".*")}$`, "s").test(line.trimEnd());
}
