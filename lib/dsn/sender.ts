/**
 * Makes the DSNs for a message's sender, as additions to the spool. Reads the
 * message's content; writes nothing and marks nothing as done.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3461#section-6 | RFC 3461 section 6}
 */

import { asciiMailbox } from "../protocol/domain.ts";
import { MAX_LINE } from "../protocol/folding.ts";
import { makeDsn, reduceDsn, type StatusRecipient } from "./report.ts";
import { findHeaderEnd } from "../protocol/headers.ts";
import type { MailForwarder } from "../message/forwarder.ts";
import { type MailSigner, signedBytes } from "../message/signer.ts";
import type { DsnKind } from "./policy.ts";
import type { Spool, SpoolAddition } from "../spool/spool.ts";
import type { MailParameters } from "../protocol/parameters.ts";
import {
  noticeTime,
  type RecipientAnswer,
  returnTime,
  type SpoolEntry,
} from "../spool/envelope.ts";

/** Bytes of a header block that a DSN returns. */
const HEADER_LIMIT = 64 * 1024;
const NEVER = { notify: ["NEVER"] } as const;

/** The parts of a {@linkcode DsnSender}. */
export interface DsnSenderInit {
  /** The spool with the content of the messages. */
  readonly spool: Spool;
  /** The name of the host that reports. */
  readonly hostname: string;
  /** The address in the From field of DSNs. */
  readonly from: string;
  /** Bytes up to which a DSN returns the whole message, if RET=FULL asks for it. */
  readonly returnLimit: number;
  /** Makes a unique name of letters and digits. */
  readonly newId: () => string;
  /** Signs the DSNs; if unset, they are not signed. */
  readonly signer?: MailSigner | undefined;
  /** Knows the senders that forwarding has rewritten; if unset, none is. */
  readonly forwarder?: Pick<MailForwarder, "returnPath"> | undefined;
}

/** The report that a DSN is to make. */
export interface DsnRequest {
  readonly kind: DsnKind;
  /** The recipients, as indexes of the envelope. */
  readonly indices: readonly number[];
  /** The time, in milliseconds since 1970. */
  readonly now: number;
  /** When the message expires, in milliseconds since 1970. */
  readonly expiresAt: number;
}

export class DsnSender {
  readonly #init: DsnSenderInit;

  constructor(init: DsnSenderInit) {
    this.#init = init;
  }

  /** Makes a DSN to the sender of a message, with the null reverse-path. */
  async make(
    entry: SpoolEntry,
    request: DsnRequest,
  ): Promise<SpoolAddition> {
    const { envelope } = entry;
    const { hostname, from, newId, signer, forwarder } = this.#init;
    const { from: sender, acceptedAt } = envelope;
    const to = forwarder?.returnPath(sender, acceptedAt) ?? sender;
    const id = newId();
    const { kind, now } = request;
    let isWhole = this.#isWholeReturned(entry, kind);
    let returned = await this.#returned(entry, isWhole);
    if (isWhole && hasLongBodyLines(returned)) {
      // The returned message must not make the DSN fail.
      isWhole = false;
      returned = returned.subarray(0, headerLength(returned, returned.length));
    }
    const dsn = makeDsn({
      kind,
      to,
      from,
      now,
      unique: id,
      status: {
        reportingMta: hostname,
        envid: envelope.parameters.envid,
        arrivedAt: envelope.acceptedAt,
        deliverBy: envelope.options.deliverBy,
        release: releaseOf(envelope.parameters),
        recipients: request.indices.map((index) =>
          statusOf(entry, index, request)
        ),
      },
      smtpUtf8: envelope.parameters.smtpUtf8 ?? false,
      returned,
      isWhole,
    });
    const { bytes, signed } = await signedBytes(dsn.bytes, signer);
    return {
      envelope: {
        id,
        from: "",
        parameters: {
          ...(dsn.eightBit ? { body: "8BITMIME" } : {}),
          ...(dsn.smtpUtf8 ? { smtpUtf8: true } : {}),
          // What needs TLS is not told without it (RFC 8689 section 5).
          ...(envelope.parameters.requireTls ? { requireTls: true } : {}),
        },
        recipients: [{
          address: asciiMailbox(to),
          parameters: NEVER,
        }],
        size: bytes.length,
        ...(signed === 0 ? {} : { signed }),
        acceptedAt: now,
        options: {},
        origin: { about: envelope.id },
      },
      content: once(bytes),
    };
  }

  /**
   * The same DSN with less of the message in it, for a host that has refused the
   * DSN as it is. `undefined` if nothing can be left out, or if the message is
   * not a DSN of this queue.
   */
  async makeSmaller(
    entry: SpoolEntry,
    now: number,
  ): Promise<SpoolAddition | undefined> {
    const { envelope } = entry;
    const limit = this.#init.returnLimit + 4 * HEADER_LIMIT;
    if (envelope.from !== "" || envelope.size > limit) return undefined;
    const { signed: former = 0, ...others } = envelope;
    const whole = await this.#returned(entry, true);
    const reduced = reduceDsn(whole.subarray(former));
    if (reduced === undefined) return undefined;
    const { bytes, signed } = await signedBytes(reduced, this.#init.signer);
    return {
      envelope: {
        ...others,
        id: this.#init.newId(),
        size: bytes.length,
        ...(signed === 0 ? {} : { signed }),
        acceptedAt: now,
      },
      content: once(bytes),
    };
  }

  #isWholeReturned(entry: SpoolEntry, kind: DsnKind): boolean {
    const { parameters, size } = entry.envelope;
    // A binary message cannot be part of a message of lines, and what needs TLS
    // is not sent back (RFC 8689 section 5).
    return parameters.requireTls !== true && kind === "failed" &&
      parameters.ret === "FULL" &&
      parameters.body !== "BINARYMIME" && size <= this.#init.returnLimit;
  }

  /** The bytes to return. A message that cannot be read must still be reported. */
  async #returned(
    entry: SpoolEntry,
    isWhole: boolean,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { id, size } = entry.envelope;
    const limit = isWhole ? size : Math.min(size, HEADER_LIMIT);
    const bytes = new Uint8Array(limit);
    let used = 0;
    try {
      for await (const chunk of this.#init.spool.content(id)) {
        const part = chunk.subarray(0, limit - used);
        bytes.set(part, used);
        used += part.length;
        if (used === limit) break;
      }
    } catch {
      return bytes.subarray(0, isWhole ? 0 : headerLength(bytes, used));
    }
    return bytes.subarray(0, isWhole ? used : headerLength(bytes, used));
  }
}

/** Bytes of the header block, in whole lines, without the empty line. */
function headerLength(bytes: Uint8Array, used: number): number {
  const head = bytes.subarray(0, used);
  const end = findHeaderEnd(head, 0);
  if (end >= 2) return end - 2;
  return head.lastIndexOf(10) + 1;
}

/** Whether a line of the body is longer than a server must accept. */
function hasLongBodyLines(bytes: Uint8Array): boolean {
  let line = headerLength(bytes, bytes.length);
  for (;;) {
    const feed = bytes.indexOf(10, line);
    const end = feed < 0 ? bytes.length : feed - 1;
    if (end - line > MAX_LINE) return true;
    if (feed < 0) return false;
    line = feed + 1;
  }
}

/** What HOLDFOR or HOLDUNTIL asked for; `undefined` if the message was not held. */
function releaseOf(
  { holdFor, holdUntil }: MailParameters,
): string | undefined {
  if (holdFor !== undefined) return `for; ${holdFor}`;
  return holdUntil === undefined ? undefined : `until; ${holdUntil}`;
}

function statusOf(
  entry: SpoolEntry,
  index: number,
  request: DsnRequest,
): StatusRecipient {
  const { address, parameters } = entry.envelope.recipients[index]!;
  const { status, answer = NOTHING_HEARD } = entry.progress.recipients[index]!;
  const { kind, expiresAt } = request;
  const common = { address, parameters };
  if (kind === "delayed") {
    const isPromised = noticeTime(entry.envelope) !== undefined;
    return {
      ...common,
      action: "delayed",
      answer: isPromised ? { ...answer, status: "4.4.7" } : answer,
      retryUntil: expiresAt,
    };
  }
  if (kind === "failed") {
    // The last refusal was temporary: the message has expired.
    const isExpired = answer.status.startsWith("4");
    // BY asked for the return: there is nothing to wait for (RFC 2852 section 4.1.2).
    const expired = request.now >= returnTime(entry.envelope)
      ? "5.4.7"
      : "4.4.7";
    return {
      ...common,
      action: "failed",
      answer: isExpired ? { ...answer, status: expired } : answer,
    };
  }
  const action = status === "delivered" ? "delivered" : "relayed";
  return { ...common, action, answer };
}

const NOTHING_HEARD: RecipientAnswer = {
  at: 0,
  text: "Not tried yet: its destination did not answer, or is busy",
  isReply: false,
  status: "4.4.1",
};

async function* once(
  bytes: Uint8Array<ArrayBuffer>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield await Promise.resolve(bytes);
}
