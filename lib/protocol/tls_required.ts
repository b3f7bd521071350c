/**
 * The field `TLS-Required: No`, with which an author asks that mail be delivered
 * even where TLS fails the policy of the recipient's domain. Stands alone: it is
 * looked for in the bytes of every queued message, so nothing is parsed for it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8689#section-3 | RFC 8689 section 3}
 */

import { findHeaderEnd } from "./headers.ts";

const latin1 = new TextDecoder("latin1");
/** The field with all of its lines. */
const FIELD = /^TLS-Required[ \t]*:(?:[^\r\n]|\r?\n[ \t])*\r?\n/gim;
const NO = /:\s*No\s*$/i;

/** Whether a message says that it needs no TLS; a repeated field says nothing. */
export function declinesTls(head: Uint8Array): boolean {
  const end = findHeaderEnd(head, 0);
  const block = end < 0 ? head : head.subarray(0, end);
  const found = latin1.decode(block).match(FIELD);
  return found?.length === 1 && NO.test(found[0]);
}
