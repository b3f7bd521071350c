/**
 * The queue in tests: messages, envelopes and deliveries; a clock that stands
 * still until a test moves it; a queue in memory on that clock.
 */

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
import { readText } from "../bytes.ts";
import { setImmediate } from "node:timers";
import type { Clock } from "../../../lib/spool/clock.ts";
import { MemorySpool } from "../../../lib/spool/memory_spool.ts";
import { RelayQueue } from "../../../lib/queue/queue.ts";
import type {
  QueueMachine,
  RelayQueueOptions,
} from "../../../lib/queue/options.ts";
import { seededFraction } from "../random.ts";

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

/** One delivery that a {@linkcode FakeDelivery} was asked for. */
export interface SeenJob {
  readonly job: DeliveryJob;
  readonly content: string;
}

/** A delivery that answers as a test says, and records its calls. */
export class FakeDelivery {
  readonly seen: SeenJob[] = [];
  /** The outcome for a recipient; delivered where it returns nothing. */
  answer: (address: string, attempt: number) => RecipientReport = () => ({
    status: "delivered",
  });
  /** Whether the destination as a whole fails. */
  destinationFailed: (destination: string) => boolean = () => false;

  readonly deliver: Deliver = async (job) => {
    const content = await readText(job.content());
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

  /** The DSNs that were sent, as text. */
  get notices(): string[] {
    return this.seen.filter(({ job }) => job.from.isNull).map(({ content }) =>
      content
    );
  }
}

interface Timer {
  readonly at: number;
  readonly action: () => void;
}

/** Time under a test's control. */
export class FakeClock implements Clock {
  #now: number;
  #offset = 0;
  readonly #timers = new Set<Timer>();
  readonly #watchers = new Set<() => void>();

  constructor(now: number = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now + this.#offset;
  }

  monotonic(): number {
    return this.#now;
  }

  onJump(action: () => void): () => void {
    this.#watchers.add(action);
    return () => void this.#watchers.delete(action);
  }

  /** Sets the time of day forwards or back; timers are not affected. */
  async set(ms: number, options: { silently?: boolean } = {}): Promise<void> {
    this.#offset += ms;
    if (!options.silently) {
      for (const action of this.#watchers) action();
    }
    await settle();
  }

  setTimer(ms: number, action: () => void): () => void {
    const timer = { at: this.#now + ms, action };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** Advances the clock, fires each timer at its time, and lets promises run. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (;;) {
      let next: Timer | undefined;
      for (const timer of this.#timers) {
        if (timer.at <= end && (next === undefined || timer.at < next.at)) {
          next = timer;
        }
      }
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.action();
      await settle();
    }
    this.#now = end;
  }
}

/** Runs every promise that waits only for other promises. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) {
    await new Promise<void>((resolve) => void setImmediate(resolve));
  }
}

export const SECOND = 1000;
export const MINUTE: number = 60 * SECOND;
export const HOUR: number = 60 * MINUTE;
export const DAY: number = 24 * HOUR;

/** What {@linkcode startQueue} starts. */
export interface Bench {
  readonly clock: FakeClock;
  readonly delivery: FakeDelivery;
  readonly spool: MemorySpool;
  readonly queue: RelayQueue;
}

/** Starts a queue in memory. */
export async function startQueue(
  options: Partial<RelayQueueOptions> & QueueMachine = {},
): Promise<Bench> {
  const clock = new FakeClock();
  const delivery = new FakeDelivery();
  const spool = new MemorySpool();
  const { random = seededFraction(1), clock: given = clock, ...others } =
    options;
  const queue = new RelayQueue({
    spool,
    deliver: delivery.deliver,
    hostname: "mx.example.com",
    ...others,
  }, { clock: given, random });
  await queue.start();
  return { clock, delivery, spool, queue };
}
