/**
 * Handlers that rewrite recipients by their local part and show the envelope in
 * replies. Given as an object and loaded as a module they must behave alike.
 */

import { redirect } from "../../../lib/protocol/redirect.ts";
import { SmtpReply } from "../../../lib/protocol/reply.ts";
import type { SmtpHandlers } from "../../../lib/session/handlers.ts";
import type { SmtpSession } from "../../../lib/session/session.ts";

/** The envelope in one line: sender, size, recipients with what they were. */
export function shownEnvelope({ envelope }: SmtpSession): string {
  if (envelope === undefined) return "none";
  const { from, parameters, recipients } = envelope;
  const all = recipients.map(({ address, original }) =>
    original === undefined ? `${address}` : `${address}<${original}`
  );
  return `${from.toPath()} ${parameters.size} [${all.join(" ")}]`;
}

const handlers: SmtpHandlers = {
  onMailFrom: (session) => new SmtpReply(250, `mail ${shownEnvelope(session)}`),
  onRcptTo(session, { localPart }) {
    if (localPart === "away") return redirect("bob@dest.test");
    if (localPart === "team") {
      return redirect("ann@near.test", "bob@dest.test", "ann@NEAR.test");
    }
    if (localPart === "wide") return redirect("grüße@dest.test");
    if (localPart === "half") {
      return redirect("ann@near.test", "full@near.test");
    }
    if (localPart === "empty") return redirect("");
    if (localPart === "bad") return redirect("no address");
    if (localPart === "many") {
      const [first = "", ...more] = Array.from(
        { length: 10_000 },
        (_, at) => `a${at}@near.test`,
      );
      return redirect(first, ...more);
    }
    if (localPart === "envelope") {
      return new SmtpReply(250, `rcpt ${shownEnvelope(session)}`);
    }
  },
  onMessage(session, message) {
    const same = session.envelope?.recipients.length ===
      message.recipients.length;
    message.tag = `${same} ${shownEnvelope(session)}`;
    if (session.kind === "lmtp") return;
    return new SmtpReply(250, `message ${message.tag}`);
  },
  onReset(session) {
    session.send(`250 reset ${shownEnvelope(session)}\r\n`);
  },
};
export default handlers;
