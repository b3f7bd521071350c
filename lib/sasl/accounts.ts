/**
 * The accounts of a server: user names with their secrets, for operators that
 * write no `onAuthenticate` of their own. Reads text, not files.
 *
 * Never repeats a secret: not in an error, not in JSON, not on a console.
 */

import { lineError, parseNamedLists } from "../files/named_lists.ts";
import { errorMessage, printable } from "../log.ts";
import {
  either,
  flag,
  isOptions,
  list,
  object,
  optionError,
  required,
  type Rule,
  secret,
  text,
  where,
} from "../options.ts";
import { asciiDomain } from "../protocol/domain.ts";
import type { Credentials, KnownSecret } from "./credentials.ts";
import { randomBytes } from "./digest.ts";
import { encodeBase64 } from "./encoding.ts";
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
  /**
   * The addresses from which a user may send under `senderPolicy: "own"`, beside
   * the name: each as `"ann@example.com"`, or `"@example.com"` for all of a domain.
   *
   * @param username The name, prepared by SASLprep
   */
  addresses?(
    username: string,
  ): readonly string[] | Promise<readonly string[]>;
  /**
   * Whether a user that exists may not log in; {@linkcode Accounts.find} must give
   * such a user no secret that fits. Only the log shows it.
   *
   * @param username The name, prepared by SASLprep
   */
  isDisabled?(username: string): boolean | Promise<boolean>;
}

/**
 * An account of an {@linkcode AccountList} with more than a secret.
 *
 * @example An account with two addresses, and one that is shut
 * ```ts
 * import { AccountList, type AccountOptions } from "@smtp/server/auth";
 *
 * const ann: AccountOptions = {
 *   secret: "secret",
 *   addresses: ["ann@example.com", "@shop.example"],
 * };
 * const bob: AccountOptions = { secret: "other", disabled: true };
 * const accounts = new AccountList({ ann, bob });
 * console.assert(accounts.addresses("ann").length === 2);
 * console.assert(accounts.isDisabled("bob"));
 * ```
 */
export interface AccountOptions {
  /** The password or its verifier. */
  secret: string | ScramVerifier;
  /**
   * The addresses from which the user may send under `senderPolicy: "own"`, beside
   * the name: each as `"ann@example.com"`, or `"@example.com"` for all of a domain.
   * Default: none.
   */
  addresses?: readonly string[] | undefined;
  /**
   * Whether logins fail as with a wrong password; only the log says why. Sessions
   * that have logged in before go on, unless `session.close()` ends them. Default
   * `false`.
   */
  disabled?: boolean | undefined;
}

/** An account as a list keeps it. */
interface Account {
  /** `undefined` if nothing can be its secret. */
  readonly secret: string | ScramVerifier | undefined;
  readonly addresses: readonly string[];
  readonly isDisabled: boolean;
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
  readonly #accounts = new Map<string, Account>();

  /**
   * Makes a list.
   *
   * @param accounts Names and their secrets or {@linkcode AccountOptions}, or
   * `NAME:SECRET` texts. A secret that begins with `SCRAM-SHA-256$` is a verifier;
   * `!`, alone or before a verifier, disables the account
   * @throws {SyntaxError} If a name or secret is missing or has prohibited
   * characters, a name occurs twice, or an address cannot be read
   */
  constructor(
    accounts:
      | Readonly<Record<string, string | ScramVerifier | AccountOptions>>
      | readonly string[],
  ) {
    const at = { path: "accounts", of: "AccountList", secret: true };
    ACCOUNTS_RULE.check(accounts, at);
    const entries: readonly [
      string,
      string | ScramVerifier | AccountOptions,
    ][] = Array.isArray(accounts)
      ? accounts.map(splitAccount)
      : Object.entries(accounts);
    let verifier: ScramVerifier | undefined;
    for (const [name, given] of entries) {
      const account = this.#add(name, given);
      if (account.secret instanceof ScramVerifier) verifier ??= account.secret;
      if (account.isDisabled) this.#shut(name, account);
    }
    this.decoy = verifier && ScramVerifier.decoy(verifier);
    redact(this, () => this.toString());
  }

  #add(
    name: string,
    given: string | ScramVerifier | AccountOptions,
  ): Account {
    const key = canonicalAccount(prepareAccountName(name));
    if (this.#accounts.has(key)) {
      throw new SyntaxError(
        `Cannot add the account "${printable(name)}" twice`,
      );
    }
    const options = typeof given === "string" || given instanceof ScramVerifier
      ? { secret: given }
      : given;
    const account = prepareAccount(name, options);
    this.#accounts.set(key, account);
    return account;
  }

  /** Gives a disabled account a secret that nothing fits, of the same form: a client sees no difference. */
  #shut(name: string, account: Account): void {
    const key = canonicalAccount(prepareAccountName(name));
    const { secret } = account;
    this.#accounts.set(key, {
      ...account,
      secret: secret instanceof ScramVerifier
        ? new ScramVerifier({
          iterations: secret.iterations,
          salt: secret.salt,
          storedKey: randomBytes(32),
          serverKey: randomBytes(32),
        })
        : secret && encodeBase64(randomBytes(32)),
    });
  }

  /** The number of accounts. */
  get size(): number {
    return this.#accounts.size;
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
    return this.#accounts.get(canonicalAccount(username))?.secret;
  }

  /**
   * The addresses of a user, beside the name; none for an unknown user.
   *
   * @param username The name, prepared by SASLprep
   */
  addresses(username: string): readonly string[] {
    return this.#accounts.get(canonicalAccount(username))?.addresses ?? [];
  }

  /**
   * Whether a user that exists may not log in.
   *
   * @param username The name, prepared by SASLprep
   */
  isDisabled(username: string): boolean {
    return this.#accounts.get(canonicalAccount(username))?.isDisabled ?? false;
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

function isSecret(value: unknown): value is string | ScramVerifier {
  return typeof value === "string" || value instanceof ScramVerifier;
}

const ACCOUNT_RULE: Rule = object<AccountOptions>({
  secret: required(secret(where("a string or a ScramVerifier", isSecret))),
  addresses: list(text('"ann@example.com" or "@example.com"')),
  disabled: flag,
}, "{ secret, addresses }");

const ACCOUNTS_RULE: Rule = either({
  object: {
    want: 'names with their secrets, as { ann: "..." }',
    check(value, at) {
      if (!isOptions(value)) throw optionError(at, value, this);
      for (const [name, secret] of Object.entries(value)) {
        if (isSecret(secret)) continue;
        if (isOptions(secret)) {
          ACCOUNT_RULE.check(secret, { ...at, path: `"${name}"` });
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
 * begins with `#`. The first colon ends the name; blanks in a secret count. The
 * secret `!`, or `!` before a verifier, disables the account.
 *
 * @param text The text of the file
 * @param senders The addresses of accounts, as {@linkcode parseSenders} reads them
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
export function parseAccounts(
  text: string,
  senders: ReadonlyMap<string, readonly string[]> = new Map(),
): AccountList {
  const accounts = new Map<string, AccountOptions>();
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/);
  for (const [index, line] of lines.entries()) {
    const content = line.trimStart();
    if (content === "" || content.startsWith("#")) continue;
    try {
      const [name, secret] = splitAccount(content);
      const key = canonicalAccount(prepareAccountName(name));
      refuseForeignHash(name, secret);
      if (accounts.has(key)) {
        throw new SyntaxError(
          `Cannot add the account "${printable(name)}" twice`,
        );
      }
      prepareAccount(name, { secret });
      accounts.set(key, { secret, addresses: senders.get(key) });
    } catch (error) {
      throw new SyntaxError(
        `Cannot parse line ${index + 1} of the accounts: ${
          errorMessage(error)
        }`,
      );
    }
  }
  for (const name of senders.keys()) {
    if (accounts.has(name)) continue;
    throw new SyntaxError(
      `Cannot give addresses to "${printable(name)}": there is no such account`,
    );
  }
  return new AccountList(Object.fromEntries(accounts));
}

/**
 * Reads a file of the addresses from which accounts may send, in the form of a
 * file of aliases. A line is `NAME: address, address`, where `@domain` is all of a
 * domain; a line that begins with a blank goes on with the one before; `#` at the
 * beginning of a line or after a blank begins a comment.
 *
 * @param text The text of the file
 * @returns The addresses by the account's name, in the form in which names are compared
 * @throws {SyntaxError} If a line has another form; the error names the line
 *
 * @example Accounts with addresses
 * ```ts
 * import { parseAccounts, parseSenders } from "@smtp/server/auth";
 *
 * const senders = parseSenders("ann: ann@example.com, @shop.example\n");
 * const accounts = parseAccounts("ann:secret\n", senders);
 * console.assert(accounts.addresses("ann").length === 2);
 * ```
 */
export function parseSenders(
  text: string,
): ReadonlyMap<string, readonly string[]> {
  const of = "the senders";
  const senders = new Map<string, readonly string[]>();
  for (const { name, values, line } of parseNamedLists(text, of)) {
    try {
      const key = canonicalAccount(prepareAccountName(name));
      if (senders.has(key)) {
        throw new SyntaxError(`Cannot use the name "${printable(name)}" twice`);
      }
      values.forEach(checkOwnAddress);
      senders.set(key, values);
    } catch (error) {
      throw lineError(of, line, errorMessage(error));
    }
  }
  return senders;
}

/** An address or a whole domain; the domain is a name or an address literal. */
const OWN_ADDRESS =
  /^(?:"[^"\p{Cc}]+"|[^\s\p{Cc}<>,;:"@]*)@(?:[\p{L}\p{M}\p{N}_-]+(?:\.[\p{L}\p{M}\p{N}_-]+)*\.?|\[[\da-z.:]+\])$/iu;

/** Checks an address of an account. */
function checkOwnAddress(address: string): void {
  if (OWN_ADDRESS.test(address)) return;
  throw new SyntaxError(
    `Cannot use the address ${
      JSON.stringify(printable(address.slice(0, 300)))
    }: want one as "ann@example.com" or "@example.com"`,
  );
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

/**
 * The spelling under which an account is counted. A handler may compare names as
 * its database does, ignoring case, accents and blanks at the ends: such
 * spellings share one count.
 *
 * @param username The name as the client said it, or prepared by SASLprep
 */
export function countedAccount(username: string): string {
  return canonicalAccount(username).normalize("NFKD").replace(/\p{M}/gu, "")
    .trim().toLowerCase();
}

/** An account's name in the form that clients' names are compared with. */
function prepareAccountName(name: string): string {
  const username = saslPrep(name);
  if (username === undefined || username === "") {
    throw new SyntaxError(
      `Cannot add the account "${
        printable(name)
      }": the name is empty or prohibited by SASLprep`,
    );
  }
  return username;
}

/** What disables an account: `!`, alone in place of a secret or before a verifier. */
const SHUT = /^!(?=$|SCRAM-SHA-256\$)/;

/** An account in stored form, checked. */
function prepareAccount(name: string, options: AccountOptions): Account {
  const { secret, addresses = [], disabled = false } = options;
  try {
    addresses.forEach(checkOwnAddress);
  } catch (error) {
    throw new SyntaxError(
      `Cannot add the account "${printable(name)}": ${errorMessage(error)}`,
    );
  }
  const isShut = typeof secret === "string" && SHUT.test(secret);
  const rest = isShut ? secret.slice(1) : secret;
  return {
    secret: isShut && rest === "" ? undefined : prepareSecret(name, rest),
    addresses: [...addresses],
    isDisabled: disabled || isShut,
  };
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
        `Cannot add the account "${
          printable(name)
        }": the verifier is malformed`,
        { cause },
      );
    }
  }
  const prepared = saslPrep(secret);
  if (prepared === undefined || prepared === "") {
    throw new SyntaxError(
      `Cannot add the account "${
        printable(name)
      }": the secret is empty or prohibited by SASLprep`,
    );
  }
  return secret;
}

/** Refuses password hashes: taken as a password, a stolen hash would be enough to log in. */
function refuseForeignHash(name: string, secret: string): void {
  // Behind "!" stands the hash of a user that another program has locked.
  if (FOREIGN_HASH.test(secret.replace(/^!+/, ""))) {
    throw new SyntaxError(
      `Cannot add the account "${
        printable(name)
      }": the secret is a hash of another kind, want a plain secret or a SCRAM-SHA-256 verifier`,
    );
  }
}
