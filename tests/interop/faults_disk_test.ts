/**
 * File systems that fill up or turn read-only under a running server: clients get
 * a 4xx reply, no acknowledged message is lost or cut off, and the server goes on
 * when there is room again.
 *
 * The promise of SECURITY.md: "250 means kept".
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { InteropServer } from "../support/interop/server.ts";
import { run } from "../support/process.ts";
import { TestClient } from "../support/server.ts";
import { TestFolder } from "../support/folder.ts";

const STORES = ["maildir:mail", "mbox:mail", "mbox:mail/all.mbox", "file:mail"];

/** A small file system of its own. */
async function smallDisk(): Promise<TestFolder> {
  const folder = await TestFolder.create();
  await run("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder.path]);
  return folder;
}

/** Takes it away again. */
async function discard({ path }: TestFolder): Promise<void> {
  await run("umount", ["-l", path]);
  await Deno.remove(path);
}

async function canMount(): Promise<boolean> {
  if (Deno.uid() !== 0) return false;
  try {
    await discard(await smallDisk());
    return true;
  } catch {
    return false;
  }
}

const ignore = !await canMount();

/** Sends a message; gives the last reply. */
async function send(
  server: InteropServer,
  { subject, size }: { readonly subject: string; readonly size: number },
): Promise<string> {
  using client = await TestClient.connect({
    addresses: [{ address: "127.0.0.1", port: server.port }],
  });
  await client.envelope("you@example.com");
  const line = `${"x".repeat(70)}\r\n`;
  return await client.data(
    `Subject: ${subject}\r\n\r\n${line.repeat(size / 72)}End ${subject}`,
  );
}

/** The messages below a folder: subjects of whole ones, and how many are cut off. */
async function kept(
  path: string,
): Promise<{ readonly whole: string[]; readonly cut: number }> {
  const whole: string[] = [];
  let begun = 0;
  for (const file of await filesBelow(path)) {
    const text = await Deno.readTextFile(file);
    begun += text.match(/^Subject: /gm)?.length ?? 0;
    for (const [, subject] of text.matchAll(/^End (\S+)/gm)) {
      whole.push(subject!);
    }
  }
  return { whole: whole.sort(), cut: begun - whole.length };
}

async function filesBelow(path: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(path)) {
    const at = `${path}/${name}`;
    if (isDirectory) files.push(...await filesBelow(at));
    else files.push(at);
  }
  return files;
}

for (const store of STORES) {
  Deno.test({
    name:
      `--store ${store} on a disk that fills up: 452, nothing lost, room again`,
    ignore,
    async fn() {
      const folder = await smallDisk();
      try {
        await using server = await InteropServer.start(
          ["--store", store.replace(":mail", `:${folder.path}/mail`)],
          { cwd: "/tmp" },
        );
        const accepted: string[] = [];
        let refused = 0;
        for (let number = 0; refused < 5; number++) {
          const subject = `m${number}`;
          const size = number % 3 === 0 ? 30_000 : 500;
          const reply = await send(server, { subject, size });
          if (reply.startsWith("250")) accepted.push(subject);
          else {
            assertEquals(reply.slice(0, 9), "452 4.3.1", reply);
            refused++;
          }
        }
        assert(accepted.length > 10, `${accepted.length} accepted`);
        assertEquals(await kept(folder.path), {
          whole: accepted.sort(),
          cut: 0,
        });
        for (const file of await filesBelow(folder.path)) {
          await Deno.remove(file);
        }
        const reply = await send(server, { subject: "again", size: 30_000 });
        assertStringIncludes(reply, "250 2.0.0");
        assertEquals((await kept(folder.path)).whole, ["again"]);
        assertEquals(await server.stop(), 0);
        assertStringIncludes(server.process.stderr, "No space left on device");
      } finally {
        await discard(folder);
      }
    },
  });

  Deno.test({
    name:
      `--store ${store} that turns read-only: 451, and 250 when it may be written`,
    ignore,
    async fn() {
      const folder = await smallDisk();
      const remount = (how: string) =>
        run("mount", ["-o", `remount,${how}`, folder.path]);
      try {
        await using server = await InteropServer.start(
          ["--store", store.replace(":mail", `:${folder.path}/mail`)],
          { cwd: "/tmp" },
        );
        const before = await send(server, { subject: "before", size: 500 });
        assertStringIncludes(before, "250 2.0.0");
        await remount("ro");
        for (const subject of ["one", "two"]) {
          const reply = await send(server, { subject, size: 500 });
          assertEquals(reply.slice(0, 9), "451 4.3.0", reply);
        }
        await remount("rw");
        const after = await send(server, { subject: "after", size: 500 });
        assertStringIncludes(after, "250 2.0.0");
        assertEquals(await kept(folder.path), {
          whole: ["after", "before"],
          cut: 0,
        });
        assertEquals(await server.stop(), 0);
        assertStringIncludes(server.process.stderr, "Read-only file system");
      } finally {
        await discard(folder);
      }
    },
  });
}

Deno.test({
  name:
    "a full folder for temporary files: large messages are put off, small ones are kept",
  ignore,
  async fn() {
    const folder = await smallDisk();
    const mail = await TestFolder.create();
    try {
      Deno.env.set("TMPDIR", folder.path);
      await using server = await InteropServer.start(
        ["--store", `file:${mail.path}/mail`],
        { cwd: "/tmp" },
      );
      const large = await send(server, { subject: "large", size: 3_000_000 });
      assertEquals(large.slice(0, 9), "452 4.3.1", large);
      const small = await send(server, { subject: "small", size: 500 });
      assertStringIncludes(small, "250 2.0.0");
      const fits = await send(server, { subject: "fits", size: 600_000 });
      assertStringIncludes(fits, "250 2.0.0");
      assertEquals((await kept(mail.path)).whole, ["fits", "small"]);
      assertEquals(await filesBelow(folder.path), []);
    } finally {
      Deno.env.delete("TMPDIR");
      await discard(folder);
      await mail[Symbol.asyncDispose]();
    }
  },
});
