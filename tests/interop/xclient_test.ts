/**
 * XCLIENT as swaks sends it.
 *
 * {@link https://www.postfix.org/XCLIENT_README.html | XCLIENT}
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { InteropServer, readMaildir } from "../support/interop/server.ts";
import { run } from "../support/process.ts";
import { TestFolder } from "../support/folder.ts";

async function swaks(port: number, ...flags: string[]) {
  return await run("swaks", [
    ...["--server", "127.0.0.1", "--port", String(port)],
    ...["--ehlo", "client.example", "--from", "sender@example.org"],
    ...["--to", "user@example.com", ...flags],
  ], { anyCode: true });
}

const WAYS: [name: string, flags: string[], want: RegExp][] = [
  [
    "all attributes at once",
    [
      ...["--xclient-name", "spike.example", "--xclient-addr", "192.0.2.7"],
      ...["--xclient-port", "4711", "--xclient-proto", "ESMTP"],
      ...["--xclient-helo", "spike.example", "--xclient-login", "ann+x"],
      ...["--xclient-destaddr", "192.0.2.2", "--xclient-destport", "25"],
    ],
    /\(spike\.example \[192\.0\.2\.7\]\)[^;]* with ESMTPA /,
  ],
  [
    "several commands",
    [
      ...["--xclient-name", "[UNAVAILABLE]", "--xclient-delim"],
      ...["--xclient-addr", "IPV6:2001:db8::7"],
    ],
    /\(\[IPv6:2001:db8::7\]\)[^;]* with ESMTP /,
  ],
  [
    "words of one's own",
    ["--xclient", "addr=[unavailable] port=[Unavailable]"],
    /\(\[unknown\]\)[^;]* with ESMTP /,
  ],
  [
    "XCLIENT before STARTTLS",
    [
      ...["--xclient-before-starttls", "-tls"],
      ...["--xclient-addr", "192.0.2.7"],
    ],
    /\(\[192\.0\.2\.7\]\)[^;]* with ESMTPS /,
  ],
  [
    "XCLIENT after STARTTLS",
    ["-tls", "--xclient-addr", "192.0.2.7", "--xclient-login", "ann"],
    /\(\[192\.0\.2\.7\]\)[^;]* with ESMTPSA /,
  ],
];

for (const [name, flags, want] of WAYS) {
  Deno.test(`swaks tells the client by ${name}`, async () => {
    await using folder = await TestFolder.create();
    const cwd = folder.path;
    await using server = await InteropServer.start(
      ["--xclient", "127.0.0.0/8", "--self-signed"],
      { cwd },
    );
    const { code, stdout } = await swaks(server.port, ...flags);
    assertEquals(code, 0, stdout);
    const [message = ""] = await readMaildir(`${cwd}/mail/user@example.com`);
    const received = message.replaceAll(/\r?\n[ \t]+/g, " ");
    assertMatch(received, /^Received: from client\.example /m);
    assertMatch(received, want);
  });
}

Deno.test("swaks is refused XCLIENT with a value that is none", async () => {
  await using folder = await TestFolder.create();
  await using server = await InteropServer.start(
    ["--xclient", "127.0.0.0/8"],
    { cwd: folder.path },
  );
  const { code, stdout } = await swaks(server.port, "--xclient-addr", "x");
  assertEquals(code === 0, false);
  assertStringIncludes(stdout, "501 5.5.4 Bad ADDR syntax");
});

Deno.test("swaks finds no XCLIENT where its network may not say it", async () => {
  await using folder = await TestFolder.create();
  await using server = await InteropServer.start(
    ["--xclient", "192.0.2.0/24"],
    { cwd: folder.path },
  );
  const flags = ["--xclient-addr", "192.0.2.7", "--xclient-no-verify"];
  const { code, stdout } = await swaks(server.port, ...flags);
  assertEquals(code === 0, false);
  assertEquals(/^<[-~*]+ +250[- ]XCLIENT/m.test(stdout), false);
  const raw = await swaks(server.port, "--xclient", "ADDR=192.0.2.7");
  assertEquals(raw.code === 0, false);
  assertEquals(/250 .*Message accepted/.test(raw.stdout), false);
});
