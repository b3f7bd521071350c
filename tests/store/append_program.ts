/**
 * A program that appends ten messages to an mbox, for tests that need a second
 * process: `append_program.ts PATH NAME`.
 */

import { MboxStore } from "../../lib/store/mbox_store.ts";
import { messageOf } from "../support/store_message.ts";

const [path, name] = Deno.args;
const store = new MboxStore({ path: path!, returnPath: false });
for (let number = 0; number < 10; number++) {
  const line = `${name}-${number}`;
  const message = await messageOf({
    content: `N: ${line}\r\n\r\n${`${line}\r\n`.repeat(5000)}`,
    memoryLimit: 0,
  });
  await store.save(message, { partial: false });
  await message.discard();
}
