/**
 * The server under load: the command line as a process of its own, on a port
 * that it keeps over restarts, and the folder it keeps its mail in.
 */

import { BackgroundProcess, run } from "../support/process.ts";
import { packageFlags } from "../support/interop_server.ts";
import { listening } from "../support/relay_peers.ts";
import { TestClient } from "../support/server.ts";
import type { Ledger } from "./ledger.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** What the server needs of memory and descriptors. */
export interface Needs {
  /** Octets of heap and buffers that are in use after a collection. */
  readonly needed: number;
  /** Octets of the process that are in memory. */
  readonly resident: number;
  /** Open file descriptors. */
  readonly files: number;
}

/** A server that can be killed and started again. */
export class ServerProcess implements AsyncDisposable {
  /** The port it listens on. */
  readonly port: number;
  /** The folder of its mail and its queue. */
  readonly folder: string;
  readonly #sinkPort: number;
  #process: BackgroundProcess | undefined;
  /** Mail folders that were moved out of the way. */
  #moved = 0;
  /** Records of the level error, by message, and how often they came. */
  readonly errors: Map<string, number> = new Map();

  /**
   * @param folder Where mail and queue are kept
   * @param ports The server's own, and that of the server it relays to
   */
  constructor(
    folder: string,
    ports: { readonly own: number; readonly sink: number },
  ) {
    this.folder = folder;
    this.port = ports.own;
    this.#sinkPort = ports.sink;
  }

  /** Starts it and waits until it listens. */
  async start(): Promise<void> {
    this.#process = BackgroundProcess.start(Deno.execPath(), [
      ...["run", "-A", ...packageFlags, `${ROOT}cli.ts`],
      ...["--listen", `127.0.0.1:${this.port}`, "--hostname", "mx.test"],
      ...["--store", `maildir:${this.folder}/mail`, "--domain", "near.test"],
      ...["--user", "ann:secret", "--self-signed", "--timeout", "5"],
      ...["--relay", "--relay-from", "127.0.0.1/32"],
      ...["--spool", `${this.folder}/spool`, "--retry", "200ms*20 1s"],
      ...["--smarthost", `127.0.0.1:${this.#sinkPort}/none`],
      ...["--handlers", `${ROOT}tests/soak/handlers.ts`, "--quiet"],
      ...["--max-size", "4000000", "--log", "json"],
    ], { cwd: this.folder });
    await this.#process.waitFor((text) => text.includes("listening on"));
    await listening("127.0.0.1", this.port);
  }

  /** Ends it without a chance to write anything down. */
  async kill(): Promise<void> {
    const child = this.#process!;
    Deno.kill(child.pid, "SIGKILL");
    await child.status;
    this.#countErrors(child);
  }

  /** Sends it a signal. */
  signal(name: Deno.Signal): void {
    Deno.kill(this.#process!.pid, name);
  }

  /** Stops it as a service manager would; gives the exit code. */
  async stop(): Promise<number> {
    const child = this.#process!;
    const code = await child.stop();
    this.#countErrors(child);
    this.#process = undefined;
    return code;
  }

  /** Asks it what it needs. */
  async needs(): Promise<Needs> {
    using client = await this.connect();
    await client.reply();
    await client.say("EHLO soak.test");
    const text = await client.say("VRFY memory");
    const value = (name: string) =>
      Number(new RegExp(`${name}=(\\d+)`).exec(text)?.[1]);
    await client.say("QUIT");
    return {
      needed: value("needed"),
      resident: value("resident"),
      files: value("files"),
    };
  }

  /** A connection to it. */
  connect(): Promise<TestClient> {
    return TestClient.connect({
      addresses: [{ address: "127.0.0.1", port: this.port }],
    });
  }

  /** Has everything in its queue tried now, as an administrator would. */
  async retry(): Promise<void> {
    await run(Deno.execPath(), [
      ...["run", "-A", ...packageFlags, `${ROOT}cli.ts`],
      ...["queue", "retry", "all", "--spool", `${this.folder}/spool`],
    ], { anyCode: true });
  }

  /** Messages that wait in its queue. */
  get waiting(): number {
    try {
      return [...Deno.readDirSync(`${this.folder}/spool/messages`)].length;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return 0;
      throw error;
    }
  }

  /**
   * Puts the mail folder back that was moved away for a file. The server may be
   * faster and make a new one, which is then moved out of the way.
   */
  async restoreMail(): Promise<void> {
    const mail = `${this.folder}/mail`;
    await Deno.remove(mail);
    for (;;) {
      try {
        return await Deno.rename(`${mail}.away`, mail);
      } catch {
        await Deno.rename(mail, `${mail}.${++this.#moved}`);
      }
    }
  }

  /** Takes the messages out of the mailboxes. */
  async collect(ledger: Ledger): Promise<void> {
    for (const name of await namesIn(this.folder)) {
      if (/^mail(\.\d+)?$/.test(name)) await this.#collectFrom(name, ledger);
    }
  }

  async #collectFrom(mail: string, ledger: Ledger): Promise<void> {
    for (const mailbox of await namesIn(`${this.folder}/${mail}`)) {
      const folder = `${this.folder}/${mail}/${mailbox}/new`;
      for (const name of await namesIn(folder)) {
        const path = `${folder}/${name}`;
        const [, id] = /^X-Soak: (\S+)/m.exec(await Deno.readTextFile(path)) ??
          [];
        ledger.see(id ?? "");
        await Deno.remove(path);
      }
    }
  }

  #countErrors(child: BackgroundProcess): void {
    for (const line of child.stderr.split("\n")) {
      if (!line.includes('"level":"error"')) continue;
      const { message } = JSON.parse(line) as { message: string };
      const kind = message.replace(/ message \S+/, "");
      this.errors.set(kind, (this.errors.get(kind) ?? 0) + 1);
    }
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process?.stop();
  }
}

/** The names in a folder, none where it is not there. */
async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) =>
      name
    );
  } catch (error) {
    const isAway = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory;
    if (isAway) return [];
    throw error;
  }
}
