/**
 * Python's smtplib asks for a time of release, a time of delivery and TLS all the
 * way, and Python's parser reads the notice about it.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { AccountList } from "../../mod.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { runPython } from "../support/interop/server.ts";
import { startPair } from "../support/queue/relaying.ts";
import { TestFolder } from "../support/folder.ts";
import { until, within } from "../support/wait.ts";

const certificate = await Certificate.selfSigned({ names: ["mx.near.test"] });

Deno.test("smtplib has a message held, in time and over TLS", async () => {
  await using folder = await TestFolder.create();
  await using pair = await startPair({
    near: {
      ...{ domains: ["near.test"], certificate },
      accounts: new AccountList({ ann: "secret" }),
      listen: "127.0.0.1:0/submission",
    },
    far: { disabledExtensions: ["DELIVERBY", "REQUIRETLS"] },
    relay: { allow: "authenticated", spool: `${folder.path}/spool` },
  });
  const { port } = pair.near.addresses[0]!;
  const options = "HOLDFOR=2 BY=3600;R REQUIRETLS";
  const { code, stdout, stderr } = await runPython("smtplib_asked.py", [
    ...["submit", port, options],
  ]);
  assertEquals(code, 0, stderr);
  assertEquals(stdout, "futurerelease 2592000\ndeliverby \nrequiretls \n");
  assertEquals(pair.nearStore.messages.length, 0);
  // Bob's copy, and the notice that the other cannot go on.
  await until(() => pair.nearStore.messages.length === 2);
  assertEquals(pair.farStore.messages.length, 0);
  const texts = pair.nearStore.messages.map(({ text }) => text);
  assert(texts.some((text) => text.endsWith("\r\n\r\nText\r\n")));
  const notice = texts.find((text) => text.includes("delivery-status"))!;
  const file = await folder.write("notice", notice);
  const read = await runPython("smtplib_asked.py", ["notice", file]);
  assertEquals(read.code, 0, read.stderr);
  assertMatch(read.stdout, /^multipart\/report delivery-status$/m);
  assertMatch(read.stdout, /^Deliver-By-Date: \w{3}, \d\d \w{3} \d{4}/m);
  assertMatch(read.stdout, /^Future-Release-Request: for; 2$/m);
  assertMatch(read.stdout, /^Status: 5\.7\.30$/m);
  await within(until(() => pair.near.relays.count === 0), "an empty queue");
});
