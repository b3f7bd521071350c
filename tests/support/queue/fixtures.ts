/** Messages, envelopes and deliveries for tests of the queue. */

import { Message } from "../../../lib/message/message.ts";
import { Address } from "../../../lib/protocol/address.ts";
import type {
  MailParameters,
  RcptParameters,
} from "../../../lib/protocol/parameters.ts";
import type {
  Deliver,
  DeliveryJob,
  RecipientReport,
} from "../../../lib/queue/job.ts";
import type { SpoolAddition } from "../../../lib/spool/spool.ts";

/** What a test says of a message. */
export interface MessageSketch {
  readonly id?: string;
  readonly from?: string;
  readonly parameters?: MailParameters;
  readonly to: readonly (string | readonly [string, RcptParameters])[];
  readonly content?: string | Uint8Array;
}

/** A whole message in memory. */
export async function makeMessage(sketch: MessageSketch): Promise<Message> {
  const from = sketch.from ?? "sender@example.com";
  const message = new Message({
    id: sketch.id ?? "m1",
    from: from === "" ? Address.NULL : Address.parse(from),
    parameters: sketch.parameters ?? {},
    recipients: sketch.to.map((one) => {
      const [address, parameters] = typeof one === "string" ? [one, {}] : one;
      return { address: Address.parse(address), parameters };
    }),
    receivedAt: new Date(0),
    trace: () => "Received: from test\r\n",
    body: { memoryLimit: 1024 * 1024 },
  });
  const content = sketch.content ?? "Subject: Hello\r\n\r\nText\r\n";
  await message.body.write(
    typeof content === "string" ? new TextEncoder().encode(content) : content,
  );
  return message;
}

/** An addition to a spool. */
export function addition(
  id: string,
  options: { readonly text?: string; readonly to?: readonly string[] } = {},
): SpoolAddition {
  const bytes = new TextEncoder().encode(options.text ?? `Text of ${id}\r\n`);
  return {
    envelope: {
      id,
      from: "sender@example.com",
      parameters: {},
      recipients: (options.to ?? [`${id}@example.org`]).map((address) => ({
        address,
        parameters: {},
      })),
      size: bytes.length,
      acceptedAt: 1000,
      options: {},
    },
    content: (async function* () {
      yield await Promise.resolve(bytes);
    })(),
  };
}

/** The whole of a stream of bytes as text. */
export async function textOf(
  chunks: AsyncIterable<Uint8Array>,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of chunks) {
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** One delivery that a {@linkcode FakeDelivery} was asked for. */
export interface SeenJob {
  readonly job: DeliveryJob;
  readonly content: string;
}

/** A delivery that answers as a test says, and remembers what it was asked. */
export class FakeDelivery {
  readonly seen: SeenJob[] = [];
  /** What becomes of a recipient; delivered where it says nothing. */
  answer: (address: string, attempt: number) => RecipientReport = () => ({
    status: "delivered",
  });
  /** Whether the destination as a whole fails. */
  destinationFailed: (destination: string) => boolean = () => false;

  readonly deliver: Deliver = async (job) => {
    const content = await textOf(job.content());
    this.seen.push({ job, content });
    job.onState?.("connecting");
    job.onState?.("sending-body");
    return {
      recipients: job.recipients.map(({ address }) =>
        this.answer(String(address), job.attempt)
      ),
      destinationFailed: this.destinationFailed(job.destination),
    };
  };

  /** The deliveries as text: destination, recipients. */
  get log(): string[] {
    return this.seen.map(({ job }) =>
      `${job.destination}: ${
        job.recipients.map(({ address }) => address).join(" ")
      }`
    );
  }

  /** The notices that were sent, as text. */
  get notices(): string[] {
    return this.seen.filter(({ job }) => job.from.isNull).map(({ content }) =>
      content
    );
  }
}
