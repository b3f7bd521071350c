/**
 * A second implementation of what a client may write: the commands it may have
 * sent, and the content that follows DATA and BDAT. It works on whole strings, one
 * character a byte, and shares no code with the machine.
 */

import type { RecipientOutcome } from "../../lib/protocol/client/transaction.ts";

/** A message that the client was given. */
export interface OrderedMessage {
  /** How its content is framed. */
  readonly framing: "data" | "bdat" | "binary";
  /** The lines before the content. */
  readonly commands: readonly string[];
  /** All of the content. */
  readonly content: string;
}

/** Lines of a client that are no part of a transaction; its SASL responses are `i`s, and "secret". */
const OTHER =
  /^(?:(?:EHLO|HELO|LHLO) me\.test|STARTTLS|RSET|QUIT|AUTH PLAIN(?: =)?|(?:AUTH PLAIN )?(?:aWlp)*(?:aQ==|aWk=)?|c2VjcmV0|\*)$/;

/** Checks the bytes that a client writes. */
export class ClientOracle {
  #message: OrderedMessage | undefined;
  #text = "";
  #wanted = false;
  #ended = false;

  /** Another message is ordered. */
  begin(message: OrderedMessage): void {
    this.checkOver();
    this.#message = message;
    this.#wanted = this.#ended = false;
  }

  /** The client wrote. */
  written(text: string): void {
    this.#text += text;
  }

  /** The client asked for content after this reply. */
  contentWanted(heard: string): void {
    const isData = this.#message?.framing === "data";
    if (!this.#wanted && isData && !/(?:^|\n)3[^\n]*\n$/.test(heard)) {
      throw new Error(`Sends content after ${JSON.stringify(heard)}`);
    }
    this.#wanted = true;
  }

  /** The content was complete. */
  contentEnded(): void {
    this.#ended = true;
  }

  /** At the end of an order no command may be incomplete. */
  checkDone(outcomes: readonly (RecipientOutcome | undefined)[]): void {
    const accepted = outcomes.some((outcome) => outcome?.accepted);
    if (accepted && this.#message !== undefined && !this.#ended) {
      throw new Error("Accepted a message that was not sent to its end");
    }
    this.checkOver();
  }

  /** Checks all that was written up to now. */
  checkOver(): void {
    this.#check(true);
    this.#text = "";
    this.#message = undefined;
  }

  /** Checks what was written before the session broke, perhaps in the middle. */
  checkFailed(): void {
    this.#check(false);
  }

  #check(whole: boolean): void {
    const rest = this.#skipCommands();
    if (rest === "") return;
    const { framing } = this.#message ?? {};
    if (framing === "data") this.#checkData(rest, whole);
    else this.#checkChunks(rest, whole);
  }

  /** What follows the command lines, which must be those that were ordered. */
  #skipCommands(): string {
    const { framing, commands = [] } = this.#message ?? {};
    let next = 0;
    for (;;) {
      const end = this.#text.indexOf("\r\n");
      if (end < 0 || this.#text.startsWith("BDAT ")) return this.#text;
      const line = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 2);
      if (line === "DATA" && framing === "data") return this.#text;
      if (line === commands[next]) next++;
      else if (!OTHER.test(line)) throw new Error(`Sent "${line}"`);
    }
  }

  #checkData(sent: string, whole: boolean): void {
    if (!this.#wanted) {
      // A server that wants content although no recipient was accepted gets an empty message.
      if (sent === ".\r\n") return;
      throw new Error(`Sent content that nobody wanted: "${sent}"`);
    }
    const want = encodeData(this.#message!.content);
    if (this.#ended ? sent === want : isBegun(sent, want)) return;
    if (!whole && this.#ended && isBegun(sent, want)) return;
    throw new Error(
      `Sent ${JSON.stringify(sent)}, wanted ${JSON.stringify(want)}`,
    );
  }

  #checkChunks(sent: string, whole: boolean): void {
    const { framing = "bdat", content = "" } = this.#message ?? {};
    const want = framing === "binary" ? content : crlf(content);
    const { bytes, last } = readChunks(sent);
    const complete = bytes === want && last === this.#ended;
    if (complete || (!(whole && last) && want.startsWith(bytes))) return;
    throw new Error(
      `Sent ${JSON.stringify(sent)}, wanted ${JSON.stringify(want)}`,
    );
  }
}

/** Whether `sent` is the beginning of `want`, without a line that could end it early. */
function isBegun(sent: string, want: string): boolean {
  return want.startsWith(sent) && `\r\n${sent}`.indexOf("\r\n.\r\n") < 0;
}

/** Every line end as CRLF, one at the end. */
function crlf(text: string): string {
  const lines = text.replaceAll("\r\n", "\n").replaceAll("\r", " ");
  const closed = lines === "" || lines.endsWith("\n") ? lines : `${lines}\n`;
  return closed.replaceAll("\n", "\r\n");
}

function encodeData(text: string): string {
  return `${crlf(text).replaceAll(/^\./gm, "..")}.\r\n`;
}

/** Joins BDAT chunks. */
function readChunks(
  sent: string,
): { readonly bytes: string; readonly last: boolean } {
  let bytes = "";
  let at = 0;
  let last = false;
  while (at < sent.length) {
    const match = /^BDAT (\d+)( LAST)?\r\n/.exec(sent.slice(at, at + 40));
    if (match === null || last) {
      throw new Error(`No chunk at ${at} of ${JSON.stringify(sent)}`);
    }
    at += match[0].length;
    bytes += sent.slice(at, at + Number(match[1]));
    at += Number(match[1]);
    last = match[2] !== undefined;
  }
  return { bytes, last };
}
