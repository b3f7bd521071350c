/**
 * Watches the calls of `Deno` with which this process changes a folder, and knows
 * what a loss of power would take: the content of a file until the file is
 * synced, a name until its folder is synced.
 */

import { dirname, resolve } from "node:path";

/** Functions of `Deno` that are watched. */
const WATCHED = ["open", "mkdir", "rename", "remove", "link", "lstat"] as const;
type Watched = Pick<typeof Deno, typeof WATCHED[number]>;

/** Sees every call of `Deno.open` and its kin until it is disposed of. */
export class DiskWatch implements Disposable {
  /** What was done, in order: `"sync mail/new"`; paths without `root`. */
  readonly steps: string[] = [];
  /** Called before a step; an error that it throws is the step's error. */
  before: (step: string) => void | Promise<void> = () => {};
  /** The owner that is reported for files of these names. */
  readonly owners: Map<string, number> = new Map();
  readonly #root: string;
  readonly #real: Watched;
  /** Names that are not on the disk yet. */
  readonly #names = new Set<string>();
  /** Files, by device and number, with content that is not on the disk yet. */
  readonly #dirty = new Set<string>();

  /** @param root The folder that is watched; calls elsewhere are ignored */
  constructor(root: string) {
    this.#root = resolve(root);
    this.#real = Object.fromEntries(
      WATCHED.map((name) => [name, Deno[name]]),
    ) as unknown as Watched;
    const real = this.#real;
    Object.assign(Deno, {
      open: (path: string, options?: Deno.OpenOptions) =>
        this.#open(path, options),
      mkdir: (path: string, options?: Deno.MkdirOptions) =>
        this.#step(`mkdir ${this.#short(path)}`, async () => {
          await real.mkdir(path, options);
          this.#names.add(resolve(path));
        }),
      rename: (from: string, to: string) =>
        this.#step(
          `rename ${this.#short(from)} ${this.#short(to)}`,
          async () => {
            await real.rename(from, to);
            this.#names.delete(resolve(from));
            this.#names.add(resolve(to));
          },
        ),
      link: (from: string, to: string) =>
        this.#step(`link ${this.#short(from)} ${this.#short(to)}`, async () => {
          await real.link(from, to);
          this.#names.add(resolve(to));
        }),
      remove: (path: string, options?: Deno.RemoveOptions) =>
        this.#step(`remove ${this.#short(path)}`, async () => {
          await real.remove(path, options);
          this.#names.delete(resolve(path));
        }),
      lstat: async (path: string) => {
        const info = await real.lstat(path);
        const uid = this.owners.get(this.#short(path));
        return uid === undefined ? info : { ...info, uid };
      },
    });
  }

  /** What a loss of power would take of the file at `path`; empty if nothing. */
  async losses(path: string): Promise<string[]> {
    const losses: string[] = [];
    const full = resolve(this.#root, path);
    for (let at = full; at.length > this.#root.length; at = dirname(at)) {
      if (this.#names.has(at)) losses.push(`name ${this.#short(at)}`);
    }
    if (this.#dirty.has(identity(await this.#real.lstat(full)))) {
      losses.push(`content ${this.#short(full)}`);
    }
    return losses.sort();
  }

  #short(path: string): string {
    const full = resolve(String(path));
    return full.startsWith(`${this.#root}/`)
      ? full.slice(this.#root.length + 1)
      : full;
  }

  async #step<T>(step: string, work: () => Promise<T>): Promise<T> {
    this.steps.push(step);
    await this.before(step);
    return await work();
  }

  async #open(path: string, options?: Deno.OpenOptions): Promise<Deno.FsFile> {
    const short = this.#short(path);
    const full = resolve(path);
    const makes = options?.createNew === true || options?.create === true;
    const existed = await this.#real.lstat(full).then(() => true, () => false);
    const file = makes
      ? await this.#step(
        `open ${short}`,
        () => this.#real.open(path, options),
      )
      : await this.#real.open(path, options);
    if (makes && !existed) this.#names.add(full);
    const info = await file.stat();
    const key = identity(info);
    const sync = (work: () => Promise<void>) => () =>
      this.#step(`sync ${short}`, async () => {
        await work();
        this.#dirty.delete(key);
        if (!info.isDirectory) return;
        for (const name of [...this.#names]) {
          if (dirname(name) === full) this.#names.delete(name);
        }
      });
    const changed: Record<string, unknown> = {
      sync: sync(() => file.sync()),
      syncData: sync(() => file.syncData()),
      write: async (bytes: Uint8Array) => {
        this.#dirty.add(key);
        return await file.write(bytes);
      },
      truncate: async (size?: number) => {
        this.#dirty.add(key);
        await file.truncate(size);
      },
    };
    return new Proxy(file, {
      get(target, name) {
        if (typeof name === "string" && name in changed) return changed[name];
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  /** Restores the functions of `Deno`. */
  [Symbol.dispose](): void {
    Object.assign(Deno, this.#real);
  }
}

function identity({ dev, ino }: Deno.FileInfo): string {
  return `${dev}:${ino}`;
}
