/** The transport between threads: batches in order, through the ring or as messages. */

import { assertEquals } from "@std/assert";
import type { Batch } from "../../lib/threads/channel.ts";
import {
  type PostingPort,
  sharedMemory,
  SharedPort,
  TRANSFER_FROM,
} from "../../lib/threads/shared_memory.ts";
import { DEADLINE_MS } from "../support/wait.ts";
import { rounds } from "../support/random.ts";

/** A message that is not delivered yet. */
interface Posted {
  readonly message: unknown;
  readonly transfer: readonly Transferable[];
}

/** A sending and a receiving end; the test delivers the messages between them. */
function connect() {
  const [mine, theirs] = sharedMemory();
  const posted: Posted[] = [];
  const port: PostingPort = {
    postMessage: (message, transfer) => {
      posted.push({
        message: structuredClone(message, { transfer }),
        transfer,
      });
    },
  };
  const received: unknown[] = [];
  const sender = new SharedPort(port, mine);
  sender.open({ receive: () => {} });
  const receiver = new SharedPort(port, theirs);
  receiver.open({
    receive({ packets, pieces }) {
      received.push(...packets, ...pieces.map(({ length }) => length));
    },
  });
  return {
    sender,
    receiver,
    posted,
    received,
    [Symbol.dispose]() {
      sender.close();
      receiver.close();
    },
  };
}

function batch(packets: unknown[], ...pieces: Uint8Array[]): Batch {
  return { packets, pieces, isRich: false };
}

/** Waits until a sleeping end has woken. */
async function wake(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) {
    await new Promise<void>((resolve) => setTimeout(resolve, 1));
  }
}

Deno.test("SharedPort carries small batches without a message", async () => {
  using way = connect();
  way.sender.send(batch(["a"], new Uint8Array(5)));
  way.sender.send(batch([{ b: null }]));
  await wake();
  assertEquals(way.received, ["a", 5, { b: null }]);
  assertEquals(way.posted.length, 0);
});

Deno.test("SharedPort posts what JSON cannot say, and hands large pieces over", () => {
  using way = connect();
  way.sender.send({ packets: [1n], pieces: [], isRich: true });
  way.sender.send(batch(["large"], new Uint8Array(TRANSFER_FROM)));
  assertEquals(way.posted.map(({ transfer }) => transfer.length), [0, 1]);
  for (const { message } of way.posted) way.receiver.posted(message);
  assertEquals(way.received, [1n, "large", TRANSFER_FROM]);
});

Deno.test("SharedPort keeps the order over both ways", async () => {
  using way = connect();
  const { sender, receiver, posted, received } = way;
  sender.send(batch([1]));
  sender.send({ packets: [2], pieces: [], isRich: true });
  sender.send(batch([3]));
  sender.send({ packets: [4], pieces: [], isRich: true });
  sender.send(batch([5]));
  await wake();
  assertEquals(received, [1]);
  receiver.posted(posted[0]!.message);
  assertEquals(received, [1, 2, 3]);
  receiver.posted(posted[1]!.message);
  assertEquals(received, [1, 2, 3, 4, 5]);
});

Deno.test("SharedPort posts what the memory has no room for", async () => {
  using way = connect();
  const { sender, receiver, posted, received } = way;
  const count = 1000;
  for (let index = 0; index < count; index++) {
    sender.send(batch([index], new Uint8Array(1000)));
  }
  await wake();
  for (const { message } of posted) receiver.posted(message);
  const numbers = Array.from({ length: count }, (_, index) => [index, 1000]);
  assertEquals(received, numbers.flat());
  assertEquals(posted.length > 0 && posted.length < count, true);
});

Deno.test("SharedPort takes nothing in after it was closed", async () => {
  using way = connect();
  way.receiver.close();
  way.sender.send(batch(["late"]));
  way.sender.send({ packets: ["later"], pieces: [], isRich: true });
  way.receiver.posted(way.posted[0]!.message);
  await wake();
  assertEquals(way.received, []);
});

Deno.test("SharedPort keeps the order between two threads at full speed", async () => {
  const worker = new Worker(
    new URL("./port_echo.ts", import.meta.url),
    { type: "module" },
  );
  const [mine, theirs] = sharedMemory();
  worker.postMessage(theirs);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const [total, most] = [rounds(5000), 50];
  let [sent, got] = [0, 0];
  const port = new SharedPort(worker, mine);
  port.open({
    receive({ packets: [number] }) {
      if (number !== got++) reject(new Error(`Got ${number}, not ${got - 1}`));
      if (got === total) resolve();
      say();
    },
  });
  worker.onmessage = ({ data }) => port.posted(data);
  const say = () => {
    while (sent < total && sent < got + most) {
      const packets = [sent++];
      const isRich = sent < total / 2 && sent % 7 === 0;
      port.send({ packets, pieces: [], isRich });
    }
  };
  say();
  const timer = setTimeout(
    () => reject(new Error(`Stuck after ${got} of ${sent}`)),
    DEADLINE_MS,
  );
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    worker.terminate();
    port.close();
  }
});
