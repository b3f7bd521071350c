/**
 * Every option of every command, in one table: its form, what it takes, its
 * default as shown, its help, and whether a reload takes it. The parser of
 * arguments, the configuration file, the hints on misspelt names, `--help`, the
 * completion of shells and the documentation are made from it. Reads no value.
 */
import { LIMITS, type LimitTable, type NumberLimit } from "../server/mod.ts";

/** How an option is written: `many` may be repeated, `flag` is on by itself and may be given yes or no. */
export type OptionForm = "one" | "many" | "flag";

/** An option of a command. */
export interface Option {
  readonly form: OptionForm;
  /** What it takes, as `HOST:PORT`; behind a flag as it is shown: `=no`. */
  readonly word?: string;
  /** The words that it takes, where there are only a few. */
  readonly choices?: readonly string[];
  readonly help: string;
  /** What its value may be, and what each means. */
  readonly values?: Readonly<Record<string, string>>;
  /** What holds without it. */
  readonly default?: string;
  /** Its short form, with the dash. */
  readonly short?: string;
  /** Its name in a configuration file, where that is not its own in camelCase; `null` where it has none. */
  readonly key?: string | null;
  /** Whether SIGHUP puts it in force without a restart. */
  readonly isReloaded?: true;
}

/** Options by their names on the command line, without the dashes. */
export type Options = Readonly<Record<string, Option>>;

/** The commands. */
export type CommandName =
  | "serve"
  | "queue"
  | "send"
  | "lookup"
  | "certificate"
  | "verifier"
  | "completion";

/** A call of a command, and what that does. */
export type Call = readonly [call: string, does: string];

/** A command: how it is called, and its options under their titles. */
export interface Command {
  /** Its calls in the help of the program. */
  readonly brief: readonly Call[];
  /** Its calls in its own help. */
  readonly calls: readonly Call[];
  /** The words that its first argument may be. */
  readonly words?: readonly string[];
  /** Whether an argument names a file. */
  readonly takesFile?: true;
  readonly sections: Readonly<Record<string, Options>>;
  readonly notes?: string;
  readonly exitCodes: string;
}

// The words that options and commands take.
export const POLICIES = ["none", "allowed", "required"] as const;
export const BARE_NEWLINES = ["normalize", "reject", "keep"] as const;
export const EARLY_TALKERS = ["refuse", "allow"] as const;
export const LONG_LINES = ["keep", "encode"] as const;
export const LOG_FORMS = ["text", "json"] as const;
export const ALGORITHMS = ["ecdsa-p256", "rsa-2048", "ed25519"] as const;
export const LOOKUP_TYPES = ["mx", "a", "aaaa", "ptr", "txt"] as const;
export const QUEUE_ACTIONS = ["retry", "hold", "release", "remove"] as const;
export const SHELLS = ["bash", "zsh", "fish"] as const;

// What holds where an option or a word is not given.
export const DEFAULT_LISTEN = "127.0.0.1:2525";
export const DEFAULT_STORE = "maildir:./mail";
export const DEFAULT_SPOOL = "./spool";
/** The name that `deno task compile` gives the program. */
export const PROGRAM = "smtp-server";

/** The options of every command. */
export const COMMON: Options = {
  config: {
    form: "one",
    word: "FILE.json",
    help:
      "settings of the server, by the names of its options in camelCase; options win over it",
    key: null,
  },
  version: {
    form: "flag",
    short: "-v",
    help: "the version of this program",
    key: null,
  },
  help: { form: "flag", short: "-h", help: "this text", key: null },
};

const HOSTNAME: Option = {
  form: "one",
  word: "NAME",
  help: "own name in greeting, EHLO and Received",
  default: "this machine's",
};

const DNS: Option = {
  form: "many",
  word: "IP[:PORT]",
  help: "name servers",
  default: "the system's",
};

const CHUNKING: Option = {
  form: "flag",
  word: "=no",
  help: "content by DATA alone, never by BDAT",
};

const REMOTE_PORT: Option = {
  form: "one",
  word: "PORT",
  help: "port of other servers, for tests",
  default: "25",
};

const SPOOL: Option = {
  form: "one",
  word: "DIR",
  help: "where mail waits to be relayed",
  default: DEFAULT_SPOOL,
};

const LISTENING: Options = {
  listen: {
    form: "many",
    word: "HOST:PORT[/KIND]",
    help:
      "KIND smtp, submission, lmtp, or with TLS from the first byte smtps, submissions; smtp unless told; port 0 takes any free one",
    default: `${DEFAULT_LISTEN}/smtp`,
  },
  hostname: HOSTNAME,
};

const STORING: Options = {
  store: {
    form: "one",
    word: "KIND",
    help: "where mail is kept",
    values: {
      "maildir:DIR": "one Maildir a recipient under DIR",
      "mbox:DIR": "one mbox file a recipient",
      "mbox:FILE.mbox": "all in one mbox file",
      "file:DIR": "one .eml file a message",
      discard: "nothing is kept",
    },
    default: DEFAULT_STORE,
  },
  "store-owner": {
    form: "many",
    word: "UID|any",
    help: "users whose mailboxes get mail, too",
    default: "this process's, root and the owner of the folder",
  },
  domain: {
    form: "many",
    word: "NAME",
    help:
      "recipients here are local, others are refused; without any, every recipient is local",
    isReloaded: true,
  },
  "bare-newlines": {
    form: "one",
    choices: BARE_NEWLINES,
    help:
      "content with LF or CR alone: made CRLF and a blank, refused, or stored as it came",
    default: "normalize",
  },
  complete: {
    form: "flag",
    word: "[=no]",
    help: "add Date, Message-ID and the author's domain where they are missing",
    default: "on submission listeners only",
  },
  handlers: {
    form: "one",
    word: "MODULE",
    help:
      "path or URL of a module that default-exports SmtpHandlers, or a function that makes them",
  },
  threads: {
    form: "one",
    word: "N",
    help: "threads that receive, all on the same ports",
    default: "0: one for all",
  },
};

const SECURITY: Options = {
  user: {
    form: "many",
    word: "NAME:SECRET",
    help: "an account",
    isReloaded: true,
  },
  users: {
    form: "one",
    word: "FILE",
    help:
      "accounts, a NAME:SECRET a line; SECRET plain or what the command verifier makes",
    isReloaded: true,
  },
  auth: {
    form: "one",
    choices: POLICIES,
    help: "log-in; submission listeners always require it",
    default: "allowed with accounts",
    isReloaded: true,
  },
  "allow-insecure-auth": {
    form: "flag",
    help: "log-in without TLS",
    isReloaded: true,
  },
  cert: {
    form: "many",
    word: "FILE",
    help:
      "certificate chain in PEM, chosen by server name; reread on change and on SIGHUP",
    isReloaded: true,
  },
  key: {
    form: "many",
    word: "FILE",
    help: "its key in PEM, where the chain's file has none",
    isReloaded: true,
  },
  "self-signed": {
    form: "flag",
    help: "a certificate made for this run",
    isReloaded: true,
  },
  security: {
    form: "one",
    choices: POLICIES,
    help: "STARTTLS",
    default: "allowed with a certificate",
  },
};

const FRONT: Options = {
  "proxy-protocol": {
    form: "many",
    word: "CIDR",
    help:
      "connections from there must begin with a PROXY header that tells the client",
    isReloaded: true,
  },
  xclient: {
    form: "many",
    word: "CIDR",
    help: "clients there may say by XCLIENT which client they speak for",
    isReloaded: true,
  },
};

/** The options of `serve` that tell what is relayed, and how. */
export const RELAYING: Options = {
  relay: {
    form: "flag",
    help:
      "take mail for other domains from clients that have logged in; without --domain, all of it",
  },
  "relay-from": {
    form: "many",
    word: "CIDR",
    help: "take it from these networks, too",
  },
  smarthost: {
    form: "many",
    word: "HOST:PORT[/smtps|/starttls|/none]",
    help: "send all of it there; tried in order",
  },
  "smarthost-user": {
    form: "one",
    word: "NAME:SECRET",
    help: "log in there, over verified TLS unless /none",
  },
  "smarthost-mechanisms": {
    form: "one",
    word: "NAMES",
    help: 'to log in with, in the order to try them, as "PLAIN LOGIN"',
    default: "all, the strongest first",
  },
  chunking: CHUNKING,
  spool: SPOOL,
  dns: DNS,
  retry: {
    form: "one",
    word: '"SCHEDULE"',
    help: "waits between tries, as 30s 5m*3 1h*12 4h; the last one repeats",
    default: '"30s 2m 5m 15m 30m 1h 2h 4h"',
  },
  expire: {
    form: "one",
    word: "TIME",
    help: "return it after this",
    default: "5d",
  },
  "bounce-from": {
    form: "one",
    word: "ADDRESS",
    help: "sender of notices",
    default: "MAILER-DAEMON at the hostname",
  },
  "long-lines": {
    form: "one",
    choices: LONG_LINES,
    help: "lines of over 998 bytes on their way out",
    default: "keep",
  },
  "remote-port": REMOTE_PORT,
  "allow-loopback": {
    form: "flag",
    help: "send where MX records lead to 127.0.0.1 and the like, for tests",
  },
};

/** What a limit of each kind takes. */
const LIMIT_WORDS: Readonly<
  Record<LimitTable[keyof LimitTable]["kind"], string>
> = {
  count: "N",
  size: "SIZE",
  rate: "SIZE",
  duration: "TIME",
  networks: "CIDR|none",
};

/** A number of bytes in the largest unit that it is a whole number of. */
function shownBytes(bytes: number): string {
  const units = [["G", 2 ** 30], ["M", 2 ** 20], ["k", 2 ** 10]] as const;
  const [name, size] = units.find(([, size]) => bytes % size === 0) ?? ["", 1];
  return `${bytes / size}${name}`;
}

/** The default of a limit, as an option is given it. */
const SHOWN_NUMBERS: Readonly<
  Record<NumberLimit["kind"], (value: number) => string>
> = {
  count: String,
  size: shownBytes,
  rate: shownBytes,
  duration: (ms) => `${ms / 1000}`,
};

/** The limits that the command line can set. */
function limitOptions(): Options {
  const options: Record<string, Option> = {};
  for (const limit of Object.values(LIMITS) as LimitTable[keyof LimitTable][]) {
    const { flag, kind, help } = limit;
    if (flag === undefined) continue;
    options[flag] = {
      form: kind === "networks" ? "many" : "one",
      word: LIMIT_WORDS[kind],
      help: kind === "duration" ? `${help}, in seconds without a unit` : help,
      default: kind === "networks"
        ? limit.default.join(", ")
        : SHOWN_NUMBERS[kind](limit.default),
      isReloaded: true,
    };
  }
  return options;
}

const LIMITING: Options = {
  ...limitOptions(),
  "early-talkers": {
    form: "one",
    choices: EARLY_TALKERS,
    help: "clients that speak before the greeting; exempt networks may",
    default: "refuse",
    isReloaded: true,
  },
};

const OUTPUT: Options = {
  log: {
    form: "one",
    choices: LOG_FORMS,
    help: "records on standard error; json is an object a line",
    default: "text",
  },
  quiet: { form: "flag", help: "no first screen, only warnings and errors" },
  check: {
    form: "flag",
    help:
      "check files, handlers, accounts, listeners, store and spool, and end; say which options have no effect",
    key: null,
  },
};

const JSON_OPTION: Option = {
  form: "flag",
  help: "an object a line in place of text",
};

/** Every command. The order is that of the help. */
export const COMMANDS: Readonly<Record<CommandName, Command>> = {
  serve: {
    brief: [
      ["[serve] [options]", "receive mail"],
      ["serve --check [options]", "check the settings, and end"],
    ],
    calls: [
      ["[serve] [options]", "receive mail"],
      ["serve --check [options]", "check all that can be checked, and end"],
    ],
    sections: {
      "Where": LISTENING,
      "What is kept, and where": STORING,
      "Which clients may send, and how it is protected": SECURITY,
      "What stands in front": FRONT,
      "What goes elsewhere": RELAYING,
      "Limits": LIMITING,
      "Output": OUTPUT,
    },
    notes:
      "SIGHUP rereads the files, --config too, and says what wants a restart.",
    exitCodes: "0 stopped by SIGINT or SIGTERM, 1 failure, 2 wrong usage.",
  },
  queue: {
    brief: [[
      `queue list|show|${QUEUE_ACTIONS.join("|")} [MESSAGE|all]`,
      "see and change what waits to be relayed",
    ]],
    calls: [
      [
        "queue [list]",
        "what waits to be relayed, also beside a running server",
      ],
      ["queue show MESSAGE|all", "all that is known of a message"],
      ["queue retry MESSAGE|all", "try it at once"],
      ["queue hold MESSAGE|all", "do not try it until it is released"],
      ["queue release MESSAGE|all", "end that"],
      ["queue remove MESSAGE|all", "forget it, without a notice to the sender"],
    ],
    words: ["list", "show", ...QUEUE_ACTIONS],
    sections: { "Options": { spool: SPOOL, json: JSON_OPTION } },
    exitCodes: "0 done, 1 failure or no such message, 2 wrong usage.",
  },
  send: {
    brief: [["send --to ADDRESS FILE|-", "send a message at once"]],
    calls: [[
      "send --to ADDRESS FILE|-",
      "send a message at once; - is standard input",
    ]],
    takesFile: true,
    sections: {
      "Options": {
        to: { form: "many", word: "ADDRESS", help: "a recipient" },
        from: {
          form: "one",
          word: "ADDRESS",
          help: 'the sender; "" for the null address',
          default: "the account of --user, or this user at this machine",
        },
        server: {
          form: "one",
          word: "HOST:PORT[/smtps|/starttls|/none]",
          help: "where to send it",
          default: "the servers of the recipients' domains",
        },
        user: { form: "one", word: "NAME:SECRET", help: "log in to --server" },
        mechanisms: {
          form: "one",
          word: "NAMES",
          help: "to log in with, in the order to try them",
        },
        chunking: CHUNKING,
        hostname: { ...HOSTNAME, help: "own name in EHLO" },
        dns: DNS,
        "remote-port": REMOTE_PORT,
      },
    },
    exitCodes:
      "0 taken for all, 69 refused for some, 75 refused for now for some, 1 failure, 2 wrong usage.",
  },
  lookup: {
    brief: [[
      `lookup ${LOOKUP_TYPES.join("|")} NAME`,
      "ask the DNS as the server does",
    ]],
    calls: [[
      `lookup ${LOOKUP_TYPES.join("|")} NAME`,
      "ask the DNS as the server does",
    ]],
    words: LOOKUP_TYPES,
    sections: {
      "Options": {
        dns: DNS,
        json: { ...JSON_OPTION, help: "the answer as an object" },
      },
    },
    exitCodes: "0 found, 1 no such record, 2 wrong usage, 75 no answer.",
  },
  certificate: {
    brief: [["certificate create|show ...", "make or inspect a certificate"]],
    calls: [
      [
        "certificate create --name NAME [--name ...] --cert FILE --key FILE",
        "make a self-signed certificate and its key",
      ],
      ["certificate show FILE", "tell what is in a certificate"],
    ],
    words: ["create", "show"],
    takesFile: true,
    sections: {
      "Options of create": {
        name: {
          form: "many",
          word: "NAME",
          help: "a host name or IP address it is for",
        },
        cert: {
          form: "one",
          word: "FILE",
          help: "where the certificate is written; a file that exists stays",
        },
        key: {
          form: "one",
          word: "FILE",
          help: "where its key is written; a file that exists stays",
        },
        days: {
          form: "one",
          word: "N",
          help: "how long it is valid",
          default: "365",
        },
        algorithm: {
          form: "one",
          choices: ALGORITHMS,
          help: "of the key",
          default: "ecdsa-p256",
        },
        request: {
          form: "flag",
          help: "a request for a certificate in place of one",
        },
      },
    },
    exitCodes: "0 done, 1 failure, 2 wrong usage.",
  },
  verifier: {
    brief: [["verifier NAME", "make a line for --users"]],
    calls: [[
      "verifier NAME",
      "make a line for --users from a secret on standard input",
    ]],
    sections: {},
    exitCodes: "0 done, 1 failure, 2 wrong usage.",
  },
  completion: {
    brief: [[
      `completion ${SHELLS.join("|")} [PROGRAM]`,
      "write a script that completes command lines",
    ]],
    calls: [[
      `completion ${SHELLS.join("|")} [PROGRAM]`,
      `write a script for the shell that completes the command lines of PROGRAM; default ${PROGRAM}`,
    ]],
    words: SHELLS,
    sections: {},
    exitCodes: "0 done, 2 wrong usage.",
  },
};

/** The options of a command, without those of every command. */
export function optionsOf(command: CommandName): Options {
  return Object.assign({}, ...Object.values(COMMANDS[command].sections));
}

/** The name of an option in a configuration file: `maxSize` for `max-size`; `undefined` where it has none. */
export function keyOf(name: string, { key }: Option): string | undefined {
  if (key === null) return undefined;
  return key ?? name.replace(/-./g, (dash) => dash[1]!.toUpperCase());
}

/** The options of `serve` that a reload leaves as they were at the start. */
export const WANT_RESTART: ReadonlySet<string> = new Set(
  Object.entries(optionsOf("serve"))
    .filter(([, it]) => !it.isReloaded && it.key !== null)
    .map(([name]) => name),
);
