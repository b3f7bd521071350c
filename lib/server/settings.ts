/**
 * The settings in force: the options of a server as a start or a reload has made
 * them usable, with certificates that can be replaced and what decides on local
 * recipients.
 */

import { handlerModuleUrl } from "../session/handler_module.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import { settledRecipients } from "../session/local_recipients.ts";
import type { RecipientPolicy } from "../session/recipient_policy.ts";
import type { Verification } from "../session/verification.ts";
import { CertificateSource } from "../tls/set.ts";
import { domainEntries } from "./domain_options.ts";
import {
  givenHandlers,
  type ReloadOptions,
  type SettledOptions,
  type SmtpServerOptions,
} from "./options.ts";

/** The settings of a server. */
export interface Settings {
  readonly options: SettledOptions;
  /** The certificates in use; `undefined` before the first start. */
  readonly certificates: CertificateSource | undefined;
  /** Decides on local recipients; `undefined` if no option asks for it. */
  readonly recipients?: RecipientPolicy | undefined;
  /** Checks the mail from outside; `undefined` without the option. */
  readonly verification?: Verification | undefined;
}

/** The settings in force; a start or a reload replaces them. */
export class ServerSettings implements Settings {
  /** The URL of the handler module, if the handlers are one. */
  readonly module: string | undefined;
  #current: Settings;

  constructor(options: SmtpServerOptions) {
    const handlers = givenHandlers(options);
    this.module = handlers === options.handlers
      ? undefined
      : handlerModuleUrl(options.handlers as string | URL);
    this.#current = {
      options: { ...settled(options), handlers },
      certificates: undefined,
    };
  }

  get options(): SettledOptions {
    return this.#current.options;
  }

  get certificates(): CertificateSource | undefined {
    return this.#current.certificates;
  }

  get recipients(): RecipientPolicy | undefined {
    return this.#current.recipients;
  }

  get verification(): Verification | undefined {
    return this.#current.verification;
  }

  /** Replaces what checks the mail from outside, which must be loaded. */
  useVerification(verification: Verification | undefined): void {
    this.#current = { ...this.#current, verification };
  }

  /** Replaces what decides on local recipients, which must be read from files. */
  useRecipients(recipients: RecipientPolicy | undefined): void {
    this.#current = { ...this.#current, recipients };
  }

  /**
   * Prepares a start: makes the certificates replaceable.
   *
   * @param handlers The handlers of the handler module, if there is one
   */
  begin(handlers?: SmtpHandlers): void {
    const options = handlers ? { ...this.options, handlers } : this.options;
    this.#current = { options, certificates: sourceOf(options.certificate) };
  }

  /** Applies the options of a reload; returns the settings before it. */
  change(options: ReloadOptions): Settings {
    const before = this.#current;
    this.#current = {
      ...before,
      options: { ...before.options, ...settled(options) },
      certificates: options.certificate === undefined
        ? before.certificates
        : sourceOf(options.certificate),
    };
    return before;
  }

  /** Restores the settings from before a change. */
  restore(before: Settings): void {
    this.#current = before;
  }
}

/** The options with lists of local recipients that can be read again. */
function settled<T extends ReloadOptions>(options: T): T {
  const { localRecipients, domains } = options;
  const own = domainEntries(domains);
  const isOf = own.some(([, one]) => one.localRecipients !== undefined);
  return {
    ...options,
    ...(localRecipients === undefined
      ? {}
      : { localRecipients: settledRecipients(localRecipients) }),
    ...(isOf
      ? {
        domains: Object.fromEntries(own.map(([name, { ...one }]) => [name, {
          ...one,
          localRecipients: settledRecipients(one.localRecipients),
        }])),
      }
      : {}),
  };
}

/** Wraps the certificates in a source, so that they can be replaced. */
function sourceOf(
  certificate: SettledOptions["certificate"],
): CertificateSource | undefined {
  if (certificate === undefined) return undefined;
  return certificate instanceof CertificateSource
    ? certificate
    : new CertificateSource(certificate);
}
