/**
 * The command line's server as a child process on ports of its own, and the
 * folder it keeps its mail in.
 */

import { BackgroundProcess, type Outcome, run } from "../process.ts";

const ROOT = new URL("../../../", import.meta.url);

/** The flags that tell child processes where the @std packages are, as this process was told. */
export const packageFlags: readonly string[] =
  import.meta.resolve("@std/assert").startsWith("jsr:")
    ? []
    : [`--import-map=${new URL(".ci/std_from_npm.json", ROOT).pathname}`];

/** A folder that is removed at the end. */
export class TemporaryFolder implements AsyncDisposable {
  /** Where it is. */
  readonly path: string;

  /** @param path Where it is */
  constructor(path: string) {
    this.path = path;
  }

  /** Makes one that other users may look into. */
  static async create(): Promise<TemporaryFolder> {
    const path = await Deno.makeTempDir({ prefix: "smtp-interop-" });
    await Deno.chmod(path, 0o755);
    return new TemporaryFolder(path);
  }

  /** Removes it with all that is in it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** A running `cli.ts serve`. */
export class InteropServer implements AsyncDisposable {
  /** The ports of the listeners, in the order of the options. */
  readonly ports: readonly number[];
  /** The child process. */
  readonly process: BackgroundProcess;

  /**
   * @param process The child process
   * @param ports The ports of its listeners
   */
  constructor(process: BackgroundProcess, ports: readonly number[]) {
    this.process = process;
    this.ports = ports;
  }

  /**
   * Starts one: `listeners` are kinds, as `["smtp", "lmtp"]`; `under` is a
   * program that runs it, with its arguments, and gives way to it.
   */
  static async start(
    args: readonly string[],
    options: {
      cwd: string;
      listeners?: readonly string[];
      under?: readonly string[];
      env?: Readonly<Record<string, string>>;
    },
  ): Promise<InteropServer> {
    const { cwd, listeners = ["smtp"], under = [], env = {} } = options;
    const listen = listeners.flatMap((kind) => [
      "--listen",
      `127.0.0.1:0/${kind}`,
    ]);
    const [program, ...line] = [
      ...[...under, Deno.execPath(), "run", "-A", ...packageFlags],
      ...[new URL("cli.ts", ROOT).pathname, "serve", "--hostname", "mx.test"],
      ...[...listen, ...args],
    ] as const;
    const process = BackgroundProcess.start(program!, line, { cwd, env });
    try {
      const ports = await process.waitFor((stdout) => {
        const lines = [
          ...stdout.matchAll(/^listening on \S+:(\d+) \(\w+\)$/gm),
        ];
        if (lines.length < listeners.length) return;
        return lines.map(([, port]) => Number(port));
      });
      return new InteropServer(process, ports);
    } catch (error) {
      await process.stop();
      throw error;
    }
  }

  /** The port of the first listener. */
  get port(): number {
    return this.ports[0]!;
  }

  /** Stops it as a service manager would; gives the exit code. */
  async stop(): Promise<number> {
    return await this.process.stop();
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.process.stop();
  }
}

/** Runs one of the scripts in tests/interop/peers/ with Python. */
export async function runPython(
  script: string,
  args: readonly (string | number)[],
): Promise<Outcome> {
  return await runPeer("python3", script, args);
}

/** Runs one of the scripts in tests/interop/peers/ with Node and the packages in .ci/tools/. */
export async function runNode(
  script: string,
  args: readonly (string | number)[],
): Promise<Outcome> {
  return await runPeer("node", script, args);
}

async function runPeer(
  program: string,
  script: string,
  args: readonly (string | number)[],
): Promise<Outcome> {
  const path = new URL(`tests/interop/peers/${script}`, ROOT).pathname;
  return await run(program, [path, ...args.map(String)], {
    deadlineMs: 60_000,
    env: {
      NODE_PATH: new URL(".ci/tools/node_modules", ROOT).pathname,
      PYTHONDONTWRITEBYTECODE: "1",
    },
  });
}
