/**
 * What a sender asks of the way of a message (time, TLS) in the records of a
 * spool: it survives a restart, and records of a server that knew nothing of it
 * are read, too.
 */

import { assertEquals } from "@std/assert";
import type { EnvelopeOptions } from "../../lib/spool/envelope.ts";
import { FileSpool } from "../../lib/spool/file_spool.ts";
import type { MailParameters } from "../../lib/protocol/parameters.ts";
import { addition } from "../support/queue/fixtures.ts";
import { TestFolder } from "../support/folder.ts";

const PARAMETERS: MailParameters = {
  ...{ holdFor: 60, requireTls: true },
  by: { seconds: 3600, mode: "return", trace: true },
};
const OPTIONS: EnvelopeOptions = {
  ...{ idleWaitMs: 60_000, deliverBy: 1_800_000_000_000 },
  ...{ toStore: true, declinesTls: true },
};

Deno.test("times and TLS of a message survive a restart", async () => {
  await using folder = await TestFolder.create();
  const first = new FileSpool(folder.path);
  await first.open();
  const plain = addition("plain");
  const { envelope, content } = addition("asked");
  await first.add(plain);
  await first.add({
    content,
    envelope: { ...envelope, parameters: PARAMETERS, options: OPTIONS },
  });
  await first.close();
  const second = new FileSpool(folder.path);
  assertEquals(await second.open(), []);
  const asked = second.entries.get("asked")!;
  assertEquals(asked.envelope.parameters, PARAMETERS);
  assertEquals(asked.envelope.options, OPTIONS);
  const [recipient] = asked.progress.recipients;
  assertEquals(recipient!.nextTryAt, asked.envelope.acceptedAt + 60_000);
  assertEquals(second.entries.get("plain")!.envelope, plain.envelope);
  await second.close();
});
