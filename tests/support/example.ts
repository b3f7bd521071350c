/** The programs of `examples/`, unchanged, each in its own process and folder. */

import { ScriptedClient } from "@smtp/server/testing";
import { TestFolder } from "./folder.ts";
import { packageFlags } from "./interop/server.ts";
import { BackgroundProcess } from "./process.ts";
import { DEADLINE_MS, until } from "./wait.ts";

/** The path of an example. */
export function examplePath(name: string): string {
  return new URL(`../../examples/${name}`, import.meta.url).pathname;
}

/** A running example. */
export class Example implements AsyncDisposable {
  /** Its working folder. */
  readonly folder: TestFolder;
  /** Its ports, in the order of its output. */
  readonly ports: readonly number[];
  readonly #process: BackgroundProcess;
  /** Whether the folder outlives it. */
  readonly #isLent: boolean;

  /** Made by {@linkcode Example.start}. */
  constructor(
    process: BackgroundProcess,
    init: { folder: TestFolder; ports: readonly number[]; isLent: boolean },
  ) {
    this.#process = process;
    this.#isLent = init.isLent;
    this.folder = init.folder;
    this.ports = init.ports;
  }

  /**
   * Runs an example with arguments instead of its usual ports.
   *
   * @param args Port 0 means a free port
   * @param options `folder`: its working folder, if not one of its own
   */
  static async start(
    name: string,
    args: readonly string[] = ["0"],
    options: {
      ports?: number;
      env?: Readonly<Record<string, string>>;
      folder?: TestFolder;
    } = {},
  ): Promise<Example> {
    const { ports: wanted = 1, env = {} } = options;
    const isLent = options.folder !== undefined;
    const folder = options.folder ?? await TestFolder.create();
    const process = BackgroundProcess.start(Deno.execPath(), [
      ...["run", "-A", ...packageFlags, examplePath(name), ...args],
    ], { cwd: folder.path, env });
    try {
      const ports = await process.waitFor((stdout) => {
        const found = [...stdout.matchAll(/port (\d+)/g)];
        if (found.length < wanted) return;
        return found.map(([, port]) => Number(port));
      });
      return new Example(process, { folder, ports, isLent });
    } catch (error) {
      await process.stop();
      if (!isLent) await folder[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Connects to its first port. */
  connect(): Promise<ScriptedClient> {
    const [port = 0] = this.ports;
    return ScriptedClient.connect(
      { address: "127.0.0.1", port },
      { timeoutMs: DEADLINE_MS },
    );
  }

  /** Waits until it has written a text to standard output. */
  async said(text: string): Promise<void> {
    await this.#process.waitFor((stdout) =>
      stdout.includes(text) ? true : undefined
    );
  }

  /** Waits until it has written a text to standard error. */
  async logged(text: string): Promise<void> {
    await until(() => this.#process.stderr.includes(text), {
      what: text,
      seen: () => this.#process.stderr,
    });
  }

  /** Ends the process. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop();
    if (!this.#isLent) await this.folder[Symbol.asyncDispose]();
  }
}
