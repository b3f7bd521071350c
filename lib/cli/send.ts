/**
 * `cli.ts send`: sends one message at once, to a given server or to the mail
 * exchangers of its recipients, and shows a progress bar on a terminal. Keeps no
 * message: the caller must send a deferred one again.
 */

import type { Login } from "../client/mod.ts";
import { DnsClient } from "../dns/mod.ts";
import { Delivery, type RecipientReport } from "../queue/mod.ts";
import { checkHostname } from "../server/mod.ts";
import { Address } from "../../mod.ts";
import { printableJson } from "../log.ts";
import { userInfo } from "node:os";
import {
  dnsSettings,
  type HopSetting,
  parseLogin,
  parseMechanisms,
  parseNextHop,
  PORTS,
  securityFor,
} from "./relay_settings.ts";
import {
  flag,
  one,
  parseOption,
  type RawSettings,
  wholeNumber,
} from "./arguments.ts";
import { ProgressBar } from "./progress.ts";
import {
  EX_TEMPFAIL,
  formatSize,
  oneLine,
  type Output,
  reasonOf,
  RunError,
  UsageError,
} from "./output.ts";

/** Exit code if a recipient was refused permanently. */
const EX_UNAVAILABLE = 69;

/** The message to send. */
interface Content {
  readonly size: number;
  open(): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/**
 * Runs `send`; resolves with the exit code: 0 delivered to all, 75 deferred for
 * some, 69 refused for some.
 *
 * @throws {UsageError} If a file or recipient is missing, or an argument is not valid
 * @throws {RunError} If the file cannot be read
 */
export async function send(
  args: readonly string[],
  raw: RawSettings,
  output: Output,
): Promise<number> {
  const [file, extra] = args;
  if (file === undefined || extra !== undefined) {
    throw new UsageError(
      "Cannot run send: want one file, or - for standard input",
    );
  }
  const to = (raw.get("to") ?? []).map((text) => address("to", text));
  if (to.length === 0) throw new UsageError("--to: want at least one");
  const server = one(raw, "server");
  const hop = server === undefined
    ? undefined
    : parseOption("server", () => parseNextHop(server));
  parseOption("hostname", () => checkHostname(one(raw, "hostname")));
  const { from, isGuess } = senderOf(raw);
  await using delivery = makeDelivery(raw, hop);
  const content = await openContent(file);
  if (isGuess) {
    output.err(
      `note: --from is not given, sending as ${oneLine(String(from))}\n`,
    );
  }
  const bar = new ProgressBar({
    total: content.size,
    shown: formatSize(content.size),
    isLong: content.size > 1_000_000,
    write: Deno.stderr.isTerminal() ? output.err : undefined,
  });
  const reports: Report[] = [];
  for (const group of groups(to, hop)) {
    const report = await delivery.deliver({
      id: "message",
      from,
      parameters: {},
      recipients: group.map((address) => ({ address, parameters: {} })),
      destination: group[0]!.asciiDomain,
      size: content.size,
      acceptedAt: Date.now(),
      attempt: 1,
      content: () => counted(content.open(), bar),
    });
    bar.end();
    if (report.error !== undefined) {
      throw new RunError((report.error as Error).message);
    }
    reports.push(
      ...report.recipients.map((it, at) => ({ address: group[at]!, ...it })),
    );
  }
  const asText = flag(raw, "json") ? jsonLine : line;
  for (const report of reports) output.out(asText(report));
  return exitCode(reports);
}

/**
 * The sender: the value of `--from`, the null address if that is empty. Without
 * the option it is the account, or this machine's user: a message from the null
 * address looks like a DSN, and no DSN reports its loss.
 */
function senderOf(
  raw: RawSettings,
): { readonly from: Address; readonly isGuess: boolean } {
  const given = raw.get("from");
  if (given?.length === 1 && (given[0] === "" || given[0] === "<>")) {
    return { from: Address.NULL, isGuess: false };
  }
  const text = one(raw, "from");
  if (text !== undefined) {
    return { from: address("from", text), isGuess: false };
  }
  const account = loginOf(raw)?.username;
  const host = one(raw, "hostname") ?? Deno.hostname();
  const candidates = [
    ...account === undefined ? [] : [account, `${account}@${host}`],
    `${userName()}@${host}`,
  ];
  for (const candidate of candidates) {
    try {
      return { from: address("from", candidate), isGuess: true };
    } catch {
      continue;
    }
  }
  throw new UsageError('--from: want an address, or "" for the null address');
}

/** Name of the user that runs this program. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // The system does not know the user: a container may run with any user id.
    return "postmaster";
  }
}

function address(name: string, text: string): Address {
  return parseOption(name, () => {
    const parsed = Address.parse(text);
    if (parsed.domain !== "") return parsed;
    throw new SyntaxError(`Cannot send to "${text}": want a domain, too`);
  });
}

function loginOf(raw: RawSettings): Login | undefined {
  const account = one(raw, "user");
  const mechanisms = one(raw, "mechanisms");
  if (mechanisms !== undefined && account === undefined) {
    throw new UsageError("--mechanisms: want --user, too");
  }
  return account === undefined ? undefined : {
    ...parseOption("user", () => parseLogin(account)),
    mechanisms: mechanisms === undefined
      ? undefined
      : parseOption("mechanisms", () => parseMechanisms(mechanisms)),
  };
}

function makeDelivery(raw: RawSettings, hop: HopSetting | undefined): Delivery {
  const login = loginOf(raw);
  if (login !== undefined && hop === undefined) {
    throw new UsageError("--user: want --server, too");
  }
  return new Delivery({
    hostname: one(raw, "hostname") ?? Deno.hostname(),
    dns: new DnsClient(dnsSettings(raw)),
    smarthosts: hop && [hop.host],
    remotePort: wholeNumber(raw, "remote-port", PORTS),
    login,
    chunking: raw.has("chunking") ? flag(raw, "chunking") : undefined,
    security: hop && securityFor(hop.tls, login !== undefined),
    allowInsecureAuth: hop?.tls === "none",
    // The user of the command has chosen the recipients.
    allowLoopback: true,
  });
}

/** Recipients grouped by route. */
function groups(
  to: readonly Address[],
  hop: HopSetting | undefined,
): readonly (readonly Address[])[] {
  if (hop !== undefined) return [to];
  return [...Map.groupBy(to, ({ asciiDomain }) => asciiDomain).values()];
}

/** Opens a message that can be read more than once: a second host may be tried. */
async function openContent(file: string): Promise<Content> {
  if (file === "-") {
    const bytes = await new Response(Deno.stdin.readable).bytes();
    return {
      size: bytes.length,
      open: () => ReadableStream.from([bytes]),
    };
  }
  try {
    const { size, isDirectory } = await Deno.stat(file);
    if (isDirectory) throw new TypeError("It is a folder");
    (await Deno.open(file)).close();
    return { size, open: () => chunksOf(file) };
  } catch (error) {
    throw new RunError(`Cannot read "${file}": ${reasonOf(error)}`);
  }
}

async function* chunksOf(
  file: string,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { readable } = await Deno.open(file);
  yield* readable;
}

async function* counted(
  chunks: AsyncIterable<Uint8Array<ArrayBuffer>>,
  bar: ProgressBar,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  bar.restart();
  for await (const chunk of chunks) {
    yield chunk;
    bar.add(chunk.length);
  }
}

/** The report of one recipient, with its address. */
interface Report extends RecipientReport {
  readonly address: Address;
}

const WORDS: Readonly<Record<RecipientReport["status"], string>> = {
  delivered: "delivered",
  deferred: "deferred",
  failed: "refused",
};

function line(report: Report): string {
  const { address, status, reply, remoteMta } = report;
  const at = remoteMta === undefined ? "" : ` (${remoteMta})`;
  return `${oneLine(String(address))}: ${WORDS[status]}: ${
    oneLine(String(reply))
  }${at}\n`;
}

/** The same as one line of JSON. */
function jsonLine(report: Report): string {
  const { address, status, reply, remoteMta } = report;
  return `${
    printableJson({
      recipient: String(address),
      status: WORDS[status],
      reply: reply === undefined ? null : String(reply),
      remoteMta: remoteMta ?? null,
    })
  }\n`;
}

function exitCode(reports: readonly RecipientReport[]): number {
  if (reports.some(({ status }) => status === "failed")) return EX_UNAVAILABLE;
  return reports.some(({ status }) => status === "deferred") ? EX_TEMPFAIL : 0;
}
