/**
 * The accounts of a server: user names with their secrets, for operators that
 * write no `onAuthenticate` of their own. Reads text, not files.
 *
 * Never repeats a secret: not in an error, not in JSON, not on a console.
 */

import { errorMessage } from "../log.ts";
import {
  either,
  isOptions,
  list,
  optionError,
  type Rule,
  text,
} from "../options.ts";
import { asciiDomain } from "../protocol/domain.ts";
import type { Credentials, KnownSecret } from "./credentials.ts";
import { redact } from "./redact.ts";
import { saslPrep } from "./saslprep.ts";
import { ScramVerifier } from "./scram_verifier.ts";

/**
 * Looks users up.
 *
 * @example Accounts from a database
 * ```ts
 * import { type Accounts, ScramVerifier } from "@smtp/server/auth";
 *
 * const rows = new Map<string, string>();
 * const accounts: Accounts = {
 *   find: (username) => {
 *     const row = rows.get(username);
 *     return row === undefined ? undefined : ScramVerifier.parse(row);
 *   },
 * };
 * console.assert(await accounts.find("nobody") === undefined);
 * ```
 */
export interface Accounts {
  /**
   * The secret of a user, plain or a verifier; `undefined` for an unknown user.
   *
   * @param username The name, prepared by SASLprep
   */
  find(
    username: string,
  ): KnownSecret | Promise<KnownSecret>;
  /**
   * The verifier that unknown users are compared with, so that they do not
   * stand out among verifiers: {@linkcode ScramVerifier.decoy} of one of them.
   * Unset if all secrets are plain.
   */
  readonly decoy?: ScramVerifier | undefined;
}

/**
 * The `authenticate` function of a {@linkcode ServerExchange} that checks
 * accounts. An unknown user costs the same time as a known one.
 *
 * @param accounts The accounts
 *
 * @example The accounts of an exchange
 * ```ts
 * import { AccountList } from "@smtp/server";
 * import { authenticateWith } from "@smtp/server/auth";
 *
 * const authenticate = authenticateWith(new AccountList({ ann: "secret" }));
 * console.assert(typeof authenticate === "function");
 * ```
 */
export function authenticateWith(
  accounts: Accounts,
): (credentials: Credentials) => Promise<boolean> {
  return async (credentials) =>
    await credentials.verify(await accounts.find(credentials.username));
}

/**
 * Accounts in memory.
 *
 * Neither the answers of a list nor their timing reveal which names exist, as
 * long as all verifiers have the same number of rounds and the same salt
 * length. Plain secrets and verifiers may be mixed.
 *
 * @example Two ways to write the same list
 * ```ts
 * import { AccountList } from "@smtp/server";
 *
 * const byObject = new AccountList({ ann: "secret" });
 * const byText = new AccountList(["ann:secret"]);
 * console.assert(byObject.find("ann") === byText.find("ann"));
 * ```
 */
export class AccountList implements Accounts {
  /** A verifier that no password fits, like those in the list; `undefined` if all secrets are plain. */
  readonly decoy: ScramVerifier | undefined;
  readonly #secrets = new Map<string, string | ScramVerifier>();

  /**
   * Makes a list.
   *
   * @param accounts Names and their secrets, or `NAME:SECRET` texts; a secret
   * that begins with `SCRAM-SHA-256$` is a verifier
   * @throws {SyntaxError} If a name or secret is missing or has prohibited
   * characters, or a name occurs twice
   */
  constructor(
    accounts:
      | Readonly<Record<string, string | ScramVerifier>>
      | readonly string[],
  ) {
    const at = { path: "accounts", of: "AccountList", secret: true };
    ACCOUNTS_RULE.check(accounts, at);
    const entries: readonly [string, string | ScramVerifier][] =
      Array.isArray(accounts)
        ? accounts.map(splitAccount)
        : Object.entries(accounts);
    for (const [name, secret] of entries) this.#add(name, secret);
    const verifier = this.#secrets.values()
      .find((secret) => secret instanceof ScramVerifier);
    this.decoy = verifier && ScramVerifier.decoy(verifier);
    redact(this, () => this.toString());
  }

  #add(name: string, secret: string | ScramVerifier): void {
    const key = canonicalAccount(prepareAccountName(name));
    if (this.#secrets.has(key)) {
      throw new SyntaxError(`Cannot add the account "${name}" twice`);
    }
    this.#secrets.set(key, prepareSecret(name, secret));
  }

  /** The number of accounts. */
  get size(): number {
    return this.#secrets.size;
  }

  /** Whether every secret is plain: CRAM-MD5 can be offered only then. */
  get isPlain(): boolean {
    return this.decoy === undefined;
  }

  /**
   * The secret of a user.
   *
   * @param username The name, prepared by SASLprep
   */
  find(username: string): KnownSecret {
    return this.#secrets.get(canonicalAccount(username));
  }

  /** A text without names and secrets. */
  toString(): string {
    return `[AccountList of ${this.size}]`;
  }

  /** A text without names and secrets. */
  toJSON(): string {
    return this.toString();
  }
}

const ACCOUNTS_RULE: Rule = either({
  object: {
    want: 'names with their secrets, as { ann: "..." }',
    check(value, at) {
      if (!isOptions(value)) throw optionError(at, value, this);
      for (const [name, secret] of Object.entries(value)) {
        if (typeof secret === "string" || secret instanceof ScramVerifier) {
          continue;
        }
        throw optionError({ ...at, path: `the secret of "${name}"` }, secret, {
          want: "a string or a ScramVerifier",
        });
      }
    },
  },
  list: list(text('"NAME:SECRET"')),
}, 'names with their secrets, as { ann: "..." } or ["ann:..."]');

/**
 * Reads an accounts file. A line is `NAME:SECRET`, empty, or a comment that
 * begins with `#`. The first colon ends the name; blanks in a secret count.
 *
 * @param text The text of the file
 * @throws {SyntaxError} If a line has another form, or its secret is a password
 * hash of another system, which would otherwise become a password; the error
 * names the line
 *
 * @example Read accounts
 * ```ts
 * import { parseAccounts } from "@smtp/server/auth";
 *
 * const accounts = parseAccounts("# staff\nann:secret\n");
 * console.assert(accounts.size === 1);
 * ```
 */
export function parseAccounts(text: string): AccountList {
  const accounts = new Map<string, string | ScramVerifier>();
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/);
  for (const [index, line] of lines.entries()) {
    const content = line.trimStart();
    if (content === "" || content.startsWith("#")) continue;
    try {
      const [name, secret] = splitAccount(content);
      const key = canonicalAccount(prepareAccountName(name));
      refuseForeignHash(name, secret);
      if (accounts.has(key)) {
        throw new SyntaxError(`Cannot add the account "${name}" twice`);
      }
      accounts.set(key, prepareSecret(name, secret));
    } catch (error) {
      throw new SyntaxError(
        `Cannot parse line ${index + 1} of the accounts: ${
          errorMessage(error)
        }`,
      );
    }
  }
  return new AccountList(Object.fromEntries(accounts));
}

/** Password hashes of other programs: crypt(3) and `{SCHEME}` forms. */
const FOREIGN_HASH =
  /^(?:\$(?:1|2[abxy]?|5|6|7|y|gy|apr1|argon2\w*|pbkdf2[\w-]*|scrypt)\$|\{[A-Z0-9][A-Z0-9.-]*\}|SCRAM-SHA-(?!256\$))/;

function splitAccount(text: string): [name: string, secret: string] {
  const colon = text.indexOf(":");
  if (colon < 1) {
    // A line without a colon can be a bare secret, so the error does not repeat it.
    throw new SyntaxError(
      'Cannot read the account: want "NAME:SECRET"',
    );
  }
  return [text.slice(0, colon), text.slice(colon + 1)];
}

/**
 * The spelling in which account names are compared. All spellings of a name's
 * domain denote the same account.
 *
 * @param username The name, prepared by SASLprep
 */
export function canonicalAccount(username: string): string {
  const at = username.lastIndexOf("@");
  return at < 1
    ? username
    : `${username.slice(0, at)}@${asciiDomain(username.slice(at + 1))}`;
}

/** An account's name in the form that clients' names are compared with. */
function prepareAccountName(name: string): string {
  const username = saslPrep(name);
  if (username === undefined || username === "") {
    throw new SyntaxError(
      `Cannot add the account "${name}": the name is empty or prohibited by SASLprep`,
    );
  }
  return username;
}

/** A secret in stored form: checked, and parsed if it is a verifier's text. */
function prepareSecret(
  name: string,
  secret: string | ScramVerifier,
): string | ScramVerifier {
  if (typeof secret !== "string") return secret;
  if (secret.startsWith("SCRAM-SHA-256$")) {
    try {
      return ScramVerifier.parse(secret);
    } catch (cause) {
      throw new SyntaxError(
        `Cannot add the account "${name}": the verifier is malformed`,
        { cause },
      );
    }
  }
  const prepared = saslPrep(secret);
  if (prepared === undefined || prepared === "") {
    throw new SyntaxError(
      `Cannot add the account "${name}": the secret is empty or prohibited by SASLprep`,
    );
  }
  return secret;
}

/** Refuses password hashes: taken as a password, a stolen hash would be enough to log in. */
function refuseForeignHash(name: string, secret: string): void {
  if (FOREIGN_HASH.test(secret)) {
    throw new SyntaxError(
      `Cannot add the account "${name}": the secret is a hash of another kind, want a plain secret or a SCRAM-SHA-256 verifier`,
    );
  }
}
