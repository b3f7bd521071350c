/**
 * Calls a program's callbacks and turns what they say into a reply: an error
 * with its `responseCode`, the user of a login, the content of a message as a
 * stream of `node:stream`. A callback that throws is a fault of the program, as
 * any handler is.
 */

import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { Readable } from "node:stream";
import { type Message, type Recipient, SmtpReply } from "../../mod.ts";
import type { Credentials } from "../sasl/auth.ts";
import { equalSecrets } from "../sasl/digest.ts";
import type {
  SMTPServerAuthentication,
  SMTPServerAuthenticationMethod,
  SMTPServerDataStream,
  SMTPServerSession,
} from "./types.ts";

/** What a callback said: an error, or a value. */
export type Said<T> =
  | { readonly error: Error; readonly value?: undefined }
  | { readonly error?: undefined; readonly value: T | undefined };

/**
 * Calls a function that ends with its callback. Only the first call of that
 * counts.
 *
 * @throws What the function throws, or its promise
 */
export function called<T>(
  call: (
    callback: (error?: Error | null, value?: T) => void,
  ) => unknown,
): Promise<Said<T>> {
  return new Promise((resolve, reject) => {
    const result = call((error, value) =>
      resolve(error ? { error: asError(error) } : { value })
    );
    if (result instanceof Promise) result.catch(reject);
  });
}

/** Programs also call back with a text, or an object that has the members of an error. */
function asError(error: unknown): Error {
  if (error instanceof Error) return error;
  if (typeof error !== "object" || error === null) {
    return new Error(String(error));
  }
  const { message = "", responseCode } = error as Record<string, unknown>;
  const text = typeof message === "string" ? message : "";
  return Object.assign(new Error(text), { responseCode });
}

/** Enhanced codes of refusals that a callback chooses, by code; others end in `.0.0`. */
const ENHANCED: Readonly<Record<number, string>> = {
  421: "4.3.2",
  450: "4.2.1",
  451: "4.3.0",
  452: "4.2.2",
  454: "4.7.0",
  530: "5.7.0",
  535: "5.7.8",
  550: "5.1.1",
  551: "5.1.6",
  552: "5.2.2",
  553: "5.1.3",
  554: "5.6.0",
};

/** How the replies of callbacks look. */
export interface ReplyForm {
  /** Whether they have enhanced codes. */
  readonly enhanced: boolean;
}

/** The refusal that an error of a callback stands for, and its note in the session. */
export function refusalOf(
  error: { message?: string; responseCode?: unknown },
  { code, form, session }: {
    /** The code if the error has none of its own. */
    readonly code: number;
    readonly form: ReplyForm;
    readonly session: SMTPServerSession;
  },
): SmtpReply {
  const own = Number(error.responseCode);
  // A 2xx or 3xx would accept what the program refuses.
  const chosen = Number.isInteger(own) && own >= 400 && own <= 599 ? own : code;
  const reply = replyOf(chosen, error.message || "Refused", form);
  session.error = reply.toString();
  return reply;
}

/** A reply of a callback. */
export function replyOf(
  code: number,
  text: string,
  { enhanced }: ReplyForm,
): SmtpReply {
  if (!enhanced) return new SmtpReply(code, text);
  const digit = String(code)[0];
  return new SmtpReply(code, text, {
    enhanced: ENHANCED[code] ?? `${digit}.0.0`,
  });
}

/** The credentials of a login as `onAuth` gets them. */
export function authenticationOf(
  credentials: Credentials,
): SMTPServerAuthentication {
  const { mechanism, username, authorizationId, password, token, keyedDigest } =
    credentials;
  const challenge = keyedDigest && new TextDecoder().decode(
    keyedDigest.challenge,
  );
  return {
    method: mechanism as SMTPServerAuthenticationMethod,
    username,
    ...(mechanism === "PLAIN" &&
      { authcid: username, authzid: authorizationId }),
    ...(password !== undefined && { password }),
    ...(token !== undefined && { accessToken: token }),
    ...(keyedDigest !== undefined &&
      { challenge, challengeResponse: keyedDigest.answer }),
    validatePassword: (known) =>
      keyedDigest === undefined
        ? password !== undefined && equalSecrets(String(known), password)
        : equalSecrets(
          createHmac("md5", String(known)).update(keyedDigest.challenge)
            .digest("hex"),
          keyedDigest.answer,
        ),
  };
}

/**
 * The content of a message as a stream.
 *
 * @param size The size from which it is too large; `undefined` for no limit
 */
export function dataStreamOf(
  message: Message,
  size: number | undefined,
): SMTPServerDataStream {
  const stream = Readable.from(countedChunks(), {
    objectMode: false,
  }) as SMTPServerDataStream;
  stream.byteLength = 0;
  stream.sizeExceeded = false;
  return stream;

  async function* countedChunks(): AsyncGenerator<Buffer> {
    for await (const chunk of message.chunks()) {
      stream.byteLength += chunk.length;
      stream.sizeExceeded = size !== undefined && stream.byteLength > size;
      yield Buffer.from(chunk);
    }
  }
}

/**
 * Calls back with an error of the stream, unless the program does: it may have
 * no listener for that, and a client must not wait for ever.
 */
export function failed(
  stream: Readable,
  callback: (error: Error) => void,
): void {
  stream.on("error", (error) => {
    const fault = Object.assign(new Error("The message cannot be read"), {
      ...{ cause: error, responseCode: 451 },
    });
    // The program's own listeners come first.
    setTimeout(() => callback(fault));
  });
}

/** Resolves when the program no longer reads the stream: it has ended, or was never begun. */
export function untilRead(stream: Readable): Promise<void> {
  const { readableFlowing, readableEnded, destroyed } = stream;
  if (readableFlowing === null || readableEnded || destroyed) {
    return Promise.resolve();
  }
  return new Promise((resolve) => {
    for (const event of ["end", "close", "error"]) {
      stream.once(event, () => resolve());
    }
  });
}

/** Sets the reply of each recipient in LMTP, in the order of `session.envelope.rcptTo`. */
export function answerEach(
  recipients: readonly Recipient[],
  answers: readonly (string | Error | boolean | undefined)[],
  { session, form }: {
    readonly session: SMTPServerSession;
    readonly form: ReplyForm;
  },
): void {
  const { rcptTo } = session.envelope;
  recipients.forEach((recipient, index) => {
    // Recipients that are equal have one entry there, and one answer.
    const at = rcptTo.length === recipients.length ? index : rcptTo.findIndex(
      ({ address }) =>
        address.toLowerCase() === String(recipient.address).toLowerCase(),
    );
    const answer: unknown = answers[at];
    // Danger: an error of another realm is no `Error` here, and 250 would lose the message.
    recipient.reply = typeof answer === "object" && answer !== null
      ? refusalOf(asError(answer), { code: 450, form, session })
      : replyOf(
        250,
        typeof answer === "string" ? answer : "OK: message accepted",
        form,
      );
  });
}
