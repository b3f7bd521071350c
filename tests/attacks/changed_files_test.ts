/**
 * Files that are read again while the server runs, replaced by what is no file: a
 * named pipe would hold every client that asks for a recipient, a folder has no
 * content. The old content stays in force.
 */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { AliasTable } from "../../lib/session/aliases.ts";
import { TestFolder } from "../support/folder.ts";
import { isWindows } from "../support/platform.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

for (const threads of [0, 2]) {
  for (const kind of ["pipe", "folder"]) {
    Deno.test({
      name: `A ${kind} in place of aliases stalls nothing (${threads} threads)`,
      ignore: isWindows,
      async fn() {
        await using folder = await TestFolder.create();
        const path = await folder.write("aliases", "info: ann\n");
        const errors: string[] = [];
        await using server = await startServer({
          threads,
          domains: ["near.test"],
          aliases: await AliasTable.load(path),
          localRecipients: ["ann"],
          limits: {
            ...{
              maxCommandsWithoutMail: 0,
              maxRefusedRecipients: 0,
              tarpitMs: 0,
            },
            ...{
              messagesPerMinute: 0,
              recipientsPerMinute: 0,

              maxErrors: 0,
            },
          },
          log({ error }) {
            if (error !== undefined) errors.push(error);
          },
        });
        await Deno.remove(path);
        if (kind === "folder") await Deno.mkdir(path);
        else await new Deno.Command("mkfifo", { args: [path] }).output();
        using client = await TestClient.connect(server);
        await client.reply();
        await client.expect(["EHLO client.test", "250-"]);
        await until(async () => {
          await client.expect(["MAIL FROM:<a@a.test>", "250"], [
            "RCPT TO:<info@near.test>",
            "250",
          ], ["RSET", "250"]);
          return errors.length > 0;
        });
        assertStringIncludes(errors[0]!, "it is no file");
        await Deno.remove(path);
        await folder.write("aliases", "info: ann\nnew: ann\n");
        await until(async () => {
          await client.expect(["MAIL FROM:<a@a.test>", "250"]);
          const reply = await client.say("RCPT TO:<new@near.test>");
          await client.expect(["RSET", "250"]);
          return reply.startsWith("250");
        });
        assertEquals(errors.length, 1);
      },
    });
  }
}
