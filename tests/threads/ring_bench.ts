/** The cost of sending calls to another thread: the ring against the platform's structured clone. */

import { Ring, ringMemory } from "../../lib/threads/shared_memory.ts";

/** A typical batch under load. */
const packets = Array.from({ length: 4 }, (_, index) => ({
  call: index,
  name: "handler",
  args: {
    name: "onRcptTo",
    session: { id: `1-${index}`, state: "receiving" },
    text: "bob@example.org",
    parameters: {},
  },
}));
const memory = ringMemory();
const [writer, reader] = [new Ring(memory), new Ring(memory)];

Deno.bench({
  name: "JSON through shared memory",
  group: "4 calls to another thread",
  baseline: true,
  fn() {
    const text = JSON.stringify(packets);
    writer.write({ number: 0, text, pieces: [] });
    JSON.parse(reader.take()!.text);
  },
});

Deno.bench({
  name: "structuredClone",
  group: "4 calls to another thread",
  fn() {
    structuredClone(packets);
  },
});
