/** Stub of the fixed interface, to be written. */
export class MessageHeaders {
  /** Parses. */
  static parse(_block: Uint8Array): MessageHeaders {
    return new MessageHeaders();
  }
}
