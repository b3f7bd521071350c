/**
 * Encodes messages, verdicts, replies, errors, secrets and certificates as plain
 * data for another thread, and decodes them: the platform clones neither classes
 * nor their private fields. It decides nothing about any of them.
 */

import { describeError } from "../log.ts";
import type { BodyOptions, MessageBody } from "../message/body.ts";
import {
  failuresOf,
  Message,
  setAuthentication,
  StoreError,
} from "../message/message.ts";
import type { TlsInfo } from "../net/transport.ts";
import { Address } from "../protocol/address.ts";
import type { Recipient } from "../protocol/envelope.ts";
import { Redirect } from "../protocol/redirect.ts";
import { SmtpError, SmtpReply } from "../protocol/reply.ts";
import type { KnownSecret } from "../sasl/credentials.ts";
import { ScramVerifier } from "../sasl/scram_verifier.ts";
import { DROP, SILENT_ALLOW, SILENT_DENY } from "../session/handlers.ts";
import type { SessionProxy } from "../protocol/proxy_header.ts";
import type { Certificate } from "../tls/certificate.ts";
import type { CertificateSource } from "../tls/set.ts";
import { MessageAuthentication } from "../trust/result.ts";
import type {
  Base64,
  MessageFacts,
  WireAuthentication,
  WireCertificate,
  WireCertificates,
  WireError,
  WireProxy,
  WireRecipient,
  WireReply,
  WireSecret,
  WireTls,
  WireVerdict,
} from "./api.ts";

export function encodeRecipient(
  { address, parameters, original }: Recipient,
): WireRecipient {
  const to = address.toString();
  return original === undefined
    ? [to, parameters]
    : [to, parameters, original.toString()];
}

export function decodeRecipient(
  [address, parameters, original]: WireRecipient,
): Recipient {
  const recipient = { address: Address.parse(address), parameters };
  return original === undefined
    ? recipient
    : { ...recipient, original: Address.parse(original) };
}

/** Encodes a message without its content. */
export function encodeMessage(message: Message): MessageFacts {
  return {
    id: message.id,
    from: message.from.toString(),
    parameters: message.parameters,
    recipients: message.recipients.map(encodeRecipient),
    receivedAt: message.receivedAt.getTime(),
    session: message.session,
    isOwn: message.isOwn,
    trace: message.traceText,
    authentication: encodeAuthentication(message),
  };
}

/** Decodes a message; `content` is its body, `body` the options of a new one. */
export function decodeMessage(
  facts: MessageFacts,
  options: { readonly body: BodyOptions; readonly content: MessageBody },
): Message {
  const message = new Message({
    id: facts.id,
    from: Address.parse(facts.from),
    parameters: facts.parameters,
    recipients: facts.recipients.map(decodeRecipient),
    receivedAt: new Date(facts.receivedAt),
    session: facts.session,
    isOwn: facts.isOwn,
    trace: () => facts.trace,
    body: options.body,
    shared: options.content,
  });
  const { authentication } = facts;
  if (authentication !== undefined) {
    setAuthentication(message, decodeAuthentication(authentication), "");
  }
  return message;
}

/** Encodes what a message proved; `undefined` if it was not checked. */
export function encodeAuthentication(
  { authentication }: Message,
): WireAuthentication | undefined {
  if (authentication === undefined) return undefined;
  const { spf, helo, dkim, dmarc, arc, reverse } = authentication;
  return {
    values: { spf, helo, dkim, dmarc, arc, reverse },
    text: String(authentication),
  };
}

export function decodeAuthentication(
  { values, text }: WireAuthentication,
): MessageAuthentication {
  return new MessageAuthentication(values, text);
}

const SYMBOLS = { SILENT_ALLOW, SILENT_DENY, DROP } as const;

/** Encodes the value that a handler returned. */
export function encodeVerdict(value: unknown): WireVerdict {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "boolean" || typeof value === "string") return value;
  if (value instanceof SmtpReply) return { reply: encodeReply(value) };
  if (value instanceof SmtpError) return { reply: encodeReply(value.reply) };
  if (value instanceof Redirect) {
    return { redirect: value.addresses.map(String) };
  }
  for (const [symbol, own] of Object.entries(SYMBOLS)) {
    if (value === own) return { symbol: symbol as keyof typeof SYMBOLS };
  }
  const isLines = Array.isArray(value) &&
    value.every((line) => typeof line === "string");
  return isLines ? value : { unusable: true };
}

/** Encodes the value that a handler threw. */
export function encodeThrown(error: unknown): WireVerdict {
  return { thrown: encodeError(error) };
}

/**
 * Decodes the value that a handler returned.
 *
 * @throws {unknown} The value that the handler threw, if it did
 */
export function decodeVerdict(wire: WireVerdict): unknown {
  if (typeof wire !== "object" || Array.isArray(wire)) return wire;
  if ("thrown" in wire) throw decodeError(wire.thrown);
  if ("reply" in wire) return decodeReply(wire.reply);
  if ("symbol" in wire) return SYMBOLS[wire.symbol];
  if ("redirect" in wire) {
    return new Redirect(wire.redirect.map((text) => Address.parse(text)));
  }
  return wire;
}

export function encodeSecret(secret: KnownSecret): WireSecret {
  if (secret === undefined) return undefined;
  return typeof secret === "string"
    ? { plain: secret }
    : { verifier: secret.toString() };
}

export function decodeSecret(wire: WireSecret): KnownSecret {
  if (wire === undefined) return undefined;
  return "plain" in wire ? wire.plain : ScramVerifier.parse(wire.verifier);
}

export function encodeTls(tls: TlsInfo): WireTls {
  const { ownCertificate, peerCertificate, ...others } = tls;
  return {
    ...others,
    ownCertificate: ownCertificate?.toBase64(),
    peerCertificate: peerCertificate?.toBase64(),
  };
}

export function decodeTls(wire: WireTls): TlsInfo {
  return {
    ...wire,
    ownCertificate: decodeBytes(wire.ownCertificate),
    peerCertificate: decodeBytes(wire.peerCertificate),
  };
}

export function encodeProxy(proxy: SessionProxy): WireProxy {
  return {
    ...proxy,
    tlvs: proxy.tlvs.map(({ type, value }) => [type, value.toBase64()]),
  };
}

export function decodeProxy(wire: WireProxy): SessionProxy {
  return {
    ...wire,
    tlvs: wire.tlvs.map(([type, value]) => ({
      type,
      value: Uint8Array.fromBase64(value),
    })),
  };
}

/** Decodes base64; `undefined` stays `undefined`. */
export function decodeBytes(text: Base64 | undefined): Uint8Array | undefined {
  return text === undefined ? undefined : Uint8Array.fromBase64(text);
}

export function encodeReply(reply: SmtpReply): WireReply {
  const { code, enhanced, lines } = reply;
  return { code, enhanced, lines };
}

export function decodeReply({ code, enhanced, lines }: WireReply): SmtpReply {
  return new SmtpReply(code, lines, { enhanced });
}

/** The most causes, or parts, of an error that cross with it. */
const MOST_CAUSES = 8;

/**
 * Encodes a thrown value.
 *
 * @param recipients The recipients of the message that the store saved
 * @param depth Number of errors of which this one is the cause
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
    // A chain of causes may be a circle.
    cause: cause === undefined || depth >= MOST_CAUSES
      ? undefined
      : encodeError(cause, recipients, depth + 1),
    errors: error instanceof AggregateError && depth < MOST_CAUSES
      ? error.errors.slice(0, MOST_CAUSES).map((part) =>
        encodeError(part, recipients, MOST_CAUSES)
      )
      : undefined,
    failures: error instanceof StoreError
      ? [...failuresOf(error, recipients)].map(([recipient, why]) =>
        [recipients.indexOf(recipient), encodeError(why)] as const
      )
      : undefined,
  };
}

/**
 * Decodes a thrown value. An error gets its class back if callers check for it.
 *
 * @param recipients The recipients of the message that was sent with the call
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

export function encodeCertificates(
  source: CertificateSource,
  isSingle: boolean,
): WireCertificates {
  const { certificates, fallback, isOpen } = source.current;
  const all = fallback === undefined || certificates.includes(fallback)
    ? certificates
    : [...certificates, fallback];
  return {
    list: all.map(encodeCertificate),
    fallback: fallback === undefined ? -1 : all.indexOf(fallback),
    isOpen,
    isSingle,
  };
}

export function encodeCertificate(certificate: Certificate): WireCertificate {
  return { pem: certificate.toPem(), key: certificate.keyPem() };
}
