/**
 * Finds the problems of a certificate: dates, order of the chain, host name.
 * Does not decide whether an authority is trusted: the handshake does.
 */

import type { X509Certificate } from "node:crypto";
import { nameCovers } from "./host_name.ts";

/** A problem of a certificate. */
export interface CertificateProblem {
  /** The kind of problem. */
  readonly code: "not-yet-valid" | "expired" | "chain" | "host";
  /** The problem in one line, safe to show. */
  readonly message: string;
}

/**
 * Options of {@linkcode Certificate.verify}.
 *
 * @example What is wrong with a certificate in a month
 * ```ts
 * import {
 *   Certificate,
 *   type CertificateProblem,
 *   type CertificateSummary,
 *   type LoadCertificateOptions,
 *   type ParseCertificateOptions,
 *   type VerifyCertificateOptions,
 * } from "@smtp/server/tls";
 *
 * const made = await Certificate.selfSigned({ names: ["mx.example"], days: 7 });
 * const withoutKey: ParseCertificateOptions = { keyOptional: true };
 * const certificate = Certificate.parse(made.toPem(), withoutKey);
 * const wanted: VerifyCertificateOptions = {
 *   host: "mx.example",
 *   at: new Date(Date.now() + 30 * 86_400_000),
 * };
 * const problems: readonly CertificateProblem[] = certificate.verify(wanted);
 * const { subject, validTo }: CertificateSummary = certificate.toJSON();
 * console.log(`${subject} until ${validTo}`);
 * console.assert(problems[0]?.code === "expired");
 *
 * // From a file, as an authority's client leaves it:
 * const files: LoadCertificateOptions = {
 *   certificateFile: "fullchain.pem",
 *   keyFile: "privkey.pem",
 * };
 * console.assert((await Certificate.load(files).catch(() => null)) === null);
 * ```
 */
export interface VerifyCertificateOptions {
  /** The host name or IP address that the certificate must cover. Default: hosts are not checked. */
  host?: string | undefined;
  /**
   * The time at which the certificate must be valid.
   *
   * @default {new Date()}
   */
  at?: Date | undefined;
}

/** The parts of a certificate that are checked. */
export interface VerifySubject {
  /** The certificate, followed by its issuers. */
  readonly chain: readonly X509Certificate[];
  /** The names in subjectAltName. */
  readonly names: readonly string[];
}

/** All problems, those of the first certificate first. */
export function findProblems(
  subject: VerifySubject,
  options: VerifyCertificateOptions,
): CertificateProblem[] {
  const { chain, names } = subject;
  const at = options.at ?? new Date();
  const problems: CertificateProblem[] = [];
  for (const [index, certificate] of chain.entries()) {
    problems.push(...dateProblems(certificate, { at, index }));
  }
  for (const [index, certificate] of chain.slice(0, -1).entries()) {
    if (!vouchesFor(chain[index + 1]!, certificate)) {
      problems.push({
        code: "chain",
        message: `Certificate ${
          index + 2
        } of the chain did not sign certificate ${index + 1}`,
      });
    }
  }
  const { host } = options;
  if (host !== undefined && !names.some((name) => nameCovers(name, host))) {
    const have = names.length === 0
      ? "no host name"
      : names.map((name) => `"${name}"`).join(", ");
    problems.push({
      code: "host",
      message: `Certificate is for ${have}, not for "${host}"`,
    });
  }
  return problems;
}

/** Parses a date text of the platform, which is always in GMT. */
export function certificateDate(text: string): Date {
  return new Date(text);
}

/** The date in ISO 8601; `""` for an invalid one. */
export function dateText(date: Date): string {
  return Number.isNaN(date.getTime()) ? "" : date.toISOString();
}

function dateProblems(
  certificate: X509Certificate,
  options: { readonly at: Date; readonly index: number },
): CertificateProblem[] {
  const { at, index } = options;
  const which = index === 0
    ? "Certificate"
    : `Certificate ${index + 1} of the chain`;
  const from = certificateDate(certificate.validFrom);
  const to = certificateDate(certificate.validTo);
  if (!(from <= to)) {
    return [{ code: "expired", message: `${which} is valid at no time` }];
  }
  if (at < from) {
    return [{
      code: "not-yet-valid",
      message: `${which} is not valid before ${from.toISOString()}`,
    }];
  }
  if (at > to) {
    return [{
      code: "expired",
      message: `${which} expired at ${to.toISOString()}`,
    }];
  }
  return [];
}

function vouchesFor(
  issuer: X509Certificate,
  certificate: X509Certificate,
): boolean {
  try {
    return certificate.checkIssued(issuer) &&
      certificate.verify(issuer.publicKey);
  } catch {
    return false;
  }
}
