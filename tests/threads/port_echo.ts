/** A worker that says back what it is told: part of the first batches as messages, the others through the memory. */

import {
  type SharedMemory,
  SharedPort,
} from "../../lib/threads/shared_memory.ts";

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<unknown>) => void;
  postMessage(message: unknown, transfer: Transferable[]): void;
};
/** How many batches may be messages. */
const MESSAGES = 2500;
let said = 0;

scope.onmessage = ({ data }) => {
  const port = new SharedPort(scope, data as SharedMemory);
  port.open({
    receive(batch) {
      const isRich = said < MESSAGES && ++said % 5 === 0;
      port.send({ ...batch, isRich });
    },
  });
  scope.onmessage = ({ data }) => port.posted(data);
};
