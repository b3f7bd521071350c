/** Drives a ClientProtocol against a FakeServer, without a promise. */

import type { ClientEffect } from "../../../lib/protocol/client/state.ts";
import type { ClientProtocol } from "../../../lib/protocol/client/protocol.ts";
import type { FakeServer } from "./fake_server.ts";
import { bytesOf, textOf } from "../bytes.ts";

/** A machine and a server with what lies between them. */
export class Drive {
  readonly client: ClientProtocol;
  readonly server: FakeServer;
  /** Every write of the client, as text. */
  readonly writes: string[] = [];
  #waiting: string;

  constructor(client: ClientProtocol, server: FakeServer) {
    this.client = client;
    this.server = server;
    this.#waiting = server.greet();
  }

  /** Carries out effects until the order ends; content goes in the pieces given. */
  run(content: readonly string[] = []): ClientEffect {
    const pieces = [...content];
    for (let round = 0; round < 100000; round++) {
      const effect = this.client.next();
      switch (effect.kind) {
        case "write":
          this.writes.push(textOf(effect.bytes));
          this.#waiting += this.server.receive(textOf(effect.bytes));
          break;
        case "read":
          if (this.#waiting !== "") {
            this.client.receive(bytesOf(this.#waiting));
            this.#waiting = "";
          } else if (this.server.closed) {
            this.client.end();
          } else {
            this.client.fail("timeout", "The server says nothing");
          }
          break;
        case "content": {
          const piece = pieces.shift();
          if (piece === undefined) this.client.endContent();
          else this.client.content(bytesOf(piece));
          break;
        }
        default:
          return effect;
      }
    }
    throw new Error("Cannot finish: the machine runs in circles");
  }
}
