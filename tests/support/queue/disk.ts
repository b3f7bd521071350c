/**
 * A disk in memory that can be full, stop working at a chosen operation, and
 * lose what was not synced, file content and folder entries apart.
 */

import type { SpoolFile, SpoolFiles } from "../../../lib/spool/files.ts";

interface Inode {
  data: Uint8Array<ArrayBuffer>;
  synced: Uint8Array<ArrayBuffer>;
}

/** What every operation throws after the crash. */
export class CrashError extends Error {
  override readonly name: string = "CrashError";
}

/** A disk that loses what was not synced. */
export class SimulatedDisk implements SpoolFiles {
  /** The operation at which it stops working, counted from 1. */
  crashAt: number = Infinity;
  /** Whether every write fails halfway. */
  isFull = false;
  /** Operations so far. */
  steps = 0;
  /** Resolves when it has stopped working. */
  readonly crashed: Promise<void>;
  readonly #random: () => number;
  readonly #crash: () => void;
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #locked = new Set<string>();

  constructor(random: () => number = () => 0.5) {
    this.#random = random;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.crashed = promise;
    this.#crash = resolve;
  }

  /** The disk after a loss of power: some of what was not synced is there. */
  afterPowerLoss(): SimulatedDisk {
    const next = new SimulatedDisk(this.#random);
    const survivors = new Map<Inode, Inode>();
    const paths = new Set([
      ...this.#names.keys(),
      ...this.#durableNames.keys(),
    ]);
    for (const path of paths) {
      const isNew = this.#random() < 0.5;
      const inode = (isNew ? this.#names : this.#durableNames).get(path);
      if (inode === undefined) continue;
      const copy = survivors.get(inode) ?? this.#survivor(inode);
      survivors.set(inode, copy);
      next.#names.set(path, copy);
      next.#durableNames.set(path, copy);
    }
    return next;
  }

  #survivor(inode: Inode): Inode {
    const { data, synced } = inode;
    const extra = Math.max(0, data.length - synced.length);
    const kept = synced.length + Math.floor(this.#random() * (extra + 1));
    const bytes = this.#random() < 0.5 ? synced : data.slice(0, kept);
    return { data: bytes, synced: bytes };
  }

  /** Names and content. */
  text(path: string): string | undefined {
    const inode = this.#names.get(path);
    return inode && new TextDecoder().decode(inode.data);
  }

  /** Puts a file there. */
  put(path: string, content: string | Uint8Array<ArrayBuffer>): void {
    const bytes = typeof content === "string"
      ? new TextEncoder().encode(content)
      : content;
    const inode = { data: bytes, synced: bytes };
    this.#names.set(path, inode);
    this.#durableNames.set(path, inode);
  }

  /** The bytes of a file. */
  bytes(path: string): Uint8Array<ArrayBuffer> {
    return this.#names.get(path)!.data;
  }

  /** All paths. */
  get paths(): string[] {
    return [...this.#names.keys()].sort();
  }

  #isOver(): boolean {
    if (++this.steps < this.crashAt) return false;
    this.#crash();
    return true;
  }

  async #step(): Promise<void> {
    await Promise.resolve();
    if (this.#isOver()) throw new CrashError("Power lost");
  }

  async makeFolder(_path: string): Promise<void> {
    await this.#step();
  }

  async requireOurs(): Promise<void> {
    await this.#step();
  }

  async list(path: string): Promise<string[]> {
    await Promise.resolve();
    const start = `${path}/`;
    return [...this.#names.keys()].filter((name) => name.startsWith(start))
      .map((name) => name.slice(start.length));
  }

  async size(path: string): Promise<number | undefined> {
    await Promise.resolve();
    return this.#names.get(path)?.data.length;
  }

  async create(path: string): Promise<SpoolFile> {
    await this.#step();
    if (this.#names.has(path)) throw new Deno.errors.AlreadyExists(path);
    return this.#open(path);
  }

  async append(path: string): Promise<SpoolFile> {
    await this.#step();
    return this.#open(path);
  }

  #open(path: string): SpoolFile {
    const empty = new Uint8Array(0);
    const inode = this.#names.get(path) ?? { data: empty, synced: empty };
    this.#names.set(path, inode);
    return {
      write: async (bytes: Uint8Array): Promise<void> => {
        await Promise.resolve();
        const isOver = this.#isOver();
        const isWhole = !isOver && !this.isFull;
        const part = isWhole
          ? bytes
          : bytes.subarray(0, Math.floor(this.#random() * bytes.length));
        const grown = new Uint8Array(inode.data.length + part.length);
        grown.set(inode.data);
        grown.set(part, inode.data.length);
        inode.data = grown;
        if (isOver) throw new CrashError("Power lost");
        if (!isWhole) throw new Error("No space left on device");
      },
      sync: async (): Promise<void> => {
        await this.#step();
        inode.synced = inode.data;
      },
      truncate: async (size: number): Promise<void> => {
        await this.#step();
        inode.data = inode.data.slice(0, size);
      },
      close(): void {},
    };
  }

  async *read(
    path: string,
    options: { readonly offset: number; readonly chunkSize: number },
  ): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const inode = this.#names.get(path);
    if (inode === undefined) throw new Deno.errors.NotFound(path);
    const { chunkSize } = options;
    for (let at = options.offset; at < inode.data.length; at += chunkSize) {
      yield await Promise.resolve(inode.data.slice(at, at + chunkSize));
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#step();
    const inode = this.#names.get(from);
    if (inode === undefined) throw new Deno.errors.NotFound(from);
    this.#names.delete(from);
    this.#names.set(to, inode);
  }

  async remove(path: string): Promise<void> {
    await this.#step();
    this.#names.delete(path);
  }

  async syncFolder(path: string): Promise<void> {
    await this.#step();
    const isIn = (name: string) =>
      name.slice(0, name.lastIndexOf("/")) === path;
    for (const name of [...this.#durableNames.keys()]) {
      if (isIn(name) && !this.#names.has(name)) this.#durableNames.delete(name);
    }
    for (const [name, inode] of this.#names) {
      if (isIn(name)) this.#durableNames.set(name, inode);
    }
  }

  async lock(path: string): Promise<(() => void) | undefined> {
    await this.#step();
    if (this.#locked.has(path)) return undefined;
    this.#locked.add(path);
    return () => void this.#locked.delete(path);
  }
}
