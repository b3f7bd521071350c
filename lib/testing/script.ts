/**
 * Dialogues as text: `C:` what the client sends, `S:` what the server must
 * answer. Parses them and compares replies with them; sends and reads nothing.
 */

import type { SmtpReply } from "../protocol/reply.ts";

/** What one side says: lines of the client, sent at once, or one reply. */
export interface ScriptStep {
  /** Whose turn it is. */
  readonly who: "client" | "server";
  /** The lines without `C:` and `S:`; of a reply its lines, a code alone, or `<closed>`. */
  readonly lines: readonly string[];
  /** The number of the first line in the text, from 1. */
  readonly line: number;
}

/** The expectation that the connection ends. */
const CLOSED = "<closed>";
const LINE = /^\s*([CS]):(?: (.*))?$/;
const REPLY = /^[2-5]\d\d(?:\.\.\.|[ -].*)?$/;

/**
 * Parses a dialogue.
 *
 * @throws {SyntaxError} If a line is neither the client's nor a reply
 */
export function parseScript(
  text: string,
): ScriptStep[] {
  const steps: { who: "client" | "server"; lines: string[]; line: number }[] =
    [];
  let open = false;
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const trimmed = raw.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const line = index + 1;
    const match = LINE.exec(raw);
    if (match === null) {
      throw scriptSyntax(line, trimmed, '"C: ..." or "S: ..."');
    }
    const said = match[2] ?? "";
    if (match[1] === "C") {
      open = false;
      const last = steps.at(-1);
      if (last?.who === "client") last.lines.push(said);
      else steps.push({ who: "client", lines: [said], line });
      continue;
    }
    const wanted = said.trim();
    if (wanted !== CLOSED && !REPLY.test(wanted)) {
      throw scriptSyntax(line, trimmed, `a reply or ${CLOSED} after "S:"`);
    }
    if (open) steps.at(-1)!.lines.push(wanted);
    else steps.push({ who: "server", lines: [wanted], line });
    open = wanted[3] === "-";
  }
  return steps;
}

function scriptSyntax(line: number, text: string, want: string): SyntaxError {
  return new SyntaxError(
    `Cannot read line ${line} of the script, "${text}": want ${want}`,
  );
}

/** Whether a reply, `undefined` for the end of the connection, is another than the one wanted. */
export function replyFault(
  step: ScriptStep,
  reply: SmtpReply | undefined,
): boolean {
  const first = step.lines[0]!;
  if (first === CLOSED || reply === undefined) {
    return (first === CLOSED) !== (reply === undefined);
  }
  if (/^\d{3}(?:\.\.\.)?$/.test(first)) {
    return reply.code !== Number(first.slice(0, 3));
  }
  const got = reply.toString().split("\n");
  return got.length !== step.lines.length ||
    got.some((line, at) => !fits(line, step.lines[at]!));
}

/** Whether a line is the pattern, `...` standing for any text. */
function fits(line: string, pattern: string): boolean {
  const parts = pattern.split("...").map((part) =>
    part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
  );
  return new RegExp(`^${parts.join(".*")}$`, "s").test(line.trimEnd());
}
