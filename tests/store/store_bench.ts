/**
 * The rate of the stores: messages of 4 KiB, synced, 20 at once, as on a busy
 * server; and the cost of the passes over large bodies.
 */

import { FileStore } from "../../lib/store/file_store.ts";
import { FromQuoter, LineFeedEncoder } from "../../lib/store/content.ts";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { MboxStore } from "../../lib/store/mbox_store.ts";
import type { MessageStore } from "../../lib/message/message.ts";
import { messageOf } from "../support/store_message.ts";

const AT_ONCE = 20;
const ROUNDS = 10;
const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => {
  Deno.removeSync(folder, { recursive: true });
});
const message = await messageOf({
  trace: "Received: from a (b [192.0.2.1])\r\n\tby c with ESMTP id d; e\r\n",
  content: "Subject: x\r\n\r\n" + `${"x".repeat(76)}\r\n`.repeat(52),
});

/** Keeps 200 messages, 20 at once. */
async function keepMany(store: MessageStore): Promise<void> {
  const work = async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await store.save(message, { partial: false });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

const stores: Readonly<Record<string, MessageStore>> = {
  "maildir": new MaildirStore({ folder: `${folder}/maildir` }),
  "maildir, no sync": new MaildirStore({
    folder: `${folder}/maildir-unsynced`,
    sync: false,
  }),
  "file a message": new FileStore({ folder: `${folder}/file` }),
  "mbox": new MboxStore({ path: `${folder}/mbox` }),
  "mbox, no sync": new MboxStore({
    path: `${folder}/mbox-unsynced`,
    sync: false,
  }),
};

for (const [name, store] of Object.entries(stores)) {
  Deno.bench(`200 messages of 4 KiB, 20 at once: ${name}`, {
    group: "stores",
    n: 5,
    warmup: 1,
  }, async () => await keepMany(store));
}

Deno.bench("what the disk allows: 200 x write, sync, rename, 20 at once", {
  group: "stores",
  n: 5,
  warmup: 1,
}, async () => {
  const bytes = new Uint8Array(4096);
  let count = 0;
  const work = async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const path = `${folder}/raw-${crypto.randomUUID()}-${count++}`;
      using file = await Deno.open(path, { createNew: true, write: true });
      await file.write(bytes);
      await file.syncData();
      await Deno.rename(path, `${path}.done`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
});

/** One MiB in chunks of 64 KiB. */
function* megabyte(
  line: string,
): Generator<Uint8Array<ArrayBuffer>, void, unknown> {
  const bytes = new TextEncoder().encode(
    line.repeat(Math.ceil((1 << 20) / line.length)),
  );
  for (let at = 0; at < 1 << 20; at += 65536) {
    yield bytes.slice(at, at + 65536);
  }
}

const shapes: readonly [name: string, line: string][] = [
  ["lines of 78 bytes", `${"x".repeat(76)}\r\n`],
  ["empty lines", "\r\n"],
  ["separators", "From \r\n"],
];
for (const [name, line] of shapes) {
  const chunks = [...megabyte(line)];
  Deno.bench(`1 MiB, CRLF to LF: ${name}`, { group: "passes" }, () => {
    const encoder = new LineFeedEncoder();
    for (const chunk of chunks) encoder.encode(chunk);
  });
  Deno.bench(`1 MiB, From quoting: ${name}`, { group: "passes" }, () => {
    const quoter = new FromQuoter();
    for (const chunk of chunks) quoter.quote(chunk);
  });
}
