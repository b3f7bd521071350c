/** XCLIENT in the server state machine. */

import { assertEquals } from "@std/assert";
import type { ExtensionKeyword } from "../../../lib/protocol/capabilities.ts";
import { replies } from "../../../lib/protocol/replies.ts";
import {
  Driver,
  play,
  type PlayOptions,
  type Policy,
} from "../../support/dialogue.ts";

/** Switched off, so that the scripts list only the extensions they test. */
const OTHERS: readonly ExtensionKeyword[] = [
  ...["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "LIMITS"] as const,
  ...["DELIVERBY", "REQUIRETLS"] as const,
];
const OFFER = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

/** Accepts the first client and refuses those that XCLIENT names. */
function onlyTheFirst(verdict: ReturnType<Policy>): () => Policy {
  return () => {
    let asked = 0;
    return (ask) => ask.ask === "connect" && asked++ > 0 ? verdict : undefined;
  };
}

const DIALOGUES: [name: string, script: string, options?: PlayOptions][] = [
  [
    "greets the new client",
    `S: 220 mx.test ESMTP ready
    C: HELO proxy.test
    S: 250 mx.test
    C: XCLIENT NAME=spike.test ADDR=192.0.2.7
    S: 220 mx.test ESMTP ready
    C: HELO spike.test
    S: 250 mx.test
    C: MAIL FROM:<a@b.test>
    S: 250 2.1.0 ...
    E: xclient {"name":"spike.test","addr":"192.0.2.7"}`,
  ],
  [
    "takes it before any other command, in any case",
    `S: 220 mx.test ESMTP ready
    C: xclient addr=[unavailable]
    S: 220 mx.test ESMTP ready
    E: xclient {"addr":"[UNAVAILABLE]"}`,
  ],
  [
    "wants a new HELO, whatever was said before or told",
    `S: 220 mx.test ESMTP ready
    C: HELO proxy.test
    S: 250 mx.test
    C: XCLIENT HELO=spike.test PROTO=ESMTP
    S: 220 mx.test ESMTP ready
    C: MAIL FROM:<a@b.test>
    S: ${replies.sayHello}
    E: xclient {"helo":"spike.test","proto":"ESMTP"}`,
  ],
  [
    "refuses it in a transaction, which goes on",
    `S: 220 mx.test ESMTP ready
    C: HELO proxy.test
    S: 250 mx.test
    C: MAIL FROM:<a@b.test>
    S: 250 2.1.0 ...
    C: XCLIENT ADDR=192.0.2.7
    S: ${replies.nested}
    C: RCPT TO:<c@d.test>
    S: 250 2.1.5 ...
    C: XCLIENT ADDR=192.0.2.7
    S: ${replies.nested}
    C: BDAT 1
    C| x
    S: 250 2.0.0 1 bytes received
    C: XCLIENT ADDR=192.0.2.7
    S: ${replies.nested}`,
  ],
  [
    "refuses what cannot be read, and goes on",
    `S: 220 mx.test ESMTP ready
    C: HELO proxy.test
    S: 250 mx.test
    C: XCLIENT
    S: 501 5.5.4 Syntax: XCLIENT attribute=value...
    C: XCLIENT ADDR=192.0.2.7 LOGIN=a+0A
    S: 501 5.5.4 Bad LOGIN syntax
    C: MAIL FROM:<a@b.test>
    S: 250 2.1.0 ...`,
  ],
  [
    "takes a log-in, where one is required",
    `S: 220 mx.test ESMTP ready
    C: EHLO proxy.test
    S: 250-mx.test
    S: 250-BINARYMIME
    S: 250-CHUNKING
    S: 250-ENHANCEDSTATUSCODES
    S: 250-AUTH PLAIN
    S: 250-${OFFER}
    S: 250 HELP
    C: XCLIENT LOGIN=ann
    S: 220 mx.test ESMTP ready
    C: EHLO spike.test
    S: 250-mx.test
    S: 250-BINARYMIME
    S: 250-CHUNKING
    S: 250-ENHANCEDSTATUSCODES
    S: 250-${OFFER}
    S: 250 HELP
    C: MAIL FROM:<a@b.test>
    S: 250 2.1.0 ...
    C: RSET
    S: 250 2.0.0 ...
    C: XCLIENT LOGIN=[UNAVAILABLE]
    S: 220 mx.test ESMTP ready
    C: HELO spike.test
    S: 250 mx.test
    C: MAIL FROM:<a@b.test>
    S: 530 5.7.0 ...`,
    { profile: { authentication: "required" } },
  ],
  [
    "forgets a log-in made before",
    `S: 220 mx.test ESMTP ready
    C: HELO proxy.test
    S: 250 mx.test
    C: AUTH PLAIN AGEAYg==
    S: 235 2.7.0 ...
    C: XCLIENT ADDR=192.0.2.7
    S: 220 mx.test ESMTP ready
    C: HELO spike.test
    S: 250 mx.test
    C: MAIL FROM:<a@b.test>
    S: 530 5.7.0 ...`,
    { profile: { authentication: "required" } },
  ],
  [
    "waits for TLS where that is required",
    `S: 220 mx.test ESMTP ready
    C: EHLO proxy.test
    S: 250-mx.test
    S: 250-BINARYMIME
    S: 250-CHUNKING
    S: 250-ENHANCEDSTATUSCODES
    S: 250-STARTTLS
    S: 250 HELP
    C: XCLIENT LOGIN=ann
    S: 530 5.7.0 ...
    C: STARTTLS
    S: 220 2.0.0 ...
    C: XCLIENT ADDR=192.0.2.7
    S: 220 mx.test ESMTP ready
    C: EHLO spike.test
    S: 250-mx.test
    S: 250-BINARYMIME
    S: 250-CHUNKING
    S: 250-ENHANCEDSTATUSCODES
    S: 250-${OFFER}
    S: 250 HELP`,
    { profile: { startTls: "required" }, recut: false },
  ],
  [
    "refuses the new client as it would any other",
    `S: 220 mx.test ESMTP ready
    C: XCLIENT ADDR=192.0.2.7
    S: ${replies.refusedConnection}
    E: xclient {"addr":"192.0.2.7"}
    E: close refused`,
    { policy: onlyTheFirst("deny") },
  ],
  [
    "closes on the new client without a word",
    `S: 220 mx.test ESMTP ready
    C: XCLIENT ADDR=192.0.2.7
    E: xclient {"addr":"192.0.2.7"}
    E: close refused`,
    { policy: onlyTheFirst("drop") },
  ],
  [
    "sends a handler's own refusal",
    `S: 220 mx.test ESMTP ready
    C: XCLIENT ADDR=192.0.2.7
    S: 451 4.3.0 ...
    E: xclient {"addr":"192.0.2.7"}
    E: close refused`,
    { policy: onlyTheFirst(replies.localError) },
  ],
];

for (const [name, script, options = {}] of DIALOGUES) {
  Deno.test(`ServerProtocol with XCLIENT ${name}`, () => {
    play(script, {
      ...options,
      profile: {
        disabled: OTHERS,
        xclient: true,
        ...options.profile,
      },
    });
  });
}

Deno.test("ServerProtocol has XCLIENT for nobody unless told so", () => {
  const driver = new Driver();
  driver.feed("EHLO x\r\nXCLIENT ADDR=192.0.2.7\r\n");
  const lines = driver.take();
  assertEquals(lines.filter((line) => line.includes("XCLIENT")), []);
  assertEquals(lines.at(-1), String(replies.unknownCommand));
});

Deno.test("ServerProtocol has XCLIENT for those only who may say it", () => {
  const driver = new Driver({ xclient: true });
  driver.machine.impersonationAllowed(false);
  driver.feed("EHLO x\r\nXCLIENT ADDR=192.0.2.7\r\n");
  const lines = driver.take();
  assertEquals(lines.some((line) => line.includes(" XCLIENT NAME")), false);
  assertEquals(lines.at(-1), String(replies.xclientDenied));
  driver.machine.impersonationAllowed(true);
  driver.feed("EHLO x\r\n");
  assertEquals(driver.take().some((line) => line.endsWith(OFFER)), true);
});
