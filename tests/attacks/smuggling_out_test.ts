/**
 * SMTP smuggling, the sending side: whatever a body holds, no next hop of any
 * make finds an end of data before the last line, nor a command. The way
 * through a whole relay is in `../delivery/smuggling_test.ts`, what comes in is
 * in `smuggling_in_test.ts`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-2.3.8 | RFC 5321 section 2.3.8},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.2 | RFC 5321 section 4.5.2}
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ClientProtocol } from "../../lib/protocol/client/protocol.ts";
import {
  connectClient,
  Drive,
  FakeNetwork,
  FakeServer,
} from "../support/client/fake_server.ts";

const ENDS = [
  ...["\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n\r", "\n\n", "\r\r"],
  ...["\0\r\n", "\r\0\n", "\r\n\0"],
];
const DOTS = [".", "..", ". ", ".\0"];
const COMMANDS =
  "MAIL FROM:<evil@b.test>\r\nRCPT TO:<victim@b.test>\r\nDATA\r\n";

const BODIES = [
  ...[".", "..", ".\r", ".\n", "\r.", "\n.", "\r\n.", "\r", "\n", "", "x\r"],
  ...ENDS.flatMap((before) =>
    DOTS.flatMap((dot) =>
      ENDS.map((after) => `text${before}${dot}${after}${COMMANDS}`)
    )
  ),
];

/** A dot alone on a line, for a server that takes any CR or LF as a line end and ignores NUL. */
const END_OF_DATA = /(?:^|[\r\n])\0*\.\0*[\r\n]/g;

/** What our client writes for a body that comes in these pieces. */
function written(
  pieces: readonly string[],
  framing: "data" | "bdat" | "binary",
): string {
  const client = new ClientProtocol({ hostname: "me.test" });
  const server = new FakeServer({ capabilities: ["CHUNKING"] });
  const drive = new Drive(client, server);
  client.open();
  drive.run();
  client.transaction({
    from: "<a@b.test>",
    recipients: [{ path: "<c@d.test>" }],
    framing,
  });
  assertEquals(drive.run(pieces).kind, "done");
  assertEquals(server.messages.length, 1);
  const start = drive.writes.findIndex((text) => /^(?:DATA|BDAT)/.test(text));
  return drive.writes.slice(start).join("");
}

Deno.test("ClientProtocol sends one end of data for every body (DATA)", () => {
  for (const body of BODIES) {
    const name = JSON.stringify(body);
    const sent = written([body], "data").slice("DATA\r\n".length);
    // No server takes NUL for a line end: the CR or LF beside it is one.
    const ends = [...sent.matchAll(END_OF_DATA)].map(({ index }) => index);
    const nul = /[\r\n]\0+\.|\.\0+[\r\n]/.test(body);
    assert(nul || ends.length === 1, `${name} ${JSON.stringify(sent)}`);
    assertEquals(`\r\n${sent}`.split("\r\n.\r\n"), [
      `\r\n${sent}`.slice(0, -5),
      "",
    ], name);
    assert(!/\r(?!\n)|(?<!\r)\n/.test(sent), `${name}: bare line end`);
  }
});

Deno.test("ClientProtocol sends the same for every body, however it is cut", () => {
  for (const body of BODIES) {
    const want = written([body], "data");
    for (let at = 1; at < Math.min(body.length, 16); at++) {
      const pieces = [body.slice(0, at), body.slice(at)];
      assertEquals(written(pieces, "data"), want, JSON.stringify(pieces));
    }
    assertEquals(written([...body], "data"), want, JSON.stringify(body));
  }
});

Deno.test("ClientProtocol announces with BDAT exactly what it sends", () => {
  for (const framing of ["bdat", "binary"] as const) {
    for (const body of BODIES) {
      for (const pieces of [[body], [...body]]) {
        const sent = written(pieces, framing);
        const [, size, rest] = /^BDAT (\d+) LAST\r\n([^]*)$/.exec(sent)!;
        assertEquals(rest!.length, Number(size), JSON.stringify(body));
        if (framing === "binary") assertEquals(rest, body);
        // A hop behind the next one may have no CHUNKING.
        else assert(!/\r(?!\n)|(?<!\r)\n/.test(rest!), JSON.stringify(body));
      }
    }
  }
});

const LINES = ["a@b.test>\r\nRSET", "a@b.test\nQUIT", "a@b.test\rx", "a\0@b"];

Deno.test("No address and no parameter adds a command (denomailer < 0.8)", async () => {
  const network = new FakeNetwork({ "mx.test": { capabilities: ["DSN"] } });
  await using client = await connectClient({
    host: "mx.test",
    hostname: "me.test",
    connect: network.connect,
    security: "none",
  });
  const right = { from: "a@b.test", to: ["c@d.test"], data: "x" };
  for (const line of LINES) {
    for (
      const wrong of [
        { from: line },
        { to: [line] },
        { to: ["c@d.test", `"x" <${line}>`] },
      ]
    ) await assertRejects(() => client.send({ ...right, ...wrong }));
  }
  await client.send(right);
  const [server] = network.servers;
  assertEquals(server!.lines, [
    "EHLO me.test",
    "MAIL FROM:<a@b.test>",
    "RCPT TO:<c@d.test>",
    "DATA",
  ]);
});

Deno.test("No name and no path adds a command to the machine's", () => {
  for (const line of LINES) {
    assertThrows(() => new ClientProtocol({ hostname: line }), TypeError);
    const client = new ClientProtocol({ hostname: "me.test" });
    const drive = new Drive(client, new FakeServer());
    client.open();
    drive.run();
    const [from, path] = ["<>", "<a@b.test>"];
    const wrong = [
      { from: `<${line}>`, recipients: [{ path }] },
      { from, recipients: [{ path: `<${line}>` }] },
      { from, parameters: line, recipients: [{ path }] },
      { from, recipients: [{ path, parameters: line }] },
    ];
    for (const envelope of wrong) {
      assertThrows(() => client.transaction(envelope), TypeError);
    }
    assertThrows(() => client.authenticate(line), TypeError);
    assertEquals(drive.writes, ["EHLO me.test\r\n"]);
  }
});
