/**
 * nodemailer: messages at once over a pool of connections that it goes on
 * using.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.4 | RFC 5321 section 4.1.4},
 * {@link https://www.rfc-editor.org/rfc/rfc2920 | RFC 2920}
 */

import { assertEquals } from "@std/assert";
import {
  assertStored,
  InteropServer,
  readMaildir,
  runNode,
} from "../support/interop/server.ts";
import { TestFolder } from "../support/folder.ts";

Deno.test("nodemailer sends 40 messages over four connections", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start([], { cwd });
  const { stdout } = await runNode("nodemailer_peer.cjs", [
    ...["127.0.0.1", server.port],
    40,
  ]);
  const sent = new Map<string, string>();
  for (const text of JSON.parse(stdout) as string[]) {
    const message = atob(text);
    sent.set(subjectOf(message), message);
  }
  for (const name of ["user@example.com", "other@example.com"]) {
    const stored = await readMaildir(`${cwd}/mail/${name}`);
    assertEquals(stored.length, sent.size, name);
    assertEquals(new Set(stored.map(subjectOf)).size, sent.size);
    for (const message of stored) {
      assertStored(message, {
        sent: sent.get(subjectOf(message)) ?? "",
        from: "sender@example.org",
        protocol: "ESMTP",
      });
    }
  }
});

function subjectOf(message: string): string {
  return /^Subject: (.*?)\r?$/m.exec(message)?.[1] ?? "";
}
