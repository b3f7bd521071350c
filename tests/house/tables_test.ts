/**
 * The tables of lib/ are complete: a member that a table lacks is a compile error.
 * Each row changes one file as if its author forgot another place, and
 * wants the compiler to name that place. CONTRIBUTING.md promises this where it
 * says that the compiler asks.
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { TestFolder } from "../support/folder.ts";
import { packageFlags } from "../support/interop/server.ts";
import { run } from "../support/process.ts";

const ROOT = new URL("../../", import.meta.url);

/** A fault that the compiler must name: the file with the table, and the words. */
type Fault = readonly [file: string, words: RegExp];

/** One way to forget something. */
interface Row {
  /** What is forgotten. */
  readonly name: string;
  /** The file that is changed. */
  readonly file: string;
  /** A text that the file has once. */
  readonly replace: string;
  /** The text in its place. */
  readonly by: string;
  /** The faults, one for each table that is wrong now. */
  readonly wants: readonly Fault[];
}

/** Tables that lack a line for `member`. */
function lacking(member: string, ...files: readonly string[]): Fault[] {
  const words = new RegExp([
    `Property '"?${member}"?' is missing`,
    `is missing the following properties .*\\b${member}\\b`,
    `"${member}".* does not satisfy the expected type 'never'`,
  ].join("|"));
  return files.map((file) => [file, words]);
}

/** A table that has a line for `member`, which does not exist. */
function stray(member: string, file: string): Fault[] {
  return [[file, new RegExp(`${member}"?' does not exist in type`)]];
}

const HANDLERS = "lib/session/handlers.ts";
const LIMITS = "lib/session/limit_options.ts";
const USER_LIMITS = "lib/session/user_limit_options.ts";
const COMMANDS_FILE = "lib/cli/options.ts";
const COMMAND_LINE = "lib/cli/option.ts";
const RECORD_TYPES = "lib/dns/outcome.ts";
const SERVER_OPTIONS = "lib/server/options.ts";

/**
 * Members that a list gets and no table does. All rows are compiled at once: no
 * two may `replace` the same text, nor add the same name.
 */
const MEMBERS: readonly Row[] = [
  {
    name: "a handler (HANDLERS)",
    file: HANDLERS,
    replace: "  onReset?(session: SmtpSession): void | Promise<void>;",
    by: "  onReset?(session: SmtpSession): void | Promise<void>;\n" +
      "  onGossip?(session: SmtpSession): MaybePromise<void>;",
    wants: lacking("onGossip", HANDLERS),
  },
  {
    name: "a handler of relaying (HANDLERS)",
    file: HANDLERS,
    replace: "export interface SmtpHandlers extends RelayHooks {",
    by: "export interface SmtpHandlers extends RelayHooks {\n" +
      "  onRelayGossip?(relay: Relay): void;",
    wants: lacking("onRelayGossip", HANDLERS),
  },
  {
    name: "an argument of a handler, between threads",
    file: HANDLERS,
    replace: "export interface HandlerArguments {",
    by: "export interface HandlerArguments {\n  readonly rumour: Promise<1>;",
    wants: lacking(
      "rumour",
      "lib/threads/remote_handlers.ts",
      "lib/threads/worker_handle.ts",
    ),
  },
  {
    name: "a limit (LIMITS)",
    file: LIMITS,
    replace: "export interface LimitOptions {",
    by: "export interface LimitOptions {\n  maxGossip?: number | undefined;",
    wants: lacking("maxGossip", LIMITS),
  },
  {
    name: "a limit of a user (USER_LIMITS)",
    file: USER_LIMITS,
    replace: "export interface UserLimitOptions {",
    by: "export interface UserLimitOptions {\n" +
      "  maxRumours?: number | undefined;",
    wants: lacking("maxRumours", USER_LIMITS),
  },
  {
    name: "a kind of limit, on the command line",
    file: LIMITS,
    replace: 'readonly kind: "count" | "size" | "duration" | "rate";',
    by: 'readonly kind: "count" | "size" | "duration" | "rate" | "volume";',
    wants: lacking(
      "volume",
      "lib/cli/serve_options.ts",
      "lib/cli/settings.ts",
    ),
  },
  {
    name: "a kind of listener (KINDS)",
    file: "lib/protocol/listener_kind.ts",
    replace: 'export type ListenerKind = "smtp" |',
    by: 'export type ListenerKind = "telepathy" | "smtp" |',
    wants: lacking("telepathy", "lib/protocol/listener_kind.ts"),
  },
  {
    name: "a command of SMTP",
    file: "lib/protocol/command.ts",
    replace: 'export type Verb =\n  | "HELO"',
    by: 'export type Verb =\n  | "TURN"\n  | "HELO"',
    wants: lacking(
      "TURN",
      "lib/protocol/command.ts",
      "lib/protocol/server/state.ts",
      "lib/protocol/server/commands.ts",
    ),
  },
  {
    name: "an extension of SMTP",
    file: "lib/protocol/capabilities.ts",
    replace: 'export type ExtensionKeyword =\n  | "PIPELINING"',
    by: 'export type ExtensionKeyword =\n  | "ETRN"\n  | "PIPELINING"',
    wants: lacking("ETRN", "lib/protocol/capabilities.ts"),
  },
  {
    name: "a reply that depends on what came late",
    file: "lib/protocol/replies.ts",
    replace: '  | { readonly missing: "message"; readonly ms: number }',
    by: '  | { readonly missing: "message"; readonly ms: number }\n' +
      '  | { readonly missing: "thanks"; readonly ms: number }',
    wants: [["lib/protocol/replies.ts", /lacks ending return statement/]],
  },
  {
    name: "a command of the command line (COMMANDS, RUNS)",
    file: COMMAND_LINE,
    replace: 'export type CommandName =\n  | "serve"',
    by: 'export type CommandName =\n  | "gossip"\n  | "serve"',
    wants: lacking("gossip", COMMANDS_FILE, "cli.ts"),
  },
  {
    name: "a shell to complete for",
    file: COMMAND_LINE,
    replace: 'export const SHELLS = ["bash",',
    by: 'export const SHELLS = ["tcsh", "bash",',
    wants: lacking("tcsh", "lib/cli/completion.ts"),
  },
  {
    name: "a type of the command lookup",
    file: COMMAND_LINE,
    replace: 'export const LOOKUP_RECORDS = [\n  "mx",',
    by: 'export const LOOKUP_RECORDS = [\n  "zzz",\n  "mx",',
    wants: lacking("zzz", "lib/cli/lookup.ts"),
  },
  {
    name: "a form of options",
    file: COMMAND_LINE,
    replace: 'export type OptionForm = "one" |',
    by: 'export type OptionForm = "pair" | "one" |',
    wants: lacking("pair", "lib/cli/config_file.ts"),
  },
  {
    name: "a step of a session with a server (STEPS)",
    file: "lib/client/options.ts",
    replace: 'export type ClientProgress =\n  | "connecting"',
    by: 'export type ClientProgress =\n  | "musing"\n  | "connecting"',
    wants: lacking("musing", "lib/client/options.ts"),
  },
  {
    name: "a state of a delivery (PHASES)",
    file: "lib/queue/job.ts",
    replace: 'export type DeliveryState =\n  | "idle-waiting"',
    by: 'export type DeliveryState =\n  | "looking-back"\n  | "idle-waiting"',
    wants: lacking("looking-back", "lib/queue/runner.ts"),
  },
  {
    name: "a kind of notice to the sender",
    file: "lib/dsn/policy.ts",
    replace: 'export type DsnKind = "failed" |',
    by: 'export type DsnKind = "relayed" | "failed" |',
    wants: lacking("relayed", "lib/dsn/report.ts"),
  },
  {
    name: "a mechanism of SASL",
    file: "lib/sasl/mechanism_name.ts",
    replace: 'export const MECHANISM_NAMES = [\n  "SCRAM-SHA-256-PLUS",',
    by:
      'export const MECHANISM_NAMES = [\n  "GSSAPI",\n  "SCRAM-SHA-256-PLUS",',
    wants: lacking("GSSAPI", "lib/sasl/registry.ts"),
  },
  {
    name: "a type of DNS record",
    file: RECORD_TYPES,
    replace: "export interface DnsRecords {",
    by: "export interface DnsRecords {\n  ZZZ: string;",
    wants: lacking(
      "ZZZ",
      RECORD_TYPES,
      "lib/dns/dns_message.ts",
      "lib/dns/records.ts",
    ),
  },
  {
    name: "an option of the server (RULES)",
    file: SERVER_OPTIONS,
    replace: "  addReceived?: boolean | undefined;",
    by:
      "  addReceived?: boolean | undefined;\n  addGossip?: boolean | undefined;",
    wants: lacking("addGossip", SERVER_OPTIONS),
  },
  {
    name: "an option of a reload (RELOAD_RULES)",
    file: SERVER_OPTIONS,
    replace: '  SmtpServerOptions,\n  | "accounts"',
    by: '  SmtpServerOptions,\n  | "goodbye"\n  | "accounts"',
    wants: lacking("goodbye", SERVER_OPTIONS),
  },
  {
    name: "an option of the client (CLIENT_RULES)",
    file: "lib/client/options.ts",
    replace:
      'export interface SmtpClientOptions extends Omit<NextHop, "host"> {',
    by: 'export interface SmtpClientOptions extends Omit<NextHop, "host"> {\n' +
      "  readonly haste?: boolean | undefined;",
    wants: lacking("haste", "lib/client/options.ts"),
  },
  {
    name: "an option of a delivery (DELIVERY_RULES)",
    file: "lib/delivery/options.ts",
    replace: "export interface DeliveryOptions",
    by: "export interface DeliveryOptions {\n" +
      "  readonly parcels?: boolean | undefined;\n}\n" +
      "export interface DeliveryOptions",
    wants: lacking("parcels", "lib/delivery/options.ts"),
  },
  {
    name: "a hook of relaying (HOOK_RULES)",
    file: "lib/queue/options.ts",
    replace: "export interface RelayHooks {",
    by: "export interface RelayHooks {\n  onRelayRumour?(relay: Relay): void;",
    wants: lacking("onRelayRumour", "lib/queue/options.ts", HANDLERS),
  },
  {
    name: "an option of a store (RULES)",
    file: "lib/store/maildir_store.ts",
    replace: "export interface MaildirStoreOptions",
    by: "export interface MaildirStoreOptions {\n" +
      "  readonly attic?: string | undefined;\n}\n" +
      "export interface MaildirStoreOptions",
    wants: lacking("attic", "lib/store/maildir_store.ts"),
  },
];

/**
 * Lines that a table gets although there is no such member. All rows are
 * compiled at once.
 */
const LINES: readonly Row[] = [
  // Not above: a handler that is not in the table hides it.
  {
    name: "a question of the machine (HANDLERS and its answers)",
    file: "lib/protocol/server/effects.ts",
    replace:
      '  | { readonly effect: "ask"; readonly ask: "verify"; readonly text: string }',
    by:
      '  | { readonly effect: "ask"; readonly ask: "verify"; readonly text: string }\n' +
      '  | { readonly effect: "ask"; readonly ask: "inquire" }',
    wants: [
      ...lacking("inquire", HANDLERS, "lib/session/handler_calls.ts"),
      ["lib/protocol/server/protocol.ts", /"inquire".* is not assignable/],
    ],
  },
  {
    name: "a line for no handler (HANDLERS)",
    file: HANDLERS,
    replace: '  onReset: { about: "session",',
    by: '  onGossip: { about: "session", args: [], answer: "done" },\n' +
      '  onReset: { about: "session",',
    wants: stray("onGossip", HANDLERS),
  },
  {
    name: "a line for no limit (LIMITS)",
    file: LIMITS,
    replace: "export const LIMITS: LimitTable = {",
    by: "export const LIMITS: LimitTable = {\n" +
      '  maxGossip: { kind: "count", default: 1, least: 0, scope: "session", help: "" },',
    wants: stray("maxGossip", LIMITS),
  },
  {
    name: "a line for no kind of listener (KINDS)",
    file: "lib/protocol/listener_kind.ts",
    replace: "  smtp: SMTP,",
    by: "  smtp: SMTP,\n  telepathy: SMTP,",
    wants: stray("telepathy", "lib/protocol/listener_kind.ts"),
  },
  {
    name: "a line for no command (COMMANDS)",
    file: COMMANDS_FILE,
    replace: "Readonly<Record<CommandName, Command>> = {",
    by: "Readonly<Record<CommandName, Command>> = {\n" +
      '  gossip: { brief: [], calls: [], sections: {}, exitCodes: "" },',
    wants: stray("gossip", COMMANDS_FILE),
  },
  {
    name: "a command that is in no table (RUNS)",
    file: "cli.ts",
    replace: "Readonly<Record<CommandName, Run>> = {",
    by: "Readonly<Record<CommandName, Run>> = {\n" +
      "  gossip: (args) => verifier(args, processOutput),",
    wants: stray("gossip", "cli.ts"),
  },
  {
    name: "a line for no step of a session (STEPS)",
    file: "lib/client/options.ts",
    replace: '  "connecting": "opening",',
    by: '  "musing": "opening",\n  "connecting": "opening",',
    wants: stray("musing", "lib/client/options.ts"),
  },
  {
    name: "a line for no state of a delivery (PHASES)",
    file: "lib/queue/runner.ts",
    replace: '  "idle-waiting": undefined,',
    by: '  "looking-back": undefined,\n  "idle-waiting": undefined,',
    wants: stray("looking-back", "lib/queue/runner.ts"),
  },
  {
    name: "a line for no mechanism of SASL",
    file: "lib/sasl/registry.ts",
    replace: "const MECHANISMS = {",
    by: 'const MECHANISMS = {\n  "GSSAPI": undefined,',
    wants: stray("GSSAPI", "lib/sasl/registry.ts"),
  },
  {
    name: "a number for no type of DNS record",
    file: RECORD_TYPES,
    replace: "  A: 1,",
    by: "  A: 1,\n  ZZZ: 33,",
    wants: stray("ZZZ", RECORD_TYPES),
  },
  {
    name: "a rule for no option (SERVE_RULES)",
    file: "lib/server/call_options.ts",
    replace: "const SERVE_RULES: Rules<ServeOptions> = {",
    by: "const SERVE_RULES: Rules<ServeOptions> = { gossip: KIND_RULE,",
    wants: stray("gossip", "lib/server/call_options.ts"),
  },
  {
    name: "a reply that is not in the table",
    file: "lib/protocol/server/state.ts",
    replace: 'const RUN = "run";',
    by: 'const RUN = "run";\nreplies.gossip;',
    wants: [[
      "lib/protocol/server/state.ts",
      /'gossip' does not exist on type/,
    ]],
  },
];

/** Copies lib/ and what it needs into a folder. */
async function copyLib(folder: TestFolder): Promise<void> {
  await copy(new URL("lib/", ROOT), `${folder.path}/lib`);
  for (const name of ["deno.json", "mod.ts", "cli.ts"]) {
    await Deno.copyFile(new URL(name, ROOT), `${folder.path}/${name}`);
  }
}

async function copy(from: URL, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copy(new URL(`${name}/`, from), `${to}/${name}`);
    else await Deno.copyFile(new URL(name, from), `${to}/${name}`);
  }
}

/** The faults that the compiler finds when all rows are applied. Each is a paragraph: code and message, source line, place. */
async function faultsOf(rows: readonly Row[]): Promise<readonly string[]> {
  await using folder = await TestFolder.create();
  await copyLib(folder);
  for (const { file, replace, by } of rows) {
    const source = await folder.read(file);
    assertEquals(source.split(replace).length, 2, `${file} lacks "${replace}"`);
    await folder.write(file, source.replace(replace, by));
  }
  const { code, stderr } = await run(Deno.execPath(), [
    ...["check", ...packageFlags, "cli.ts", "mod.ts", "lib/server/worker.ts"],
  ], { cwd: folder.path, anyCode: true, env: { NO_COLOR: "1" } });
  assertNotEquals(code, 0, "It compiles");
  return stderr.split(/\n(?=TS\d+ )/);
}

// One run of the compiler for many rows: it takes seconds.
for (
  const [name, rows] of [
    ["the compiler misses what a table forgets", MEMBERS],
    ["the compiler finds what a table has too much", LINES],
  ] as const
) {
  Deno.test(name, async (t) => {
    const faults = await faultsOf(rows);
    for (const { name, wants } of rows) {
      await t.step(name, () => {
        for (const [file, words] of wants) {
          const found = faults.some((fault) =>
            words.test(fault) && fault.includes(`/${file}:`)
          );
          assert(found, `No ${words} in ${file}: ${faults.join("\n")}`);
        }
      });
    }
  });
}
