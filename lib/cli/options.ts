/**
 * Every option of every command in one table: its form, the word for its value,
 * its default as shown, its help, and whether a reload applies it. The table
 * drives the parser of arguments, the configuration file, hints for misspelt
 * names, `--help`, shell completion and the documentation. Reads no value.
 */
import {
  ALGORITHMS,
  CHUNKING,
  type Command,
  type CommandName,
  DNS,
  HOSTNAME,
  JSON_OPTION,
  LOOKUP_TYPES,
  type Option,
  type Options,
  PROGRAM,
  QUEUE_ACTIONS,
  REMOTE_PORT,
  SHELLS,
  SPOOL,
} from "./option.ts";
import { SERVING } from "./serve_options.ts";

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
    sections: SERVING,
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
