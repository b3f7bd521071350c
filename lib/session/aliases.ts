/**
 * Aliases: names whose mail goes to other addresses. The table reads texts and
 * files and finds the alias of an address. It does not follow aliases of aliases,
 * and does not know which domains are local: `recipient_policy.ts` does.
 */

import { type Look, RereadFile } from "../files/reread_file.ts";
import {
  lineError,
  parseNamedLists,
  splitValues,
} from "../files/named_lists.ts";
import { errorMessage, printable } from "../log.ts";
import { isOptions, optionError, type Place, type Rule } from "../options.ts";
import { Address } from "../protocol/address.ts";
import { MOST_TARGETS } from "../protocol/redirect.ts";
import {
  localName,
  type MailboxName,
  NameMap,
  parseMailboxName,
  withoutExtension,
} from "./mailbox_names.ts";

/** Names and their targets. A string may have several, separated by commas. */
export type AliasRecord = Readonly<Record<string, string | readonly string[]>>;

/** One name with its targets. */
export interface Alias {
  /** The name in its parts. */
  readonly name: MailboxName;
  /** The name as written. */
  readonly written: string;
  readonly targets: readonly AliasTarget[];
}

/** An address, a local part in the domain of the alias, or the same local part in another domain. */
export type AliasTarget =
  | { readonly address: Address }
  | { readonly local: string }
  | { readonly domain: string };

/** The aliases of one text. */
export interface AliasContent {
  readonly names: NameMap<Alias>;
  readonly all: readonly Alias[];
}

/** The aliases of a table as data that another thread can make a table from. */
export interface WireAliases {
  readonly entries: readonly (readonly [string, readonly string[]])[];
  readonly path: string | undefined;
}

/** The file of a table, if it was loaded from one. */
let fileOf: (table: AliasTable) => RereadFile<AliasContent> | undefined;
let contentOf: (table: AliasTable) => AliasContent;
let madeOf: (
  content: AliasContent,
  file?: RereadFile<AliasContent>,
) => AliasTable;

/**
 * Names whose mail goes to other addresses; the option `aliases` takes it.
 *
 * A name is an address (`info@example.com`), a local part that holds in every
 * local domain (`root`), or a whole domain (`@example.com`, a catch-all). A
 * target is an address anywhere, a local part in the domain of the address that
 * it is found for, or, for a catch-all, another domain (`@example.net`), in which
 * the local part stays. An alias that names itself among its targets keeps a copy
 * there.
 *
 * In a file or text there is a name on each line, `name: target, target`. A line
 * that begins with a blank goes on with the line before; `#` begins a comment.
 *
 * @example Aliases in the program
 * ```ts
 * import { AliasTable, SmtpServer } from "@smtp/server";
 *
 * const aliases = AliasTable.parse("root: ann\npostmaster: root\n");
 * const server = new SmtpServer({ domains: ["example.com"], aliases });
 * console.assert(!server.active && aliases.size === 2);
 * ```
 */
export class AliasTable {
  readonly #content: AliasContent;
  readonly #file: RereadFile<AliasContent> | undefined;

  static {
    fileOf = (table) => table.#file;
    contentOf = (table) => table.#file?.current ?? table.#content;
    madeOf = (content, file) => new AliasTable(content, file);
  }

  private constructor(
    content: AliasContent,
    file: RereadFile<AliasContent> | undefined,
  ) {
    this.#content = content;
    this.#file = file;
  }

  /**
   * Reads aliases from a text.
   *
   * @throws {SyntaxError} If a line cannot be used; the error names the line
   *
   * @example A name, a catch-all, and a line that goes on
   * ```ts
   * import { AliasTable } from "@smtp/server";
   *
   * const aliases = AliasTable.parse(`
   * info@example.com: ann@example.com,
   *   bob@example.org
   * @example.com: ann@example.com   # all other names
   * `);
   * console.assert(aliases.size === 2);
   * ```
   */
  static parse(text: string): AliasTable {
    return new AliasTable(parseAliases(text, "the aliases"), undefined);
  }

  /**
   * Reads aliases from a file, and again when it has changed. The server looks
   * at the file when it is asked for a recipient, at most once a second. A change
   * that cannot be used is logged, and the old table stays in force. Write
   * another file and rename it: then no half of a table is ever read.
   *
   * @throws {SyntaxError} If a line cannot be used; the error names file and line
   * @throws {Deno.errors.NotFound} If the file does not exist
   *
   * @example Aliases in a file
   * ```ts
   * import { AliasTable, SmtpServer } from "@smtp/server";
   *
   * const path = await Deno.makeTempFile();
   * await Deno.writeTextFile(path, "info@example.com: ann@example.com\n");
   * const aliases = await AliasTable.load(path);
   * const server = new SmtpServer({ domains: ["example.com"], aliases });
   * console.assert(!server.active && aliases.size === 1);
   * await Deno.remove(path);
   * ```
   */
  static async load(path: string): Promise<AliasTable> {
    const file = await RereadFile.load(path, parserOf(path));
    return new AliasTable(file.current, file);
  }

  /** The number of names. */
  get size(): number {
    return contentOf(this).all.length;
  }

  /**
   * Reads the file again now. Does nothing for a table that no file is behind.
   *
   * @throws {SyntaxError} If a line cannot be used; the old table stays in force
   */
  async reload(): Promise<void> {
    await this.#file?.reload();
  }
}

function parserOf(path: string): (text: string) => AliasContent {
  return (text) => parseAliases(text, `"${printable(path)}"`);
}

/** Looks whether the file of a table has changed, if there is one. */
export function lookAtAliases(
  table: AliasTable,
  isNow = false,
): Promise<Look> | undefined {
  return fileOf(table)?.look(isNow);
}

/** The names of a table. */
export function aliasesOf(table: AliasTable): readonly Alias[] {
  return contentOf(table).all;
}

/** Makes a table of the option `aliases`. */
export function aliasTable(given: AliasTable | AliasRecord): AliasTable {
  if (given instanceof AliasTable) return given;
  const entries = Object.entries(given).map(([name, targets]) =>
    [name, typeof targets === "string" ? listOf(targets) : targets] as const
  );
  return madeOf(contentFrom(entries));
}

/** The aliases as data for another thread. */
export function encodeAliases(table: AliasTable): WireAliases {
  return {
    entries: contentOf(table).all.map(({ written, targets }) =>
      [written, targets.map(shownTarget)] as const
    ),
    path: fileOf(table)?.path,
  };
}

/** Makes a table of data; it looks at the file by itself. */
export function decodeAliases({ entries, path }: WireAliases): AliasTable {
  const content = contentFrom(entries);
  return madeOf(
    content,
    path === undefined
      ? undefined
      : new RereadFile(path, parserOf(path), { content }),
  );
}

function shownTarget(target: AliasTarget): string {
  if ("address" in target) return target.address.toString();
  return "local" in target ? target.local : `@${target.domain}`;
}

/** The rule for the option `aliases`. */
export const ALIASES_RULE: Rule = {
  want:
    'an AliasTable, or names with their targets, as { "info@example.com": "ann@example.com" }',
  check(value, at) {
    if (value instanceof AliasTable) return;
    if (!isOptions(value)) throw optionError(at, value, this);
    for (const [name, targets] of Object.entries(value)) {
      checkEntry(name, targets, at);
    }
    try {
      aliasTable(value as AliasRecord);
    } catch (error) {
      throw new TypeError(`Cannot use ${at.path}: ${errorMessage(error)}`);
    }
  },
};

function checkEntry(name: string, targets: unknown, at: Place): void {
  const isList = Array.isArray(targets) && targets.length > 0 &&
    targets.every((one) => typeof one === "string");
  if (typeof targets === "string" || isList) return;
  const path = `${at.path}["${printable(name)}"]`;
  throw optionError({ ...at, path }, targets, {
    want: "an address, or an array of addresses",
  });
}

/** The alias of an address: by its name, or by its name without the extension. */
export function findAlias(
  table: AliasTable,
  address: Address,
  facts: { readonly domain: string; readonly delimiter: string | undefined },
): Alias | undefined {
  const { names } = contentOf(table);
  const { domain, delimiter } = facts;
  const whole = names.find(localName(address.localPart), domain);
  if (whole !== undefined) return whole;
  const cut = withoutExtension(address, delimiter);
  return cut === address
    ? undefined
    : names.find(localName(cut.localPart), domain);
}

/** The catch-all of a domain. */
export function findCatchAll(
  table: AliasTable,
  domain: string,
): Alias | undefined {
  return contentOf(table).names.ofDomain(domain);
}

function parseAliases(text: string, of: string): AliasContent {
  const names = new NameMap<Alias>();
  const all: Alias[] = [];
  for (const { name, values, line } of parseNamedLists(text, of)) {
    try {
      addAlias({ names, all }, name, values);
    } catch (error) {
      throw lineError(of, line, errorMessage(error));
    }
  }
  return { names, all };
}

function contentFrom(entries: WireAliases["entries"]): AliasContent {
  const names = new NameMap<Alias>();
  const all: Alias[] = [];
  for (const [name, targets] of entries) {
    addAlias({ names, all }, name, targets);
  }
  return { names, all };
}

function listOf(text: string): readonly string[] {
  const values = splitValues(text);
  if (values !== undefined) return values;
  throw new SyntaxError(
    `Cannot use the targets "${printable(text)}": a quote is not closed`,
  );
}

function addAlias(
  { names, all }: { readonly names: NameMap<Alias>; readonly all: Alias[] },
  written: string,
  values: readonly string[],
): void {
  if (values.length > MOST_TARGETS) {
    throw new RangeError(
      `Cannot use the alias "${
        printable(written)
      }" with ${values.length} targets: want at most ${MOST_TARGETS}`,
    );
  }
  const name = named("name", written, () => parseMailboxName(written));
  const isCatchAll = name.local === undefined;
  const targets = values.map((value) =>
    named("target", value, () => parseTarget(value, isCatchAll))
  );
  const alias: Alias = { name, written, targets };
  if (!names.add(name, alias)) {
    throw new SyntaxError(
      `Cannot use the alias "${printable(written)}" twice`,
    );
  }
  all.push(alias);
}

/** What a target of other programs looks like: a command, a file, an included list. */
const FOREIGN = /^(?:"?[|/]|:include:|\\)/;

function parseTarget(text: string, isCatchAll: boolean): AliasTarget {
  if (FOREIGN.test(text)) {
    throw new SyntaxError("Commands, files and included lists are not served");
  }
  if (text.startsWith("@")) {
    if (!isCatchAll) {
      throw new SyntaxError("Only a catch-all can have a domain as its target");
    }
    return { domain: new Address("a", text.slice(1)).toString().slice(2) };
  }
  const { written, domain } = parseMailboxName(text);
  return domain === undefined
    ? { local: written }
    : { address: Address.parse(text) };
}

/** Calls `parse`; its error says what could not be used. */
function named<T>(what: string, text: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new SyntaxError(
      `Cannot use the ${what} "${printable(text)}": ${
        errorMessage(error).replace(/^Cannot parse the address ".*": /, "")
      }`,
    );
  }
}
