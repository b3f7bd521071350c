/**
 * Several certificates behind one listener: which one a client gets by the
 * server name it asks for (SNI), and how they are exchanged while the server
 * runs. Starts no handshake and reads no file.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6066#section-3 | RFC 6066 section 3}
 */

import { callable, checkOptions, type Rules } from "../options.ts";
import type { Certificate } from "./certificate.ts";
import { canonicalHost, nameCovers } from "./host_name.ts";
import { CERTIFICATE_RULE, TRUSTED_RULE } from "./context.ts";

/**
 * Finds the certificate for a server name that no certificate of the set is
 * for. The name comes from the client: lower case, a valid host name, and not
 * to be used as a path without a further look.
 */
export type ChooseCertificate = (
  serverName: string,
) => Certificate | undefined | Promise<Certificate | undefined>;

/** Options of {@linkcode CertificateSet}. */
export interface CertificateSetOptions {
  /**
   * The certificate for clients that ask for no name, or for one that no other
   * certificate is for; `null` to end their handshake.
   *
   * @default {certificates[0] ?? null}
   */
  fallback?: Certificate | null | undefined;
  /** Asked for a name that no certificate of the set is for, before the fallback. */
  choose?: ChooseCertificate | undefined;
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
 * Certificates by server name. Immutable: to exchange one, make a new set and
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
  /** The certificates, in the order in which they are looked at. */
  readonly certificates: readonly Certificate[];
  /** The certificate for everyone else, `undefined` if there is none. */
  readonly fallback: Certificate | undefined;
  readonly #exact: ReadonlyMap<string, Certificate>;
  readonly #wildcards: readonly (readonly [string, Certificate])[];
  readonly #choose: ChooseCertificate | undefined;

  /**
   * Puts certificates together.
   *
   * @param certificates Where two are for the same name the first one is taken
   * @throws {TypeError} If a certificate has no private key, or there is neither certificate nor `choose`
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

  /** Whether names that no certificate is for are asked about. */
  get isOpen(): boolean {
    return this.#choose !== undefined;
  }

  /** Whether the server name can make a difference. */
  get dependsOnName(): boolean {
    return this.#choose !== undefined || this.fallback === undefined ||
      this.certificates.some((one) => one !== this.fallback);
  }

  /**
   * The certificate for the name that a client asks for: an exact name, else a
   * wildcard, else what `choose` finds, else the fallback. Returns a promise
   * only where `choose` does.
   *
   * @param serverName The name that the client asks for, if it does
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

/**
 * The certificates in use. Exchanging them takes effect with the next
 * handshake; sessions that live keep theirs.
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

  /**
   * Starts with these certificates.
   *
   * @param certificates What is in use from the start
   * @throws {TypeError} If a certificate has no private key
   */
  constructor(certificates: Certificate | CertificateSet) {
    this.#current = toSet(certificates);
  }

  /** What the next handshake uses: a snapshot, which never changes. */
  get current(): CertificateSet {
    return this.#current;
  }

  /**
   * Exchanges the certificates, all of them at once.
   *
   * @throws {TypeError} If a certificate has no private key; the ones in use stay
   */
  replace(certificates: Certificate | CertificateSet): void {
    this.#current = toSet(certificates);
    for (const listener of this.#listeners) listener();
  }

  /** Tells of each exchange, once it is done. Returns what ends that. */
  onReplace(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
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
