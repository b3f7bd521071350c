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
  DKIM,
  DKIM_COMMANDS,
  DKIM_TYPES,
  DNS,
  HOSTNAME,
  JSON_OPTION,
  LOOKUP_TYPES,
  type Option,
  type Options,
  PROGRAM,
  QUEUE_ACTIONS,
  QUEUE_ORDERS,
  REMOTE_PORT,
  SHELLS,
  SPOOL,
  STATUS,
  TRUST_AD,
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
    examples: [
      [
        "--domain example.com --store maildir:./mail",
        "keep the mail of a domain",
      ],
      [
        "--listen :587/submission --relay --users users --cert tls.pem",
        "relay the mail of users that log in",
      ],
      ["serve --check --config smtp.json", "check a configuration file"],
    ],
    exitCodes: "0 stopped by SIGINT or SIGTERM, 1 failure, 2 wrong usage.",
  },
  status: {
    brief: [["status", "show sessions, rates and queue of a running server"]],
    calls: [[
      "status",
      "show sessions, rates and queue of the server that runs on a spool",
    ]],
    sections: {
      "Options": {
        spool: SPOOL,
        status: STATUS,
        json: { ...JSON_OPTION, help: "a JSON object instead of text" },
      },
    },
    examples: [
      ["status --spool /var/spool/smtp", "show the server of this spool"],
      ["status --json", "the same for a program"],
    ],
    exitCodes:
      "0 the server runs, 1 no server runs, it does not answer, or it stops, 2 wrong usage.",
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
      ["queue show MESSAGE...|all", "show all facts of a message"],
      ["queue retry MESSAGE...|all", "try it at once"],
      ["queue hold MESSAGE...|all", "do not try it until it is released"],
      ["queue release MESSAGE...|all", "release a held message"],
      ["queue remove MESSAGE...|all", "remove it without a DSN to the sender"],
    ],
    words: ["list", "show", ...QUEUE_ACTIONS],
    sections: {
      "Options": {
        spool: SPOOL,
        json: JSON_OPTION,
        sort: {
          form: "one",
          choices: QUEUE_ORDERS,
          help:
            "order of the list: the oldest, the next to try, or the largest first",
          default: "age",
        },
        limit: {
          form: "one",
          word: "N",
          help: "most messages that the list shows; it counts the others",
          default: "all",
        },
        content: {
          form: "flag",
          help:
            "show header and body of one message, unchanged unless on a terminal",
        },
      },
      "Which messages, with list or all": {
        to: {
          form: "many",
          word: "PATTERN",
          help:
            "those that wait for a recipient like this; * is any text, ? any character",
        },
        from: {
          form: "many",
          word: "PATTERN",
          help: 'those of a sender like this; "" is the sender of DSNs',
        },
        domain: {
          form: "many",
          word: "NAME",
          help:
            "those that wait for a recipient in this domain, as *.example.com",
        },
        older: {
          form: "one",
          word: "TIME",
          help: "those that have waited longer, as 3d or 90m",
        },
        held: {
          form: "flag",
          word: "[=no]",
          help: "those that are held, or with =no those that are not",
        },
      },
    },
    // The server's own domains, as any setting of it, are no choice of messages.
    ownOptions: ["to", "from", "domain", "older", "held"],
    notes:
      "Options of several kinds all have to fit; of one kind one has to. retry all leaves held messages held, unless --held chooses them.",
    examples: [
      [
        "queue list --domain example.com --sort next",
        "what waits for a domain",
      ],
      ["queue retry all --domain example.com", "try all of it at once"],
      [
        "queue remove all --from 'news@*' --older 3d",
        "remove old mail of a sender",
      ],
      ["queue show q7x2 --content", "read a message"],
    ],
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
        "trust-ad": TRUST_AD,
        "remote-port": REMOTE_PORT,
        json: {
          ...JSON_OPTION,
          help: "the result of each recipient as one JSON object per line",
        },
      },
    },
    ownOptions: ["user"],
    examples: [
      ["send --to bob@example.org letter.eml", "send a file"],
      [
        "send --server mx.test:587 --user ann:sesame --to bob@example.org -",
        "send standard input through a server",
      ],
    ],
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
        "trust-ad": TRUST_AD,
        json: { ...JSON_OPTION, help: "the answer as a JSON object" },
        ip: {
          form: "one",
          word: "IP",
          help: "with spf: say what holds for this client, too",
        },
        from: {
          form: "one",
          word: "ADDRESS",
          help: "its sender",
          default: "postmaster of the domain",
        },
        helo: {
          form: "one",
          word: "NAME",
          help: "its name in HELO",
          default: "the domain",
        },
        selector: {
          form: "many",
          word: "NAME",
          help: "with dkim: the keys to look at",
        },
      },
    },
    ownOptions: ["from"],
    examples: [
      ["lookup mx example.com", "the mail exchangers of a domain"],
      [
        "lookup spf example.com --ip 192.0.2.1",
        "the hosts that may send for a domain, and what holds for one",
      ],
      ["lookup dmarc example.com", "the policy of a domain, and its faults"],
      [
        "lookup tlsa _25._tcp.mx.example.com",
        "the certificates that DANE takes for a host",
      ],
    ],
    exitCodes:
      "0 found, 1 no such record or a faulty one, 2 wrong usage, 75 no answer.",
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
    examples: [
      [
        "certificate create --name mx.test --cert cert.pem --key key.pem",
        "make a certificate for experiments",
      ],
      ["certificate show cert.pem", "show its names and dates"],
    ],
    exitCodes: "0 done, 1 failure, 2 wrong usage.",
  },
  dkim: {
    brief: [["dkim create|sign|verify ...", "make keys, sign or verify"]],
    calls: [
      [
        "dkim create --domain NAME --out DIR",
        "make keys, and write the records that the DNS needs",
      ],
      [
        "dkim sign FILE|- --dkim DOMAIN:SELECTOR:KEYFILE",
        "write the message with its signatures on top",
      ],
      ["dkim verify FILE|-", "check the signatures of a message"],
    ],
    words: DKIM_COMMANDS,
    takesFile: true,
    sections: {
      "Options of create": {
        domain: { form: "one", word: "NAME", help: "the domain that signs" },
        selector: {
          form: "one",
          word: "NAME",
          help:
            "name of the key in the DNS; that of an Ed25519 key beside an RSA key ends with -ed25519",
          default: "s, the year, a",
        },
        type: {
          form: "one",
          choices: DKIM_TYPES,
          help: "kind of key; all receivers take rsa, of 2048 bits",
          default: "rsa",
        },
        out: {
          form: "one",
          word: "DIR",
          help: "folder for the keys; never replaces a file",
        },
      },
      "Options of sign": {
        dkim: { ...DKIM, help: "a key to sign with" },
      },
      "Options of verify": {
        dns: DNS,
        json: {
          ...JSON_OPTION,
          help: "the result of each signature as one JSON object per line",
        },
      },
    },
    ownOptions: ["domain"],
    examples: [
      [
        "dkim create --domain example.com --type both --out keys",
        "make an RSA key and an Ed25519 key",
      ],
      ["dkim verify letter.eml", "check a message"],
    ],
    exitCodes:
      "0 done or a signature holds, 1 failure or no signature holds, 2 wrong usage, 75 a key could not be had.",
  },
  verify: {
    brief: [["verify FILE|- --ip IP", "say what a message proves"]],
    calls: [[
      "verify FILE|- --ip IP [--from ADDRESS] [--helo NAME]",
      "check SPF, DKIM, DMARC and ARC of a message, and write the field that the server would add",
    ]],
    takesFile: true,
    sections: {
      "Options": {
        ip: { form: "one", word: "IP", help: "the client that sent it" },
        from: {
          form: "one",
          word: "ADDRESS",
          help: "its sender in MAIL FROM",
          default: "the null sender",
        },
        helo: {
          form: "one",
          word: "NAME",
          help: "the client's name in HELO",
          default: "none",
        },
        "authserv-id": {
          form: "one",
          word: "NAME",
          help: "the name in the field",
          default: "localhost",
        },
        dns: DNS,
        json: { ...JSON_OPTION, help: "the results as a JSON object" },
      },
    },
    ownOptions: ["from", "authserv-id"],
    examples: [[
      "verify letter.eml --ip 192.0.2.1 --from ann@example.com",
      "what the server would say of a letter",
    ]],
    exitCodes:
      "0 the message is vouched for, 1 it is not, 2 wrong usage, 75 an answer did not come.",
  },
  verifier: {
    brief: [["verifier NAME", "make a line for --users"]],
    calls: [[
      "verifier NAME",
      "make a line for --users from a secret on standard input",
    ]],
    sections: {},
    examples: [["verifier ann < secret >> users", "add an account"]],
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
    examples: [[
      "completion fish > ~/.config/fish/completions/smtp-server.fish",
      "complete command lines in fish",
    ]],
    exitCodes: "0 done, 2 wrong usage.",
  },
  man: {
    brief: [["man [COMMAND]", "write a manual page"]],
    calls: [[
      "man [COMMAND]",
      "write the manual page of the program or of a command, for man(1)",
    ]],
    sections: {},
    examples: [
      ["man > /usr/local/share/man/man8/smtp-server.8", "install the page"],
      ["man queue | man -l -", "read that of a command"],
    ],
    exitCodes: "0 done, 2 wrong usage.",
  },
};

/** The options of a command, without the options of every command. */
export function optionsOf(command: CommandName): Options {
  return Object.assign({}, ...Object.values(COMMANDS[command].sections));
}

/**
 * The options of a command that a variable may set, and for `serve` all that a
 * file may set: those of the server, unless they mean something else here.
 */
export function sharedOptions(command: CommandName): Options {
  const own = COMMANDS[command].ownOptions ?? [];
  const server = optionsOf("serve");
  return Object.fromEntries(
    Object.entries(optionsOf(command))
      .filter(([name]) => Object.hasOwn(server, name) && !own.includes(name)),
  );
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
