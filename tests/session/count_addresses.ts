/** A worker that counts in a table of addresses, together with other threads. */

import { AddressTable, FIELD } from "../../lib/session/address_table.ts";

const scope = globalThis as unknown as {
  onmessage: (
    event: MessageEvent<{ memory: SharedArrayBuffer; rounds: number }>,
  ) => void;
  postMessage(message: string): void;
};

scope.onmessage = ({ data }) => {
  const table = new AddressTable(data.memory);
  for (let round = 0; round < data.rounds; round++) {
    table.lock();
    const at = table.take({ high: 7, low: round % 4 }, 0)!;
    table.add(at, FIELD.messages, 1);
    table.addBytes(at, 10);
    table.unlock();
  }
  scope.postMessage("done");
};
