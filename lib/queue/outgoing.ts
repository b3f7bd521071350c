/**
 * Mail that a program itself puts into the queue: its parts, their rules, and
 * the message that they become. Owns the line ends of its content. Adds nothing
 * to the header.
 */

import type { SendOptions } from "../client/message.ts";
import type { BodyOptions } from "../message/body.ts";
import { Message } from "../message/message.ts";
import { object, required, type Rule, type Rules } from "../options.ts";
import { Address } from "../protocol/address.ts";
import { DataEncoder } from "../protocol/data_encoder.ts";
import type { Recipient } from "../protocol/envelope.ts";
import {
  ADDRESS_RULE,
  CONTENT_RULE,
  DESTINATIONS_RULE,
  MAIL_PARAMETERS_RULE,
} from "../protocol/mail_rules.ts";
import type { MailParameters } from "../protocol/parameters.ts";

/**
 * A message of the program's own for {@linkcode Relays.add}, in the words of
 * {@linkcode SmtpClient.send}. The queue adds no field to it: mail programs want
 * `Date`, `From` and `Message-ID`, so write them.
 *
 * @example Send a message that must arrive
 * ```ts
 * import { type OutgoingMail, SmtpServer } from "@smtp/server";
 *
 * const server = new SmtpServer({ listen: [], log: () => {} });
 * await server.start();
 * const mail: OutgoingMail = {
 *   from: "me@example.com",
 *   to: ["ann@example.org", "bob@example.net"],
 *   data: "From: me@example.com\nSubject: hello\n\nIt works.\n",
 * };
 * const relay = await server.relays.add(mail, { held: true });
 * console.assert(relay.recipients.length === 2);
 * await server.stop();
 * ```
 */
export interface OutgoingMail {
  /**
   * The reverse-path, to which DSNs go; `null`, `""` or `Address.NULL` for mail
   * that gets none.
   */
  readonly from: SendOptions["from"] | null;
  /** The recipient, or the recipients, at least one, with or without parameters. */
  readonly to: string | Address | SendOptions["to"];
  /**
   * The content: header, empty line, body. A string is kept as UTF-8. Line ends
   * become CRLF, a CR alone a blank, unless `parameters.body` is `"BINARYMIME"`.
   * A stream is read to its end first: what is larger than the server's
   * `memoryLimit` (256 KiB without a server) goes through a temporary file. If
   * the stream fails, nothing is queued.
   */
  readonly data: SendOptions["data"];
  /**
   * The parameters of MAIL, passed on as far as the next hop supports them.
   *
   * @default {{}}
   */
  readonly parameters?: MailParameters | undefined;
}

const FROM_WANT = 'an address, as "ann@example.com", or null for the null path';
const TO_WANT = 'an address or an array of them, as ["bob@example.com"]';

const RULES: Rules<OutgoingMail> = {
  from: required({
    want: FROM_WANT,
    check: (value, at) => value === null || ADDRESS_RULE.check(value, at),
  }),
  to: required({
    want: TO_WANT,
    check: (value, at) =>
      DESTINATIONS_RULE.check(
        typeof value === "string" || value instanceof Address ? [value] : value,
        at,
      ),
  }),
  data: required(CONTENT_RULE),
  parameters: MAIL_PARAMETERS_RULE,
};

/** The rule for {@linkcode OutgoingMail}. */
const OUTGOING_RULE: Rule = object(
  RULES,
  '{ from: "ann@example.com", to: "bob@example.com", data: "..." }, or a Message',
);

/**
 * Makes a message of its parts. The caller discards it.
 *
 * @param mail The parts, not checked yet
 * @param options `id`: its name; `body`: where its content goes
 * @throws {TypeError} If a part is missing, unknown or of the wrong kind
 * @throws {AddressSyntaxError} If an address cannot be read
 * @throws {unknown} The error of the content
 */
export async function messageOf(
  mail: OutgoingMail,
  { id, body }: { readonly id: string; readonly body: BodyOptions },
): Promise<Message> {
  OUTGOING_RULE.check(mail, { path: "", of: "relays.add", secret: false });
  const { from, to, data, parameters = {} } = mail;
  const message = new Message({
    id,
    from: from === null ? Address.NULL : addressOf(from),
    parameters,
    recipients: typeof to === "string" || to instanceof Address
      ? [recipientOf(to)]
      : to.map(recipientOf),
    receivedAt: new Date(),
    isOwn: true,
    trace: () => "",
    body,
  });
  const encoder = parameters.body === "BINARYMIME"
    ? undefined
    : new DataEncoder({ framing: "bdat" });
  try {
    for await (const chunk of chunksOf(data)) {
      if (!((chunk as unknown) instanceof Uint8Array)) {
        throw new TypeError(
          "Cannot relay the content: want a stream of bytes, as TextEncoderStream makes it of text",
        );
      }
      await message.body.write(encoder?.encode(chunk) ?? chunk);
    }
    if (encoder !== undefined) await message.body.write(encoder.finish());
  } catch (error) {
    await message.discard();
    throw error;
  }
  return message;
}

function addressOf(address: string | Address): Address {
  if (address instanceof Address) return address;
  return address === "" ? Address.NULL : Address.parse(address);
}

function recipientOf(to: SendOptions["to"][number]): Recipient {
  const { address, parameters = {} } =
    typeof to === "string" || to instanceof Address ? { address: to } : to;
  const parsed = addressOf(address);
  if (!parsed.isNull) return { address: parsed, parameters };
  throw new TypeError("Cannot relay to the null path: want a recipient");
}

function chunksOf(
  data: SendOptions["data"],
): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  if (typeof data === "string") return [new TextEncoder().encode(data)];
  if (data instanceof Uint8Array) return [data];
  return typeof data === "function" ? data() : data;
}
