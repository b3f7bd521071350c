/**
 * What the client has sent and the receiving machine has not read yet.
 */

const NOTHING = new Uint8Array(0);

/** The octets of one read, and how far they have been used. */
export class ServerInput {
  /** The octets; the machine may change what it has read. */
  bytes: Uint8Array = NOTHING;
  /** Where the next unread octet stands. */
  position = 0;
  /** Where the unread octets end. */
  end = 0;

  /** Whether all has been read. */
  get isEmpty(): boolean {
    return this.position === this.end;
  }

  /** Takes the first `count` of `bytes`. */
  take(bytes: Uint8Array, count: number): void {
    this.bytes = bytes;
    this.position = 0;
    this.end = count;
  }

  /** Lets go of all of it, read or not. */
  forget(): void {
    this.bytes = NOTHING;
    this.position = this.end = 0;
  }
}
