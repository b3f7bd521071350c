/**
 * Aliases and local recipients of `serve`: reads their files, for the start, for
 * `--check` and for SIGHUP. The server rereads the files by itself when they
 * change. Stands alone: the other settings need no file to be checked.
 */

import {
  aliasFaults,
  isDelimiter,
  localDomains,
  openLocalRecipients,
  readSmallFile,
} from "../server/mod.ts";
import { Address, AliasTable, type SmtpServerOptions } from "../../mod.ts";
import { one, type RawSettings } from "./arguments.ts";
import { reasonOf, RunError, UsageError } from "./output.ts";

/** The server options made here. */
export type RecipientSettings = Pick<
  SmtpServerOptions,
  "aliases" | "recipientDelimiter" | "localRecipients"
>;

/** The options of the command line for recipients. */
const NAMES = ["aliases", "recipient-delimiter", "local-recipients"] as const;

/**
 * Reads the files, and makes the server's options from them.
 *
 * @throws {RunError} If a file cannot be used
 * @throws {UsageError} If a value is missing
 */
export async function recipientSettings(
  raw: RawSettings,
): Promise<RecipientSettings> {
  for (const name of NAMES) {
    if (one(raw, name) === "") throw new UsageError(`--${name}: want a value`);
  }
  const aliases = one(raw, "aliases");
  const recipients = one(raw, "local-recipients");
  const delimiter = one(raw, "recipient-delimiter");
  if (delimiter !== undefined && !isDelimiter(delimiter)) {
    throw new UsageError(
      `--recipient-delimiter ${delimiter}: want one character, as +`,
    );
  }
  const localRecipients = recipients === undefined
    ? undefined
    : { path: recipients };
  await used(
    ["local-recipients", recipients],
    () => openLocalRecipients(localRecipients),
  );
  return {
    aliases: aliases === undefined
      ? undefined
      : await used(["aliases", aliases], () => AliasTable.load(aliases)),
    recipientDelimiter: delimiter,
    localRecipients,
  };
}

/** A warning for each alias that leads nowhere. */
export async function aliasWarnings(
  options: Omit<SmtpServerOptions, "handlers">,
): Promise<string[]> {
  const faults = await aliasFaults(options);
  return faults.map((fault) => `--aliases: ${fault}`);
}

/** Addresses that a shell takes as they stand. */
const PLAIN = /^[\w+-]+(?:\.[\w+-]+)*@[a-z\d-]+(?:\.[a-z\d-]+)*$/i;

/**
 * An address that the server takes mail for, for the first screen: `you@` the
 * first domain, unless the file of local recipients has others only.
 *
 * @param domains The local domains; none if all are
 */
export async function exampleRecipient(
  file: string | undefined,
  domains: readonly string[],
): Promise<string> {
  const domain = domains[0] ?? "example.com";
  const you = `you@${domain}`;
  if (file === undefined) return you;
  try {
    const known = await openLocalRecipients({ path: file });
    const names = (await readSmallFile(file)).split(/\r?\n/)
      .map((line) => line.replace(/(?:^|\s)#.*/, "").trim())
      .filter((name) => name !== "");
    const isLocal = domains.length === 0 ? () => true : localDomains(domains);
    for (const name of ["you", ...names]) {
      const text = name.startsWith("@")
        ? `you${name}`
        : name.includes("@")
        ? name
        : `${name}@${domain}`;
      if (!PLAIN.test(text)) continue;
      const address = Address.parse(text);
      const isKnown = await known?.knows(address, address.asciiDomain);
      if (isKnown && isLocal(address, undefined)) return text;
    }
  } catch {
    // The file has changed meanwhile: the hint is not worth an error.
  }
  return you;
}

/** Reads a file; an error names the option, and the file if it does not by itself. */
async function used<T>(
  [option, file]: readonly [string, string | undefined],
  read: () => Promise<T>,
): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const reason = reasonOf(error);
    const where = reason.includes(`"${file}"`) ? "" : ` ${file}`;
    throw new RunError(`--${option}${where}: ${reason}`);
  }
}
