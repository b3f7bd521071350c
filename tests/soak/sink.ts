/**
 * The next hop of relayed mail: it accepts, defers, closes in the middle or does
 * not listen at all, in turns.
 */

import { SmtpReply, SmtpServer } from "../../mod.ts";
import { DiscardStore } from "../../lib/store/discard_store.ts";
import { SINK } from "./hops.ts";
import type { Ledger } from "./ledger.ts";

const BUSY = new SmtpReply(450, "Come back", { enhanced: "4.2.0" });

/** Starts the sink on a port; every so often a step of it fails. */
export async function startSink(
  port: number,
  { ledger, random }: {
    readonly ledger: Ledger;
    readonly random: () => number;
  },
): Promise<SmtpServer> {
  const fails = () => random() < 0.05 ? BUSY : undefined;
  const sink = new SmtpServer({
    listen: `${SINK}:${port}`,
    hostname: "sink.test",
    store: new DiscardStore(),
    log: () => {},
    handlers: {
      onConnect: fails,
      onMailFrom: fails,
      onRcptTo: fails,
      onMessageStart: fails,
      onHeaders(session) {
        if (random() < 0.02) session.close();
      },
      onMessage(_session, message) {
        if (random() < 0.03) return BUSY;
        ledger.see(message.headers.get("X-Soak") ?? "");
      },
    },
  });
  await sink.start();
  return sink;
}
