/** Sessions of a worker as the main thread gets to know them. */

import { assertEquals, assertThrows } from "@std/assert";
import type { SmtpSession } from "../../lib/session/session.ts";
import type { MainApi, WorkerApi } from "../../lib/threads/api.ts";
import type { Channel } from "../../lib/threads/channel.ts";
import { SessionPublisher } from "../../lib/threads/remote_sessions.ts";
import { openSession } from "../support/server.ts";

Deno.test("A session that has ended is not published any more", async () => {
  const sent: unknown[] = [];
  const channel = {
    notify: (name: string) => void sent.push(name),
    notifyLazily: (name: string, id: string) => void sent.push(`${name} ${id}`),
  } as unknown as Channel<WorkerApi, MainApi>;
  await using test = openSession();
  const session: SmtpSession = test.session;
  const publisher = new SessionPublisher(channel);
  publisher.opened(session);
  assertEquals(publisher.news(session).id, session.id);
  publisher.closed(session);
  assertThrows(
    () => publisher.news(session),
    Deno.errors.Interrupted,
    `session ${session.id} has ended`,
  );
  publisher.stop();
  assertEquals(sent, [`closed ${session.id}`]);
});
