/**
 * Replies and errors in a form that can cross threads, both ways. A platform
 * clones neither classes nor their private fields.
 */

import { SmtpError, SmtpReply } from "../protocol/reply.ts";
import { describeError } from "../log.ts";
import type { Recipient } from "../protocol/envelope.ts";
import { StoreError } from "../message/message.ts";

/** A reply as plain data. */
export interface WireReply {
  /** The three-digit code. */
  readonly code: number;
  /** The enhanced status code. */
  readonly enhanced: string | undefined;
  /** The text, one entry a reply line. */
  readonly lines: readonly string[];
}

/** What was thrown, as plain data. */
export interface WireError {
  /** What it was. */
  readonly kind: "error" | "reply" | "value";
  /** The name of the class. */
  readonly name: string;
  /** What it says. */
  readonly message: string;
  /** Where it was thrown. */
  readonly stack?: string | undefined;
  /** The code of an error of the system, as `"ENOSPC"`. */
  readonly code?: unknown;
  /** The reply that it carries. */
  readonly reply?: WireReply | undefined;
  /** What caused it. */
  readonly cause?: WireError | undefined;
  /** What it puts together. */
  readonly errors?: readonly WireError[] | undefined;
  /** Of a store: recipients by their place in the message, and why each went without. */
  readonly failures?: readonly (readonly [number, WireError])[] | undefined;
}

/** Errors behind an error that cross with it, at most. */
const MOST_CAUSES = 8;

/** A reply to send to another thread. */
export function encodeReply(reply: SmtpReply): WireReply {
  const { code, enhanced, lines } = reply;
  return { code, enhanced, lines };
}

/** A reply that another thread sent. */
export function decodeReply({ code, enhanced, lines }: WireReply): SmtpReply {
  return new SmtpReply(code, lines, { enhanced });
}

/**
 * What was thrown, to send to another thread.
 *
 * @param recipients Those of the message that a store was given
 * @param depth How many errors this one is behind
 */
export function encodeError(
  error: unknown,
  recipients: readonly Recipient[] = [],
  depth = 0,
): WireError {
  if (error instanceof SmtpReply) {
    return {
      kind: "reply",
      name: "",
      message: "",
      reply: encodeReply(error),
    };
  }
  if (!(error instanceof Error)) {
    return { kind: "value", name: "", message: describeError(error) };
  }
  const { name, message, stack, cause } = error;
  const { code } = error as { code?: unknown };
  return {
    kind: "error",
    name,
    message,
    stack,
    code: typeof code === "string" ? code : undefined,
    reply: error instanceof SmtpError ? encodeReply(error.reply) : undefined,
    // A cause may lead back to itself.
    cause: cause === undefined || depth >= MOST_CAUSES
      ? undefined
      : encodeError(cause, recipients, depth + 1),
    errors: error instanceof AggregateError && depth < MOST_CAUSES
      ? error.errors.slice(0, MOST_CAUSES).map((part) =>
        encodeError(part, recipients, MOST_CAUSES)
      )
      : undefined,
    failures: error instanceof StoreError
      ? [...error.failures].map(([recipient, why]) =>
        [recipients.indexOf(recipient), encodeError(why)] as const
      )
      : undefined,
  };
}

/**
 * What another thread threw, as something to throw here: of the same class
 * where a caller could tell.
 *
 * @param recipients Those of the message that the other thread was given
 */
export function decodeError(
  wire: WireError,
  recipients: readonly Recipient[] = [],
): unknown {
  if (wire.kind === "value") return wire.message;
  if (wire.kind === "reply") return decodeReply(wire.reply!);
  const error = errorOf(wire, recipients);
  if (wire.stack !== undefined) error.stack = wire.stack;
  if (wire.code !== undefined) Object.assign(error, { code: wire.code });
  return error;
}

function errorOf(
  wire: WireError,
  recipients: readonly Recipient[],
): Error {
  const { name, message, reply, failures } = wire;
  const options = wire.cause === undefined
    ? {}
    : { cause: decodeError(wire.cause, recipients) };
  if (reply !== undefined) {
    const error = new SmtpError(decodeReply(reply), "", options);
    Object.defineProperty(error, "message", { value: message });
    return error;
  }
  if (failures !== undefined) {
    const known = failures.flatMap(([index, why]) => {
      const recipient = recipients[index];
      return recipient ? [[recipient, decodeError(why)] as const] : [];
    });
    return new StoreError(message, new Map(known), options);
  }
  if (wire.errors !== undefined) {
    const errors = wire.errors.map((part) => decodeError(part, recipients));
    return new AggregateError(errors, message, options);
  }
  return new (classOf(name))(message, options);
}

const BUILT_IN: Readonly<Record<string, new (...args: never) => Error>> = {
  RangeError,
  SyntaxError,
  TypeError,
  ...Deno.errors,
};

function classOf(
  name: string,
): new (message: string, options: ErrorOptions) => Error {
  const found = Object.hasOwn(BUILT_IN, name) ? BUILT_IN[name]! : Error;
  return found as new (message: string, options: ErrorOptions) => Error;
}
