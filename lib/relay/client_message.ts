/**
 * A message on its way to one server: addresses made ASCII, content in memory
 * or as a stream, and the plan for both. Owns the decision to read a stream
 * into memory, and the bound on that.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5891 | RFC 5891} (IDNA)
 */

import { domainToASCII } from "node:url";
import {
  abortSignal,
  callable,
  list,
  object,
  oneOf,
  optionError,
  required,
  type Rule,
  type Rules,
  text,
  where,
  whole,
} from "../options.ts";
import { Address } from "../protocol/address.ts";
import type { ClientEnvelope } from "../protocol/client_transaction.ts";
import {
  formatMailParameters,
  formatRcptParameters,
  type MailParameters,
  type RcptParameters,
} from "../protocol/parameters.ts";
import { SmtpReply } from "../protocol/reply.ts";
import { type Converted, convertTo7Bit, isAscii } from "./body_conversion.ts";
import type { ClientProgress } from "./client_options.ts";
import {
  planSending,
  rcptParameters,
  type SendingPlan,
  type SessionFacts,
} from "./sending_plan.ts";

/** Content larger than this is not read into memory to be converted, in octets. */
const MAX_CONVERTED = 64 * 1024 * 1024;
/** Pieces in which content from memory is written. */
const PIECE = 262144;

/** The content of a message: text is sent as UTF-8. Line ends may be CRLF, LF or CR. */
export type ClientData =
  | string
  | Uint8Array
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array>;

/** A recipient, with or without parameters. */
export type ClientDestination = string | Address | {
  /** The forward-path. */
  readonly address: string | Address;
  /** NOTIFY and ORCPT, passed on where the server knows DSN. */
  readonly parameters?: RcptParameters | undefined;
};

/** Options of {@linkcode SmtpClient.send}. */
export interface SendOptions {
  /** The reverse-path; `""` or `Address.NULL` for a bounce. */
  readonly from: string | Address;
  /** The recipients, at least one. */
  readonly to: readonly ClientDestination[];
  /** The content: header, empty line, body. */
  readonly data: ClientData;
  /**
   * What goes with MAIL, as far as the server knows it. `size` counts for
   * streams only; `body` says what a stream contains (8-bit when not given).
   *
   * @default {{}}
   */
  readonly parameters?: MailParameters | undefined;
  /** Told of each step, instead of the session's own `onProgress`. */
  readonly onProgress?: ((progress: ClientProgress) => void) | undefined;
  /** Ends sending; the promise rejects with the signal's reason, and the connection is closed. */
  readonly signal?: AbortSignal | undefined;
}

const ADDRESS_RULE: Rule = where(
  'an address, as "ann@example.com"',
  (value) => typeof value === "string" || value instanceof Address,
);
const MAIL_RULES: Rules<MailParameters> = {
  size: whole(),
  body: oneOf("7BIT", "8BITMIME", "BINARYMIME"),
  smtpUtf8: where("true", (value) => value === true),
  ret: oneOf("FULL", "HDRS"),
  envid: text(),
  auth: text(),
};
const RCPT_RULES: Rules<RcptParameters> = {
  notify: list(oneOf("NEVER", "SUCCESS", "FAILURE", "DELAY")),
  orcpt: object({ type: required(text()), address: required(text()) }),
};
const DESTINATION_WANT =
  'an address, as "bob@example.com", or { address, parameters }';
const DESTINATION_RULE = object(
  { address: required(ADDRESS_RULE), parameters: object(RCPT_RULES) },
  '{ address: "bob@example.com" }',
);

/** What {@linkcode SendOptions} must be. */
export const SEND_RULES: Rules<SendOptions> = {
  from: required(ADDRESS_RULE),
  to: required(list({
    want: DESTINATION_WANT,
    check(value, at) {
      if (typeof value === "string" || value instanceof Address) return;
      if (typeof value !== "object" || value === null) {
        throw optionError(at, value, { want: DESTINATION_WANT });
      }
      DESTINATION_RULE.check(value, at);
    },
  }, 'an array of addresses, as ["bob@example.com"]')),
  data: required(where(
    "the content as a string, a Uint8Array or a stream of them",
    (value) =>
      typeof value === "string" || value instanceof Uint8Array ||
      typeof value === "object" && value !== null &&
        Symbol.asyncIterator in value,
  )),
  parameters: object(MAIL_RULES, '{ body: "8BITMIME" }'),
  onProgress: callable(),
  signal: abortSignal,
};

/** A message that can go, or the reason why it cannot. */
export type Prepared =
  | {
    /** The envelope for the machine. */
    readonly envelope: ClientEnvelope;
    /** The plan. */
    readonly plan: SendingPlan;
    /** The content, piece by piece. */
    readonly content: AsyncIterator<Uint8Array>;
    /** The content in one piece, where it is small and in memory. */
    readonly whole: Uint8Array | undefined;
  }
  | {
    /** Why it cannot go. */
    readonly refusal: SmtpReply;
  };

/** Recipients with their addresses made ASCII where that is possible. */
export interface PreparedRecipient {
  /** As it was given. */
  readonly address: Address;
  /** As it goes on the wire. */
  readonly wire: Address;
  /** NOTIFY and ORCPT. */
  readonly parameters: RcptParameters;
}

/** The recipients of a message. */
export function prepareRecipients(
  to: readonly ClientDestination[],
): PreparedRecipient[] {
  return to.map((destination) => {
    const plain = typeof destination === "string" ||
      destination instanceof Address;
    const address = toAddress(plain ? destination : destination.address);
    const parameters = plain ? {} : destination.parameters ?? {};
    return { address, wire: asciiAddress(address), parameters };
  });
}

/** Plans a message for a server, converting its content where that must be. */
export async function prepareMessage(
  options: SendOptions,
  session: SessionFacts & {
    /** The recipients. */
    recipients: readonly PreparedRecipient[];
  },
): Promise<Prepared> {
  const { recipients } = session;
  const from = asciiAddress(toAddress(options.from));
  let data: ClientData = typeof options.data === "string"
    ? new TextEncoder().encode(options.data)
    : options.data;
  let parameters = options.parameters ?? {};
  for (;;) {
    const bytes: Uint8Array | undefined = data instanceof Uint8Array
      ? data
      : undefined;
    const planned = planSending({
      parameters,
      asciiAddresses: from.isAscii &&
        recipients.every(({ wire }) => wire.isAscii),
      size: bytes?.length ?? parameters.size,
      isAscii: bytes && isAscii(bytes),
      headerIsAscii: bytes && headerIsAscii(bytes),
    }, session);
    if (planned.kind === "refuse") {
      await letGo(data);
      return { refusal: planned.reply };
    }
    if (planned.kind === "send") {
      const { plan } = planned;
      const content = bytes
        ? pieces(bytes)
        : (data as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
      return {
        envelope: makeEnvelope(from, { recipients, plan }),
        plan,
        content,
        whole: bytes && bytes.length <= PIECE ? bytes : undefined,
      };
    }
    const whole: Uint8Array | undefined = bytes ??
      await collect(data as AsyncIterable<Uint8Array>);
    const converted: Converted = whole ? convertTo7Bit(whole) : TOO_LARGE;
    if ("reply" in converted) return { refusal: converted.reply };
    data = converted.content;
    const { body: _converted, ...others } = parameters;
    parameters = others;
  }
}

const TOO_LARGE = {
  reply: new SmtpReply(
    554,
    "Message is too large to be converted for a server that takes 7-bit content only",
    { enhanced: "5.6.3" },
  ),
};

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

/** A domain of other letters has a spelling in ASCII; a local part has none. */
function asciiAddress(address: Address): Address {
  if (address.isAscii || !isAsciiText(address.localPart)) return address;
  const domain = domainToASCII(address.domain);
  return domain === ""
    ? address
    : Address.parse(`${address.localPart}@${domain}`);
}

function isAsciiText(text: string): boolean {
  return isAscii(new TextEncoder().encode(text));
}

function headerIsAscii(bytes: Uint8Array): boolean {
  let end = bytes.length;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) {
    const next = bytes[at + 1] === 13 ? bytes[at + 2] : bytes[at + 1];
    if (next !== 10) continue;
    end = at;
    break;
  }
  return isAscii(bytes.subarray(0, end));
}

/** Gives back what a stream holds that nobody will read. */
async function letGo(data: ClientData): Promise<void> {
  if (typeof data === "string" || data instanceof Uint8Array) return;
  await data[Symbol.asyncIterator]().return?.();
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE) {
    yield bytes.subarray(at, at + PIECE);
  }
}

/** All of a stream, `undefined` where it is too much. */
async function collect(
  data: AsyncIterable<Uint8Array>,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of data) {
    size += chunk.length;
    if (size > MAX_CONVERTED) return undefined;
    chunks.push(chunk.slice());
  }
  const all = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
