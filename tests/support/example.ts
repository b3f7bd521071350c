/**
 * The programs of `examples/`, unchanged, each in its own process and folder.
 * Disposing of one ends its process and removes its folder.
 */

import { ScriptedClient } from "@smtp/server/testing";
import { TestFolder } from "./folder.ts";
import { packageFlags } from "./interop/server.ts";
import { BackgroundProcess, run } from "./process.ts";
import { DEADLINE_MS } from "./wait.ts";

/** The path of an example. */
function examplePath(name: string): string {
  return new URL(`../../examples/${name}`, import.meta.url).pathname;
}

/** A running example. */
export class Example implements AsyncDisposable {
  /** Its working folder. */
  readonly folder: TestFolder;
  /** Its ports, in the order of its output. */
  readonly ports: readonly number[];
  /** The running program. */
  readonly process: BackgroundProcess;

  /** Made by {@linkcode Example.start}. */
  constructor(
    process: BackgroundProcess,
    init: { folder: TestFolder; ports: readonly number[] },
  ) {
    this.process = process;
    this.folder = init.folder;
    this.ports = init.ports;
  }

  /**
   * Runs an example with arguments instead of its usual ports.
   *
   * @param args Port 0 means a free port
   */
  static async start(
    name: string,
    args: readonly string[] = ["0"],
    options: {
      ports?: number;
      env?: Readonly<Record<string, string>>;
      /** Its working folder; a new one by default. */
      folder?: TestFolder;
    } = {},
  ): Promise<Example> {
    const { ports: wanted = 1, env = {} } = options;
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
      return new Example(process, { folder, ports });
    } catch (error) {
      await process.stop();
      await folder[Symbol.asyncDispose]();
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
    await this.process.waitFor((stdout) =>
      stdout.includes(text) ? true : undefined
    );
  }

  /** Ends the process. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.process.stop();
    await this.folder[Symbol.asyncDispose]();
  }
}

/** Runs an example that is a test. */
export async function testExample(name: string): Promise<void> {
  await run(Deno.execPath(), [
    ...["test", "-A", "--no-check", ...packageFlags, examplePath(name)],
  ]);
}
