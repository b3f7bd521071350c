/**
 * The server under load: the command line as a process of its own, on a port
 * that it keeps over restarts, and the folder it keeps its mail in.
 */

import { controlSpool, inspectSpool } from "../../lib/queue/mod.ts";
import { packageFlags } from "../support/interop/server.ts";
import { listening } from "../support/interop/relay_peers.ts";
import { TestClient } from "../support/server.ts";
import { PROXY_ADDRESS } from "./attacks.ts";
import type { Ledger } from "./ledger.ts";
import { until, within } from "../support/wait.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Aliases of the server: to a mailbox, and to another server. */
const ALIASES = "info@near.test: you@near.test\naway@near.test: ann@far.test\n";
/** The mailbox that is not emptied under load, so that it is full. */
const FULL = "full@near.test";
/** Bytes that a mailbox may hold: one message of the greatest size, and another half. */
const QUOTA = 6_000_000;

/** The memory and descriptors of the server. */
export interface Needs {
  /** Bytes of heap and buffers that are in use after a collection. */
  readonly needed: number;
  /** Bytes of the process that are in memory. */
  readonly resident: number;
  /** Open file descriptors. */
  readonly files: number;
}

/** A server that can be killed and started again. */
export class ServerProcess implements AsyncDisposable {
  /** The port it listens on. */
  readonly port: number;
  /** The port for TLS from the first byte. */
  readonly tlsPort: number;
  /** The folder of its mail and its queue. */
  readonly folder: string;
  readonly #nextPort: number;
  readonly #nameServer: string;
  #process: Deno.ChildProcess | undefined;
  /** Resolves when its output ends. */
  #output: Promise<unknown> = Promise.resolve();
  #isListening = false;
  /** Whether its log is read. If not, the server must not wait for a reader. */
  readsLog = true;
  /** Records that the server reports as dropped. */
  droppedNotes = 0;
  /** Mail folders that were moved out of the way. */
  #moved = 0;
  /** Records of the level error, by message, and how often they came. */
  readonly errors: Map<string, number> = new Map();

  /**
   * @param folder Where mail and queue are kept
   * @param init The server's own ports, that of the servers it relays to, and
   * the name server that leads there
   */
  constructor(
    folder: string,
    init: {
      readonly own: number;
      readonly tls: number;
      readonly next: number;
      readonly nameServer: string;
    },
  ) {
    this.folder = folder;
    this.port = init.own;
    this.tlsPort = init.tls;
    this.#nextPort = init.next;
    this.#nameServer = init.nameServer;
  }

  /** Starts it and waits until it listens. */
  async start(): Promise<void> {
    this.#isListening = false;
    await Deno.writeTextFile(`${this.folder}/aliases`, ALIASES);
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-A", ...packageFlags, `${ROOT}cli.ts`],
        ...["--listen", `127.0.0.1:${this.port}`, "--hostname", "mx.test"],
        ...["--listen", `127.0.0.1:${this.tlsPort}/smtps`],
        ...["--listen", `unix:${this.socket}/lmtp`],
        ...["--aliases", `${this.folder}/aliases`, "--quota", `${QUOTA}`],
        ...["--proxy-protocol", `${PROXY_ADDRESS}/32`],
        ...["--store", `maildir:${this.folder}/mail`, "--domain", "near.test"],
        ...["--user", "ann:secret", "--self-signed", "--timeout", "5"],
        ...["--relay", "--relay-from", "127.0.0.1/32"],
        ...["--spool", `${this.folder}/spool`, "--retry", "200ms*20 1s"],
        ...["--dns", this.#nameServer, "--allow-loopback"],
        ...["--remote-port", `${this.#nextPort}`],
        ...["--handlers", `${ROOT}tests/soak/handlers.ts`],
        ...["--max-size", "4000000", "--log", "json"],
      ],
      cwd: this.folder,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#process = child;
    this.#output = Promise.all([
      this.#readScreen(child.stdout),
      this.#readLog(child.stderr),
    ]);
    const ended = child.status.then(({ code }) => {
      throw new Error(`The server ended with code ${code} at its start`);
    });
    ended.catch(() => {});
    await Promise.race([until(() => this.#isListening), ended]);
    await listening("127.0.0.1", this.port);
  }

  /** The unix socket on which it speaks LMTP. */
  get socket(): string {
    return `${this.folder}/lmtp.sock`;
  }

  /** Its process id, while it runs. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Whether it runs. */
  get isAlive(): boolean {
    try {
      Deno.kill(this.#process!.pid, "SIGCONT");
      return true;
    } catch {
      return false;
    }
  }

  async #readScreen(stream: ReadableStream<Uint8Array>): Promise<void> {
    let text = "";
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      if (!this.#isListening) text += piece;
      if (text.includes("listening on")) this.#isListening = true;
    }
  }

  /** Reads its log while `readsLog` is set, and counts the errors. */
  async #readLog(stream: ReadableStream<Uint8Array>): Promise<void> {
    let rest = "";
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#look(line);
      while (!this.readsLog) await new Promise((done) => setTimeout(done, 20));
    }
    if (rest !== "") this.#look(rest);
  }

  #look(line: string): void {
    if (line.includes("dropped")) this.droppedNotes++;
    if (line.startsWith("{") && !line.includes('"level":"error"')) return;
    let kind = line;
    try {
      const { message } = JSON.parse(line) as { message: string };
      kind = message.replace(/ message \S+/, "");
    } catch {
      // A line that is no record was written by the platform.
    }
    this.errors.set(kind, (this.errors.get(kind) ?? 0) + 1);
  }

  /** Kills it with SIGKILL. */
  async kill(): Promise<void> {
    const child = this.#process!;
    Deno.kill(child.pid, "SIGKILL");
    await child.status;
    await this.#output;
  }

  /** Sends it a signal. */
  signal(name: Deno.Signal): void {
    Deno.kill(this.#process!.pid, name);
  }

  /** Stops it as a service manager would; gives the exit code. */
  async stop(): Promise<number> {
    const child = this.#process!;
    Deno.kill(child.pid, "SIGTERM");
    const { code } = await within(child.status, "the server to stop");
    await this.#output;
    this.#process = undefined;
    return code;
  }

  /** Asks for its memory and descriptors. */
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
    await controlSpool(`${this.folder}/spool`, { action: "retry", id: "all" });
  }

  /** Takes mail out of its queue that can never arrive, as an administrator would. */
  async purge(isHopeless: (recipient: string) => boolean): Promise<void> {
    const spool = `${this.folder}/spool`;
    for (const [id, { envelope }] of await inspectSpool(spool)) {
      if (!envelope.recipients.some(({ address }) => isHopeless(address))) {
        continue;
      }
      await controlSpool(spool, { action: "remove", id });
    }
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
   * Puts a file in the place of the mail folder. The server may be faster and
   * make a new folder, which is then moved out of the way.
   */
  async takeMail(): Promise<void> {
    const mail = `${this.folder}/mail`;
    await Deno.rename(mail, `${mail}.away`);
    for (;;) {
      try {
        return await Deno.writeTextFile(mail, "", { createNew: true });
      } catch (error) {
        if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
        await Deno.rename(mail, `${mail}.${++this.#moved}`);
      }
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

  /** Takes the messages out of the mailboxes; out of the full one only if `all` is set. */
  async collect(
    ledger: Ledger,
    { all }: { readonly all: boolean },
  ): Promise<void> {
    const without = all ? "" : FULL;
    for (const name of await namesIn(this.folder)) {
      if (!/^mail(\.\d+)?$/.test(name)) continue;
      await this.#collectFrom(name, { ledger, without });
    }
  }

  async #collectFrom(
    mail: string,
    { ledger, without }: {
      readonly ledger: Ledger;
      readonly without: string;
    },
  ): Promise<void> {
    for (const mailbox of await namesIn(`${this.folder}/${mail}`)) {
      if (mailbox === without) continue;
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

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process === undefined || !this.isAlive) return;
    await this.kill();
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
