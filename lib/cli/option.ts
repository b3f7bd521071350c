/**
 * What an option of the command line and a command are, and what several of them
 * share: words, defaults, options of every command.
 */

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
  | "status"
  | "queue"
  | "send"
  | "lookup"
  | "certificate"
  | "dkim"
  | "verify"
  | "verifier"
  | "completion"
  | "man";

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
  /** Options that mean something else for the server: no file and no variable sets them. */
  readonly ownOptions?: readonly string[];
  readonly notes?: string;
  /** Command lines that show its use, without the program's name. */
  readonly examples: readonly Call[];
  readonly exitCodes: string;
}

// Words that options and commands take.
export const POLICIES = ["none", "allowed", "required"] as const;
export const SENDER_POLICIES = ["any", "own"] as const;
export const BARE_NEWLINES = ["normalize", "reject", "keep"] as const;
/** What `--tls-policy` may be. */
export const TLS_POLICIES = ["dane", "mta-sts", "none"] as const;
/** What `--verify` may be. */
export const VERIFY = ["none", "report", "enforce"] as const;
/** What `--verify-temporary` may be. */
export const ON_TEMPORARY = ["accept", "defer"] as const;
export const EARLY_TALKERS = ["refuse", "allow"] as const;
export const LONG_LINES = ["keep", "encode"] as const;
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export const ALGORITHMS = ["ecdsa-p256", "rsa-2048", "ed25519"] as const;
/** Types of record that `lookup` prints as they are. */
export const LOOKUP_RECORDS = [
  "mx",
  "a",
  "aaaa",
  "ptr",
  "txt",
  "tlsa",
] as const;
/** Records of mail trust that `lookup` explains. */
export const LOOKUP_EXPLAINED = [
  "spf",
  "dkim",
  "dmarc",
  "mta-sts",
  "tls-rpt",
] as const;
export const LOOKUP_TYPES: readonly string[] = [
  ...LOOKUP_RECORDS,
  ...LOOKUP_EXPLAINED,
];
export const DKIM_COMMANDS = ["create", "sign", "verify"] as const;
export const DKIM_TYPES = ["rsa", "ed25519", "both"] as const;
export const QUEUE_ACTIONS = ["retry", "hold", "release", "remove"] as const;
export const QUEUE_ORDERS = ["age", "next", "size"] as const;
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

export const HOSTNAME: Option = {
  form: "one",
  word: "NAME",
  help: "name of this host in greeting, EHLO and Received",
  default: "this machine's",
};

export const DNS: Option = {
  form: "many",
  word: "IP[:PORT]",
  help: "name servers",
  default: "the system's",
};

export const DKIM: Option = {
  form: "many",
  word: "DOMAIN:SELECTOR:KEYFILE",
  help:
    "sign relayed mail of users and --relay-from, and DSNs, of authors in DOMAIN, with a key that the command dkim makes; several for a domain make a signature each",
  isReloaded: true,
};

export const TRUST_AD: Option = {
  form: "flag",
  help:
    "believe name servers on other machines that they have validated answers (DNSSEC)",
};

export const CHUNKING: Option = {
  form: "flag",
  word: "=no",
  help: "send content by DATA only, never by BDAT",
};

export const REMOTE_PORT: Option = {
  form: "one",
  word: "PORT",
  help: "port of the other servers, for tests",
  default: "25",
};

export const SPOOL: Option = {
  form: "one",
  word: "DIR",
  help: "folder of the mail that waits for relaying",
  default: DEFAULT_SPOOL,
};

export const STATUS: Option = {
  form: "one",
  word: "PATH",
  help: "socket on which the running server answers the command status",
  default: "status.sock in the spool",
};

export const JSON_OPTION: Option = {
  form: "flag",
  help: "one JSON object per line instead of text",
};
