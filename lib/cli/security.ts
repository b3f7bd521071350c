/**
 * Certificates and accounts of `serve`: reads them from files, checks them, and
 * reads them again when the files change. Also the two commands about them:
 * `cli.ts verifier NAME` makes a line for the file of accounts from a secret on
 * standard input, `cli.ts certificate create|show` makes a self-signed
 * certificate or a request, and shows the content of a certificate file. No
 * message of this file ever contains a secret.
 */

import {
  type AccountList,
  parseAccounts,
  parseSenders,
  ScramVerifier,
} from "../sasl/auth.ts";
import { saslPrep } from "../sasl/mod.ts";
import { readSmallFile, stampOf } from "../server/mod.ts";
import { Certificate, CertificateSet, type KeyAlgorithm } from "../tls/mod.ts";
import type { SmtpServerOptions } from "../../mod.ts";
import { ALGORITHMS, POLICIES, SENDER_POLICIES } from "./option.ts";
import { duration, flag, one, type RawSettings, word } from "./arguments.ts";
import {
  hint,
  oneLine,
  type Output,
  reasonOf,
  RunError,
  UsageError,
} from "./output.ts";
import { resolve } from "node:path";

/** The server options made here. */
export interface SecurityOptions extends
  Pick<
    SmtpServerOptions,
    | "accounts"
    | "allowInsecureAuth"
    | "authentication"
    | "security"
    | "senderPolicy"
  > {
  /** The certificates; `undefined` without any. */
  readonly certificate: CertificateSet | undefined;
}

/** Interval of checks for changed files, in ms. */
const POLL_MS = 1000;

/** Certificates made for this run, by host name. */
const ownCertificates = new Map<string, Promise<Certificate>>();

/** The certificates and accounts that the settings name. */
export class SecurityFiles {
  readonly #raw: RawSettings;
  readonly #hostname: string;
  #seen = "";

  /**
   * Checks the settings. Reads no file yet.
   *
   * @throws {UsageError} If the settings contradict each other
   */
  constructor(raw: RawSettings, hostname: string) {
    this.#raw = raw;
    this.#hostname = hostname;
    const certs = raw.get("cert")?.length ?? 0;
    const keys = raw.get("key")?.length ?? 0;
    if (keys > 0 && keys !== certs) {
      throw new UsageError(
        `--key: given ${keys} times and --cert ${certs} times, want a key for each certificate`,
      );
    }
    if (certs > 0 && flag(raw, "self-signed")) {
      throw new UsageError("--self-signed: want it or --cert, not both");
    }
    for (const name of ["cert", "key"]) {
      if (raw.get(name)?.includes("")) {
        throw new UsageError(`--${name}: want a value`);
      }
    }
    checkUsers(raw.get("user") ?? []);
    one(raw, "users");
    if (
      one(raw, "senders") !== undefined && !raw.has("user") && !raw.has("users")
    ) {
      throw new UsageError("--senders: want --user or --users as well");
    }
  }

  /**
   * Reads the files and makes the server's options from them.
   *
   * @throws {RunError} If a file cannot be used
   * @throws {UsageError} If a setting has an unknown word
   */
  async load(): Promise<SecurityOptions> {
    const raw = this.#raw;
    const authentication = word(raw, "auth", POLICIES);
    const security = word(raw, "security", POLICIES);
    this.#seen = await this.#stamp();
    const certificate = await this.#certificates();
    const accounts = await this.#accounts();
    if (security !== undefined && security !== "none" && !certificate) {
      throw new UsageError(
        `--security ${security}: want --cert and --key, or --self-signed`,
      );
    }
    return {
      authentication,
      security,
      certificate,
      accounts,
      allowInsecureAuth: flag(raw, "allow-insecure-auth"),
      senderPolicy: word(raw, "sender-policy", SENDER_POLICIES),
    };
  }

  async #certificates(): Promise<CertificateSet | undefined> {
    const files = this.#raw.get("cert") ?? [];
    const keys = this.#raw.get("key") ?? [];
    if (flag(this.#raw, "self-signed")) {
      const names = new Set([this.#hostname, "localhost", "127.0.0.1", "::1"]);
      const own = ownCertificates.get(this.#hostname) ??
        Certificate.selfSigned({ names: [...names] });
      ownCertificates.set(this.#hostname, own);
      return new CertificateSet([await own]);
    }
    if (files.length === 0) return undefined;
    const certificates: Certificate[] = [];
    for (const [index, certificateFile] of files.entries()) {
      certificates.push(await loadCertificate(certificateFile, keys[index]));
    }
    return new CertificateSet(certificates);
  }

  async #accounts(): Promise<AccountList | undefined> {
    const users = this.#raw.get("user") ?? [];
    const file = one(this.#raw, "users");
    const senders = await this.#senders();
    if (file === undefined) {
      return users.length === 0
        ? undefined
        : withSenders(users.join("\n"), senders);
    }
    let text: string;
    try {
      text = await readSmallFile(file);
      parseAccounts(text);
    } catch (error) {
      throw new RunError(`--users ${file}: ${reasonOf(error)}`);
    }
    const all = [...users, text].join("\n");
    try {
      parseAccounts(all);
    } catch {
      // Both parse alone, so a name is in both.
      throw new RunError(
        `--user: a name is also in --users ${file}, want it in one of them`,
      );
    }
    return withSenders(all, senders);
  }

  /** The addresses of accounts in the file of `--senders`. */
  async #senders(): Promise<Senders | undefined> {
    const file = one(this.#raw, "senders");
    if (file === undefined) return undefined;
    try {
      return { file, addresses: parseSenders(await readSmallFile(file)) };
    } catch (error) {
      throw new RunError(`--senders ${file}: ${reasonOf(error)}`);
    }
  }

  /** The stamps of all files, as one text. */
  async #stamp(): Promise<string> {
    const lists = ["users", "senders"].flatMap((name) =>
      one(this.#raw, name) ?? []
    );
    const files = [
      ...this.#raw.get("cert") ?? [],
      ...this.#raw.get("key") ?? [],
      ...lists,
    ];
    return (await Promise.all(files.map(stampOf))).join("\n");
  }

  /**
   * Calls `changed` whenever a file has changed, until the returned function is
   * called. Does nothing if no setting names a file.
   */
  watch(changed: () => void): () => void {
    if (
      !["cert", "key", "users", "senders"].some((name) => this.#raw.has(name))
    ) {
      return () => {};
    }
    const timer = setInterval(async () => {
      const stamp = await this.#stamp();
      if (stamp === this.#seen) return;
      this.#seen = stamp;
      changed();
    }, POLL_MS);
    return () => clearInterval(timer);
  }
}

/** The content of the file of `--senders`. */
interface Senders {
  readonly file: string;
  readonly addresses: ReturnType<typeof parseSenders>;
}

/** The accounts with their addresses; their text parses. */
function withSenders(accounts: string, senders?: Senders): AccountList {
  try {
    return parseAccounts(accounts, senders?.addresses);
  } catch (error) {
    throw new RunError(`--senders ${senders?.file}: ${reasonOf(error)}`);
  }
}

/** Loads one certificate; throws if a client would reject it now. */
async function loadCertificate(
  certificateFile: string,
  keyFile: string | undefined,
): Promise<Certificate> {
  let certificate: Certificate;
  try {
    certificate = await Certificate.load({
      certificateFile,
      ...(keyFile === undefined ? {} : { keyFile }),
    });
  } catch (error) {
    const { message } = error as Error;
    const isOfKey = keyFile !== undefined &&
      message.startsWith("Cannot load the private key");
    throw new RunError(`--${isOfKey ? "key" : "cert"}: ${message}`);
  }
  const [problem] = certificate.verify();
  if (problem !== undefined) {
    throw new RunError(
      `--cert: Cannot use the certificate "${certificateFile}": ${problem.message}`,
    );
  }
  return certificate;
}

/** Checks `--user`. An error quotes the name only: the rest may be a secret. */
function checkUsers(users: readonly string[]): void {
  const seen = new Map<string, number>();
  for (const [index, user] of users.entries()) {
    const number = index + 1;
    let isUsable = false;
    try {
      // A text that parses as a comment or as an empty line is not an account.
      isUsable = parseAccounts(user).size === 1;
    } catch {
      // Reported below, without the reason: it quotes the text.
    }
    if (!isUsable) {
      throw new UsageError(
        `--user: number ${number} cannot be used, want NAME:SECRET`,
      );
    }
    const name = saslPrep(user.slice(0, user.indexOf(":")).trimStart())!;
    const before = seen.get(name);
    if (before !== undefined) {
      throw new UsageError(
        `--user: number ${number} has the name of number ${before}, "${name}", want each name once`,
      );
    }
    seen.set(name, number);
  }
}

/** Most bytes of a secret. */
const MOST_SECRET_BYTES = 1024;

const strictDecoder = new TextDecoder("utf-8", {
  fatal: true,
  ignoreBOM: true,
});

/** Runs `verifier`; resolves with the exit code. */
export async function verifier(
  args: readonly string[],
  output: Output,
): Promise<number> {
  const [name, more] = args;
  if (name === undefined || more !== undefined || /^$|[:\s]/.test(name)) {
    throw new UsageError(
      "Command verifier: want one NAME, without colon or blank",
    );
  }
  const secret = await readSecret(output);
  if (secret === "") {
    throw new UsageError("Command verifier: want a secret on standard input");
  }
  let made: ScramVerifier;
  try {
    made = await ScramVerifier.create(secret);
  } catch (error) {
    throw new RunError(oneLine((error as Error).message));
  }
  output.out(`${name}:${made}\n`);
  return 0;
}

/** Reads the first line of standard input; a terminal does not show it. */
async function readSecret(output: Output): Promise<string> {
  const terminal = Deno.stdin.isTerminal();
  if (terminal) {
    output.err("secret: ");
    Deno.stdin.setRaw(true, { cbreak: true });
  }
  try {
    const bytes: number[] = [];
    const one = new Uint8Array(1);
    while (await Deno.stdin.read(one) !== null) {
      if (one[0] === 10 || one[0] === 13) break;
      bytes.push(one[0]!);
      if (bytes.length > MOST_SECRET_BYTES) {
        throw new RunError(
          `Cannot use the secret: want at most ${MOST_SECRET_BYTES} bytes`,
        );
      }
    }
    return strictDecoder.decode(new Uint8Array(bytes));
  } catch (error) {
    if (error instanceof RunError) throw error;
    throw new RunError(`Cannot read the secret: ${reasonOf(error)}`);
  } finally {
    if (terminal) {
      Deno.stdin.setRaw(false);
      output.err("\n");
    }
  }
}

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
