/** Mail of the program's own in the queue: its parts, its line ends, its faults. */

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { type OutgoingMail, SmtpServer } from "@smtp/server";
import { FileSpool, RelayQueue, SpoolError } from "@smtp/server/queue";
import { startTestServer } from "@smtp/server/testing";
import { Address } from "../../lib/protocol/address.ts";
import { utf8 } from "../support/bytes.ts";
import { TestFolder } from "../support/folder.ts";
import { startQueue } from "../support/queue/fixtures.ts";
import { until } from "../support/wait.ts";

const DATA = "Subject: hello\r\n\r\nIt works.\r\n";
const MAIL: OutgoingMail = {
  from: "me@example.com",
  to: "you@example.org",
  data: DATA,
};

Deno.test("Relays.add() takes content of each kind, with line ends of each kind", async () => {
  const { clock, delivery, queue } = await startQueue();
  const text = "Subject: é\n\n.one\r\ntwo\rthree\nend\r";
  const kept = "Subject: é\r\n\r\n.one\r\ntwo three\r\nend \r\n";
  const bytes = utf8(text);
  const rows: OutgoingMail["data"][] = [
    text,
    bytes,
    ReadableStream.from([bytes.subarray(0, 9), bytes.subarray(9)]),
    // A CR may be the end of a chunk.
    () => ReadableStream.from([...bytes].map((byte) => Uint8Array.of(byte))),
  ];
  for (const data of rows) {
    const relay = await queue.relays.add({ ...MAIL, data });
    assertEquals(relay.size, utf8(kept).length);
    assertEquals(relay.from, "me@example.com");
  }
  await clock.advance(0);
  assertEquals(
    delivery.seen.map(({ content }) => content),
    rows.map(() => kept),
  );
  await queue.stop();
});

Deno.test("Relays.add() adds no field and keeps binary content as it is", async () => {
  const { clock, delivery, queue } = await startQueue();
  await queue.relays.add({ ...MAIL, data: "\n\n" });
  const parameters = { body: "BINARYMIME" } as const;
  await queue.relays.add({ ...MAIL, data: "A: b\n\n\r.", parameters });
  await clock.advance(0);
  assertEquals(delivery.seen.map(({ content }) => content), [
    "\r\n\r\n",
    "A: b\n\n\r.",
  ]);
  assertEquals(delivery.seen[1]!.job.parameters, parameters);
  await queue.stop();
});

Deno.test("Relays.add() takes senders and recipients in each form", async () => {
  const { clock, delivery, queue } = await startQueue();
  const notify = { notify: ["NEVER"] } as const;
  const rows: [Partial<OutgoingMail>, string][] = [
    [{ from: null }, "<> you@example.org"],
    [{ from: "" }, "<> you@example.org"],
    [{ from: Address.parse("a@b.example") }, "<a@b.example> you@example.org"],
    [{ to: Address.parse("x@y.example") }, "<me@example.com> x@y.example"],
    [
      { to: ["x@y.example", { address: "z@y.example", parameters: notify }] },
      "<me@example.com> x@y.example z@y.example NEVER",
    ],
  ];
  for (const [parts] of rows) await queue.relays.add({ ...MAIL, ...parts });
  await clock.advance(0);
  const seen = delivery.seen.map(({ job: { from, recipients } }) =>
    `${from.toPath()} ${
      recipients.map(({ address, parameters }) =>
        [address, ...parameters.notify ?? []].join(" ")
      ).join(" ")
    }`
  );
  assertEquals(seen.sort(), rows.map(([, want]) => want).sort());
  await queue.stop();
});

Deno.test("Relays.add() says which part is wrong, and queues nothing", async () => {
  const { queue } = await startQueue();
  const rows: [unknown, string][] = [
    [
      { to: "a@b", data: DATA },
      "Cannot use from undefined of relays.add: want",
    ],
    [{ ...MAIL, to: 5 }, "Cannot use to 5 of relays.add: want"],
    [{ ...MAIL, to: [""] }, "Cannot relay to the null path"],
    [{ ...MAIL, to: [] }, "want one recipient at least"],
    [{ ...MAIL, to: "no address" }, "no address"],
    [{ ...MAIL, data: 5 }, "Cannot use data 5 of relays.add: want the content"],
    [{ ...MAIL, subject: "x" }, "Cannot use subject of relays.add: no such"],
    [{ ...MAIL, data: ReadableStream.from(["x"]) }, "want a stream of bytes"],
    ["x", 'Cannot use the options "x" of relays.add: want'],
  ];
  for (const [mail, want] of rows) {
    const error = await assertRejects(
      () => queue.relays.add(mail as OutgoingMail),
      Error,
    );
    assertStringIncludes(error.message, want);
  }
  const failing = new ReadableStream<Uint8Array>({
    start: (controller) => controller.error(new Error("The source is gone")),
  });
  await assertRejects(
    () => queue.relays.add({ ...MAIL, data: failing }),
    Error,
    "The source is gone",
  );
  assertEquals(queue.relays.count, 0);
  await queue.stop();
  await assertRejects(
    () => queue.relays.add(MAIL),
    SpoolError,
    "the queue is not running",
  );
});

Deno.test("SmtpServer.relays.add() is durable, and a later server delivers", async () => {
  await using folder = await TestFolder.create();
  await using peer = await startTestServer();
  const options = {
    listen: [],
    log: () => {},
    // The large message goes through a temporary file.
    memoryLimit: 1000,
    relay: {
      spool: `${folder.path}/spool`,
      smarthosts: [{ host: peer.address, port: peer.port }],
    },
  };
  const large = `Subject: large\n\n${"x".repeat(70)}\n`.repeat(1000);
  {
    await using server = new SmtpServer(options);
    await server.start();
    for (const data of [DATA, large]) {
      await server.relays.add({ ...MAIL, data }, { held: true });
    }
    // What another program reads is on the disk when the promise resolves.
    const copy = `${folder.path}/copy`;
    for (const path of await folder.files("spool")) {
      const to = path.replace(/^spool/, copy);
      await Deno.mkdir(to.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.copyFile(`${folder.path}/${path}`, to);
    }
    await using other = new RelayQueue({
      spool: new FileSpool(copy),
      hostname: "mx.example.com",
      deliver: () => Promise.reject(new Error("Held mail is not delivered")),
    });
    await other.start();
    assertEquals(other.relays.count, 2);
  }
  assertEquals(peer.messages.length, 0);
  await using server = new SmtpServer(options);
  await server.start();
  for (const relay of server.relays) await relay.release();
  await until(() => server.relays.count === 0);
  const texts = peer.messages.map(({ text }) => text);
  assert(texts.some((text) => text.endsWith(DATA)));
  assert(texts.some((text) => text.endsWith(large.replaceAll("\n", "\r\n"))));
});
