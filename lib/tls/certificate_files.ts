/**
 * The files of one certificate, which another program renews: reads them again
 * when they change, and judges whether what is in them can take the place of the
 * certificate in use. Runs no timer, and replaces nothing itself.
 *
 * Danger: certificate and key are written one after the other, and slowly. So a
 * pair that cannot be used is a fault only if a later look finds the same.
 */

import { stampOf } from "../files/reread_file.ts";
import { printable } from "../log.ts";
import { callable, checkOptions, path, required } from "../options.ts";
import { type Rules, secret, text } from "../options.ts";
import { Certificate, type LoadCertificateOptions } from "./certificate.ts";
import { CertificateError } from "./material.ts";

/**
 * Options of {@linkcode CertificateSource.watch}: those of
 * {@linkcode Certificate.load}, and what is called when new files cannot be used.
 *
 * @example An operator gets to know of it
 * ```ts
 * import type { WatchCertificateOptions } from "@smtp/server/tls";
 *
 * const faults: string[] = [];
 * const files: WatchCertificateOptions = {
 *   certificateFile: "/etc/letsencrypt/live/mx.example.com/fullchain.pem",
 *   keyFile: "/etc/letsencrypt/live/mx.example.com/privkey.pem",
 *   onError: ({ message }) => faults.push(message),
 * };
 * console.assert(files.onError !== undefined);
 * ```
 */
export interface WatchCertificateOptions
  extends Omit<LoadCertificateOptions, "keyOptional"> {
  /**
   * Called once for each fault of new files that lasts a second: a file is
   * missing or cannot be read, key and certificate do not fit, or the certificate
   * has a problem that the one in use does not have, as that it has expired. The
   * certificate in use stays. Servers that use the source log it, too. Default:
   * only they say it.
   */
  onError?: ((error: Error) => void) | undefined;
}

const RULES: Rules<WatchCertificateOptions> = {
  certificateFile: required(path),
  keyFile: path,
  passphrase: secret(text()),
  onError: callable(),
};

/** The files of a certificate, and what was last found in them. */
export class CertificateFiles {
  readonly #files: LoadCertificateOptions;
  #inUse: Certificate;
  /** The stamps of the files that the certificate in use is from. */
  #stamp: string;
  /** The fault that the last look found; `""` for none. */
  #fault = "";
  #isReported = false;

  private constructor(
    files: LoadCertificateOptions,
    first: { readonly certificate: Certificate; readonly stamp: string },
  ) {
    this.#files = files;
    this.#inUse = first.certificate;
    this.#stamp = first.stamp;
  }

  /**
   * Reads the files for the first time.
   *
   * @throws {CertificateError} If they cannot be used
   * @throws {TypeError} If an option is unknown or of the wrong kind
   */
  static async load(
    options: WatchCertificateOptions,
  ): Promise<CertificateFiles> {
    checkOptions(
      "CertificateSource.watch",
      options,
      RULES,
      '{ certificateFile: "mail.pem", keyFile: "mail.key" }',
    );
    const { certificateFile, keyFile, passphrase } = options;
    const files = { certificateFile, keyFile, passphrase };
    const stamp = await stampsOf(files);
    return new CertificateFiles(files, {
      certificate: await load(files),
      stamp,
    });
  }

  /** The certificate in use. */
  get certificate(): Certificate {
    return this.#inUse;
  }

  /**
   * Looks at the files. Resolves with the certificate that takes the place of the
   * one in use, or with a fault that has not been reported.
   */
  async look(): Promise<Certificate | Error | undefined> {
    const stamp = await stampsOf(this.#files);
    if (stamp === this.#stamp) {
      this.#fault = "";
      return undefined;
    }
    let found: Certificate;
    try {
      found = await load(this.#files);
      this.#requireBetter(found);
    } catch (error) {
      return this.#judge(error as Error, stamp);
    }
    // Files that are being written are read again.
    if (await stampsOf(this.#files) !== stamp) return undefined;
    this.#fault = "";
    this.#stamp = stamp;
    // Touched files have nothing new.
    if (isSame(found, this.#inUse)) return undefined;
    return this.#inUse = found;
  }

  #judge(error: Error, stamp: string): Error | undefined {
    const fault = `${stamp}\n${error.message}`;
    const isSecond = fault === this.#fault;
    if (!isSecond) this.#isReported = false;
    this.#fault = fault;
    if (!isSecond || this.#isReported) return undefined;
    this.#isReported = true;
    return error;
  }

  /** A certificate that clients refuse takes the place only of one that they refuse for the same reason. */
  #requireBetter(found: Certificate): void {
    const known = new Set(this.#inUse.verify().map(({ code }) => code));
    const problem = found.verify().find(({ code }) => !known.has(code));
    if (problem === undefined) return;
    throw new CertificateError(
      `Cannot use the certificate "${
        printable(this.#files.certificateFile)
      }": ${problem.message}`,
    );
  }
}

/** The stamps of the files, as one text. */
async function stampsOf(
  { certificateFile, keyFile = certificateFile }: LoadCertificateOptions,
): Promise<string> {
  return (await Promise.all([certificateFile, keyFile].map(stampOf))).join();
}

/** Danger: a named pipe without a writer would hold the reader for ever. */
async function load(files: LoadCertificateOptions): Promise<Certificate> {
  const { certificateFile, keyFile = certificateFile } = files;
  for (const file of [certificateFile, keyFile]) {
    const info = await Deno.stat(file).catch(() => undefined);
    if (info === undefined || info.isFile) continue;
    throw new CertificateError(
      `Cannot watch "${printable(file)}": it is no file`,
    );
  }
  return await Certificate.load(files);
}

function isSame(one: Certificate, other: Certificate): boolean {
  return one.toPem() === other.toPem() && one.keyPem() === other.keyPem();
}
