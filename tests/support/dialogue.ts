/**
 * Drives a ServerProtocol alone: hands it bytes, answers its questions by a
 * policy, and records its replies and effects. Dialogues are scripts of
 * lines: `C:` the client's line, `C|` bytes without a line end, `S:` a reply
 * line (`...` at its end stands for any text), `E:` an event, in order.
 */

import { assert, assertEquals } from "@std/assert";
import {
  Capabilities,
  type ExtensionKeyword,
} from "../../lib/protocol/capabilities.ts";
import { replies } from "../../lib/protocol/replies.ts";
import { KINDS, type ListenerKind } from "../../lib/protocol/listener_kind.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import type {
  AskFlags,
  CloseReason,
  ServerAsk,
  ServerProfile,
  Verdict,
} from "../../lib/protocol/server/effects.ts";
import { ServerProtocol } from "../../lib/protocol/server/protocol.ts";
import { waysToCut } from "./random.ts";
import { bytesOf, concat, textOf, utf8 } from "./bytes.ts";

/** What a test changes of the profile. */
export interface ProfileInit
  extends Partial<Omit<ServerProfile, "kind" | "capabilities" | "asks">> {
  /** The listener's kind; `"smtp"` by default. */
  readonly kind?: ListenerKind;
  /** Extensions that are off. */
  readonly disabled?: readonly ExtensionKeyword[];
  /** What is asked; all of it with `"all"`, nothing by default. */
  readonly asks?: Partial<AskFlags> | "all";
}

const NO_ASKS: AskFlags = {
  command: false,
  helo: false,
  mail: false,
  rcpt: false,
  verify: false,
  expand: false,
};

const ALL_ASKS: AskFlags = {
  command: false,
  helo: true,
  mail: true,
  rcpt: true,
  verify: true,
  expand: true,
};

/** A profile: every extension on, host name `mx.test`, limits that no test reaches by chance. */
export function testProfile(init: ProfileInit = {}): ServerProfile {
  const { disabled = [], asks = {}, kind = "smtp", ...rest } = init;
  const { maxSize = 1000, maxRecipients = 5 } = rest;
  return {
    kind: KINDS[kind],
    greeting: new SmtpReply(220, "mx.test ESMTP ready"),
    goodbye: replies.goodbye,
    maxSize,
    maxRecipients,
    maxErrors: 0,
    maxRefusedRecipients: 0,
    maxCommandsWithoutMail: 0,
    bareNewlines: "reject",
    startTls: "none",
    authentication: "none",
    ...rest,
    asks: asks === "all" ? ALL_ASKS : { ...NO_ASKS, ...asks },
    capabilities: new Capabilities(
      { hostname: "mx.test", maxSize, maxRecipients, disabled },
      rest.authentication !== undefined && rest.authentication !== "none",
    ),
  };
}

/** Answers a question; `"handled"` where the policy has called the machine itself. */
export type Policy = (
  ask: ServerAsk,
  machine: ServerProtocol,
) => Verdict | "handled";

/** One machine with its replies and effects. */
export class Driver {
  /** The machine. */
  readonly machine: ServerProtocol;
  /** Everything written, one character a byte. */
  output = "";
  /** Questions, bodies and changes in their order; without the first question, `connect`. */
  readonly events: string[] = [];
  /** Why the machine closed, `undefined` while it has not. */
  closed: CloseReason | undefined;
  /** The largest single write, in bytes. */
  largestWrite = 0;
  readonly #policy: Policy;
  #body = "";

  /** @param policy Answers the questions; everything is accepted by default */
  constructor(init: ProfileInit = {}, policy: Policy = () => undefined) {
    this.machine = new ServerProtocol(testProfile(init));
    this.machine.transportChanged({ tls: false, mechanisms: ["PLAIN"] });
    this.machine.impersonationAllowed(init.xclient === true);
    this.#policy = policy;
    this.#run();
  }

  /** Hands the machine a copy of `bytes` and runs it until it wants more. */
  feed(bytes: Uint8Array | string): this {
    if (this.closed !== undefined) return this;
    this.machine.receive(
      typeof bytes === "string" ? bytesOf(bytes) : bytes.slice(),
    );
    this.#run();
    return this;
  }

  /** Hands the machine all pieces, one after the other. */
  feedAll(pieces: Iterable<Uint8Array>): this {
    for (const piece of pieces) this.feed(piece);
    return this;
  }

  /** The reply lines since the last call. */
  take(): string[] {
    const lines = this.output.split("\r\n");
    assertEquals(lines.pop(), "", "The last reply has no line end");
    this.output = "";
    return lines;
  }

  #run(): void {
    for (;;) {
      const effect = this.machine.next();
      switch (effect.effect) {
        case "read":
          return;
        case "write":
          this.output += textOf(effect.bytes);
          this.largestWrite = Math.max(this.largestWrite, effect.bytes.length);
          break;
        case "body":
          assert(effect.bytes.length > 0, "An empty body effect");
          this.#body += textOf(effect.bytes);
          break;
        case "ask":
          this.#ask(effect);
          break;
        case "drop":
          // How much of a refused body came out depends on where it was cut.
          this.#body = "";
          this.#note(`drop ${effect.refusal.code}`);
          break;
        case "reset":
          this.#note("reset");
          break;
        case "xclient":
          this.#note(`xclient ${JSON.stringify(effect.attributes)}`);
          break;
        case "startTls":
          this.#note("startTls");
          this.machine.tlsStarted();
          break;
        case "close":
          this.closed = effect.reason;
          this.#note(`close ${effect.reason}`);
          return;
      }
    }
  }

  #ask(ask: ServerAsk): void {
    if (ask.ask !== "connect") this.#note(describe(ask));
    const verdict = this.#policy(ask, this.machine);
    if (verdict === "handled") return;
    if (ask.ask === "command") this.machine.answerCommand(ask.line);
    else this.machine.answer(verdict);
  }

  #note(event: string): void {
    if (this.#body !== "") {
      this.events.push(`body ${JSON.stringify(this.#body)}`);
    }
    this.#body = "";
    this.events.push(event);
  }
}

/** A question in a form for scripts. */
function describe(ask: ServerAsk): string {
  switch (ask.ask) {
    case "mail":
    case "rcpt": {
      const parameters = JSON.stringify(ask.parameters);
      const shown = parameters === "{}" ? "" : ` ${parameters}`;
      return `${ask.ask} ${ask.address.toPath()}${shown}`;
    }
    case "command":
      return `command ${ask.line}`;
    case "helo":
      return `helo ${ask.name}`;
    case "messageStart":
      return `messageStart ${ask.via}`;
    case "verify":
    case "expand":
      return `${ask.ask} ${ask.text}`;
    case "auth":
      return `auth ${ask.mechanism} ${ask.initial ?? "-"}`;
    case "authLine":
      return `authLine ${ask.text ?? "-"}`;
    default:
      return ask.ask;
  }
}

/** Options of {@linkcode play}. */
export interface PlayOptions {
  /** What differs from the test profile. */
  readonly profile?: ProfileInit;
  /** Makes a new policy for each run. */
  readonly policy?: () => Policy;
  /** Whether the client's bytes may also be cut within its turns. Default `true`. */
  readonly recut?: boolean;
}

interface Step {
  readonly kind: "client" | "server" | "event";
  readonly text: string;
  readonly bytes: Uint8Array;
}

/** Takes a script apart; `\r \n \0 \\ \xNN` stand for bytes in the client's lines. */
function parseScript(script: string): Step[] {
  const steps: Step[] = [];
  for (const raw of script.split("\n")) {
    const line = raw.trimStart();
    if (line === "" || line.startsWith("#")) continue;
    const text = line.slice(2).replace(/^ /, "");
    const mark = line.slice(0, 2);
    if (mark === "C:" || mark === "C|") {
      const sent = unescape(text) + (mark === "C:" ? "\r\n" : "");
      steps.push({ kind: "client", text, bytes: utf8OrOctets(sent) });
    } else if (mark === "S:" || mark === "E:") {
      const kind = mark === "S:" ? "server" : "event";
      steps.push({ kind, text, bytes: new Uint8Array(0) });
    } else {
      throw new SyntaxError(`Cannot read the script line "${line}"`);
    }
  }
  return steps;
}

function utf8OrOctets(text: string): Uint8Array {
  return /[\u0100-\uffff]/.test(text) ? utf8(text) : bytesOf(text);
}

function unescape(text: string): string {
  return text.replace(
    /\\(?:x([0-9a-f]{2})|([rn0\\]))/gi,
    (_, hex: string | undefined, letter: string) =>
      hex === undefined
        ? { r: "\r", n: "\n", "0": "\0", "\\": "\\" }[letter]!
        : String.fromCharCode(parseInt(hex, 16)),
  );
}

/**
 * Plays a script turn by turn and, unless `recut` is `false`, byte by byte, all at once
 * and in random pieces. The replies and events must be the same each time.
 */
export function play(script: string, options: PlayOptions = {}): void {
  const steps = parseScript(script);
  const wantEvents = steps.filter((step) => step.kind === "event");
  const driverOf = () => new Driver(options.profile, options.policy?.());

  const turns = driverOf();
  const want: string[] = [];
  for (const [index, step] of steps.entries()) {
    if (step.kind === "server") want.push(step.text);
    const next = steps[index + 1];
    if (step.kind === "client") turns.feed(step.bytes);
    if (step.kind !== "event" && next?.kind !== "server") {
      assertReplies(turns.take(), want.splice(0), `after "${step.text}"`);
    }
  }
  if (wantEvents.length > 0) {
    assertEquals(turns.events, wantEvents.map((step) => step.text));
  }

  const client = steps.filter((step) => step.kind === "client");
  const replies = steps.filter((step) => step.kind === "server")
    .map((step) => step.text);
  const stream = concat(client.map((step) => step.bytes));
  if (options.recut === false) return;
  for (const [way, cut] of waysToCut(stream)) {
    const driver = driverOf().feedAll(cut);
    assertReplies(driver.take(), replies, way);
    assertEquals(uncut(driver.events), uncut(turns.events), way);
    assertEquals(driver.closed, turns.closed, way);
  }
}

/** Events without those that depend on the cut: of two faults the first one found drops the body. */
export function uncut(events: readonly string[]): string[] {
  return events.map((event) => event.replace(/^drop .*/, "drop"));
}

/** Compares reply lines; `...` at the end of a wanted line stands for any text. */
export function assertReplies(
  got: readonly string[],
  want: readonly string[],
  message: string,
): void {
  const shown = got.map((line, index) => {
    const prefix = want[index];
    return prefix?.endsWith("...") && line.startsWith(prefix.slice(0, -3))
      ? prefix
      : line;
  });
  assertEquals(shown, [...want], message);
}

/** The script of EHLO, MAIL and RCPT with their replies. */
export const ENVELOPE = `
  S: 220 mx.test ESMTP ready
  C: HELO client.test
  S: 250 mx.test
  C: MAIL FROM:<a@b.test>
  S: 250 2.1.0 ...
  C: RCPT TO:<c@d.test>
  S: 250 2.1.5 ...
`;

/** The script of HELO with its reply. */
export const GREETED = `
  S: 220 mx.test ESMTP ready
  C: HELO client.test
  S: 250 mx.test
`;

/** A test: its name, its script, what differs from the default. */
export type Dialogue = [name: string, script: string, options?: PlayOptions];

/** Registers a test for each dialogue with the receiving machine. */
export function testDialogues(dialogues: readonly Dialogue[]): void {
  for (const [name, script, options] of dialogues) {
    Deno.test(`ServerProtocol ${name}`, () => play(script, options));
  }
}
