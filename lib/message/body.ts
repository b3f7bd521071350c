/**
 * The octets of one message: in memory up to a threshold, in a temporary file
 * beyond it. Owns that file and removes it in {@linkcode MessageBody.discard},
 * whatever happened before. Knows nothing of headers, envelopes or stores.
 */

/** Where a body goes when it outgrows memory. */
export interface BodyOptions {
  /** Octets kept in memory; a larger body goes to a temporary file. */
  readonly memoryLimit: number;
  /** Folder of the temporary files; the system's when not given. */
  readonly temporaryFolder?: string | undefined;
}

const READ_SIZE = 65536;

/** Shared: a typed array costs more to make than the rest of a body. */
const NOTHING = new Uint8Array(0);

/** The octets of one message, written once, in order, then read as often as wanted. */
export class MessageBody {
  #memory: Uint8Array<ArrayBuffer> = NOTHING;
  #memoryUsed = 0;
  #size = 0;
  #file: Deno.FsFile | undefined;
  #path: string | undefined;
  readonly #options: BodyOptions;

  /**
   * Makes an empty body.
   *
   * @param options Where the octets go
   */
  constructor(options: BodyOptions) {
    this.#options = options;
  }

  /** Octets written so far. */
  get size(): number {
    return this.#size;
  }

  /** The whole body where it is in memory, else `undefined`. Not to be changed. */
  get memory(): Uint8Array<ArrayBuffer> | undefined {
    return this.#path === undefined ? this.head : undefined;
  }

  /** The body's beginning: all of it, or as much as memory was allowed to keep. */
  get head(): Uint8Array<ArrayBuffer> {
    return this.#memory.subarray(0, this.#memoryUsed);
  }

  /**
   * Appends a copy of `chunk`. Returns a promise only where a file is written;
   * the chunk is free again when that resolves.
   */
  write(chunk: Uint8Array): void | Promise<void> {
    this.#size += chunk.length;
    if (this.#path === undefined) {
      if (this.#size <= this.#options.memoryLimit) {
        return this.#keep(chunk);
      }
      return this.#spill(chunk);
    }
    return this.#append(chunk);
  }

  #keep(chunk: Uint8Array): void {
    const used = this.#memoryUsed + chunk.length;
    if (used > this.#memory.length) {
      const grown = new Uint8Array(Math.max(used, this.#memory.length * 2));
      grown.set(this.head);
      this.#memory = grown;
    }
    this.#memory.set(chunk, this.#memoryUsed);
    this.#memoryUsed = used;
  }

  async #spill(chunk: Uint8Array): Promise<void> {
    const folder = this.#options.temporaryFolder;
    this.#path = await Deno.makeTempFile({
      prefix: "smtp-",
      suffix: ".tmp",
      ...(folder === undefined ? {} : { dir: folder }),
    });
    this.#file = await Deno.open(this.#path, { write: true, read: true });
    await this.#append(this.head);
    await this.#append(chunk);
  }

  async #append(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length;) {
      at += await this.#file!.write(chunk.subarray(at));
    }
  }

  /** The octets in order, in pieces that stay untouched. Each call starts at the beginning. */
  async *chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    if (this.#path === undefined) {
      if (this.#memoryUsed > 0) yield this.head;
      return;
    }
    using file = await Deno.open(this.#path);
    for (;;) {
      const chunk = new Uint8Array(READ_SIZE);
      const count = await file.read(chunk);
      if (count === null) return;
      yield chunk.subarray(0, count);
    }
  }

  /** Forgets the octets and removes the temporary file. Idempotent; never throws. */
  async discard(): Promise<void> {
    const path = this.#path;
    this.#file?.close();
    this.#file = undefined;
    this.#path = undefined;
    this.#memory = NOTHING;
    this.#memoryUsed = 0;
    this.#size = 0;
    if (path !== undefined) await Deno.remove(path).catch(() => {});
  }
}
