/**
 * The TLS policy of a handshake (versions, cipher suites, trusted authorities)
 * and the platform's contexts made of it. For a certificate a context is made
 * once for each policy, and is collected with the certificate; without one it is
 * made for each handshake.
 *
 * TLS 1.2 and 1.3 only: the platform supports no older version, and RFC 8996
 * forbids them.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8996 | RFC 8996},
 * {@link https://www.rfc-editor.org/rfc/rfc9325 | RFC 9325}
 */

import { createSecureContext, type SecureContext } from "node:tls";
import {
  having,
  list,
  object,
  oneOf,
  required,
  type Rule,
  type Rules,
} from "../options.ts";
import type { Certificate } from "./certificate.ts";

/** Suites with forward secrecy and authenticated encryption, in TLS 1.2, too (RFC 9325 section 4.2). */
const CIPHERS = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_AES_128_GCM_SHA256",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/** Requirements on a handshake. */
export interface TlsPolicy {
  /**
   * The oldest version accepted.
   *
   * @default {"TLSv1.2"}
   */
  readonly minVersion?: "TLSv1.2" | "TLSv1.3" | undefined;
  /** The authorities that may sign the peer's certificate. Default: the platform's. */
  readonly trusted?: readonly Certificate[] | undefined;
}

/** A version of TLS. */
export type TlsVersion = NonNullable<TlsPolicy["minVersion"]>;

/**
 * Whether the server asks clients for a certificate.
 *
 * @example Clients with a certificate of one authority
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import { Certificate, type ClientCertificatePolicy } from "@smtp/server/tls";
 *
 * const authority = await Certificate.selfSigned({ names: ["ca.example"] });
 * const clientCertificate: ClientCertificatePolicy = {
 *   mode: "require",
 *   trusted: [authority],
 * };
 * const server = new SmtpServer({ clientCertificate });
 * console.assert(!server.active);
 * ```
 */
export interface ClientCertificatePolicy {
  /**
   * `"none"`: does not ask. `"request"`: asks; {@linkcode TlsInfo} says whether
   * the certificate was verified. `"require"`: a handshake without a verified
   * certificate fails.
   */
  readonly mode: "none" | "request" | "require";
  /** The authorities that may sign client certificates. Default: the platform's. */
  readonly trusted?: readonly Certificate[] | undefined;
}

/** The rule for a certificate in other options. */
export const CERTIFICATE_RULE: Rule = having(
  "a Certificate, as Certificate.load() gives it",
  "toPem",
  "matches",
);

/** The rule for a list of authorities in other options. */
export const TRUSTED_RULE: Rule = list(
  CERTIFICATE_RULE,
  "an array of Certificate",
);

const CLIENT_RULES: Rules<ClientCertificatePolicy> = {
  mode: required(oneOf("none", "request", "require")),
  trusted: TRUSTED_RULE,
};

/** The rule for a {@linkcode ClientCertificatePolicy} in other options. */
export const CLIENT_CERTIFICATE_RULE: Rule = object(
  CLIENT_RULES,
  '{ mode: "request" }',
);

/** Contexts of one certificate: by trusted authorities, then by version. */
type Cache = WeakMap<object, Map<TlsVersion, SecureContext>>;
/** Contexts by certificate. */
const contexts: WeakMap<Certificate, Cache> = new WeakMap();
/** Cache key of the platform's authorities. */
const PLATFORM: readonly Certificate[] = [];

/**
 * The platform's context for a server or a client that presents a certificate.
 *
 * @throws {CertificateError} If the certificate has no private key
 */
export function secureContext(
  certificate: Certificate,
  policy: TlsPolicy = {},
): SecureContext {
  const { minVersion = "TLSv1.2", trusted = PLATFORM } = policy;
  let cache = contexts.get(certificate);
  if (cache === undefined) contexts.set(certificate, cache = new WeakMap());
  let versions = cache.get(trusted);
  if (versions === undefined) cache.set(trusted, versions = new Map());
  let context = versions.get(minVersion);
  if (context === undefined) {
    context = createSecureContext({
      ...policyOptions(policy),
      cert: certificate.toPem(),
      key: certificate.keyPem(),
    });
    versions.set(minVersion, context);
  }
  return context;
}

/** The platform's context for a client that presents no certificate. */
export function clientContext(policy: TlsPolicy = {}): SecureContext {
  return createSecureContext(policyOptions(policy));
}

function policyOptions(policy: TlsPolicy): {
  minVersion: TlsVersion;
  ciphers: string;
  ca?: string[];
} {
  const { minVersion = "TLSv1.2", trusted } = policy;
  return {
    minVersion,
    ciphers: CIPHERS,
    ...(trusted === undefined ? {} : { ca: trusted.map((one) => one.toPem()) }),
  };
}
