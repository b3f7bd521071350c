/**
 * The options of smtp-server in those of this server, and their checks. An
 * option that this server cannot serve is a `TypeError` with the reason.
 */

import type { TlsOptions } from "node:tls";
import {
  type ListenOptions,
  logLines,
  type LogRecord,
  type SmtpServerOptions,
} from "../../mod.ts";
import { Certificate, CertificateSet } from "../tls/mod.ts";
import type { SMTPServerOptions } from "./types.ts";

const VERSIONS = "TLS 1.2 and 1.3 are spoken";

/** Why an option, or a value of it, cannot be served. */
const UNSERVED: Readonly<
  Record<string, (value: never) => string | undefined>
> = {
  useXForward: (value: boolean | readonly string[]) =>
    value && !(Array.isArray(value) && value.length === 0)
      ? "XFORWARD is not spoken; useXClient is"
      : undefined,
  pfx: () => "give the certificate and its key in PEM, as cert and key",
  SNICallback: () => "give the certificates by name, as sniOptions",
  maxCommandLength: () => "the limits of RFC 5321 hold",
  secureContext: () => "give the certificate and its key, as cert and key",
  ciphers: () => "the cipher suites are those with forward secrecy",
  sigalgs: () => "the signature algorithms are those of the platform",
  crl: () => "lists of revoked certificates are not read",
  pskCallback: () => "give the certificate and its key, as cert and key",
  minVersion: (value) => value === "TLSv1.2" ? undefined : VERSIONS,
  maxVersion: (value) => value === "TLSv1.3" ? undefined : VERSIONS,
  secureProtocol: () => VERSIONS,
  secureOptions: () => VERSIONS,
};

/** Mechanisms by the names of `authMethods`. */
const MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2"] as const;

/** Extensions by the option that hides them. */
const HIDDEN = {
  hidePIPELINING: "PIPELINING",
  hide8BITMIME: "8BITMIME",
  hideSMTPUTF8: "SMTPUTF8",
  hideSize: "SIZE",
} as const;

/** The same for extensions that are offered only if the option is `false`. */
const HIDDEN_UNLESS_FALSE = {
  hideDSN: "DSN",
  hideENHANCEDSTATUSCODES: "ENHANCEDSTATUSCODES",
  hideREQUIRETLS: "REQUIRETLS",
} as const;

/** The commands of `disabledCommands` in upper case. */
export function disabledCommands(options: SMTPServerOptions): string[] {
  return listOf(options.disabledCommands).map((name) => name.toUpperCase());
}

function listOf(value: string | readonly string[] | undefined): string[] {
  const list = typeof value === "string" ? [value] : value ?? [];
  return list.map((entry) => String(entry).trim());
}

/** Whether a client must log in before MAIL. */
export function requiresLogin(options: SMTPServerOptions): boolean {
  return !options.authOptional && !disabledCommands(options).includes("AUTH");
}

/** Whether STARTTLS is offered. */
function offersStartTls(options: SMTPServerOptions): boolean {
  return !options.secure && !options.hideSTARTTLS &&
    !disabledCommands(options).includes("STARTTLS");
}

/** Whether the server needs a certificate. */
export function needsCertificate(options: SMTPServerOptions): boolean {
  return offersStartTls(options) ||
    (options.secure === true && !options.secured);
}

/**
 * Checks the options.
 *
 * @throws {TypeError} If one cannot be served
 */
export function checkOptions(options: SMTPServerOptions): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || !Object.hasOwn(UNSERVED, name)) continue;
    const why = UNSERVED[name]!(value as never);
    if (why === undefined) continue;
    throw new TypeError(`Cannot serve the option "${name}": ${why}`);
  }
  for (const name of listOf(options.authMethods)) {
    if (MECHANISMS.some((known) => known === name.toUpperCase())) continue;
    throw new TypeError(
      `Cannot serve "${name}" of authMethods: want some of ${
        MECHANISMS.join(", ")
      }`,
    );
  }
}

/** The options of the server but for its listener, handlers and certificate. */
export function serverOptions(options: SMTPServerOptions): SmtpServerOptions {
  const methods = listOf(options.authMethods).map((name) => name.toUpperCase());
  const isOff = disabledCommands(options).includes("AUTH");
  const { useProxy, useXClient, banner, requestCert } = options;
  return {
    hostname: options.name,
    greeting: banner &&
      `${options.lmtp ? "LMTP" : "ESMTP"} ${banner}`,
    // The program gets the content as the client sent it.
    addReceived: false,
    complete: false,
    authentication: isOff
      ? "none"
      : options.authOptional
      ? "allowed"
      : "required",
    mechanisms: MECHANISMS.filter((name) =>
      methods.length === 0
        ? name === "PLAIN" || name === "LOGIN"
        : methods.includes(name)
    ),
    // Where TLS is not to be had, a login has to do without it.
    allowInsecureAuth: options.allowInsecureAuth === true ||
      !needsCertificate(options),
    disabledExtensions: [
      // A program of smtp-server knows nothing of it, and could not keep it.
      "DELIVERBY",
      ...Object.entries(HIDDEN).flatMap(([option, keyword]) =>
        options[option as keyof typeof HIDDEN] ? [keyword] : []
      ),
      ...Object.entries(HIDDEN_UNLESS_FALSE).flatMap(([option, keyword]) =>
        options[option as keyof typeof HIDDEN_UNLESS_FALSE] === false
          ? []
          : [keyword]
      ),
    ],
    limits: {
      maxSize: options.hideSize ? undefined : options.size,
      maxConnections: options.maxClients || undefined,
      maxRecipients: options.maxRecipients || undefined,
      timeoutMs: options.socketTimeout || undefined,
    },
    proxyProtocol: networksOf(useProxy),
    xclient: networksOf(useXClient),
    ...(requestCert && needsCertificate(options) && {
      clientCertificate: {
        mode: options.rejectUnauthorized === false ? "request" : "require",
        trusted: pemOf(options.ca).map((pem) =>
          Certificate.parse(pem, { keyOptional: true })
        ),
      },
    }),
  };
}

const EVERYWHERE: readonly string[] = ["0.0.0.0/0", "::/0"];

/** The networks of an option that trusts all peers, or those of a list. */
function networksOf(
  trusted: boolean | readonly string[] | undefined,
): readonly string[] {
  if (trusted === true) return EVERYWHERE;
  return listOf(trusted || []).flatMap((entry) =>
    entry === "*" ? EVERYWHERE : [entry]
  );
}

/** The listener. */
export function listenerOptions(
  options: SMTPServerOptions,
  place: {
    readonly host?: string | undefined;
    readonly port?: number | undefined;
    readonly path?: string | undefined;
  },
): ListenOptions {
  return {
    ...place,
    kind: options.lmtp ? "lmtp" : "smtp",
    security: options.secure && !options.secured
      ? "implicit"
      : offersStartTls(options)
      ? "allowed"
      : "none",
  };
}

// Certificates.

type Pem = string | Uint8Array;

function pemOf(value: TlsOptions["key"]): readonly string[] {
  const list = value === undefined
    ? []
    : Array.isArray(value)
    ? value
    : [value];
  return list.map((entry) => {
    const pem = isKeyObject(entry) ? entry.pem : entry as Pem;
    return typeof pem === "string" ? pem : new TextDecoder().decode(pem);
  });
}

function isKeyObject(
  entry: unknown,
): entry is { pem: Pem; passphrase?: string } {
  return typeof entry === "object" && entry !== null && "pem" in entry;
}

function certificateOf(
  { cert, key, passphrase: own }: TlsOptions,
): Certificate | undefined {
  if (cert === undefined) return undefined;
  const [first] = Array.isArray(key) ? key : [key];
  const passphrase = isKeyObject(first) ? first.passphrase ?? own : own;
  return Certificate.parse(pemOf(cert).join("\n"), {
    ...(key !== undefined && { key: pemOf(key).join("\n") }),
    ...(passphrase !== undefined && { passphrase }),
  });
}

/**
 * The certificates of the options: that of `cert` and `key` for all names, those
 * of `sniOptions` for theirs. Without `cert` a self-signed one for localhost.
 *
 * @throws {CertificateError} If one cannot be read
 */
export function certificatesOf(
  options: SMTPServerOptions,
  spare: Certificate,
): CertificateSet {
  const { sniOptions } = options;
  const named = new Map(
    [...entriesOf(sniOptions)].map(([name, tls]) =>
      [name.toLowerCase(), certificateOf(tls)] as const
    ),
  );
  const fallback = certificateOf(options) ?? spare;
  return new CertificateSet([], {
    fallback,
    choose: (name) => named.get(name) ?? fallback,
  });
}

function entriesOf(
  sniOptions: SMTPServerOptions["sniOptions"],
): Iterable<[string, TlsOptions]> {
  if (sniOptions === undefined) return [];
  return sniOptions instanceof Map
    ? sniOptions
    : Object.entries(sniOptions as Record<string, TlsOptions>);
}

// The log.

/** The log of the server: lines, or the logger of the options, without the sessions of `ignoredHosts`. */
export function logOf(
  options: SMTPServerOptions,
): Pick<SmtpServerOptions, "log" | "logLevel"> {
  const { logger, ignoredHosts = [] } = options;
  if (!logger) return { log: () => {} };
  const write = writerOf(options);
  /** Sessions of ignored hosts. */
  const ignored = new Set<string>();
  return {
    logLevel: "debug",
    log(record) {
      const { event, session, fields } = record;
      // A listener may be on an address that is ignored.
      const isIgnored = event !== "listening" &&
        ignoredHosts.includes(String(fields?.address));
      if (isIgnored && session !== undefined) ignored.add(session);
      if (!isIgnored && !ignored.has(session ?? "")) write(record);
      else if (event === "disconnect") ignored.delete(session!);
    },
  };
}

/** What takes the records: lines of text, or the functions of the logger. */
function writerOf(
  { logger, component }: SMTPServerOptions,
): (record: LogRecord) => void {
  if (logger === true || !logger) {
    const lines = logLines("text");
    if (component === undefined) return lines;
    return (record) =>
      lines({ ...record, fields: { component, ...record.fields } });
  }
  return ({ level, message, event, session, fields, error }) => {
    const facts = {
      ...{ component: component ?? "smtp-server", tnx: event, cid: session },
      ...fields,
      ...(error !== undefined && { err: error }),
    };
    (logger[level] ?? logger.info).call(logger, facts, message);
  };
}
