/** An example as a process of its own, run as it stands in a folder of its own. */

import { ScriptedClient } from "@smtp/server/testing";
import { TestFolder } from "./cli.ts";
import { packageFlags } from "./interop/server.ts";
import { BackgroundProcess, run } from "./process.ts";

/** The path of an example. */
export function examplePath(name: string): string {
  return new URL(`../../examples/${name}`, import.meta.url).pathname;
}

/** A running example. */
export class Example implements AsyncDisposable {
  /** Where it runs, and keeps what it keeps. */
  readonly folder: TestFolder;
  /** The ports that it listens on, in the order in which it says so. */
  readonly ports: readonly number[];
  readonly #process: BackgroundProcess;

  /** Made by {@linkcode Example.start}. */
  constructor(
    process: BackgroundProcess,
    init: { folder: TestFolder; ports: readonly number[] },
  ) {
    this.#process = process;
    this.folder = init.folder;
    this.ports = init.ports;
  }

  /**
   * Runs an example, with arguments in place of its usual ports.
   *
   * @param args Port 0 is a free one
   */
  static async start(
    name: string,
    args: readonly string[] = ["0"],
    options: { ports?: number; env?: Readonly<Record<string, string>> } = {},
  ): Promise<Example> {
    const { ports: wanted = 1, env = {} } = options;
    const folder = await TestFolder.create();
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
    return ScriptedClient.connect({ address: "127.0.0.1", port });
  }

  /** Waits until it has written this on standard output. */
  async said(text: string): Promise<void> {
    await this.#process.waitFor((stdout) =>
      stdout.includes(text) ? true : undefined
    );
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop();
    await this.folder[Symbol.asyncDispose]();
  }
}

/** Runs an example that is a test. */
export async function testExample(name: string): Promise<void> {
  await run(Deno.execPath(), [
    ...["test", "-A", ...packageFlags, examplePath(name)],
  ]);
}
