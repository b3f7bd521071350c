/**
 * The content of messages that have just been accepted, for the first delivery,
 * which usually follows at once: what was written need not be read. A bounded
 * memory of what is safe on disk already, never the only copy.
 */

/** Content larger than this is read from the disk. */
const MAX_ONE = 64 * 1024;
/** Octets kept at most; the oldest go first. */
const MAX_ALL = 8 * 1024 * 1024;

/** Remembers content for a while. */
export class FreshContent {
  readonly #content = new Map<string, Uint8Array<ArrayBuffer>>();
  #used = 0;

  /** Remembers the content of a message, if it is small. */
  keep(id: string, content: Uint8Array<ArrayBuffer> | undefined): void {
    if (content === undefined || content.length > MAX_ONE) return;
    this.#content.set(id, content);
    this.#used += content.length;
    for (const oldest of this.#content.keys()) {
      if (this.#used <= MAX_ALL) return;
      this.drop(oldest);
    }
  }

  /** The content of a message, if it is remembered. Not to be changed. */
  get(id: string): Uint8Array<ArrayBuffer> | undefined {
    return this.#content.get(id);
  }

  /** Forgets the content of a message. */
  drop(id: string): void {
    const content = this.#content.get(id);
    if (content === undefined) return;
    this.#content.delete(id);
    this.#used -= content.length;
  }
}
