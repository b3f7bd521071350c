/**
 * Other programs, run to their end with a deadline or beside the test until they
 * are disposed of. A process is only ever ended by its id.
 */

import { DEADLINE_MS } from "./wait.ts";

/** What a finished program left behind. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Options of {@linkcode run} and {@linkcode BackgroundProcess.start}. */
export interface ProcessOptions {
  /** Standard input; nothing by default. */
  readonly input?: string | Uint8Array;
  /** Variables beside the inherited ones. */
  readonly env?: Readonly<Record<string, string>>;
  /** Working folder. */
  readonly cwd?: string;
  /** Milliseconds until the program is killed and the test fails; `DEADLINE_MS` by default. */
  readonly deadlineMs?: number;
  /** Whether an exit code other than 0 is returned; it is an error otherwise. */
  readonly anyCode?: boolean;
}

const PATH = `${Deno.env.get("PATH") ?? ""}:/usr/sbin:/sbin`;

function spawn(
  program: string,
  args: readonly string[],
  options: ProcessOptions,
): Deno.ChildProcess {
  try {
    return new Deno.Command(program, {
      args: [...args],
      stdin: options.input === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
      env: { PATH, LC_ALL: "C.UTF-8", ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    }).spawn();
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new Error(
      `Cannot run "${program}": the program is missing, .ci/run installs it`,
      { cause },
    );
  }
}

/** Sends a signal to a process that may have ended already. */
function signal(child: Deno.ChildProcess, name: Deno.Signal): void {
  try {
    child.kill(name);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
}

/**
 * Runs a program to its end.
 *
 * @throws {Error} If it is missing, ends with another code than 0, or is not done in time
 */
export async function run(
  program: string,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<Outcome> {
  const child = spawn(program, args, options);
  const { deadlineMs = DEADLINE_MS, input } = options;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    signal(child, "SIGKILL");
  }, deadlineMs);
  const feed = input === undefined ? undefined : feedInput(child, input);
  const [status, stdout, stderr] = await Promise.all([
    child.status,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    feed,
  ]);
  clearTimeout(timer);
  const text = `${stdout.slice(-4000)}\n${stderr.slice(-4000)}`;
  if (late) {
    throw new Error(`Killed "${program}" after ${deadlineMs} ms:\n${text}`);
  }
  if (status.code !== 0 && !options.anyCode) {
    throw new Error(
      `Running "${program} ${args.join(" ").slice(0, 300)}" failed with code ` +
        `${status.code}:\n${text}`,
    );
  }
  return { code: status.code, stdout, stderr };
}

/** Writes the input; a program that ends without reading it all is no error. */
async function feedInput(
  child: Deno.ChildProcess,
  input: string | Uint8Array,
): Promise<void> {
  const writer = child.stdin.getWriter();
  try {
    await writer.write(
      typeof input === "string" ? new TextEncoder().encode(input) : input,
    );
    await writer.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/** A program that runs beside the test; disposing of it ends it. */
export class BackgroundProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #program: string;
  readonly #drained: Promise<unknown>;
  readonly #waiting = new Set<() => void>();
  #stdout = "";
  #stderr = "";
  #ended = false;

  /** @param program What runs, for error texts */
  constructor(child: Deno.ChildProcess, program: string) {
    this.#child = child;
    this.#program = program;
    this.#drained = Promise.all([
      this.#collect(child.stdout, (text) => this.#stdout += text),
      this.#collect(child.stderr, (text) => this.#stderr += text),
    ]).then(() => {
      this.#ended = true;
      this.#wake();
    });
  }

  /** Starts a program. */
  static start(
    program: string,
    args: readonly string[],
    options: Omit<ProcessOptions, "input"> = {},
  ): BackgroundProcess {
    return new BackgroundProcess(spawn(program, args, options), program);
  }

  /** What it has written on standard output so far. */
  get stdout(): string {
    return this.#stdout;
  }

  /** What it has written on standard error so far. */
  get stderr(): string {
    return this.#stderr;
  }

  /** Its process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Its exit, once it has ended. */
  get status(): Promise<Deno.CommandStatus> {
    return this.#child.status;
  }

  /**
   * Waits until `find` returns something other than `undefined` for the text on
   * standard output.
   *
   * @throws {Error} If the program ends before, or the deadline passes
   */
  async waitFor<T>(
    find: (stdout: string) => T | undefined,
    options: { deadlineMs?: number } = {},
  ): Promise<T> {
    const { deadlineMs = DEADLINE_MS } = options;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, deadlineMs);
    try {
      for (;;) {
        const found = find(this.#stdout);
        if (found !== undefined) return found;
        if (late || this.#ended) break;
        await new Promise<void>((resolve) => this.#waiting.add(resolve));
      }
    } finally {
      clearTimeout(timer);
    }
    const why = late ? `is not ready after ${deadlineMs} ms` : "ended early";
    throw new Error(
      `Process "${this.#program}" ${why}:\n${this.#stdout}\n${this.#stderr}`,
    );
  }

  /** Sends SIGTERM, waits, and kills it after the deadline. */
  async stop(options: { deadlineMs?: number } = {}): Promise<number> {
    const { deadlineMs = DEADLINE_MS } = options;
    signal(this.#child, "SIGTERM");
    const timer = setTimeout(() => signal(this.#child, "SIGKILL"), deadlineMs);
    const { code } = await this.#child.status;
    clearTimeout(timer);
    await this.#drained;
    return code;
  }

  /** Stops it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #collect(
    stream: ReadableStream<Uint8Array<ArrayBuffer>>,
    keep: (text: string) => void,
  ): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      keep(text);
      this.#wake();
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
