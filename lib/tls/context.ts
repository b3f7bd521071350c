/**
 * What is offered and accepted in a TLS handshake: versions, cipher suites,
 * trusted authorities; and the platform's contexts made of it. A context is
 * made once for each certificate and policy and forgotten with the certificate.
 *
 * TLS 1.2 and 1.3 only: the platform speaks nothing older, and nothing older
 * should be spoken.
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

/** The versions of TLS that can be asked for. */
export type TlsVersion = "TLSv1.2" | "TLSv1.3";

/** Forward secrecy and authenticated encryption in TLS 1.2, too (RFC 9325 section 4.2). */
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

/** What a handshake has to fulfil. */
export interface TlsPolicy {
  /**
   * The oldest version accepted.
   *
   * @default {"TLSv1.2"}
   */
  readonly minVersion?: TlsVersion | undefined;
  /** The authorities that vouch for the peer; the platform's own when not given. */
  readonly trusted?: readonly Certificate[] | undefined;
}

/** Whether clients are asked for a certificate of their own. */
export interface ClientCertificatePolicy {
  /**
   * `"none"`: not asked. `"request"`: asked, and whether it was verified stands
   * in {@linkcode TlsInfo}. `"require"`: a handshake without one that is
   * verified fails.
   */
  readonly mode: "none" | "request" | "require";
  /** The authorities that vouch for clients; the platform's own when not given. */
  readonly trusted?: readonly Certificate[] | undefined;
}

/** What a certificate must be, inside other options. */
export const CERTIFICATE_RULE: Rule = having(
  "a Certificate, as Certificate.load() gives it",
  "toPem",
  "matches",
);

/** What a list of authorities must be, inside other options. */
export const TRUSTED_RULE: Rule = list(
  CERTIFICATE_RULE,
  "an array of Certificate",
);

const CLIENT_RULES: Rules<ClientCertificatePolicy> = {
  mode: required(oneOf("none", "request", "require")),
  trusted: TRUSTED_RULE,
};

/** What a {@linkcode ClientCertificatePolicy} must be, inside other options. */
export const CLIENT_CERTIFICATE_RULE: Rule = object(
  CLIENT_RULES,
  '{ mode: "request" }',
);

/** Contexts by certificate, then by trusted authorities, then by version. */
type Cache = WeakMap<object, Map<TlsVersion, SecureContext>>;
const contexts: WeakMap<Certificate, Cache> = new WeakMap();
/** Stands for the platform's authorities in the cache. */
const PLATFORM: readonly Certificate[] = [];

/**
 * The platform's context for serving, or for presenting oneself, with a
 * certificate.
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
