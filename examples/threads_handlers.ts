/**
 * Handlers as a module: each thread loads its own copy, so no call has to go to
 * another thread. The state of a copy belongs to its thread. examples/threads.ts
 * uses this module; the command line can use it as well:
 *
 * ```sh
 * deno run -A cli.ts --threads 2 --handlers examples/threads_handlers.ts
 * ```
 */

import { type SmtpHandlers, SmtpReply } from "@smtp/server";

/** Number of suspicious words. A computation without an await delays one thread only. */
function score(text: string): number {
  return text.split(/\b(?:lottery|inheritance|prince)\b/i).length - 1;
}

/** Called once per thread. */
export default function handlers(): SmtpHandlers {
  let refused = 0;
  return {
    onRcptTo: (_session, address) => address.localPart !== "nobody",
    async onMessage(_session, message) {
      if (score(await message.text()) < 3) return;
      refused++;
      const text = `Refused, the ${refused} here`;
      return new SmtpReply(554, text, { enhanced: "5.7.1" });
    },
  };
}
