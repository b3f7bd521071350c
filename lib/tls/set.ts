/**
 * Several certificates for one listener: chooses one by the server name that a
 * client asks for (SNI), and replaces them while the server runs, also by itself
 * when their files change. Starts no handshake.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6066#section-3 | RFC 6066 section 3}
 */

import { callable, checkOptions, type Rules } from "../options.ts";
import type { Certificate } from "./certificate.ts";
import {
  CertificateFiles,
  type WatchCertificateOptions,
} from "./certificate_files.ts";
import { canonicalHost, nameCovers } from "./host_name.ts";
import { CERTIFICATE_RULE, TRUSTED_RULE } from "./context.ts";

/**
 * Options of {@linkcode CertificateSet}.
 *
 * @example A certificate on demand
 * ```ts
 * import {
 *   Certificate,
 *   CertificateSet,
 *   type CertificateSetOptions,
 * } from "@smtp/server/tls";
 *
 * const customers = new Set(["mail.one.example", "mail.two.example"]);
 * const options: CertificateSetOptions = {
 *   choose: (serverName) =>
 *     customers.has(serverName)
 *       ? Certificate.selfSigned({ names: [serverName] })
 *       : undefined,
 * };
 * const set = new CertificateSet([], options);
 * const chosen = await set.select("mail.one.example");
 * console.assert(chosen?.matches("mail.one.example") === true);
 * ```
 */
export interface CertificateSetOptions {
  /**
   * The certificate for clients that ask for no name, or for a name that no
   * other certificate covers; `null` to end their handshake.
   *
   * @default {certificates[0] ?? null}
   */
  fallback?: Certificate | null | undefined;
  /**
   * Finds a certificate for a server name that no certificate of the set covers;
   * `undefined` for the fallback. The name comes from the client. It is a valid
   * host name in lower case, but check it before you use it as a path. Default:
   * all of them get the fallback.
   */
  choose?:
    | ((
      serverName: string,
    ) => Certificate | undefined | Promise<Certificate | undefined>)
    | undefined;
}

const RULES: Rules<CertificateSetOptions> = {
  fallback: {
    want: "a Certificate or null",
    check(value, at) {
      if (value !== null) CERTIFICATE_RULE.check(value, at);
    },
  },
  choose: callable(),
};

/**
 * Certificates by server name. Immutable: to replace one, make a new set and
 * put it into the {@linkcode CertificateSource}.
 *
 * @example Two domains on one listener
 * ```ts
 * import { Certificate } from "@smtp/server";
 * import { CertificateSet } from "@smtp/server/tls";
 *
 * const one = await Certificate.selfSigned({ names: ["mail.example.com"] });
 * const two = await Certificate.selfSigned({ names: ["*.example.org"] });
 * const set = new CertificateSet([one, two]);
 * console.assert(set.select("mail.example.org") === two);
 * console.assert(set.select(undefined) === one);
 * ```
 */
export class CertificateSet {
  /** The certificates, in the order of preference. */
  readonly certificates: readonly Certificate[];
  /** The certificate for all other names, if any. */
  readonly fallback: Certificate | undefined;
  readonly #exact: ReadonlyMap<string, Certificate>;
  readonly #wildcards: readonly (readonly [string, Certificate])[];
  readonly #choose: CertificateSetOptions["choose"];

  /**
   * Makes a set.
   *
   * @param certificates The certificates; the first one that covers a name is used
   * @throws {TypeError} If a certificate has no private key, or there is neither a certificate nor `choose`
   */
  constructor(
    certificates: readonly Certificate[],
    options: CertificateSetOptions = {},
  ) {
    const of = "CertificateSet";
    TRUSTED_RULE.check(certificates, {
      path: "certificates",
      of,
      secret: true,
    });
    checkOptions(of, options, RULES);
    const { choose, fallback = certificates[0] } = options;
    if (certificates.length === 0 && !choose && !fallback) {
      throw new TypeError(
        "Cannot make an empty certificate set: want a certificate or a function that chooses one",
      );
    }
    for (const one of fallback ? [...certificates, fallback] : certificates) {
      requireKey(one);
    }
    const exact = new Map<string, Certificate>();
    const wildcards: [string, Certificate][] = [];
    for (const certificate of certificates) {
      for (const name of certificate.names) {
        if (name.startsWith("*.")) wildcards.push([name, certificate]);
        else if (!exact.has(name)) exact.set(name, certificate);
      }
    }
    this.certificates = Object.freeze([...certificates]);
    this.fallback = fallback ?? undefined;
    this.#exact = exact;
    this.#wildcards = wildcards;
    this.#choose = choose;
  }

  /** Whether it has a `choose` function for names that no certificate covers. */
  get isOpen(): boolean {
    return this.#choose !== undefined;
  }

  /** Whether the choice can depend on the server name. */
  get dependsOnName(): boolean {
    return this.#choose !== undefined || this.fallback === undefined ||
      this.certificates.some((one) => one !== this.fallback);
  }

  /**
   * The certificate for a server name: one with that exact name, else one with
   * a matching wildcard, else the result of `choose`, else the fallback. Returns
   * a promise only if `choose` does.
   *
   * @param serverName The name that the client asks for, if any
   */
  select(
    serverName: string | undefined,
  ): Certificate | undefined | Promise<Certificate | undefined> {
    const name = serverName ? canonicalHost(serverName) : undefined;
    if (name === undefined || name.startsWith("*")) return this.fallback;
    const found = this.#exact.get(name) ??
      this.#wildcards.find(([pattern]) => nameCovers(pattern, name))?.[1];
    if (found !== undefined) return found;
    const chosen = this.#choose?.(name);
    return chosen instanceof Promise
      ? chosen.then((one) => this.#checked(one))
      : this.#checked(chosen);
  }

  #checked(chosen: Certificate | undefined): Certificate | undefined {
    if (chosen !== undefined) requireKey(chosen);
    return chosen ?? this.fallback;
  }
}

/** Milliseconds between two looks at the files of a source. */
const LOOK_MS = 1000;

/**
 * The certificates in use. A replacement takes effect at the next handshake;
 * open sessions keep their certificate. {@linkcode CertificateSource.watch} makes
 * a source that replaces its certificate by itself.
 *
 * @example Reload a certificate without a restart
 * ```ts
 * import { Certificate } from "@smtp/server";
 * import { CertificateSource } from "@smtp/server/tls";
 *
 * const names = ["mail.example"];
 * const source = new CertificateSource(await Certificate.selfSigned({ names }));
 * source.replace(await Certificate.selfSigned({ names }));
 * console.assert(source.current.certificates.length === 1);
 * ```
 */
export class CertificateSource {
  #current: CertificateSet;
  readonly #listeners = new Set<() => void>();
  readonly #errorListeners = new Set<(error: Error) => void>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /**
   * Makes a source.
   *
   * @param certificates The certificates in use at first
   * @throws {TypeError} If a certificate has no private key
   */
  constructor(certificates: Certificate | CertificateSet) {
    this.#current = toSet(certificates);
  }

  /**
   * Loads a certificate as {@linkcode Certificate.load} does, and replaces it when
   * another program, as certbot or lego, has renewed its files: looks at them every
   * second, behind links too. While they cannot be used, as between the writing of
   * the one and of the other, the certificate in use stays. A fault that lasts goes
   * to `onError` and to the log of the servers that use the source.
   *
   * Watches until {@linkcode CertificateSource.close}; that does not keep the
   * process running. Requires `allow-read`.
   *
   * @throws {CertificateError} If a file cannot be read, is not PEM or lacks its part, or key and certificate do not match
   * @throws {TypeError} If an option is unknown or of the wrong kind
   *
   * @example A server that takes renewed certificates
   * ```ts
   * import { Certificate, SmtpServer } from "@smtp/server";
   * import { CertificateSource } from "@smtp/server/tls";
   *
   * const folder = await Deno.makeTempDir();
   * const [certificateFile, keyFile] = [`${folder}/mx.pem`, `${folder}/mx.key`];
   * const made = await Certificate.selfSigned({ names: ["mx.example.com"] });
   * await Deno.writeTextFile(certificateFile, made.toPem());
   * await Deno.writeTextFile(keyFile, made.keyPem(), { mode: 0o600 });
   *
   * using certificate = await CertificateSource.watch({
   *   certificateFile,
   *   keyFile,
   * });
   * const server = new SmtpServer({ certificate });
   * console.assert(!server.active);
   * await Deno.remove(folder, { recursive: true });
   * ```
   */
  static async watch(
    options: WatchCertificateOptions,
  ): Promise<CertificateSource> {
    const files = await CertificateFiles.load(options);
    const source = new CertificateSource(files.certificate);
    if (options.onError) source.onError(options.onError);
    source.#watch(files);
    return source;
  }

  /** The certificates for the next handshake: a snapshot, which never changes. */
  get current(): CertificateSet {
    return this.#current;
  }

  /**
   * Replaces all certificates at once.
   *
   * @throws {TypeError} If a certificate has no private key; the certificates in use stay
   */
  replace(certificates: Certificate | CertificateSet): void {
    this.#current = toSet(certificates);
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` after each replacement. Returns a function that stops this. */
  onReplace(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Calls `listener` for each fault of watched files; see
   * {@linkcode CertificateSource.watch}. Returns a function that stops this.
   */
  onError(listener: (error: Error) => void): () => void {
    this.#errorListeners.add(listener);
    return () => this.#errorListeners.delete(listener);
  }

  /** Stops watching files; the certificates in use stay. Does nothing if no file is watched. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Stops watching files; see {@linkcode CertificateSource.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #watch(files: CertificateFiles): void {
    let isLooking = false;
    this.#timer = setInterval(async () => {
      if (isLooking) return;
      isLooking = true;
      try {
        const found = await files.look();
        if (found === undefined || this.#timer === undefined) return;
        if (found instanceof Error) this.#fail(found);
        else this.replace(found);
      } catch (error) {
        // A listener of replacements has failed: the certificate is in use.
        this.#fail(error as Error);
      } finally {
        isLooking = false;
      }
    }, LOOK_MS);
    Deno.unrefTimer(this.#timer);
  }

  #fail(error: Error): void {
    for (const listener of this.#errorListeners) {
      // A listener that fails must not end the process, nor keep it from the others.
      new Promise((resolve) => resolve(listener(error))).catch(() => {});
    }
  }
}

function toSet(certificates: Certificate | CertificateSet): CertificateSet {
  if (certificates instanceof CertificateSet) return certificates;
  const at = { path: "certificates", of: "CertificateSource", secret: true };
  CERTIFICATE_RULE.check(certificates, at);
  return new CertificateSet([certificates]);
}

function requireKey(certificate: Certificate): void {
  if (certificate.hasKey) return;
  throw new TypeError(
    `Cannot serve with the certificate of "${
      certificate.subject || certificate.names.join(", ")
    }": it has no private key`,
  );
}
