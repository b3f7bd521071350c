/**
 * The soak: an hour of mixed load, attacks and injected faults against the
 * command line, at the end of which every acknowledged message must have
 * arrived, and the memory and the descriptors must be those of the beginning. No
 * honest client may have waited for a second.
 *
 * `deno task soak --minutes 60 --seed 1`; exit code 1 on any failure.
 *
 * The promises of SECURITY.md: "250 means kept", "Every wait has an end",
 * "Every buffer has a limit".
 */

import { Attacks } from "./attacks.ts";
import { HostileHops, SINK } from "./hops.ts";
import { Ledger } from "./ledger.ts";
import { Load } from "./load.ts";
import { type Needs, ServerProcess } from "./server_process.ts";
import { startSink } from "./sink.ts";
import { Waits } from "./waits.ts";
import { seededFraction } from "../support/random.ts";
import { TestFolder } from "../support/folder.ts";

/** Clients at once. */
const CLIENTS = 16;
/** Growth of memory and descriptors allowed between warm-up and end. */
const GROWTH = 0.1;
/** Memory that large mail leaves in the process for the next large mail, in bytes. */
const SLACK = 64 * 1_048_576;
const COLLECT_MS = 500;
/** How long queue and mailboxes may take to be empty when the load rests, in ms. */
const DRAIN_MS = 60_000;
/** How long an honest client may wait for a reply, in ms. */
const MAX_WAIT_MS = 1000;
/** Mail that no server takes. */
const HOPELESS = /@(?:s\d+\.silent|challenge)\.test$/;

/** A rest of some milliseconds. */
function rest(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Options of the run. */
interface Options {
  readonly minutes: number;
  readonly seed: number;
}

function readOptions(args: readonly string[]): Options {
  const value = (name: string, usual: number) => {
    const at = args.indexOf(`--${name}`);
    if (at < 0) return usual;
    const number = Number(args[at + 1]);
    if (!(number > 0)) {
      throw new RangeError(
        `Cannot use --${name} "${args[at + 1]}": want a number above 0`,
      );
    }
    return number;
  };
  return { minutes: value("minutes", 60), seed: value("seed", 1) };
}

/** One run. */
class Soak {
  readonly #server: ServerProcess;
  readonly #sinkPort: number;
  readonly #ledger = new Ledger();
  readonly #random: () => number;
  readonly #load: Load;
  readonly #attacks: Attacks;
  readonly #waits: Waits;
  readonly #faults: string[] = [];
  #sink: Awaited<ReturnType<typeof startSink>> | undefined;
  #loading = false;
  #clients: Promise<unknown> = Promise.resolve();

  constructor(
    server: ServerProcess,
    init: {
      readonly hops: HostileHops;
      readonly sinkPort: number;
      readonly seed: number;
    },
  ) {
    this.#server = server;
    this.#sinkPort = init.sinkPort;
    this.#random = seededFraction(init.seed);
    this.#load = new Load({
      server,
      ledger: this.#ledger,
      random: this.#random,
    });
    this.#attacks = new Attacks({
      server,
      hops: init.hops,
      random: this.#random,
    });
    this.#waits = new Waits(server, this.#ledger);
  }

  /** Runs it all; gives the failures. */
  async run(minutes: number): Promise<string[]> {
    const total = minutes * 60_000;
    await this.#openSink();
    await this.#server.start();
    try {
      // The files that a crash leaves behind are part of the starting state.
      await this.#phase(total * 0.15, []);
      this.#tell("killed and started again");
      this.#begin();
      await rest(1000);
      await this.#server.kill();
      await this.#server.start();
      await this.#end();
      await this.#phase(total * 0.4, ["sink", "folder"]);
      const before = await this.#measure("after the warm-up");
      await this.#phase(total * 0.25, ["sink", "folder", "reload"]);
      await this.#measure("on the way");
      await this.#phase(total * 0.2, ["folder", "sink", "reload"]);
      const after = await this.#measure("at the end");
      this.#compare(before, after);
      this.#account();
      const code = await this.#server.stop();
      if (code !== 0) this.#faults.push(`exit code ${code} of the server`);
    } finally {
      await this.#end();
      this.#waits.close();
      await this.#sink?.stop({ graceMs: 0 });
    }
    return this.#faults;
  }

  /** Load for a while, faults in its middle, until all is quiet again. */
  async #phase(ms: number, faults: readonly string[]): Promise<void> {
    const until = performance.now() + ms;
    this.#begin();
    for (const fault of faults) {
      await rest(ms / (faults.length + 2));
      try {
        await this.#inject(fault);
      } catch (error) {
        const text = Deno.inspect(error);
        this.#faults.push(`the fault "${fault}" cannot be made: ${text}`);
      }
    }
    while (performance.now() < until) {
      await rest(COLLECT_MS);
      await this.#server.collect(this.#ledger, { all: false });
    }
    if (!this.#server.isAlive) throw new Error("The server has ended");
    await this.#end();
    await this.#drain();
  }

  #begin(): void {
    this.#loading = true;
    this.#attacks.begin();
    this.#waits.begin();
    this.#clients = Promise.all(
      Array.from({ length: CLIENTS }, async () => {
        while (this.#loading) await this.#load.one();
      }),
    );
  }

  async #end(): Promise<void> {
    this.#loading = false;
    await Promise.all([
      this.#clients,
      this.#attacks.end(),
      this.#waits.end(),
    ]);
  }

  /** Waits until queue and mailboxes are empty. */
  async #drain(): Promise<void> {
    const until = performance.now() + DRAIN_MS;
    await this.#server.purge((recipient) => HOPELESS.test(recipient));
    while (this.#server.waiting > 0 && performance.now() < until) {
      // A destination that failed rests for a minute; the run does not wait for it.
      await this.#server.retry();
      await rest(COLLECT_MS);
    }
    await this.#server.collect(this.#ledger, { all: true });
    this.#ledger.sweep();
  }

  async #inject(fault: string): Promise<void> {
    const second = () => rest(1000);
    switch (fault) {
      case "sink":
        this.#tell("nobody takes relayed mail");
        await this.#sink?.stop({ graceMs: 0 });
        await second();
        return await this.#openSink();
      case "folder":
        this.#tell("the mail folder is a file");
        await this.#server.takeMail();
        await second();
        return await this.#server.restoreMail();
      case "reload":
        this.#tell("certificates and accounts are reread");
        return this.#server.signal("SIGHUP");
    }
  }

  async #openSink(): Promise<void> {
    this.#sink = await startSink(this.#sinkPort, {
      ledger: this.#ledger,
      random: this.#random,
    });
  }

  async #measure(when: string): Promise<Needs> {
    const needs = await this.#server.needs();
    const mib = (bytes: number) => (bytes / 1_048_576).toFixed(2);
    this.#tell(
      `${when}: ${mib(needs.needed)} MiB needed, ${mib(needs.resident)} MiB ` +
        `resident, ${needs.files} descriptors, ` +
        `${this.#ledger.acknowledged} messages acknowledged`,
    );
    return needs;
  }

  #compare(before: Needs, after: Needs): void {
    for (const name of ["needed", "resident"] as const) {
      const growth = after[name] / before[name] - 1;
      this.#tell(`${name} memory: ${(growth * 100).toFixed(1)} % more`);
      const slack = name === "resident" ? SLACK : 0;
      if (!(after[name] <= before[name] * (1 + GROWTH) + slack)) {
        this.#faults.push(
          `${name} memory grew by ${(growth * 100).toFixed(1)} %`,
        );
      }
    }
    // A session of the pool may be open or not.
    if (!(after.files <= before.files + 8)) {
      this.#faults.push(`${after.files - before.files} more descriptors`);
    }
  }

  #account(): void {
    const { acknowledged, settled, extra, owed } = this.#ledger;
    const { taken, refused, broken } = this.#load.ends;
    this.#tell(
      `${acknowledged} acknowledged, ${settled} arrived, ${extra} more ` +
        `than once or unasked; sessions: ${taken} taken, ${refused} refused, ${broken} broken off`,
    );
    const { full } = this.#load;
    this.#tell(`full mailbox: ${full.taken} taken, ${full.refused} refused`);
    if (full.taken === 0) this.#faults.push("no mailbox with a quota had room");
    if (full.refused === 0) this.#faults.push("no mailbox was ever full");
    for (const [message, times] of this.#server.errors) {
      this.#tell(`logged ${times} times: ${message}`);
    }
    for (const [name, times] of this.#attacks.made) {
      this.#tell(`${times} times: ${name}`);
    }
    this.#tell(`${this.#server.droppedNotes} times told of dropped log lines`);
    for (const [text, times] of this.#attacks.unbounded) {
      this.#faults.push(`${times} times ${text}`);
    }
    for (const line of this.#waits.table()) this.#tell(line);
    const { worstMs, replies } = this.#waits;
    if (replies === 0) this.#faults.push("no honest client got a reply");
    if (worstMs > MAX_WAIT_MS) {
      this.#faults.push(
        `an honest client waited ${worstMs.toFixed(0)} ms for a reply`,
      );
    }
    if (acknowledged === 0) this.#faults.push("nothing was acknowledged");
    if (owed.length > 0) {
      const some = owed.slice(0, 10).join(" ");
      this.#faults.push(`${owed.length} messages are lost: ${some}`);
    }
  }

  #tell(text: string): void {
    console.log(
      `${(performance.now() / 1000).toFixed(0).padStart(5)} s  ${text}`,
    );
  }
}

/**
 * A port that is free on these addresses, below those that the system gives to
 * connections: a server that is started again gets it again.
 */
function quietPort(addresses: readonly string[]): number {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    try {
      for (const hostname of addresses) Deno.listen({ hostname, port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

if (import.meta.main) {
  const { minutes, seed } = readOptions(Deno.args);
  await using folder = await TestFolder.create();
  const [own, tls] = [quietPort(["127.0.0.1"]), quietPort(["127.0.0.1"])];
  const next = quietPort([SINK, "127.0.0.1", "127.77.0.1"]);
  await using hops = await HostileHops.start(next);
  const { nameServer } = hops;
  await using server = new ServerProcess(folder.path, {
    ...{ own, tls, next, nameServer },
  });
  console.log(`soak of ${minutes} minutes, seed ${seed}`);
  const faults: string[] = [];
  try {
    const soak = new Soak(server, { hops, sinkPort: next, seed });
    faults.push(...await soak.run(minutes));
  } catch (error) {
    faults.push(`it broke off: ${Deno.inspect(error)}`);
    for (const [message, times] of server.errors) {
      console.log(`logged ${times} times: ${message}`);
    }
  }
  for (const fault of faults) console.log(`amiss: ${fault}`);
  console.log(faults.length === 0 ? "soak: all is well" : "soak: failed");
  if (faults.length > 0) Deno.exitCode = 1;
}
