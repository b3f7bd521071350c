/**
 * DKIM on the command line: the keys of `serve`, and the command `cli.ts dkim`,
 * which makes keys with their DNS records, signs a message, and verifies one. No
 * text of this file ever contains a private key, and no key file is replaced.
 */

import { join } from "node:path";
import { DnsClient } from "../dns/mod.ts";
import { printableJson } from "../log.ts";
import type { DkimKey, DkimKeyType, DkimResult } from "../trust/mod.ts";
import { readSmallFile } from "../server/mod.ts";
import { Address, type SmtpServerOptions } from "../../mod.ts";
import { flag, one, parseOption, type RawSettings, word } from "./arguments.ts";
import { DKIM_COMMANDS, DKIM_TYPES } from "./option.ts";
import {
  EX_TEMPFAIL,
  hint,
  oneLine,
  type Output,
  reasonOf,
  RunError,
  UsageError,
} from "./output.ts";
import { dnsSettings } from "./relay_settings.ts";

/** A message to try keys with. */
const SAMPLE = new TextEncoder().encode("From: ann@example.com\r\n\r\n");

/**
 * The keys of `--dkim`, each read and tried; `dkim` is `undefined` without any.
 *
 * @throws {UsageError} If a value is not DOMAIN:SELECTOR:KEYFILE
 * @throws {RunError} If a key cannot be used
 */
export async function dkimSettings(
  raw: RawSettings,
): Promise<Pick<SmtpServerOptions, "dkim">> {
  const given = raw.get("dkim");
  return { dkim: given && await keysOf("dkim", given) };
}

/**
 * The keys in the values of an option, each read and tried.
 *
 * @throws {UsageError} If a value is not DOMAIN:SELECTOR:KEYFILE
 * @throws {RunError} If a key cannot be used
 */
export async function keysOf(
  option: string,
  given: readonly string[],
): Promise<readonly DkimKey[]> {
  const { DkimPrivateKey, signDkim } = await import("../trust/mod.ts");
  const keys: DkimKey[] = [];
  for (const text of given) {
    const [, domain, selector, file] = /^([^:]+):([^:]+):(.+)$/s.exec(text) ??
      [];
    if (file === undefined) {
      throw new UsageError(
        `--${option} ${text}: want DOMAIN:SELECTOR:KEYFILE, as example.com:s2026a:key.pem`,
      );
    }
    try {
      const key = await DkimPrivateKey.load(await readSmallFile(file));
      keys.push({ domain: domain!, selector: selector!, key });
      // Finds names that cannot be used, and a name that is used twice.
      await signDkim(SAMPLE, keys);
    } catch (error) {
      throw new RunError(`--${option} ${text}: ${reasonOf(error)}`);
    }
  }
  return keys;
}

/**
 * Runs `dkim`; resolves with the exit code.
 *
 * @throws {UsageError} If the arguments or options cannot be used
 * @throws {RunError} If a file cannot be used
 */
export async function dkim(
  args: readonly string[],
  raw: RawSettings,
  output: Output,
): Promise<number> {
  const [verb = "", file, extra] = args;
  if (verb === "create" && file === undefined) return await create(raw, output);
  if (file !== undefined && extra === undefined) {
    if (verb === "sign") return await sign(file, raw, output);
    if (verb === "verify") return await verify(file, raw, output);
  }
  throw new UsageError(
    `Cannot run ${
      ["dkim", ...args].join(" ")
    }: want "create", or "sign" or "verify" and a file, or - for standard input${
      hint(verb, DKIM_COMMANDS)
    }`,
  );
}

/** Bytes of a string in a TXT record. */
const STRING = 255;

async function create(raw: RawSettings, output: Output): Promise<number> {
  const given = one(raw, "domain");
  const folder = one(raw, "out");
  if (!given || !folder) {
    throw new UsageError(
      "Command dkim create: want --domain NAME and --out DIR",
    );
  }
  const domain = parseOption(
    "domain",
    () => Address.parse(`postmaster@${given}`).asciiDomain,
  );
  const base = one(raw, "selector") ?? `s${new Date().getFullYear()}a`;
  const type = word(raw, "type", DKIM_TYPES) ?? "rsa";
  const wanted: readonly (readonly [DkimKeyType, string])[] = type === "both"
    ? [["rsa", base], ["ed25519", `${base}-ed25519`]]
    : [[type, base]];
  const { DkimPrivateKey, signDkim } = await import("../trust/mod.ts");
  const made: { selector: string; path: string; record: string }[] = [];
  try {
    for (const [kind, selector] of wanted) {
      const key = await DkimPrivateKey.generate(kind);
      try {
        await signDkim(SAMPLE, { domain, selector, key });
      } catch (error) {
        throw new UsageError(
          `Command dkim create: ${(error as Error).message}`,
        );
      }
      const path = join(folder, `${domain}.${selector}.pem`);
      await write(path, key.toPem());
      made.push({ selector, path, record: key.record });
    }
  } catch (error) {
    // Half of what was wanted would be in the way of the next run.
    for (const { path } of made) await Deno.remove(path).catch(() => {});
    throw error;
  }
  for (const { path } of made) output.out(`wrote ${path}\n`);
  output.out("\nfor a zone file:\n");
  for (const { selector, record } of made) {
    const strings = record.match(new RegExp(`.{1,${STRING}}`, "g"))!
      .map((part) => `"${part}"`).join("\n  ");
    output.out(
      `${selector}._domainkey.${domain}. IN TXT (\n  ${strings} )\n`,
    );
  }
  output.out("\nfor a web form, name and value:\n");
  for (const { selector, record } of made) {
    output.out(`${selector}._domainkey.${domain} ${record}\n`);
  }
  output.out("\nfor the server, once the DNS has it:\n");
  for (const { selector, path } of made) {
    output.out(`--dkim ${domain}:${selector}:${path}\n`);
  }
  return 0;
}

/** Writes a new file that its owner alone may read. Never replaces one: it may be the only copy of a key. */
async function write(path: string, pem: string): Promise<void> {
  try {
    await Deno.mkdir(join(path, ".."), { recursive: true, mode: 0o700 });
    await Deno.writeTextFile(path, pem, { createNew: true, mode: 0o600 });
  } catch (error) {
    throw new RunError(`--out: cannot write ${path}: ${reasonOf(error)}`);
  }
}

async function sign(
  file: string,
  raw: RawSettings,
  output: Output,
): Promise<number> {
  const { dkim } = await dkimSettings(raw);
  if (dkim === undefined) {
    throw new UsageError("Command dkim sign: want --dkim");
  }
  const message = await readMessage(file);
  const { signDkim } = await import("../trust/mod.ts");
  let fields: string;
  try {
    fields = await signDkim(message, dkim);
  } catch (error) {
    throw new RunError((error as Error).message);
  }
  // The fields get the line ends that the message has.
  const end = message.indexOf(10);
  const isBare = end >= 0 && message[end - 1] !== 13;
  output.out(isBare ? fields.replaceAll("\r\n", "\n") : fields);
  output.out(message);
  return 0;
}

async function verify(
  file: string,
  raw: RawSettings,
  output: Output,
): Promise<number> {
  const dns = new DnsClient(dnsSettings(raw));
  const message = await readMessage(file);
  const { verifyDkim } = await import("../trust/mod.ts");
  const results = await verifyDkim(message, { dns });
  const json = flag(raw, "json");
  for (const result of results) {
    output.out(json ? `${printableJson(result)}\n` : line(result));
  }
  if (results.length === 0) output.err("no signature\n");
  const has = (word: DkimResult["result"]) =>
    results.some(({ result }) => result === word);
  if (has("pass")) return 0;
  return has("temperror") ? EX_TEMPFAIL : 1;
}

function line(found: DkimResult): string {
  const { result, domain, selector, algorithm, keyBits, reason } = found;
  const facts = [
    `${result}:`,
    `d=${domain}`,
    `s=${selector}`,
    `a=${algorithm}`,
    ...keyBits === undefined ? [] : [`(${keyBits} bits)`],
    ...found.testing ? ["(the domain only tests)"] : [],
    ...found.unsigned ? [`(${found.unsigned} bytes are not signed)`] : [],
  ].join(" ");
  return `${oneLine(facts)}${reason ? `: ${oneLine(reason)}` : ""}\n`;
}

/** The bytes of a file, or of standard input. */
export async function readMessage(file: string): Promise<Uint8Array> {
  if (file === "-") return await new Response(Deno.stdin.readable).bytes();
  try {
    return await Deno.readFile(file);
  } catch (error) {
    throw new RunError(`Cannot read "${file}": ${reasonOf(error)}`);
  }
}
