/**
 * Our side of the interop suite: the command line's server as a child process on
 * ports of its own, the messages that the suite sends, and the readers of the
 * stores, which return the files as bytes.
 */

import { BackgroundProcess, type Outcome, run } from "../process.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { textOf } from "../bytes.ts";

const ROOT = new URL("../../../", import.meta.url);

/** The flag for the @std packages that this process was started with, for its children. */
export const packageFlags: readonly string[] =
  import.meta.resolve("@std/assert").startsWith("jsr:")
    ? []
    : [`--import-map=${new URL(".ci/std_from_npm.json", ROOT).pathname}`];

/** A running `cli.ts serve`. */
export class InteropServer implements AsyncDisposable {
  /** The ports of the listeners, in the order of the options. */
  readonly ports: readonly number[];
  /** The child process. */
  readonly process: BackgroundProcess;

  /**
   * @param process The child process
   * @param ports The ports of its listeners
   */
  constructor(process: BackgroundProcess, ports: readonly number[]) {
    this.process = process;
    this.ports = ports;
  }

  /**
   * Starts one: `listeners` are kinds, as `["smtp", "lmtp"]`; `under` is a
   * program that runs it, with its arguments, and replaces itself by it.
   */
  static async start(
    args: readonly string[],
    options: {
      cwd: string;
      listeners?: readonly string[];
      under?: readonly string[];
      env?: Readonly<Record<string, string>>;
    },
  ): Promise<InteropServer> {
    const { cwd, listeners = ["smtp"], under = [], env = {} } = options;
    const listen = listeners.flatMap((kind) => [
      "--listen",
      `127.0.0.1:0/${kind}`,
    ]);
    const [program, ...line] = [
      ...[...under, Deno.execPath(), "run", "-A", ...packageFlags],
      ...[new URL("cli.ts", ROOT).pathname, "serve", "--hostname", "mx.test"],
      ...[...listen, ...args],
    ] as const;
    const process = BackgroundProcess.start(program!, line, { cwd, env });
    try {
      const ports = await process.waitFor((stdout) => {
        const lines = [
          ...stdout.matchAll(/^listening on \S+:(\d+) \(\w+\)$/gm),
        ];
        if (lines.length < listeners.length) return;
        return lines.map(([, port]) => Number(port));
      });
      return new InteropServer(process, ports);
    } catch (error) {
      await process.stop();
      throw error;
    }
  }

  /** The port of the first listener. */
  get port(): number {
    return this.ports[0]!;
  }

  /** Stops it as a service manager would; gives the exit code. */
  async stop(): Promise<number> {
    return await this.process.stop();
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.process.stop();
  }
}

/** Runs one of the scripts in tests/interop/peers/ with Python. */
export async function runPython(
  script: string,
  args: readonly (string | number)[],
): Promise<Outcome> {
  return await runPeer("python3", script, args);
}

/** Runs one of the scripts in tests/interop/peers/ with Node and the packages in .ci/tools/. */
export async function runNode(
  script: string,
  args: readonly (string | number)[],
): Promise<Outcome> {
  return await runPeer("node", script, args);
}

async function runPeer(
  program: string,
  script: string,
  args: readonly (string | number)[],
): Promise<Outcome> {
  const path = new URL(`tests/interop/peers/${script}`, ROOT).pathname;
  return await run(program, [path, ...args.map(String)], {
    env: {
      NODE_PATH: new URL(".ci/tools/node_modules", ROOT).pathname,
      PYTHONDONTWRITEBYTECODE: "1",
    },
  });
}

/**
 * A message with lines that break mail programs: dots, `From `, empty lines at
 * the end, a line of 998 bytes, every byte beyond ASCII.
 */
export function awkwardMessage(subject: string): string {
  const high = Array.from({ length: 128 }, (_, i) => i + 128);
  return [
    "From: Sender <sender@example.org>",
    "To: User <user@example.com>",
    `Subject: ${subject}`,
    "Date: Mon, 23 Nov 2026 20:00:00 +0000",
    `Message-ID: <${subject.replaceAll(" ", ".")}@example.org>`,
    "X-Folded: one",
    "\ttwo",
    "",
    ".",
    "..",
    ".leading dot",
    "From here on it looks like a mailbox",
    ">From a reply",
    "",
    "x".repeat(998),
    String.fromCharCode(...high),
    "trailing space ",
    ".",
    "",
    "",
    "",
  ].join("\r\n");
}

/** A message of about `size` bytes. */
export function bigMessage(subject: string, size: number): string {
  const head = awkwardMessage(subject);
  const line = `.${"0123456789abcdef".repeat(4)}..\r\n`;
  return head + line.repeat(Math.ceil((size - head.length) / line.length));
}

/** The files of a folder, by name, as bytes; none where the folder is missing. */
async function filesIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const { name, isFile } of Deno.readDir(folder)) {
      if (isFile && !name.startsWith(".")) names.push(name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const found: string[] = [];
  for (const name of names.sort()) {
    found.push(textOf(await Deno.readFile(`${folder}/${name}`)));
  }
  return found;
}

/** The messages of a Maildir. Asserts that nothing is left in its `tmp`. */
export async function readMaildir(folder: string): Promise<string[]> {
  assertEquals(await filesIn(`${folder}/tmp`), [], "Files left in tmp");
  return [
    ...await filesIn(`${folder}/cur`),
    ...await filesIn(`${folder}/new`),
  ];
}

/** The messages of a folder of .eml files. */
export async function readFolder(folder: string): Promise<string[]> {
  return await filesIn(folder);
}

/**
 * The messages of a mailbox file, quoting undone. Asserts the form: each
 * begins with a `From ` line after an empty one, and an empty line is the end.
 */
export async function readMbox(path: string): Promise<string[]> {
  return parseMbox(textOf(await Deno.readFile(path)));
}

/** As {@linkcode readMbox}, from the file's content. */
function parseMbox(content: string): string[] {
  if (content === "") return [];
  assert(content.endsWith("\n\n"), "A mailbox ends with an empty line");
  assertMatch(content, /^From \S+ +\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\n/);
  return content.split(/^From .*\n/m).slice(1).map((message) => {
    assert(message.endsWith("\n\n"), "An empty line ends each message");
    return message.slice(0, -1).replaceAll(/^>(>*From )/gm, "$1");
  });
}

/** How one stored message must look. */
export interface Delivery {
  /** The whole message as sent, CRLF line ends. */
  readonly sent: string;
  /** The reverse-path in the Return-Path field. */
  readonly from: string;
  /** The protocol name in the Received field: `ESMTP`, `LMTP`, `ESMTPSA`. */
  readonly protocol: string;
  /** The line ends that the store writes; LF by default. */
  readonly newline?: "\n" | "\r\n";
}

/**
 * Asserts that `stored` is a Return-Path field, one Received field of our server
 * and the bytes that were sent.
 */
export function assertStored(stored: string | undefined, want: Delivery): void {
  assert(stored !== undefined, "No message was stored");
  const newline = want.newline ?? "\n";
  const sent = want.sent.replaceAll("\r\n", newline);
  const size = stored.length - sent.length;
  if (size <= 0 || stored.slice(size) !== sent) {
    assertSameLines(stored.slice(-sent.length), sent);
  }
  assertTrace(stored.slice(0, size), want);
}

/** Asserts the fields that the server puts in front. */
function assertTrace(trace: string, want: Delivery): void {
  const [first, ...rest] = trace.replaceAll("\r\n", "\n")
    .replaceAll(/\n[ \t]+/g, " ").trimEnd().split("\n");
  assertEquals(first, `Return-Path: <${want.from}>`);
  assertEquals(rest.length, 1, `One Received field is wanted: ${trace}`);
  assertMatch(rest[0]!, /^Received: from \S+ \(.*\[127\.0\.0\.1\].*\)/);
  assertMatch(rest[0]!, new RegExp(` by mx\\.test .*with ${want.protocol} `));
  assertMatch(
    rest[0]!,
    /; \w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}( \(\w+\))?$/,
  );
}

/** Compares line by line, so that the report of a large difference stays small. */
function assertSameLines(actual: string, want: string): void {
  const got = actual.split("\n");
  for (const [index, line] of want.split("\n").entries()) {
    assertEquals(got[index], line, `Line ${index + 1} differs`);
  }
  assertEquals(actual.length, want.length, "The length differs");
}
