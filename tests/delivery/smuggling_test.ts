/**
 * The next hop sees one message for any body. Servers differ in what they accept
 * as a line end; a dot between any two of these is sent only at the end of the
 * message.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-2.3.8 | RFC 5321 section 2.3.8}
 */

import { assertEquals } from "@std/assert";
import { startServer, TestClient } from "../support/server.ts";
import { within } from "../support/wait.ts";
import { bytesOf, textOf } from "../support/bytes.ts";

/** Byte sequences that some servers accept as the end of a line. */
const ENDS = [
  "\r\n",
  "\n",
  "\r",
  "\r\r\n",
  "\n\r",
  "\r\n\r",
  "\0\r\n",
  "\r\0\n",
];

/** A dot alone on a line, for a server that accepts any CR or LF as a line end. */
const END_OF_DATA = /(?<=[\r\n])\.[\r\n]/g;

Deno.test("relaying lets no body end early at the next hop", async () => {
  await using hop = startHop();
  let content = "";
  await using near = await startServer({
    relay: {
      from: ["127.0.0.1"],
      smarthosts: [{ host: "127.0.0.1", port: hop.port }],
    },
    handlers: {
      onMessage: async (_session, message) =>
        await message.replace(bytesOf(content)),
    },
  });
  for (const before of ENDS) {
    for (const after of ENDS) {
      content =
        `Subject: x\r\n\r\nText${before}.${after}MAIL FROM:<evil@b.test>`;
      using client = await TestClient.connect(near);
      await client.envelope("you@dest.test");
      await client.data("Subject: x");
      const sent = await within(hop.next(), "the message");
      const name = JSON.stringify([before, after]);
      assertEquals(sent.match(END_OF_DATA)?.length, 1, `${name} ${sent}`);
      assertEquals(sent.slice(-5), "\r\n.\r\n", name);
    }
  }
});

/** A next hop that returns the bytes of the content. */
interface Hop extends AsyncDisposable {
  readonly port: number;
  /** The content of the next message, including its end. */
  next(): Promise<string>;
}

function startHop(): Hop {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const conns = new Set<Deno.Conn>();
  let got = Promise.withResolvers<string>();
  const done = (async () => {
    for await (const conn of listener) {
      conns.add(conn);
      converse(conn, (content) => got.resolve(content)).catch(() => {});
    }
  })();
  return {
    port: (listener.addr as Deno.NetAddr).port,
    async next() {
      const content = await got.promise;
      got = Promise.withResolvers<string>();
      return content;
    },
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const conn of conns) conn.close();
      await done;
    },
  };
}

/** Serves the minimum of SMTP until the connection ends. */
async function converse(
  conn: Deno.Conn,
  onContent: (content: string) => void,
): Promise<void> {
  const buffer = new Uint8Array(65536);
  let text = "";
  const until = async (end: string): Promise<string> => {
    while (!text.includes(end)) {
      const count = await conn.read(buffer);
      if (count === null) throw new Deno.errors.UnexpectedEof();
      text += textOf(buffer.subarray(0, count));
    }
    const at = text.indexOf(end) + end.length;
    const part = text.slice(0, at);
    text = text.slice(at);
    return part;
  };
  const say = (line: string) => conn.write(bytesOf(`${line}\r\n`));
  await say("220 hop");
  for (;;) {
    const line = await until("\r\n");
    if (!line.startsWith("DATA")) {
      await say("250 ok");
      continue;
    }
    await say("354 go on");
    const content = await until("\r\n.\r\n");
    await say("250 ok");
    onContent(content);
  }
}
