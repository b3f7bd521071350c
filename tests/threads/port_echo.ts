/** A worker that sends back each batch: some of the first as messages, the others through the ring. */

import {
  type SharedMemory,
  SharedPort,
} from "../../lib/threads/shared_memory.ts";

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<unknown>) => void;
  postMessage(message: unknown, transfer: Transferable[]): void;
};
/** Number of batches among which some go as messages. */
const MESSAGES = 2500;
let sent = 0;

scope.onmessage = ({ data }) => {
  const port = new SharedPort(scope, data as SharedMemory);
  port.open({
    receive(batch) {
      const isRich = sent < MESSAGES && ++sent % 5 === 0;
      port.send({ ...batch, isRich });
    },
  });
  scope.onmessage = ({ data }) => port.posted(data);
};
