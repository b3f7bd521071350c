/**
 * Asks the handlers of the main thread for a worker: shows them the mirror of
 * the session, and tells the worker what they said and did. A handler may take
 * its time; the worker goes on with its other sessions meanwhile.
 */

import type { Message, MessageStore } from "../message/message.ts";
import { Address } from "../protocol/address.ts";
import { MessageHeaders } from "../protocol/headers.ts";
import type { CloseReason } from "../protocol/server/effects.ts";
import { Credentials } from "../sasl/credentials.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import type { SmtpSession } from "../session/session.ts";
import type { OfferedBodies } from "./bodies.ts";
import type {
  HandlerAnswer,
  HandlerCall,
  MessageChanges,
  WireSecret,
} from "./api.ts";
import type { Mirror } from "./mirrors.ts";
import {
  decodeOctets,
  encodeSecret,
  encodeThrown,
  encodeVerdict,
} from "./wire.ts";
import { encodeReply } from "./wire_errors.ts";

/** What asking handlers for a worker takes. */
export interface HandlerHostInit {
  /** The handlers as they are now. */
  handlers(): SmtpHandlers;
  /** Asks the worker whether the client of a session knows a secret. */
  verify(session: string, secret: WireSecret): Promise<boolean>;
  /** Offers replaced contents to the worker. */
  readonly bodies: OfferedBodies;
}

/** What a handler is called with, made of a call. */
interface Arguments {
  readonly session: SmtpSession;
  readonly message: Message | undefined;
  readonly headers: MessageHeaders | undefined;
  readonly credentials: Credentials | undefined;
}

/** Asks one handler. Never rejects. */
export async function askHandler(
  { call, octets }: {
    readonly call: HandlerCall;
    /** The content, as much as came along. */
    readonly octets: Uint8Array | undefined;
  },
  mirror: Mirror,
  init: HandlerHostInit,
): Promise<HandlerAnswer> {
  const { session } = mirror;
  const message = mirror.useMessage(call.message);
  if (call.body !== undefined) mirror.content?.fill(call.body, octets);
  const headers = decodeOctets(call.headers);
  const given: Arguments = {
    session,
    message,
    headers: headers && MessageHeaders.parse(headers, {
      utf8: message?.parameters.smtpUtf8 === true,
    }),
    credentials: credentialsOf(call, init),
  };
  mirror.isAsked = true;
  if (call.name === "onDisconnect") mirror.isTold = true;
  const { username } = session;
  const body = message?.body;
  let verdict: HandlerAnswer["verdict"];
  try {
    verdict = encodeVerdict(await run(init.handlers(), call, given));
  } catch (error) {
    verdict = encodeThrown(error);
  }
  // Edits that come later would be lost.
  given.headers?.freeze();
  const replaced = message?.body !== body && message
    ? init.bodies.giveAway(message.body)
    : undefined;
  mirror.content?.forget();
  return {
    verdict,
    username: session.username === username
      ? undefined
      : session.username ?? null,
    identity: given.credentials?.identity,
    message: message && changesOf(message, { mirror, replaced }),
    headers: given.headers?.changed
      ? given.headers.encode().toBase64()
      : undefined,
  };
}

/** Calls the handler of that name with what it wants. */
function run(
  handlers: SmtpHandlers,
  { name, text = "", parameters = {} }: HandlerCall,
  { session, message, headers, credentials }: Arguments,
): unknown {
  switch (name) {
    case "onConnect":
    case "onReset":
      return handlers[name]?.(session);
    case "onHelo":
    case "onCommand":
    case "onVerify":
    case "onExpand":
      return handlers[name]?.(session, text);
    case "onMailFrom":
    case "onRcptTo":
      return handlers[name]?.(session, Address.parse(text), parameters);
    case "onMessageStart":
    case "onMessage":
      return handlers[name]?.(session, message!);
    case "onHeaders":
      return handlers.onHeaders?.(session, message!, headers!);
    case "onAuthenticate":
      return handlers.onAuthenticate?.(session, credentials!);
    case "onDisconnect":
      return handlers.onDisconnect?.(session, text as CloseReason);
    case "onStateChange":
      // Told by a note: nobody waits for it.
      return undefined;
  }
}

/** Credentials whose secret is compared in the worker, where the exchange is. */
function credentialsOf(
  { credentials, session }: HandlerCall,
  { verify }: HandlerHostInit,
): Credentials | undefined {
  if (credentials === undefined) return undefined;
  const { mechanism, certificate, ...shown } = credentials;
  return new Credentials({
    ...shown,
    mechanism,
    certificate: decodeOctets(certificate),
    check: (secret) => verify(session.id, encodeSecret(secret)),
  });
}

/** What handlers have made of a message; nothing where none of them has made anything of it. */
function changesOf(
  message: Message,
  { mirror, replaced }: {
    readonly mirror: Mirror;
    readonly replaced: MessageChanges["replaced"];
  },
): MessageChanges | undefined {
  const { filename, append } = message;
  const stores = chosenStores(message)?.map(({ kind }) => kind);
  const replies = message.recipients.flatMap(({ reply }, index) =>
    reply === undefined ? [] : [[index, encodeReply(reply)] as const]
  );
  // What one handler changed, a later one may have changed back.
  mirror.isChanged ||= filename !== undefined || append ||
    stores !== undefined || replaced !== undefined || replies.length > 0;
  return mirror.isChanged
    ? { filename, append, stores, replaced, replies }
    : undefined;
}

/** The stores that a handler chose, as a list. */
export function chosenStores(
  message: Message,
): readonly MessageStore[] | undefined {
  const { store } = message;
  if (store === undefined) return undefined;
  return Array.isArray(store) ? store : [store as MessageStore];
}
