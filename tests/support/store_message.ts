/**
 * Messages for the tests of the stores, and readers of the folders they leave.
 */

import {
  Message,
  type MessageInit,
  type Recipient,
} from "../../lib/message/message.ts";
import { Address } from "../../lib/protocol/address.ts";

/** The parts of a message that a test chooses; the others have defaults. */
export interface TestMessage
  extends Partial<Omit<MessageInit, "from" | "trace">> {
  /** The reverse-path, `""` for the null sender. */
  readonly from?: string;
  /** The trace fields, complete with line ends. */
  readonly trace?: string;
  /** The forward-paths. */
  readonly to?: readonly string[];
  /** The content, without trace fields. */
  readonly content?: string | Uint8Array;
  /** Bytes kept in memory, 0 for a content in a file. */
  readonly memoryLimit?: number;
}

let count = 0;

/** A recipient with that address. */
export function recipientOf(text: string): Recipient {
  return { address: Address.parse(text), parameters: {} };
}

/** A message whose content is complete. */
export async function messageOf(init: TestMessage = {}): Promise<Message> {
  const message = new Message({
    id: `test-${++count}`,
    parameters: {},
    receivedAt: new Date(Date.UTC(2025, 0, 2, 3, 4, 5)),
    body: { memoryLimit: init.memoryLimit ?? 1 << 20 },
    ...init,
    trace: () => init.trace ?? "",
    from: Address.parse(init.from ?? "sender@example.org"),
    recipients: (init.to ?? ["user@example.com"]).map(recipientOf),
  });
  const content = init.content ?? "Subject: test\r\n\r\nHello\r\n";
  await message.body.write(
    typeof content === "string" ? new TextEncoder().encode(content) : content,
  );
  return message;
}

/** The names in a folder, sorted; `[]` if there is no such folder. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    const names = await Array.fromAsync(
      Deno.readDir(path),
      (entry) => entry.name,
    );
    return names.sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** The only file in a folder, as text. */
export async function onlyFileIn(path: string): Promise<string> {
  const names = await namesIn(path);
  if (names.length !== 1) {
    throw new Error(`Found ${names.length} files in "${path}", want 1`);
  }
  return await Deno.readTextFile(`${path}/${names[0]}`);
}
