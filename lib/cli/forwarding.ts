/**
 * Forwarding on the command line: reads the key and the secrets of `--srs`,
 * `--srs-secret` and `--arc`. Stands alone: it reads files, and the settings of
 * relaying read none.
 */

import type { ForwardingOptions } from "../queue/mod.ts";
import { readSmallFile } from "../server/mod.ts";
import { Address } from "../../mod.ts";
import { one, parseOption, type RawSettings } from "./arguments.ts";
import { keysOf } from "./dkim.ts";
import { reasonOf, RunError, UsageError } from "./output.ts";

/** Fewest characters of a secret. */
const SHORTEST = 16;

/**
 * The options that `--srs` and `--arc` make; `undefined` without them.
 *
 * @throws {UsageError} If a value cannot be used, or needs another option
 * @throws {RunError} If a file cannot be used
 */
export async function forwardingSettings(
  raw: RawSettings,
): Promise<ForwardingOptions | undefined> {
  const srs = await srsSettings(raw);
  const arc = await arcSettings(raw);
  return srs === undefined && arc === undefined ? undefined : { srs, arc };
}

async function srsSettings(
  raw: RawSettings,
): Promise<ForwardingOptions["srs"]> {
  const given = one(raw, "srs");
  const file = one(raw, "srs-secret");
  if (given === undefined) {
    if (file === undefined) return undefined;
    throw new UsageError("--srs-secret: want --srs, too");
  }
  if (file === undefined) throw new UsageError("--srs: want --srs-secret, too");
  if (!raw.has("domain")) throw new UsageError("--srs: want --domain, too");
  const domain = parseOption(
    "srs",
    () => Address.parse(`postmaster@${given}`).asciiDomain,
  );
  const secrets = await secretsIn(file);
  if (secrets.length === 0 || secrets.some((one) => one.length < SHORTEST)) {
    throw new RunError(
      `--srs-secret ${file}: want a secret of at least ${SHORTEST} characters on each line, as openssl rand -hex 16 writes it`,
    );
  }
  return { domain, secrets };
}

async function secretsIn(file: string): Promise<readonly string[]> {
  try {
    return (await readSmallFile(file)).split(/\r?\n/)
      .map((line) => line.trim()).filter((line) => line !== "");
  } catch (error) {
    throw new RunError(`--srs-secret ${file}: ${reasonOf(error)}`);
  }
}

async function arcSettings(
  raw: RawSettings,
): Promise<ForwardingOptions["arc"]> {
  const given = one(raw, "arc");
  if (given === undefined) return undefined;
  const verify = one(raw, "verify") ?? "none";
  if (verify === "none") throw new UsageError("--arc: want --verify, too");
  const [key] = await keysOf("arc", [given]);
  return key;
}
