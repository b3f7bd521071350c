/** Handlers that say in a field what a message proved, and ask for SPF at MAIL. */

import type { SmtpHandlers } from "../../../lib/session/handlers.ts";

/** Result of SPF at MAIL, by session. */
const asked = new Map<string, string>();

/** The handlers, as an object and as the module's. */
export const handlers: SmtpHandlers = {
  async onMailFrom(session) {
    asked.set(session.id, (await session.checkSpf()).result);
  },
  async onMessage(session, message) {
    const { authentication } = message;
    const again = (await session.checkSpf()).result;
    message.headers.add(
      "X-Seen",
      [
        asked.get(session.id),
        again,
        authentication?.spf.result,
        authentication?.dmarc.result,
        String(authentication).startsWith("mx.test;"),
      ].join(" "),
    );
    asked.delete(session.id);
  },
};

export default handlers;
