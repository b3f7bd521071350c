/**
 * Handlers of the server under load: VRFY answers with the memory in use after a
 * garbage collection, `onHeaders` reads the header as a filter does, and `onRcptTo`
 * sends the mail of one name elsewhere.
 */

import { redirect, type SmtpHandlers } from "../../mod.ts";
import { heapInUse, openFiles } from "../support/memory.ts";

const handlers: SmtpHandlers = {
  onHeaders(_session, _message, headers) {
    headers.get("Subject");
  },
  onRcptTo(_session, { localPart }) {
    return localPart === "moved" ? redirect("ann@far.test") : undefined;
  },
  async onVerify(_session, text) {
    if (text !== "memory") return false;
    const needed = await heapInUse();
    const { rss } = Deno.memoryUsage();
    return `needed=${needed} resident=${rss} files=${openFiles() ?? 0}`;
  },
};

export default handlers;
