/**
 * What is wrong with a certificate: dates, order of the chain, host name. Asks
 * no one else: whether an authority is trusted is decided in the handshake.
 */

import type { X509Certificate } from "node:crypto";
import { nameCovers } from "./host_name.ts";

/** One thing that is wrong with a certificate. */
export interface CertificateProblem {
  /** What kind of problem it is. */
  readonly code: "not-yet-valid" | "expired" | "chain" | "host";
  /** The problem in one line, fit to be shown. */
  readonly message: string;
}

/** Options of {@linkcode Certificate.verify}. */
export interface VerifyCertificateOptions {
  /** The host name or IP address that the certificate should be for; not looked at when not given. */
  host?: string | undefined;
  /**
   * The time for which the dates are looked at.
   *
   * @default {new Date()}
   */
  at?: Date | undefined;
}

/** What is looked at. */
export interface VerifySubject {
  /** The certificate, then those that vouch for it. */
  readonly chain: readonly X509Certificate[];
  /** The names it is for. */
  readonly names: readonly string[];
}

/** All problems, the first certificate's first. */
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

/** The time of a platform date text, which is always in GMT. */
export function certificateDate(text: string): Date {
  return new Date(text);
}

/** The date in ISO 8601; `""` for one that the platform could not read. */
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
