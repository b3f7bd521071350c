/**
 * `cli.ts certificate create|show`: makes a self-signed certificate or a
 * request, and shows the content of a certificate file. Stands alone: each
 * command has its file.
 */

import { Certificate, type KeyAlgorithm } from "../tls/mod.ts";
import { resolve } from "node:path";
import { duration, flag, one, type RawSettings, word } from "./arguments.ts";
import { ALGORITHMS } from "./options.ts";
import {
  hint,
  oneLine,
  type Output,
  reasonOf,
  RunError,
  UsageError,
} from "./output.ts";

/** A day in ms. */
const DAY = 86_400_000;

/** Runs the command; resolves with the exit code. */
export async function certificate(
  args: readonly string[],
  raw: RawSettings,
  output: Output,
): Promise<number> {
  const [verb, file, more] = args;
  if (verb === "create" && file === undefined) return await create(raw, output);
  if (verb === "show" && file !== undefined && more === undefined) {
    return await show(file, output);
  }
  throw new UsageError(
    `Cannot run ${
      ["certificate", ...args].join(" ")
    }: want "create", or "show" and a file${
      hint(verb ?? "", ["create", "show"])
    }`,
  );
}

async function create(raw: RawSettings, output: Output): Promise<number> {
  const names = raw.get("name") ?? [];
  const certificateFile = one(raw, "cert");
  const keyFile = one(raw, "key");
  const algorithm = word(raw, "algorithm", ALGORITHMS) ?? "ecdsa-p256";
  const validity = duration(raw, "days", { unit: DAY, most: 36_500 * DAY });
  const days = Math.ceil((validity ?? 365 * DAY) / DAY);
  if (names.length === 0) {
    throw new UsageError("Command certificate create: want --name");
  }
  if (certificateFile === undefined || keyFile === undefined) {
    throw new UsageError(
      "Command certificate create: want --cert FILE and --key FILE",
    );
  }
  if (resolve(certificateFile) === resolve(keyFile)) {
    throw new UsageError(
      `--key ${keyFile}: want another file than that of --cert`,
    );
  }
  const made = await make({
    names,
    days,
    algorithm,
    request: flag(raw, "request"),
  });
  await write("key", keyFile, { text: made.keyPem(), mode: 0o600 });
  try {
    await write("cert", certificateFile, { text: made.toPem(), mode: 0o644 });
  } catch (error) {
    // A key without its certificate would make the next run fail.
    await Deno.remove(keyFile).catch(() => {});
    throw error;
  }
  output.out(`wrote ${certificateFile} and ${keyFile}\n`);
  return 0;
}

async function make(
  init: {
    readonly names: readonly string[];
    readonly days: number;
    readonly algorithm: KeyAlgorithm;
    readonly request: boolean;
  },
): Promise<{ toPem(): string; keyPem(): string }> {
  const { request, days, ...rest } = init;
  try {
    return request
      ? await Certificate.createRequest(rest)
      : await Certificate.selfSigned({ ...rest, days });
  } catch (error) {
    throw new UsageError(
      `Command certificate create: ${(error as Error).message}`,
    );
  }
}

/** Writes a new file. Never replaces one: it may be the only copy of a key. */
async function write(
  option: "cert" | "key",
  path: string,
  { text, mode }: { readonly text: string; readonly mode: number },
): Promise<void> {
  try {
    await Deno.writeTextFile(path, text, { createNew: true, mode });
  } catch (error) {
    throw new RunError(
      `--${option} ${path}: cannot write it: ${reasonOf(error)}`,
    );
  }
}

async function show(file: string, output: Output): Promise<number> {
  let shown: Certificate;
  try {
    shown = await Certificate.load({
      certificateFile: file,
      keyOptional: true,
    });
  } catch (error) {
    throw new RunError((error as Error).message);
  }
  const problems = shown.verify().map((problem) => problem.message);
  const { subject, issuer, names, validFrom, validTo } = shown.toJSON();
  output.out(`subject      ${oneLine(subject) || "none"}
issuer       ${oneLine(issuer) || "none"}
names        ${oneLine(names.join(", ")) || "none"}
valid from   ${validFrom || "unknown"}
valid to     ${validTo || "unknown"}
algorithm    ${shown.algorithm}
serial       ${shown.serialNumber}
fingerprint  ${shown.fingerprint}
problems     ${problems.length === 0 ? "none" : problems.join("; ")}
`);
  return 0;
}
