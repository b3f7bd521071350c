/**
 * Asks the handlers of the main thread for a worker: shows them the mirror of
 * the session, and tells the worker what they said and did. A handler may take
 * its time; the worker goes on with its other sessions meanwhile.
 */

import type { Message, MessageStore } from "../message/message.ts";
import { Address } from "../protocol/address.ts";
import { MessageHeaders } from "../protocol/headers.ts";
import { Credentials } from "../sasl/credentials.ts";
import {
  type HandlerArguments,
  HANDLERS,
  invoke,
  type SmtpHandlers,
} from "../session/handlers.ts";
import type { SmtpSession } from "../session/session.ts";
import type { OfferedBodies } from "./bodies.ts";
import type { Channel } from "./channel.ts";
import type {
  HandlerAnswer,
  HandlerCall,
  MainApi,
  MessageChanges,
  WorkerApi,
} from "./api.ts";
import type { RemoteSession } from "./remote_sessions.ts";
import {
  decodeOctets,
  encodeReply,
  encodeSecret,
  encodeThrown,
  encodeVerdict,
} from "./wire.ts";

/** What asking handlers for a worker takes. */
export interface HandlerHostInit {
  /** Has the handlers as they are now. */
  readonly settings: { readonly handlers: SmtpHandlers };
  /** To the worker, which knows whether the client of a session knows a secret. */
  readonly channel: Channel<MainApi, WorkerApi>;
  /** Offers replaced contents to the worker. */
  readonly bodies: OfferedBodies;
}

/** What has been made of a call, for the handler to look at and to change. */
interface Given {
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
  mirror: RemoteSession,
  init: HandlerHostInit,
): Promise<HandlerAnswer> {
  const { session } = mirror;
  const message = mirror.useMessage(call.message);
  if (call.body !== undefined) mirror.content?.fill(call.body, octets);
  const headers = decodeOctets(call.headers);
  const given: Given = {
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
  const verdict = await run(init.settings.handlers, call, given);
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

/** Calls the handler of that name with what it wants; what it returned or threw. */
async function run(
  handlers: SmtpHandlers,
  call: HandlerCall,
  given: Given,
): Promise<HandlerAnswer["verdict"]> {
  const { args } = HANDLERS[call.name];
  try {
    const values = args.map((word) => ARGUMENTS[word](call, given));
    const result = invoke(handlers, call.name, [given.session, ...values]);
    return encodeVerdict(await result);
  } catch (error) {
    return encodeThrown(error);
  }
}

/** How each argument of a handler is made of a call. */
const ARGUMENTS: {
  readonly [W in keyof HandlerArguments]: (
    call: HandlerCall,
    given: Given,
  ) => HandlerArguments[W];
} = {
  text: ({ text = "" }) => text,
  address: ({ text = "" }) => Address.parse(text),
  parameters: ({ parameters = {} }) => parameters,
  message: (_call, { message }) => message!,
  content: (_call, { message }) => message!,
  headers: (_call, { headers }) => headers!,
  credentials: (_call, { credentials }) => credentials!,
};

/** Credentials whose secret is compared in the worker, where the exchange is. */
function credentialsOf(
  { credentials, session }: HandlerCall,
  { channel }: HandlerHostInit,
): Credentials | undefined {
  if (credentials === undefined) return undefined;
  const { mechanism, certificate, ...shown } = credentials;
  return new Credentials({
    ...shown,
    mechanism,
    certificate: decodeOctets(certificate),
    check: (secret) =>
      channel.call("verify", {
        session: session.id,
        secret: encodeSecret(secret),
      }),
  });
}

/** What handlers have made of a message; nothing where none of them has made anything of it. */
function changesOf(
  message: Message,
  { mirror, replaced }: {
    readonly mirror: RemoteSession;
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
