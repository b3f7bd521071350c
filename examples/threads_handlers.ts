/**
 * Handlers as a module: each thread loads it for itself, so that no question
 * has to go to another thread. What it remembers, each thread remembers for
 * itself. examples/threads.ts runs it; so does the command line:
 *
 * ```sh
 * deno run -A cli.ts --threads 2 --handlers examples/threads_handlers.ts
 * ```
 */

import { type SmtpHandlers, SmtpReply } from "@smtp/server";

/** Who has said too much: a loop without an await, which would stop one thread. */
function score(text: string): number {
  return text.split(/\b(?:lottery|inheritance|prince)\b/i).length - 1;
}

/** Made once a thread. */
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
