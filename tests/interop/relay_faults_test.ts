/**
 * Each fault of Postfix's test server at each command, and the outcome of the first
 * attempt for a message with two recipients.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2.1 | RFC 5321 section 4.2.1},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.4.1 | RFC 5321 section 4.5.4.1}
 */

import { assertEquals } from "@std/assert";
import type { Relay } from "../../lib/queue/relay.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import {
  freePort,
  peerProgram,
  startSink,
} from "../support/interop/relay_peers.ts";
import { startServer, TestClient } from "../support/server.ts";
import { within } from "../support/wait.ts";

const DEFERRED = "pending";
const REFUSED = "failed";
const SOFT = "450 4.3.0 Error: command failed";
const HARD = "500 5.3.0 Error: command failed";
const CLOSING = "421 4.0.0 Server closing connection";

/** The names of a step in smtp-sink and in a DSN. */
const STEPS: readonly (readonly [step: string, name: string])[] = [
  ["connect", "the greeting"],
  ["ehlo,helo", "EHLO"],
  ["mail", "MAIL FROM"],
  ["rcpt", "RCPT TO"],
  ["data", "DATA"],
  [".", "the end of the message"],
];

/** A refusal at these steps does not concern the message: the server may refuse every connection of this host. */
const OF_ALL: readonly string[] = ["connect", "ehlo,helo"];

/** Flags of the server, then the outcome for each recipient. */
const ROWS: readonly (readonly [flags: readonly string[], want: string])[] = [
  ...STEPS.flatMap(([step, name]) =>
    [
      [["-r", step], `${DEFERRED} ${SOFT}`],
      [["-f", step], `${OF_ALL.includes(step) ? DEFERRED : REFUSED} ${HARD}`],
      [
        ["-q", step],
        `${DEFERRED} The server closed the connection (${name}, host "127.0.0.1")`,
      ],
      [["-Q", step], `${DEFERRED} ${CLOSING}`],
    ] as const
  ),
  // EHLO alone: HELO is tried instead, and with it no delivery notices.
  [["-f", "ehlo"], "relayed 250 2.0.0 "],
  [["-w", "1"], "passed-on 250 2.0.0 "],
  [["-q", "quit"], "passed-on 250 2.0.0 "],
  [["-r", "rset"], "passed-on 250 2.0.0 "],
];

/** Sends a message to two recipients; gives the outcomes of the first attempt. */
async function firstTry(port: number): Promise<readonly string[]> {
  const { promise, resolve } = Promise.withResolvers<readonly string[]>();
  const notices = new MemoryStore();
  await using near = await startServer({
    hostname: "near.test",
    domains: ["near.test"],
    store: notices,
    relay: {
      from: ["127.0.0.1"],
      smarthosts: [{ host: "127.0.0.1", port }],
      schedule: "1h",
    },
    handlers: {
      onRelayStateChange(relay, state) {
        const isOver = state === "idle-waiting" || state === "done";
        if (relay.from !== "" && isOver) resolve(textOf(relay));
      },
    },
  });
  using client = await TestClient.connect(near);
  await client.reply();
  await client.expect(
    ["HELO client.test", "250"],
    ["MAIL FROM:<me@near.test>", "250"],
    ["RCPT TO:<one@dest.test>", "250"],
    ["RCPT TO:<two@dest.test>", "250"],
  );
  await client.data("Subject: Hello\r\n\r\nText");
  return await within(promise, "the first try");
}

function textOf(relay: Relay): readonly string[] {
  return relay.recipients.map(({ status, answer }) =>
    `${status} ${answer?.text}`
  );
}

Deno.test({
  name: "relay to smtp-sink, fault by fault",
  ignore: peerProgram("smtp-sink") === undefined,
  fn: async (t) => {
    for (const [flags, want] of ROWS) {
      await t.step(flags.join(" "), async () => {
        const place = { address: "127.0.0.1", port: freePort(["127.0.0.1"]) };
        await using _sink = await startSink(place, flags);
        const [one, two] = await firstTry(place.port);
        assertEquals(one!.slice(0, want.length), want);
        assertEquals(two, one);
      });
    }
  },
});
