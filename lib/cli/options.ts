/**
 * Every option of every command in one table: its form, the word for its value,
 * its default as shown, its help, and whether a reload applies it. The table
 * drives the parser of arguments, the configuration file, hints for misspelt
 * names, `--help`, shell completion and the documentation. Reads no value.
 */
import { LIMITS, type LimitTable, type NumberLimit } from "../server/mod.ts";

/** Form of an option: `one` takes a value, `many` may be repeated, `flag` is on by itself and may take yes or no. */
export type OptionForm = "one" | "many" | "flag";

/** An option of a command. */
export interface Option {
  readonly form: OptionForm;
  /** Word for its value, as `HOST:PORT`; for a flag the text shown after its name: `=no`. */
  readonly word?: string;
  /** The words that it takes, if it takes only a few. */
  readonly choices?: readonly string[];
  readonly help: string;
  /** The forms of its value, and their meanings. */
  readonly values?: Readonly<Record<string, string>>;
  /** The value without the option, as shown. */
  readonly default?: string;
  /** Its short form, with the dash. */
  readonly short?: string;
  /** Its name in a configuration file, if not its own in camelCase; `null` if it has no such name. */
  readonly key?: string | null;
  /** Whether SIGHUP applies it without a restart. */
  readonly isReloaded?: true;
}

/** Options by name on the command line, without the dashes. */
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

/** A call of a command, and its effect. */
export type Call = readonly [call: string, does: string];

/** A command: its calls, and its options under their titles. */
export interface Command {
  /** Its calls in the help of the program. */
  readonly brief: readonly Call[];
  /** Its calls in its own help. */
  readonly calls: readonly Call[];
  /** The words that may be its first argument. */
  readonly words?: readonly string[];
  /** Whether an argument names a file. */
  readonly takesFile?: true;
  readonly sections: Readonly<Record<string, Options>>;
  readonly notes?: string;
  readonly exitCodes: string;
}

// Words that options and commands take.
export const POLICIES = ["none", "allowed", "required"] as const;
export const BARE_NEWLINES = ["normalize", "reject", "keep"] as const;
export const EARLY_TALKERS = ["refuse", "allow"] as const;
export const LONG_LINES = ["keep", "encode"] as const;
export const LOG_FORMS = ["text", "json"] as const;
export const ALGORITHMS = ["ecdsa-p256", "rsa-2048", "ed25519"] as const;
export const LOOKUP_TYPES = ["mx", "a", "aaaa", "ptr", "txt"] as const;
export const QUEUE_ACTIONS = ["retry", "hold", "release", "remove"] as const;
export const SHELLS = ["bash", "zsh", "fish"] as const;

// Defaults.
export const DEFAULT_LISTEN = "127.0.0.1:2525";
export const DEFAULT_STORE = "maildir:./mail";
export const DEFAULT_SPOOL = "./spool";
/** Name of the program made by `deno task compile`. */
export const PROGRAM = "smtp-server";

/** The options of every command. */
export const COMMON: Options = {
  config: {
    form: "one",
    word: "FILE.json",
    help:
      "settings of the server: names of its options in camelCase; an option overrides the file",
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
  help: "name of this host in greeting, EHLO and Received",
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
  help: "send content by DATA only, never by BDAT",
};

const REMOTE_PORT: Option = {
  form: "one",
  word: "PORT",
  help: "port of the other servers, for tests",
  default: "25",
};

const SPOOL: Option = {
  form: "one",
  word: "DIR",
  help: "folder of the mail that waits for relaying",
  default: DEFAULT_SPOOL,
};

const LISTENING: Options = {
  listen: {
    form: "many",
    word: "HOST:PORT[/KIND]",
    help:
      "KIND is smtp, submission or lmtp, or smtps or submissions with TLS from the first byte; without KIND smtp; port 0 takes a free port",
    default: `${DEFAULT_LISTEN}/smtp`,
  },
  hostname: HOSTNAME,
};

const STORING: Options = {
  store: {
    form: "one",
    word: "KIND",
    help: "where to keep mail",
    values: {
      "maildir:DIR": "a Maildir in DIR per recipient",
      "mbox:DIR": "an mbox file per recipient",
      "mbox:FILE.mbox": "one mbox file for all mail",
      "file:DIR": "an .eml file per message",
      discard: "keep nothing",
    },
    default: DEFAULT_STORE,
  },
  "store-owner": {
    form: "many",
    word: "UID|any",
    help: "further users whose mailboxes get mail",
    default: "this process's, root and the owner of the folder",
  },
  domain: {
    form: "many",
    word: "NAME",
    help:
      "a local domain; recipients elsewhere are refused; without this option every recipient is local",
    isReloaded: true,
  },
  "bare-newlines": {
    form: "one",
    choices: BARE_NEWLINES,
    help:
      "bare LF and CR in content: replace LF by CRLF and CR by a space, refuse the message, or keep them",
    default: "normalize",
  },
  complete: {
    form: "flag",
    word: "[=no]",
    help: "add Date, Message-ID and the author's domain if they are missing",
    default: "on submission listeners only",
  },
  handlers: {
    form: "one",
    word: "MODULE",
    help:
      "path or URL of a module whose default export is SmtpHandlers, or a function that makes them",
  },
  threads: {
    form: "one",
    word: "N",
    help: "worker threads that receive, all on the same ports",
    default: "0: the main thread receives",
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
      "file of accounts, one NAME:SECRET per line; SECRET in plain text or from the command verifier",
    isReloaded: true,
  },
  auth: {
    form: "one",
    choices: POLICIES,
    help: "login; submission listeners always require it",
    default: "allowed with accounts",
    isReloaded: true,
  },
  "allow-insecure-auth": {
    form: "flag",
    help: "allow login without TLS",
    isReloaded: true,
  },
  cert: {
    form: "many",
    word: "FILE",
    help: "certificate chain in PEM, chosen by server name; reread on change",
    isReloaded: true,
  },
  key: {
    form: "many",
    word: "FILE",
    help: "its key in PEM, if the file of the chain has no key",
    isReloaded: true,
  },
  "self-signed": {
    form: "flag",
    help: "make a certificate for this run",
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
      "proxies; their connections must begin with a PROXY header that names the client",
    isReloaded: true,
  },
  xclient: {
    form: "many",
    word: "CIDR",
    help: "proxies that may name their client by XCLIENT",
    isReloaded: true,
  },
};

/** The options of `serve` for relaying. */
export const RELAYING: Options = {
  relay: {
    form: "flag",
    help:
      "relay mail for other domains from authenticated clients; without --domain, all mail",
  },
  "relay-from": {
    form: "many",
    word: "CIDR",
    help: "relay mail from these networks as well",
  },
  smarthost: {
    form: "many",
    word: "HOST:PORT[/smtps|/starttls|/none]",
    help: "next hop of all relayed mail; several are tried in order",
  },
  "smarthost-user": {
    form: "one",
    word: "NAME:SECRET",
    help: "login at the smarthost, over verified TLS unless /none",
  },
  "smarthost-mechanisms": {
    form: "one",
    word: "NAMES",
    help:
      'SASL mechanisms of that login, in the order to try, as "PLAIN LOGIN"',
    default: "all, the strongest first",
  },
  chunking: CHUNKING,
  spool: SPOOL,
  dns: DNS,
  retry: {
    form: "one",
    word: '"SCHEDULE"',
    help: "waits between attempts, as 30s 5m*3 1h*12 4h; the last one repeats",
    default: '"30s 2m 5m 15m 30m 1h 2h 4h"',
  },
  expire: {
    form: "one",
    word: "TIME",
    help: "age at which a message bounces",
    default: "5d",
  },
  "bounce-from": {
    form: "one",
    word: "ADDRESS",
    help: "sender of DSNs",
    default: "MAILER-DAEMON at the hostname",
  },
  "long-lines": {
    form: "one",
    choices: LONG_LINES,
    help: "relayed lines of more than 998 bytes",
    default: "keep",
  },
  "remote-port": REMOTE_PORT,
  "allow-loopback": {
    form: "flag",
    help: "relay to loopback addresses that MX records name, for tests",
  },
};

/** Word for the value of a limit of each kind. */
const LIMIT_WORDS: Readonly<
  Record<LimitTable[keyof LimitTable]["kind"], string>
> = {
  count: "N",
  size: "SIZE",
  rate: "SIZE",
  duration: "TIME",
  networks: "CIDR|none",
};

/** A number of bytes in the largest unit that divides it. */
function shownBytes(bytes: number): string {
  const units = [["G", 2 ** 30], ["M", 2 ** 20], ["k", 2 ** 10]] as const;
  const [name, size] = units.find(([, size]) => bytes % size === 0) ?? ["", 1];
  return `${bytes / size}${name}`;
}

/** The default of a limit as the value of an option. */
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
    help: "clients that send before the greeting; --exempt networks may",
    default: "refuse",
    isReloaded: true,
  },
};

const OUTPUT: Options = {
  log: {
    form: "one",
    choices: LOG_FORMS,
    help: "form of log records on standard error; json is one object per line",
    default: "text",
  },
  quiet: { form: "flag", help: "warnings and errors only, no first screen" },
  check: {
    form: "flag",
    help: "check all settings, report options without effect, and exit",
    key: null,
  },
};

const JSON_OPTION: Option = {
  form: "flag",
  help: "one JSON object per line instead of text",
};

/** Every command. The order is that of the help. */
export const COMMANDS: Readonly<Record<CommandName, Command>> = {
  serve: {
    brief: [
      ["[serve] [options]", "receive mail"],
      ["serve --check [options]", "check the settings and exit"],
    ],
    calls: [
      ["[serve] [options]", "receive mail"],
      ["serve --check [options]", "check the settings and exit"],
    ],
    sections: {
      "Listeners": LISTENING,
      "Store and handlers": STORING,
      "Accounts and TLS": SECURITY,
      "Behind a proxy": FRONT,
      "Relaying": RELAYING,
      "Limits": LIMITING,
      "Output": OUTPUT,
    },
    notes:
      "SIGHUP rereads the files, including --config, and logs the options that need a restart.",
    exitCodes: "0 stopped by SIGINT or SIGTERM, 1 failure, 2 wrong usage.",
  },
  queue: {
    brief: [[
      `queue list|show|${QUEUE_ACTIONS.join("|")} [MESSAGE|all]`,
      "show or change the mail that waits for relaying",
    ]],
    calls: [
      [
        "queue [list]",
        "list the mail that waits for relaying; the server may be running",
      ],
      ["queue show MESSAGE|all", "show all facts of a message"],
      ["queue retry MESSAGE|all", "try it at once"],
      ["queue hold MESSAGE|all", "do not try it until it is released"],
      ["queue release MESSAGE|all", "release a held message"],
      ["queue remove MESSAGE|all", "remove it without a DSN to the sender"],
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
          help: "server to send to",
          default: "the servers of the recipients' domains",
        },
        user: { form: "one", word: "NAME:SECRET", help: "login at --server" },
        mechanisms: {
          form: "one",
          word: "NAMES",
          help: "SASL mechanisms in the order to try",
        },
        chunking: CHUNKING,
        hostname: { ...HOSTNAME, help: "name of this host in EHLO" },
        dns: DNS,
        "remote-port": REMOTE_PORT,
      },
    },
    exitCodes:
      "0 accepted for all recipients, 69 refused for some, 75 deferred for some, 1 failure, 2 wrong usage.",
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
        json: { ...JSON_OPTION, help: "the answer as a JSON object" },
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
      ["certificate show FILE", "show the content of a certificate"],
    ],
    words: ["create", "show"],
    takesFile: true,
    sections: {
      "Options of create": {
        name: {
          form: "many",
          word: "NAME",
          help: "a host name or IP address of the certificate",
        },
        cert: {
          form: "one",
          word: "FILE",
          help: "new file for the certificate; never replaces a file",
        },
        key: {
          form: "one",
          word: "FILE",
          help: "new file for its key; never replaces a file",
        },
        days: {
          form: "one",
          word: "N",
          help: "days that it is valid",
          default: "365",
        },
        algorithm: {
          form: "one",
          choices: ALGORITHMS,
          help: "algorithm of the key",
          default: "ecdsa-p256",
        },
        request: {
          form: "flag",
          help: "make a certificate request instead of a certificate",
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

/** The options of a command, without the options of every command. */
export function optionsOf(command: CommandName): Options {
  return Object.assign({}, ...Object.values(COMMANDS[command].sections));
}

/** The name of an option in a configuration file: `maxSize` for `max-size`; `undefined` if it has no such name. */
export function keyOf(name: string, { key }: Option): string | undefined {
  if (key === null) return undefined;
  return key ?? name.replace(/-./g, (dash) => dash[1]!.toUpperCase());
}

/** The options of `serve` that a reload does not apply. */
export const WANT_RESTART: ReadonlySet<string> = new Set(
  Object.entries(optionsOf("serve"))
    .filter(([, option]) => !option.isReloaded && option.key !== null)
    .map(([name]) => name),
);
