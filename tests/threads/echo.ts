/** A worker that copies the entries of one ring into another. */

import { Ring } from "../../lib/threads/shared_memory.ts";

addEventListener("message", async (event) => {
  const { forth, back } = (event as MessageEvent).data;
  const [incoming, outgoing] = [new Ring(forth), new Ring(back)];
  for (;;) {
    for (let one = incoming.take(); one !== undefined; one = incoming.take()) {
      while (!outgoing.write(one)) {
        await new Promise<void>((resolve) => setTimeout(resolve));
      }
    }
    await incoming.sleep();
  }
});
