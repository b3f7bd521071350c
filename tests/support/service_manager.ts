/** A service manager's end of sd_notify(3), for tests. */

import { within } from "./wait.ts";

/** The receiving end of a service manager. */
export class Manager implements Disposable {
  /** The value of NOTIFY_SOCKET. */
  readonly place: string;
  readonly #socket: Deno.DatagramConn;

  /** @param place The value of NOTIFY_SOCKET */
  constructor(place: string) {
    this.place = place;
    const path = place.replace("@", "\0");
    this.#socket = Deno.listenDatagram({ transport: "unixpacket", path });
  }

  /** The lines of the next report. */
  async next(): Promise<string[]> {
    const [bytes] = await within(this.#socket.receive(), "a report");
    return new TextDecoder().decode(bytes).split("\n");
  }

  /** The next report that is no sign of life. */
  async news(): Promise<string[]> {
    for (;;) {
      const lines = await this.next();
      if (lines[0] !== "WATCHDOG=1") return lines;
    }
  }

  /** Ends it. */
  [Symbol.dispose](): void {
    this.#socket.close();
  }
}
