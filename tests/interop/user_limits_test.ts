/**
 * curl logs in as a user: it sends from that user's addresses only, and no more
 * than the limits of a user allow.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6409#section-6.1 | RFC 6409 section 6.1}
 */

import { assertEquals } from "@std/assert";
import { InteropServer, readFolder } from "../support/interop/server.ts";
import { bytesOf } from "../support/bytes.ts";
import { TestFolder } from "../support/folder.ts";

/** What curl says of a reply that refuses: the codes are those of libcurl. */
const REFUSED = { mail: 55, recipient: 55, content: 8 } as const;

Deno.test("curl sends as its user until the limit of a day", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await folder.write("users", "# staff\nann:secret\nbob:!\n");
  await folder.write(
    "senders",
    "# staff\nann: ann@example.org,\n  @shop.example\n",
  );
  await using server = await InteropServer.start([
    ...["--store", "file:eml", "--allow-insecure-auth"],
    ...["--users", "users", "--senders", "senders", "--sender-policy", "own"],
    ...["--user-messages-per-day", "2"],
  ], { cwd });
  const send = async (
    about: { readonly envelope: string; readonly from: string },
    login = "ann:secret",
  ): Promise<number> => {
    const message = `From: ${about.from}\r\nSubject: x\r\n\r\nHello\r\n`;
    await Deno.writeFile(`${cwd}/message`, bytesOf(message));
    const { code } = await new Deno.Command("curl", {
      args: [
        ...["-sS", `smtp://127.0.0.1:${server.port}/client.example`],
        ...["--user", login, "--mail-from", about.envelope],
        ...["--mail-rcpt", "user@example.com"],
        ...["--upload-file", `${cwd}/message`, "--max-time", "60"],
      ],
      stderr: "null",
    }).output();
    return code;
  };
  const ann = { envelope: "ann@example.org", from: "Ann <ann@example.org>" };
  assertEquals(await send(ann), 0);
  assertEquals(
    await send({ ...ann, envelope: "boss@example.org" }),
    REFUSED.mail,
  );
  assertEquals(
    await send({ ...ann, from: "Boss <boss@example.org>" }),
    REFUSED.content,
  );
  assertEquals(
    await send({ envelope: "a@shop.example", from: "b@shop.example" }),
    0,
  );
  assertEquals(await send(ann), REFUSED.mail);
  // 67: the login is refused.
  assertEquals(await send(ann, "bob:!"), 67);
  assertEquals((await readFolder(`${cwd}/eml`)).length, 2);
});
