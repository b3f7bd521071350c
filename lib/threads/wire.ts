/**
 * Messages, verdicts, secrets and certificates in a form that can cross
 * threads, both ways. Decides nothing about any of them.
 */

import { SmtpError, SmtpReply } from "../protocol/reply.ts";
import type { BodyOptions } from "../message/body.ts";
import { Message } from "../message/message.ts";
import type { TlsInfo } from "../net/transport.ts";
import { Address } from "../protocol/address.ts";
import type { KnownSecret } from "../sasl/credentials.ts";
import { ScramVerifier } from "../sasl/scram_verifier.ts";
import { DROP, SILENT_ALLOW, SILENT_DENY } from "../session/handlers.ts";
import type { SessionProxy } from "../session/proxied_transport.ts";
import type { RemoteBody } from "./bodies.ts";
import type {
  Base64,
  MessageFacts,
  WireProxy,
  WireSecret,
  WireTls,
  WireVerdict,
} from "./api.ts";
import {
  decodeError,
  decodeReply,
  encodeError,
  encodeReply,
} from "./wire_errors.ts";

/** A message without its content, to send to another thread. */
export function encodeMessage(message: Message): MessageFacts {
  return {
    id: message.id,
    from: message.from.toString(),
    parameters: message.parameters,
    recipients: message.recipients.map(({ address, parameters }) =>
      [address.toString(), parameters] as const
    ),
    receivedAt: message.receivedAt.getTime(),
    trace: message.traceText,
  };
}

/** The message that another thread has, its content in `body`. */
export function decodeMessage(
  facts: MessageFacts,
  options: { readonly body: BodyOptions; readonly content: RemoteBody },
): Message {
  return new Message({
    id: facts.id,
    from: Address.parse(facts.from),
    parameters: facts.parameters,
    recipients: facts.recipients.map(([address, parameters]) => ({
      address: Address.parse(address),
      parameters,
    })),
    receivedAt: new Date(facts.receivedAt),
    trace: () => facts.trace,
    body: options.body,
    shared: options.content,
  });
}

const SYMBOLS = { SILENT_ALLOW, SILENT_DENY, DROP } as const;

/** What a handler returned, to send to the thread that asked. */
export function encodeVerdict(value: unknown): WireVerdict {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "boolean" || typeof value === "string") return value;
  if (value instanceof SmtpReply) return { reply: encodeReply(value) };
  if (value instanceof SmtpError) return { reply: encodeReply(value.reply) };
  for (const [symbol, own] of Object.entries(SYMBOLS)) {
    if (value === own) return { symbol: symbol as keyof typeof SYMBOLS };
  }
  const isLines = Array.isArray(value) &&
    value.every((line) => typeof line === "string");
  return isLines ? value : { unusable: true };
}

/** What a handler threw, to send to the thread that asked. */
export function encodeThrown(error: unknown): WireVerdict {
  return { thrown: encodeError(error) };
}

/**
 * What a handler of another thread returned.
 *
 * @throws {unknown} If it threw: the same
 */
export function decodeVerdict(wire: WireVerdict): unknown {
  if (typeof wire !== "object" || Array.isArray(wire)) return wire;
  if ("thrown" in wire) throw decodeError(wire.thrown);
  if ("reply" in wire) return decodeReply(wire.reply);
  if ("symbol" in wire) return SYMBOLS[wire.symbol];
  return wire;
}

/** What is known of a user, to send to another thread. */
export function encodeSecret(secret: KnownSecret): WireSecret {
  if (secret === undefined) return undefined;
  return typeof secret === "string"
    ? { plain: secret }
    : { verifier: secret.toString() };
}

/** What another thread knows of a user. */
export function decodeSecret(wire: WireSecret): KnownSecret {
  if (wire === undefined) return undefined;
  return "plain" in wire ? wire.plain : ScramVerifier.parse(wire.verifier);
}

/** What is known of a connection's encryption, to send to another thread. */
export function encodeTls(tls: TlsInfo): WireTls {
  const { ownCertificate, peerCertificate, ...others } = tls;
  return {
    ...others,
    ownCertificate: ownCertificate?.toBase64(),
    peerCertificate: peerCertificate?.toBase64(),
  };
}

/** What another thread knows of a connection's encryption. */
export function decodeTls(wire: WireTls): TlsInfo {
  return {
    ...wire,
    ownCertificate: decodeOctets(wire.ownCertificate),
    peerCertificate: decodeOctets(wire.peerCertificate),
  };
}

/** What a proxy told of a connection, to send to another thread. */
export function encodeProxy(proxy: SessionProxy): WireProxy {
  return {
    ...proxy,
    tlvs: proxy.tlvs.map(({ type, value }) => [type, value.toBase64()]),
  };
}

/** What a proxy told another thread of a connection. */
export function decodeProxy(wire: WireProxy): SessionProxy {
  return {
    ...wire,
    tlvs: wire.tlvs.map(([type, value]) => ({
      type,
      value: Uint8Array.fromBase64(value),
    })),
  };
}

/** Bytes that came as text, if they did. */
export function decodeOctets(text: Base64 | undefined): Uint8Array | undefined {
  return text === undefined ? undefined : Uint8Array.fromBase64(text);
}
