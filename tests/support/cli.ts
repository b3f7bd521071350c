/**
 * The command line as a child process, which a test runs to its end or uses as a
 * server. Every wait has a deadline. A child is ended by its own id.
 */

import { assertEquals } from "@std/assert";
import { ScriptedClient } from "@smtp/server/testing";
import { completion } from "../../lib/cli/completion.ts";
import { run } from "./process.ts";
import { DEADLINE_MS } from "./wait.ts";

const ROOT = new URL("../../", import.meta.url);

/** The flag for the @std packages that this process was started with, for its children. */
const importMap = import.meta.resolve("@std/assert").startsWith("jsr:")
  ? []
  : [`--import-map=${new URL(".ci/std_from_npm.json", ROOT).pathname}`];

/** The arguments of `deno` that run the command line with `args`. */
export function cliArgs(
  args: readonly string[],
  permissions: readonly string[] = ["-A"],
): string[] {
  const program = new URL("cli.ts", ROOT).pathname;
  return ["run", ...permissions, ...importMap, program, ...args];
}

/** How a child runs. */
export interface CliOptions {
  /** Working folder. */
  readonly cwd?: string;
  /** Variables beside the inherited ones. */
  readonly env?: Readonly<Record<string, string>>;
  /** The permission flags; `-A` by default. */
  readonly permissions?: readonly string[];
  /** The most open files (`ulimit -n`); the machine's limit by default. */
  readonly maxFiles?: number;
}

/** Options of {@linkcode CliServer.start}. */
export interface CliStartOptions extends CliOptions {
  /** Listeners to wait for; 1 by default. */
  readonly listeners?: number;
  /** Whether standard output is closed at once. The port then comes from `--log json`. */
  readonly ignoreOutput?: boolean;
  /** Milliseconds until it is killed; `DEADLINE_MS` by default. */
  readonly deadlineMs?: number;
}

/** What a finished child left behind. */
export interface CliOutcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function command(args: readonly string[], options: CliOptions): Deno.Command {
  const { permissions, maxFiles, ...rest } = options;
  const line = cliArgs(args, permissions);
  // `exec` replaces the shell, so that the id of the child is that of the program.
  const limited = ["-c", `ulimit -n ${maxFiles} && exec "$0" "$@"`];
  return new Deno.Command(maxFiles === undefined ? Deno.execPath() : "sh", {
    args: maxFiles === undefined
      ? line
      : [...limited, Deno.execPath(), ...line],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    ...rest,
  });
}

/** Runs the command line to its end. */
export async function runCli(
  args: readonly string[],
  options: CliOptions = {},
): Promise<CliOutcome> {
  const child = command(args, options).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), DEADLINE_MS);
  const { code, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
  };
}

/** A command line with environment variables of its own. */
export interface CliRow {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Runs many command lines one after the other in one child process, which saves
 * most of the time. A process for each remains the proof of the exit code: some
 * go through {@linkcode runCli}, too.
 */
export async function runCliRows(
  rows: readonly (readonly string[] | CliRow)[],
  options: { readonly cwd: string },
): Promise<readonly CliOutcome[]> {
  const program = new URL("tests/support/cli_rows.ts", ROOT).pathname;
  const { code, stdout, stderr } = await run(Deno.execPath(), [
    ...["run", "-A", ...importMap, program, JSON.stringify(rows)],
  ], { ...options, env: { NO_COLOR: "1" } });
  assertEquals(code, 0);
  const written = (text: string) => text.split(/\0(\d+)\0/);
  const [out, err] = [written(stdout), written(stderr)];
  return rows.map((_, row) => ({
    code: Number(out[2 * row + 1]),
    stdout: out[2 * row]!,
    stderr: err[2 * row]!,
  }));
}

/** The script that `completion` writes for a shell, made in this process. */
export async function completionScript(
  ...args: readonly string[]
): Promise<string> {
  let script = "";
  const output = { out: (text: string) => void (script += text), err() {} };
  assertEquals(await completion(args, output), 0);
  return script;
}

/** Collects the text that a child writes, and waits for parts of it. */
class Output {
  text = "";
  ended = false;
  readonly done: Promise<void>;
  #wake: () => void = () => {};

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.done = this.#read(stream);
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    const text = stream.pipeThrough(new TextDecoderStream());
    for await (const piece of text) {
      this.text += piece;
      this.#wake();
    }
    this.ended = true;
    this.#wake();
  }

  async waitFor(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.text);
      if (match !== null) return match;
      if (this.ended) {
        throw new Deno.errors.UnexpectedEof(
          `Cannot find ${pattern} in what the command line wrote: "${this.text}"`,
        );
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }
}

/** A command line that serves. Disposing of it ends it. */
export class CliServer implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #stdout: Output;
  readonly #stderr: Output;
  readonly #timer: ReturnType<typeof setTimeout>;
  #ports: readonly number[] = [];
  #over = false;

  /** @param child The child process */
  constructor(
    child: Deno.ChildProcess,
    { ignoreOutput = false, deadlineMs = DEADLINE_MS }: CliStartOptions,
  ) {
    this.#child = child;
    this.#stdout = new Output(
      ignoreOutput ? new Blob().stream() : child.stdout,
    );
    this.#stderr = new Output(child.stderr);
    this.#timer = setTimeout(() => this.signal("SIGKILL"), deadlineMs);
  }

  /** Starts one and waits until it listens on `listeners` addresses. */
  static async start(
    args: readonly string[],
    options: CliStartOptions = {},
  ): Promise<CliServer> {
    const { listeners = 1, ignoreOutput = false, deadlineMs: _, ...where } =
      options;
    const listen = args.includes("--listen") || args.includes("--config")
      ? []
      : ["--listen", "127.0.0.1:0"];
    const child = command([...listen, ...args], where).spawn();
    if (ignoreOutput) await child.stdout.cancel();
    const server = new CliServer(child, options);
    try {
      if (ignoreOutput) await server.#logsPort();
      else await server.#listening(listeners);
    } catch (cause) {
      const { stderr } = await server.end("SIGKILL");
      throw new Error(`Cannot start the command line: ${stderr}`, { cause });
    }
    return server;
  }

  async #listening(count: number): Promise<void> {
    const lines = `(?:listening on \\S+ \\(\\w+\\)\\n){${count}}`;
    await this.#stdout.waitFor(new RegExp(`^${lines}`));
    this.#ports = [...this.stdout.matchAll(/^listening on \S+:(\d+) /gm)]
      .map(([, port]) => Number(port));
  }

  async #logsPort(): Promise<void> {
    const [, port] = await this.#stderr.waitFor(/"port":(\d+)/);
    this.#ports = [Number(port)];
  }

  /** The ports of its listeners, in the order of `--listen`. */
  get ports(): readonly number[] {
    return this.#ports;
  }

  /** Its process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** What it has written to standard output so far. */
  get stdout(): string {
    return this.#stdout.text;
  }

  /** What it has written to standard error so far. */
  get stderr(): string {
    return this.#stderr.text;
  }

  /** Waits for a text on standard error. */
  async logged(pattern: RegExp): Promise<RegExpExecArray> {
    return await this.#stderr.waitFor(pattern);
  }

  /** Connects to one of its listeners. */
  async connect(
    where: { readonly listener?: number; readonly address?: string } = {},
  ): Promise<ScriptedClient> {
    const { listener = 0, address = "127.0.0.1" } = where;
    return await ScriptedClient.connect(
      { address, port: this.#ports[listener]! },
      { timeoutMs: DEADLINE_MS },
    );
  }

  /** Sends a signal to it. */
  signal(name: Deno.Signal): void {
    if (!this.#over) this.#child.kill(name);
  }

  /** Waits for its end, after a signal where one is named. */
  async end(name?: Deno.Signal): Promise<CliOutcome> {
    if (name !== undefined) this.signal(name);
    const { code } = await this.#child.status;
    this.#over = true;
    clearTimeout(this.#timer);
    await Promise.all([this.#stdout.done, this.#stderr.done]);
    return { code, stdout: this.stdout, stderr: this.stderr };
  }

  /** Kills it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGKILL");
  }
}

/** The dialogue of one message, from the greeting to QUIT. */
export function messageTo(
  recipients: readonly string[],
  options: { readonly hello?: string; readonly lines?: readonly string[] } = {},
): string {
  const {
    hello = "EHLO client.example",
    lines = ["Subject: hello", "", "It works."],
  } = options;
  const finals = hello.startsWith("LHLO") ? recipients.length : 1;
  return [
    "S: 220",
    `C: ${hello}`,
    "S: 250",
    "C: MAIL FROM:<me@client.example>",
    "S: 250",
    ...recipients.flatMap((
      recipient,
    ) => [`C: RCPT TO:<${recipient}>`, "S: 250"]),
    "C: DATA",
    "S: 354",
    ...lines.map((line) => `C: ${line}`),
    "C: .",
    ...Array.from({ length: finals }, () => "S: 250 2.0.0 ..."),
    "C: QUIT",
    "S: 221",
    "S: <closed>",
  ].join("\n");
}
