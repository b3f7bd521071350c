/**
 * Stores of programs that fail in odd ways: LMTP answers 250 for a recipient only
 * if the store has its copy (RFC 2033 section 4.2), and not because an error
 * names other recipients, or none.
 */

import { assertEquals } from "@std/assert";
import {
  type MessageStore,
  type Recipient,
  StoreError,
} from "../../lib/message/message.ts";
import { DiscardStore } from "../../lib/store/discard_store.ts";
import { startServer, TestClient } from "../support/server.ts";

/** What a store throws, by the local part of the first recipient. */
const FAULTS: Readonly<
  Record<string, (recipients: readonly Recipient[]) => unknown>
> = {
  nothing: () => undefined,
  none: () => new StoreError("None is named", new Map()),
  others: (recipients) =>
    new StoreError(
      "Copies are named",
      new Map(recipients.map((one) => [{ ...one }, new Error("Lost")])),
    ),
  mixed: (recipients) =>
    new StoreError(
      "A copy is named as well",
      new Map([recipients[0]!, { ...recipients[1]! }].map((one) =>
        [one, new Error("Lost")] as const
      )),
    ),
  reasonless: (recipients) =>
    new StoreError(
      "No reason",
      new Map(recipients.map((one) => [one, undefined])),
    ),
};

const odd: MessageStore = {
  kind: "odd",
  save({ recipients }) {
    const fault = FAULTS[recipients[0]!.address.localPart]!;
    return Promise.reject(fault(recipients));
  },
};

for (const threads of [0, 2]) {
  for (const form of ["store of the server", "stores of domains"]) {
    Deno.test(`No 250 without a copy: ${form}, ${threads} threads`, async () => {
      const isOwn = form === "store of the server";
      await using server = await startServer({
        threads,
        listen: "127.0.0.1:0/lmtp",
        store: isOwn ? odd : new DiscardStore(),
        domains: isOwn
          ? ["odd.test"]
          : { "odd.test": { store: odd }, "good.test": {} },
      });
      using client = await TestClient.connect(server);
      await client.reply();
      await client.expect(["LHLO client.test", "250-"]);
      for (const name of Object.keys(FAULTS)) {
        await client.expect(
          ["MAIL FROM:<a@a.test>", "250"],
          [`RCPT TO:<${name}@odd.test>`, "250"],
          ["RCPT TO:<second@odd.test>", "250"],
        );
        if (!isOwn) await client.expect(["RCPT TO:<ann@good.test>", "250"]);
        await client.expect(["DATA", "354"]);
        const first = await client.say("Subject: x\r\n\r\ny\r\n.");
        const replies = [first, await client.reply()];
        if (!isOwn) replies.push(await client.reply());
        assertEquals(
          replies.map((reply) => reply.slice(0, 3)),
          ["451", "451", ...isOwn ? [] : ["250"]],
          name,
        );
      }
    });
  }
}
