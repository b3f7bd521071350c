/**
 * The mailboxes that exist: the test behind the option `localRecipients`. It
 * knows names, or asks the program; it decides nothing about unknown ones.
 */

import { lineError, parseLines } from "../files/named_lists.ts";
import { type Look, RereadFile } from "../files/reread_file.ts";
import { errorMessage, printable } from "../log.ts";
import { checkOptions, optionError, path, type Rule } from "../options.ts";
import type { Address } from "../protocol/address.ts";
import { localName, NameMap, parseMailboxName } from "./mailbox_names.ts";

/**
 * The local recipients that exist: `"any"`; names as `ann@example.com`, `ann` in
 * every local domain, `@example.com` for all of a domain; a function that knows
 * them; or a file with one name a line.
 */
export type LocalRecipientsOption =
  | "any"
  | Iterable<string>
  | ((address: Address) => boolean | Promise<boolean>)
  | { readonly path: string };

/** Knows which local recipients exist. */
export interface LocalRecipients {
  /** Whether there is a mailbox for an address. */
  knows(address: Address, domain: string): boolean | Promise<boolean>;
  /** Whether all of them are known here, so that a table can be checked against them. */
  readonly isList: boolean;
  /** Looks whether the list has changed; see {@linkcode RereadFile.look}. */
  look?(isNow: boolean): Promise<Look> | undefined;
}

/**
 * Opens the local recipients; `undefined` for `"any"`.
 *
 * @throws {SyntaxError} If a name cannot be used; that of a file names file and line
 * @throws {Deno.errors.NotFound} If the file does not exist
 */
export async function openLocalRecipients(
  given: LocalRecipientsOption | undefined,
): Promise<LocalRecipients | undefined> {
  if (given === undefined || given === "any") return undefined;
  if (typeof given === "function") {
    return { isList: false, knows: (address) => given(address) };
  }
  if (isFile(given)) {
    const file = await RereadFile.load(given.path, parserOf(given.path));
    return {
      isList: true,
      knows: (address, domain) => hasName(file.current, address, domain),
      look: (isNow) => file.look(isNow),
    };
  }
  const names = namesOf(given);
  return {
    isList: true,
    knows: (address, domain) => hasName(names, address, domain),
  };
}

function isFile(
  given: LocalRecipientsOption,
): given is { readonly path: string } {
  return typeof given === "object" && !(Symbol.iterator in given);
}

function hasName(
  names: NameMap<true>,
  address: Address,
  domain: string,
): boolean {
  return names.find(localName(address.localPart), domain) ??
    names.ofDomain(domain) ?? false;
}

function parserOf(path: string): (text: string) => NameMap<true> {
  return (text) => {
    const names = new NameMap<true>();
    for (const { content, line } of parseLines(text)) {
      try {
        names.add(parseMailboxName(content), true);
      } catch (error) {
        throw lineError(`"${printable(path)}"`, line, errorMessage(error));
      }
    }
    return names;
  };
}

/** @throws {SyntaxError} If a name cannot be used */
function namesOf(given: Iterable<string>): NameMap<true> {
  const names = new NameMap<true>();
  for (const name of given) names.add(parseMailboxName(name), true);
  return names;
}

/** The option with an iterable as an array: some can be read once only. */
export function settledRecipients(
  given: LocalRecipientsOption | undefined,
): LocalRecipientsOption | undefined {
  if (typeof given !== "object" || isFile(given)) return given;
  const names = [...given];
  namesOf(names);
  return names;
}

/** The rule for the option `localRecipients`. */
export const LOCAL_RECIPIENTS_RULE: Rule = {
  want:
    '"any", names as ["ann@example.com", "bob"], a function that knows them, or { path }',
  check(value, at) {
    if (value === "any" || typeof value === "function") return;
    if (typeof value !== "object" || value === null) {
      throw optionError(at, value, this);
    }
    if (!(Symbol.iterator in value)) {
      checkOptions(at.path, value, { path: { ...path, required: true } });
      return;
    }
    // Others may be readable once only: they are checked when they are read.
    if (!Array.isArray(value) && !(value instanceof Set)) return;
    for (const name of value) {
      if (typeof name !== "string") {
        throw optionError(at, name, { want: 'names, as "ann@example.com"' });
      }
      try {
        parseMailboxName(name);
      } catch (error) {
        throw new TypeError(`Cannot use ${at.path}: ${errorMessage(error)}`);
      }
    }
  },
};
