/**
 * The bytes of one message: in memory up to a limit, in a temporary file beyond
 * it. Knows nothing of headers, envelopes or stores.
 *
 * The file has no name: it is removed as soon as it is open, so the system frees
 * it when the process ends, in whatever way. Where the system cannot remove an
 * open file, {@linkcode MessageBody.discard} removes it.
 */

/** How much of a body stays in memory, and where the rest goes. */
export interface BodyOptions {
  /** Most bytes kept in memory; a larger body goes to a temporary file. */
  readonly memoryLimit: number;
  /** Folder of the temporary files. Default: the system's. */
  readonly temporaryFolder?: string | undefined;
}

const READ_SIZE = 65536;

/** Shared by all bodies: to make a typed array costs more than the rest of a body. */
const NOTHING = new Uint8Array(0);

/**
 * The bytes of one message: written once, in order, then read any number of
 * times.
 *
 * @example In memory up to a limit, in a temporary file beyond
 * ```ts
 * import type { MessageBody, SmtpHandlers } from "@smtp/server";
 *
 * async function isBinary(body: MessageBody): Promise<boolean> {
 *   for await (const chunk of body.chunks()) if (chunk.includes(0)) return true;
 *   return false;
 * }
 * const handlers: SmtpHandlers = {
 *   onMessage: async (_session, { body }) =>
 *     body.size < 1000 || !await isBinary(body),
 * };
 * console.assert(handlers.onMessage !== undefined);
 * ```
 */
export class MessageBody {
  #memory: Uint8Array<ArrayBuffer> = NOTHING;
  #memoryUsed = 0;
  #size = 0;
  #file: Deno.FsFile | undefined;
  /** Path of the file, as long as it has one. */
  #path: string | undefined;
  #isDiscarded = false;
  /** Resolves when no reader uses the file's position any more. */
  #turn: Promise<void> = Promise.resolve();
  readonly #options: BodyOptions;

  /** @internal */
  constructor(options: BodyOptions) {
    this.#options = options;
  }

  /** Bytes written so far. */
  get size(): number {
    return this.#size;
  }

  /** @internal Whether the message is over. */
  get isDiscarded(): boolean {
    return this.#isDiscarded;
  }

  /** The whole body if it is in memory, else `undefined`. Do not change it. */
  get memory(): Uint8Array<ArrayBuffer> | undefined {
    // A body that is over must not be taken for an empty one.
    return this.#file === undefined && !this.#isDiscarded
      ? this.head
      : undefined;
  }

  /** The beginning of the body: all of it, or as much as memory may keep. */
  get head(): Uint8Array<ArrayBuffer> {
    return this.#memory.subarray(0, this.#memoryUsed);
  }

  /**
   * Appends a copy of `chunk`. Returns a promise only if it writes to a file; the
   * caller may reuse the chunk when that resolves.
   */
  write(chunk: Uint8Array): void | Promise<void> {
    this.#size += chunk.length;
    if (this.#file === undefined) {
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
    const path = await Deno.makeTempFile({
      prefix: "smtp-",
      suffix: ".tmp",
      ...(folder === undefined ? {} : { dir: folder }),
    });
    this.#path = path;
    this.#file = await Deno.open(path, { write: true, read: true });
    await Deno.remove(path).then(() => this.#path = undefined, () => {});
    await this.#append(this.head);
    await this.#append(chunk);
  }

  async #append(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length;) {
      at += await this.#file!.write(chunk.subarray(at));
    }
  }

  /**
   * The bytes in order, in chunks. Each call starts at the beginning.
   *
   * @param buffer Holds each chunk of a file until the next overwrites it.
   * Default: new memory for each chunk, which stays unchanged
   * @throws {Deno.errors.BadResource} If the body is discarded before or meanwhile
   */
  async *chunks(
    buffer?: Uint8Array<ArrayBuffer>,
  ): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    if (this.#isDiscarded) throw overError();
    if (this.#file === undefined) {
      if (this.#memoryUsed > 0) yield this.head;
      return;
    }
    const size = this.#size;
    for (let at = 0; at < size;) {
      const chunk = buffer ?? new Uint8Array(READ_SIZE);
      const count = await this.#readAt(at, chunk);
      if (count === null) {
        throw new Deno.errors.UnexpectedEof(
          `Cannot read the content: it ends at byte ${at} of ${size}`,
        );
      }
      yield chunk.subarray(0, count);
      at += count;
    }
  }

  /** Reads at a position of the file. All readers share the file's position, so they take turns. */
  async #readAt(place: number, into: Uint8Array): Promise<number | null> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = this.#turn;
    this.#turn = promise;
    await before;
    try {
      const file = this.#file;
      if (file === undefined) throw overError();
      await file.seek(place, Deno.SeekMode.Start);
      return await file.read(into);
    } finally {
      resolve();
    }
  }

  /** Frees the bytes and removes the temporary file. Idempotent; never throws. */
  async discard(): Promise<void> {
    const path = this.#path;
    this.#isDiscarded = true;
    this.#file?.close();
    this.#file = undefined;
    this.#path = undefined;
    this.#memory = NOTHING;
    this.#memoryUsed = 0;
    this.#size = 0;
    if (path !== undefined) await Deno.remove(path).catch(() => {});
  }
}

function overError(): Error {
  return new Deno.errors.BadResource(
    "Cannot read the content: the message is over",
  );
}
