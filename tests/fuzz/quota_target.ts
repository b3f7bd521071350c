/**
 * Fuzz of `maildirsize`, which every program that uses a Maildir writes. Whatever
 * the file says, a question for room gets its answer, a delivery gets a copy or a
 * reply about room, and the file is one that the next delivery can read. A file
 * of one good line is believed.
 *
 * {@link https://www.courier-mta.org/imap/README.maildirquota.html | Maildir++}
 */

import { StoreError } from "../../lib/message/message.ts";
import { Address } from "../../lib/protocol/address.ts";
import { SmtpError } from "../../lib/protocol/reply.ts";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { TestFolder } from "../support/folder.ts";
import { messageOf } from "../support/store_message.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";

/** The file that says how full a Maildir is. */
export const quotaTarget: FuzzTarget = {
  name: "quota",
  cost: 40,
  async start() {
    folder = await TestFolder.create();
    store = new MaildirStore({
      ...{ folder: folder.path, quota: QUOTA, sync: false },
    });
    await Deno.mkdir(`${folder.path}/${BOX}/new`, { recursive: true });
    return () => folder[Symbol.asyncDispose]();
  },
  check: checkFile,
};

let folder: TestFolder;
let store: MaildirStore;
const BOX = "ann@near.test";
const QUOTA = { bytes: 10_000, messages: 20 };
const SIZE = 100;
const LIMITS = [
  "10000S,20C",
  "20C,10000S",
  "10000S",
  "1S,1C",
  "",
  "10000S,20C,0X",
];
const CHANGES = [
  ...["0 0", "100 1", "-100 -1", "9900 1", "10000 19", "  7   2 ", "x", ""],
  ...["999999999999999 1", "1e3 1", "0x10 1", "-0 -0", "1 1 1"],
];

async function checkFile(random: Random): Promise<void> {
  const changes = Array.from(
    { length: random(4) },
    () => pick(random, CHANGES),
  );
  // A file of 5120 bytes is made again.
  if (chance(random, 20)) changes.push(..."100 1,".repeat(900).split(","));
  const made = [pick(random, LIMITS), ...changes, ""].join("\n");
  const text = chance(random, 3) ? made : mutate(random, made);
  await folder.write(`${BOX}/maildirsize`, text);
  const address = Address.parse(BOX);
  const hasRoom = await store.hasRoom!(address, SIZE);
  const [, bytes, count] = /^10000S,20C\n(\d{1,6}) (\d{1,6})\n$/.exec(text) ??
    [];
  const isBelieved = Number(bytes) + SIZE <= QUOTA.bytes &&
    Number(count) < QUOTA.messages;
  if (bytes !== undefined && hasRoom !== isBelieved) {
    throw new Error(`Room: ${hasRoom}, for ${JSON.stringify(text)}`);
  }
  const message = await messageOf({ to: [BOX], content: "a: b\r\n\r\nx\r\n" });
  try {
    await store.save(message, { partial: false });
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    for (const cause of error.failures.values()) {
      const isFull = cause instanceof SmtpError && cause.reply.code === 452;
      if (!isFull) throw cause;
    }
  }
  const after = await folder.read(`${BOX}/maildirsize`);
  if (!/^[\dSC, \t]+\n(?:\s*-?\d{1,15}\s+-?\d{1,15}\s*\n)+$/.test(after)) {
    throw new Error(`Left ${JSON.stringify(after)} of ${JSON.stringify(text)}`);
  }
  // An empty Maildir for the next input.
  for await (const { name } of Deno.readDir(`${folder.path}/${BOX}/new`)) {
    await Deno.remove(`${folder.path}/${BOX}/new/${name}`);
  }
}
