/**
 * The dialogue of one session line by line, for `onDialogue` and for the log of
 * traced sessions. Exists only for sessions of which one of the two wants it.
 *
 * Danger: clients send secrets. Lines within AUTH never pass, and commands only
 * through {@linkcode SecretLines}; content never passes, only its length.
 */

import { visible } from "../log.ts";
import type { InputListener } from "../protocol/server/effects.ts";
import type { SessionContext } from "./context.ts";
import type { DialogueLine } from "./handlers.ts";
import { logDialogue } from "./log.ts";
import { SecretLines } from "./secret_lines.ts";
import type { SmtpSession } from "./session.ts";
import { tellHandler } from "./verdicts.ts";

/** Most characters of a line. */
const LONGEST_LINE = 1000;

const utf8 = new TextDecoder();

/** Shows the dialogue of one session. */
export class Dialogue implements InputListener {
  readonly #context: SessionContext;
  readonly #session: SmtpSession;
  readonly #began = performance.now();
  readonly #secrets = new SecretLines();
  #isTraced = false;
  /** Bytes of the content so far. */
  #content = 0;

  private constructor(context: SessionContext, session: SmtpSession) {
    this.#context = context;
    this.#session = session;
  }

  /**
   * The dialogue of a session, `undefined` if it is not wanted. To be called
   * again when the session has another client.
   *
   * @param known The dialogue so far
   */
  static of(
    context: SessionContext,
    session: SmtpSession,
    known: Dialogue | undefined,
  ): Dialogue | undefined {
    const { tracing, handlers } = context;
    const isTraced = tracing?.traces(session) === true;
    if (!isTraced && handlers.onDialogue === undefined) return undefined;
    const dialogue = known ?? new Dialogue(context, session);
    dialogue.#isTraced = isTraced;
    return dialogue;
  }

  /** See {@linkcode InputListener.line}. */
  line(text: string, kind: "command" | "auth" | "unusable"): void {
    if (kind === "auth") return this.#tell("client", "***");
    if (kind === "command") {
      return this.#tell("client", this.#secrets.traced(text));
    }
    const head = this.#secrets.shownHead(text);
    this.#tell("client", `${head} (a line that cannot be read)`);
  }

  /** See {@linkcode InputListener.content}. */
  content(count: number, isOver: boolean): void {
    this.#content += count;
    if (isOver) this.#endContent();
  }

  /** See {@linkcode InputListener.dropped}. */
  dropped(count: number): void {
    this.#tell("client", `(${count} bytes behind STARTTLS, dropped)`);
  }

  /** Bytes that are sent to the client. */
  sent(bytes: Uint8Array): void {
    const lines = utf8.decode(bytes).split("\r\n");
    if (lines.at(-1) === "") lines.pop();
    for (const line of lines) {
      this.#tell("server", line.startsWith("334 ") ? "334 ***" : line);
    }
  }

  /** The connection is encrypted from now on. */
  encrypted(): void {
    const { tls } = this.#session;
    this.#tell("server", `(${tls?.protocol ?? "TLS"} has begun)`);
  }

  /** The session is over. */
  end(): void {
    if (this.#content > 0) this.#endContent();
  }

  #endContent(): void {
    const count = this.#content;
    this.#content = 0;
    this.#tell("client", `(${count} bytes of content)`);
  }

  #tell(side: DialogueLine["side"], text: string): void {
    const shown = text.length > LONGEST_LINE
      ? `${text.slice(0, LONGEST_LINE)}...`
      : text;
    const exchange: DialogueLine = {
      side,
      line: visible(shown),
      atMs: Math.round(performance.now() - this.#began),
    };
    if (this.#isTraced) logDialogue(this.#context, this.#session, exchange);
    tellHandler(this.#context, "onDialogue", this.#session, exchange);
  }
}
