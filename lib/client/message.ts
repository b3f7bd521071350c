/**
 * Prepares a message for one server: writes domains with A-labels, measures and
 * converts the content, and plans the sending. Owns the decision to read a stream
 * into memory, and the bound on the memory of all messages together.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5891 | RFC 5891} (IDNA)
 */

import { concat, isAscii } from "../protocol/bytes.ts";
import { abortSignal, callable, required, type Rules } from "../options.ts";
import { asciiMailbox } from "../protocol/domain.ts";
import { Address } from "../protocol/address.ts";
import type { ClientEnvelope } from "../protocol/client/transaction.ts";
import {
  ADDRESS_RULE,
  CONTENT_RULE,
  DESTINATIONS_RULE,
  MAIL_PARAMETERS_RULE,
} from "../protocol/mail_rules.ts";
import {
  formatMailParameters,
  formatRcptParameters,
  type MailParameters,
  type RcptParameters,
} from "../protocol/parameters.ts";
import { SmtpReply } from "../protocol/reply.ts";
import { convertContent, loopShare, type Reopen } from "./body_conversion.ts";
import type { ConversionOptions } from "./conversion_plan.ts";
import type { ClientProgress } from "./options.ts";
import { type ContentFacts, ContentMeter } from "./content_meter.ts";
import {
  type MessageFacts,
  needsFacts,
  planSending,
  rcptParameters,
  type SendingPlan,
  type SessionFacts,
} from "./sending_plan.ts";

/** Bytes of a stream that is read into memory: 64 MiB. A larger one is not converted. */
const MAX_HELD = 64 * 1024 * 1024;
/** Bytes of all streams in memory together: 128 MiB. */
const HELD_BYTES = 128 * 1024 * 1024;
/** Bytes of content from memory that go out in one write. */
const PIECE = 262144;

/** Options of {@linkcode SmtpClient.send}. */
export interface SendOptions {
  /** The reverse-path; `""` or `Address.NULL` for a bounce. */
  readonly from: string | Address;
  /** The recipients, at least one, with or without parameters. */
  readonly to: readonly (string | Address | {
    /** The forward-path. */
    readonly address: string | Address;
    /** NOTIFY and ORCPT, passed on if the server supports DSN. */
    readonly parameters?: RcptParameters | undefined;
  })[];
  /**
   * The content: header, empty line, body. A string is sent as UTF-8. Line ends
   * may be CRLF or LF; a CR alone becomes a blank. A function opens the content from its beginning at each
   * call. Content from a function can be converted for a server that needs that,
   * whatever its size; a stream is read into memory for it, up to 64 MiB.
   */
  readonly data:
    | string
    | Uint8Array
    | ReadableStream<Uint8Array>
    | AsyncIterable<Uint8Array>
    | (() => ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>);
  /**
   * The parameters of MAIL; those that the server does not know are left out. But
   * a message with `holdFor`, `holdUntil`, `requireTls` or a `by` that returns it
   * is refused for a server without that extension, and `requireTls` without TLS.
   * `size` counts for streams only. `body` says what a stream contains; 8-bit if
   * unset.
   *
   * @default {{}}
   */
  readonly parameters?: MailParameters | undefined;
  /** Called at each step. Default: the session's own `onProgress`. */
  readonly onProgress?: ((progress: ClientProgress) => void) | undefined;
  /**
   * Ends sending; the promise rejects with the signal's reason, and the
   * connection is closed. Default: only the time limits end it.
   */
  readonly signal?: AbortSignal | undefined;
}

/** The rules for {@linkcode SendOptions}. */
export const SEND_RULES: Rules<SendOptions> = {
  from: required(ADDRESS_RULE),
  to: required(DESTINATIONS_RULE),
  data: required(CONTENT_RULE),
  parameters: MAIL_PARAMETERS_RULE,
  onProgress: callable(),
  signal: abortSignal,
};

/** Has the last word on content that was converted: a signature of it must be made again. */
export interface ConvertedContent {
  /** Opens the content that takes the place of the converted one. */
  converted(open: Reopen): Promise<Reopen>;
}

/** A message that can be sent, or the reason why it cannot. */
export type Prepared =
  | {
    readonly envelope: ClientEnvelope;
    readonly plan: SendingPlan;
    /** The content, piece by piece. */
    readonly content: AsyncIterator<Uint8Array>;
    /** The content in one piece, if it is small and in memory. */
    readonly whole: Uint8Array | undefined;
  }
  | {
    /** The reason. */
    readonly refusal: SmtpReply;
  };

/** A recipient in the spelling for the wire. */
export interface PreparedRecipient {
  /** The address as the caller gave it. */
  readonly address: Address;
  /** The address on the wire: ASCII if that is possible. */
  readonly wire: Address;
  /** NOTIFY and ORCPT. */
  readonly parameters: RcptParameters;
}

/** The reverse-path on the wire: ASCII if that is possible. */
export function prepareSender(from: string | Address): Address {
  return asciiAddress(toAddress(from));
}

export function prepareRecipients(
  to: SendOptions["to"],
): PreparedRecipient[] {
  return to.map((destination) => {
    const plain = typeof destination === "string" ||
      destination instanceof Address;
    const address = toAddress(plain ? destination : destination.address);
    const parameters = plain ? {} : destination.parameters ?? {};
    return { address, wire: asciiAddress(address), parameters };
  });
}

/** Plans a message for a server, and converts its content if the server needs that. */
export async function prepareMessage(
  options: SendOptions,
  session: SessionFacts & {
    /** The result of {@linkcode prepareSender}. */
    from: Address;
    recipients: readonly PreparedRecipient[];
    after: ConvertedContent | undefined;
  },
): Promise<Prepared> {
  const { from, recipients } = session;
  const { signal } = options;
  const asciiAddresses = from.isAscii &&
    recipients.every(({ wire }) => wire.isAscii);
  let parameters = options.parameters ?? {};
  let source: Source = sourceOf(options.data);
  if ("stream" in source && needsFacts(parameters, session)) {
    const held = await hold(source.stream, signal);
    if (held === undefined) return { refusal: TOO_LARGE };
    source = held;
  }
  try {
    for (let isConverted = false;; isConverted = true) {
      const facts = await factsOf(source, { parameters, session, signal });
      const planned = planSending(
        { parameters, asciiAddresses, ...facts, isConverted },
        session,
      );
      if (planned.kind === "refuse") {
        await closeSource(source);
        return { refusal: planned.reply };
      }
      if (planned.kind === "send") {
        return ready(source, { from, recipients, plan: planned.plan });
      }
      const { to7Bit, shortLines } = planned;
      // A refused DSN would be lost, and the message in it is only an extract
      // for its reader.
      const touchesSigned = from.isNull;
      // A stream that must be converted was read into memory above.
      const held = source as Held;
      source = await convert(held, {
        ...{ to7Bit, shortLines, touchesSigned },
        ...{ signal, after: session.after },
      });
      if (to7Bit) {
        const { body: _converted, ...others } = parameters;
        parameters = others;
      }
    }
  } catch (error) {
    await closeSource(source);
    throw error;
  }
}

/** The result for a message that needs no further conversion. */
function ready(
  source: Source,
  message: {
    readonly from: Address;
    readonly recipients: readonly PreparedRecipient[];
    readonly plan: SendingPlan;
  },
): Prepared {
  const whole = "bytes" in source && source.bytes.length <= PIECE
    ? source.bytes
    : undefined;
  const { from, recipients, plan } = message;
  return {
    envelope: makeEnvelope(from, { recipients, plan }),
    plan,
    content: contentOf(source),
    whole,
  };
}

/** Converts content for the server. The result is in memory if the content was in memory and small. */
async function convert(
  source: Held,
  options: ConversionOptions & {
    readonly signal: AbortSignal | undefined;
    readonly after: ConvertedContent | undefined;
  },
): Promise<Held> {
  const { release } = source;
  const content = openerOf(source);
  const converted = await convertContent(
    () => untilAbort(content(), options.signal),
    options,
  );
  const open = await options.after?.converted(converted) ?? converted;
  if (!("bytes" in source) || source.bytes.length > PIECE) {
    return { open, release };
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of open()) chunks.push(chunk);
  return { bytes: concat(chunks), release };
}

const TOO_LARGE = new SmtpReply(
  554,
  "Message is too large to be converted for a server that takes 7-bit content only",
  { enhanced: "5.6.3" },
);

function makeEnvelope(
  from: Address,
  message: { recipients: readonly PreparedRecipient[]; plan: SendingPlan },
): ClientEnvelope {
  const { plan, recipients } = message;
  return {
    from: from.toPath(),
    parameters: formatMailParameters(plan.parameters),
    recipients: recipients.map(({ wire, parameters }) => ({
      path: wire.toPath(),
      parameters: formatRcptParameters(rcptParameters(parameters, plan)),
    })),
    framing: plan.framing,
    eager: plan.eager,
  };
}

function toAddress(address: string | Address): Address {
  if (address instanceof Address) return address;
  return address === "" ? Address.NULL : Address.parse(address);
}

/** Writes the domain with A-labels. A local part has no spelling in ASCII. */
function asciiAddress(address: Address): Address {
  if (address.isAscii) return address;
  const text = asciiMailbox(String(address));
  return isAscii(text) ? Address.parse(text) : address;
}

/** Content that can be read more than once. `release` returns its bytes to the budget. */
type Held =
  | { readonly bytes: Uint8Array; readonly release?: (() => void) | undefined }
  | { readonly open: Reopen; readonly release?: (() => void) | undefined };

/** Content of any origin. */
type Source = Held | { readonly stream: AsyncIterable<Uint8Array> };

function sourceOf(data: SendOptions["data"]): Source {
  if (typeof data === "string") {
    return { bytes: new TextEncoder().encode(data) };
  }
  if (data instanceof Uint8Array) return { bytes: data };
  if (typeof data === "function") return { open: data };
  return { stream: data };
}

function openerOf(source: Held): Reopen {
  return "bytes" in source ? () => pieces(source.bytes) : source.open;
}

/** The facts about content that the plan depends on, measured if it does. */
async function factsOf(source: Source, message: {
  readonly parameters: MailParameters;
  readonly session: SessionFacts;
  readonly signal: AbortSignal | undefined;
}): Promise<Pick<MessageFacts, keyof ContentFacts>> {
  const { parameters, session, signal } = message;
  if ("bytes" in source || needsFacts(parameters, session)) {
    const isBinary = parameters.body === "BINARYMIME";
    // A stream that must be measured was read into memory before.
    return await measure(source as Held, { isBinary, signal });
  }
  return {
    size: parameters.size,
    isAscii: undefined,
    headerIsAscii: undefined,
    hasLongLines: undefined,
  };
}

/** Measures content by reading it. */
async function measure(source: Held, { isBinary, signal }: {
  readonly isBinary: boolean;
  readonly signal: AbortSignal | undefined;
}): Promise<ContentFacts> {
  const meter = new ContentMeter({ isBinary });
  if ("bytes" in source && source.bytes.length <= PIECE) {
    meter.push(source.bytes);
    return meter.end();
  }
  for await (const piece of untilAbort(openerOf(source)(), signal)) {
    await loopShare.run(() => meter.push(piece));
  }
  return meter.end();
}

/** The content for the wire. Its `return()` releases the memory that it holds. */
function contentOf(source: Source): AsyncIterator<Uint8Array> {
  const inner = "stream" in source
    ? source.stream[Symbol.asyncIterator]()
    : openerOf(source)()[Symbol.asyncIterator]();
  const release = "stream" in source ? undefined : source.release;
  if (release === undefined) return inner;
  // Not a generator: `return()` on a generator that has not started skips its
  // `finally`.
  return {
    next: () => inner.next(),
    async return() {
      release();
      await inner.return?.();
      return { done: true, value: undefined };
    },
  };
}

/** Closes content that will not be read, and releases its memory. */
async function closeSource(source: Source): Promise<void> {
  if ("stream" in source) {
    await source.stream[Symbol.asyncIterator]().return?.();
  } else source.release?.();
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE) {
    yield bytes.subarray(at, at + PIECE);
  }
}

/** Content that throws the signal's reason after an abort, even if its source hangs. */
async function* untilAbort(
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  if (signal === undefined) return yield* content;
  const source = content[Symbol.asyncIterator]();
  const aborted = Promise.withResolvers<never>();
  aborted.promise.catch(() => {});
  const onAbort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  try {
    for (;;) {
      signal.throwIfAborted();
      const next = await Promise.race([source.next(), aborted.promise]);
      if (next.done) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    // Not awaited: a source that hangs does not end either.
    source.return?.()?.catch(() => {});
  }
}

/** Reads a stream into memory, within the budget of all; `undefined` if it is larger than `MAX_HELD`. */
async function hold(
  data: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<Held | undefined> {
  const release = await heldBytes.take(MAX_HELD, signal);
  try {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of untilAbort(data, signal)) {
      size += chunk.length;
      if (size > MAX_HELD) break;
      chunks.push(chunk.slice());
    }
    if (size > MAX_HELD) {
      release();
      return undefined;
    }
    return { bytes: concat(chunks), release };
  } catch (error) {
    release();
    throw error;
  }
}

/**
 * A budget of bytes, given out in the order of the requests. Callers take bytes
 * before they use memory, since many streams may be read at a time.
 */
export class ByteBudget {
  #free: number;
  readonly #waiting: {
    readonly bytes: number;
    readonly resolve: () => void;
  }[] = [];

  constructor(bytes: number) {
    this.#free = bytes;
  }

  /**
   * Takes bytes, and waits until they are free.
   *
   * @param bytes At most the whole budget
   * @param signal Ends the wait; the promise rejects with its reason
   * @returns A function that gives the bytes back; idempotent
   */
  async take(bytes: number, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.#waiting.length > 0 || bytes > this.#free) {
      await this.#wait(bytes, signal);
    } else {
      this.#free -= bytes;
    }
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      this.#free += bytes;
      this.#serve();
    };
  }

  #wait(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => {
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      reject(signal!.reason);
      this.#serve();
    };
    const waiting = {
      bytes,
      resolve: () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
    };
    this.#waiting.push(waiting);
    signal?.addEventListener("abort", onAbort);
    return promise;
  }

  #serve(): void {
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined || next.bytes > this.#free) return;
      this.#waiting.shift();
      this.#free -= next.bytes;
      next.resolve();
    }
  }
}

/** The budget of this thread. */
const heldBytes: ByteBudget = new ByteBudget(HELD_BYTES);
