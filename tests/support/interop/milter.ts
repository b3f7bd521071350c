/**
 * The client's side of the milter protocol, as far as a filter needs it to sign a
 * message: what Postfix would say to it.
 */

import { bytesOf, concat, textOf } from "../bytes.ts";

/** Shows a message to the filter on a unix socket; gives the fields that it puts on top. */
export async function askMilter(
  path: string,
  message: string,
): Promise<string> {
  using conn = await Deno.connect({ transport: "unix", path });
  const buffer: number[] = [];
  const read = async (count: number): Promise<number[]> => {
    const part = new Uint8Array(4096);
    while (buffer.length < count) {
      const size = await conn.read(part);
      if (size === null) throw new Error("Cannot read: the filter has ended");
      buffer.push(...part.subarray(0, size));
    }
    return buffer.splice(0, count);
  };
  const receive = async (): Promise<string> => {
    const [a, b, c, d] = await read(4);
    const size = (a! << 24) + (b! << 16) + (c! << 8) + d!;
    return textOf(Uint8Array.from(await read(size)));
  };
  const send = async (text: string): Promise<void> => {
    const size = new Uint8Array(4);
    new DataView(size.buffer).setUint32(0, text.length);
    const bytes = concat([size, bytesOf(text)]);
    for (let at = 0; at < bytes.length;) {
      at += await conn.write(bytes.subarray(at));
    }
  };
  const ask = async (text: string): Promise<string> => {
    await send(text);
    return await receive();
  };
  // Values keep the space after the colon.
  await ask("O\0\0\0\x06\0\0\x01\xff\0\x10\0\0");
  await ask("Clocalhost\x004\0\x19127.0.0.1\0");
  await ask("Hlocalhost\0");
  await send("DMi\0id\0");
  await ask("M<ann@a.test>\0");
  await ask("R<bob@b.test>\0");
  const end = message.indexOf("\r\n\r\n") + 2;
  const fields = message.slice(0, end).matchAll(
    /^([^:]+):([^]*?)\r\n(?![ \t])/gm,
  );
  for (const [, name, value] of fields) {
    // Line ends are LF in the values that a filter gets.
    await ask(`L${name}\0${value!.replaceAll("\r\n", "\n")}\0`);
  }
  await ask("N");
  for (let at = end + 2; at < message.length; at += 60_000) {
    await ask(`B${message.slice(at, at + 60_000)}`);
  }
  let added = "";
  let reply = await ask("E");
  for (; "hi+".includes(reply[0]!); reply = await receive()) {
    const [name, value] = reply.slice(reply[0] === "i" ? 5 : 1).split("\0");
    added = `${name}:${value!.replace(/\r?\n/g, "\r\n")}\r\n${added}`;
  }
  await send("Q");
  return added;
}
