/**
 * A client for tests: it sends exactly the bytes that a test gives it, reads one
 * reply at a time, and never waits without a deadline. It has no order of
 * commands and stuffs no dots, so a test can send faults.
 *
 * It also runs dialogues written as text: `C:` is a line of the client, `S:` a
 * reply that the server must send. The functions below the class parse such a
 * text and compare replies with it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2 | RFC 5321 section 4.2}
 */

import { errorMessage } from "../log.ts";
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
   * Longest wait for a connection, a reply or the end of the connection, in ms.
   *
   * @default {5000}
   */
  timeoutMs?: number | undefined;
}

const RULES: Rules<ScriptedClientOptions> = { timeoutMs: anyNumber };

const READ_SIZE = 4096;
const encoder = new TextEncoder();

/**
 * An SMTP client that does exactly what a test asks for.
 *
 * A wait that runs out closes the connection: a late reply would look like the
 * reply to a later command. Disposing of the client closes it.
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
   * @param transport The connection; the client owns it from now on
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
   * Connects to a server at an `address` and `port`, such as a test server, or
   * takes over an open connection. The former requires `allow-net`.
   *
   * @param target Address of the server, or the connection to it
   * @throws {Deno.errors.ConnectionRefused} If no server listens there
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
   * Sends a line and a CRLF.
   *
   * @throws {Deno.errors.TimedOut} If the wait runs out
   */
  async send(line: string): Promise<void> {
    await this.sendRaw(`${line}\r\n`);
  }

  /**
   * Sends bytes unchanged, text as UTF-8.
   *
   * @throws {Deno.errors.TimedOut} If the wait runs out
   */
  async sendRaw(bytes: Uint8Array | string): Promise<void> {
    const encoded = typeof bytes === "string" ? encoder.encode(bytes) : bytes;
    await this.#inTime(
      this.#transport.write(encoded),
      `Cannot send ${encoded.length} bytes`,
    );
  }

  /**
   * Reads the next reply, whatever its code.
   *
   * @throws {Deno.errors.TimedOut} If the wait runs out
   * @throws {Deno.errors.UnexpectedEof} If the server has closed the connection
   * @throws {SyntaxError} If the bytes are not a reply
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
   * Sends `line`, if given, and reads the reply, which must have `code`.
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
   * Runs a dialogue line by line. The client sends each `C:` line with a CRLF,
   * and successive `C:` lines in one write. `S:` is a reply that the server must
   * send.
   *
   * `S: 250` means a whole reply with that code, `S: 250 ...` and `S: 250-...`
   * one of its lines, where `...` is any text, and `S: <closed>` the end of the
   * connection. Blank lines, lines that begin with `#`, and white space before
   * `C:` and `S:` are ignored.
   *
   * @throws {AssertionError} If the server sends anything else; the message shows the dialogue so far
   * @throws {SyntaxError} If the text is not a dialogue
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
    if (step.side === "client") {
      said.push(...step.lines.map((line) => `  C: ${line}`));
      await this.sendRaw(step.lines.map((line) => `${line}\r\n`).join(""));
      return;
    }
    let reply: SmtpReply | undefined;
    try {
      reply = await this.#next();
    } catch (cause) {
      throw scriptError({
        step,
        said,
        got: [`<${errorMessage(cause)}>`],
        cause,
      });
    }
    const got = reply === undefined
      ? ["<closed>"]
      : reply.toString().split("\n");
    if (replyFault(step, reply)) throw scriptError({ step, said, got });
    said.push(...got.map((line) => `  S: ${line}`));
  }

  /** Closes the connection without QUIT. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#transport.close();
  }

  /** Calls {@linkcode ScriptedClient.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  /** The next reply; `undefined` if the server has closed the connection. */
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
      // A reset by the server counts as a close.
      if (!this.#closed && isGone(error)) return null;
      throw error;
    }
  }

  /** Waits for `work`; closes the connection if it takes more than `ms`. */
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

/** The error of a dialogue that failed: the dialogue so far, then the difference. */
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

/** One step of a dialogue: lines of the client, sent in one write, or one reply. */
export interface ScriptStep {
  /** The side that sends. */
  readonly side: "client" | "server";
  /** The lines without `C:` and `S:`. For a reply its lines, a code alone, or `<closed>`. */
  readonly lines: readonly string[];
  /** Number of the first line in the text, from 1. */
  readonly line: number;
}

/** The line that means the end of the connection. */
const CLOSED = "<closed>";
const LINE = /^\s*([CS]):(?: (.*))?$/;
const REPLY = /^[2-5]\d\d(?:\.\.\.|[ -].*)?$/;

/**
 * Parses a dialogue.
 *
 * @throws {SyntaxError} If a line is neither a line of the client nor a reply
 */
export function parseScript(
  text: string,
): ScriptStep[] {
  const steps: { side: "client" | "server"; lines: string[]; line: number }[] =
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
      if (last?.side === "client") last.lines.push(said);
      else steps.push({ side: "client", lines: [said], line });
      continue;
    }
    const wanted = said.trim();
    if (wanted !== CLOSED && !REPLY.test(wanted)) {
      throw scriptSyntax(line, trimmed, `a reply or ${CLOSED} after "S:"`);
    }
    if (open) steps.at(-1)!.lines.push(wanted);
    else steps.push({ side: "server", lines: [wanted], line });
    open = wanted[3] === "-";
  }
  return steps;
}

function scriptSyntax(line: number, text: string, want: string): SyntaxError {
  return new SyntaxError(
    `Cannot read line ${line} of the script, "${text}": want ${want}`,
  );
}

/**
 * Whether the actual reply differs from the wanted one. `undefined` means the end
 * of the connection.
 */
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

/** Whether a line matches the pattern, in which `...` is any text. */
function fits(line: string, pattern: string): boolean {
  const parts = pattern.split("...").map((part) =>
    part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
  );
  return new RegExp(`^${parts.join(".*")}$`, "s").test(line.trimEnd());
}
