/**
 * Handlers of the server under load: VRFY answers with the memory in use after a
 * garbage collection, and `onHeaders` reads the header as a filter does.
 */

import type { SmtpHandlers } from "../../mod.ts";
import { heapInUse, openFiles } from "../support/memory.ts";

const handlers: SmtpHandlers = {
  onHeaders(_session, _message, headers) {
    headers.get("Subject");
  },
  async onVerify(_session, text) {
    if (text !== "memory") return false;
    const needed = await heapInUse();
    const { rss } = Deno.memoryUsage();
    return `needed=${needed} resident=${rss} files=${openFiles() ?? 0}`;
  },
};

export default handlers;
