/**
 * The options of `serve`, under their titles. Those of the limits come from the
 * table of limits.
 */

import {
  LIMITS,
  type LimitTable,
  LOG_FORMS,
  type NumberLimit,
  USER_LIMITS,
} from "../server/mod.ts";
import {
  BARE_NEWLINES,
  CHUNKING,
  DEFAULT_LISTEN,
  DEFAULT_STORE,
  DKIM,
  DNS,
  EARLY_TALKERS,
  HOSTNAME,
  LOG_LEVELS,
  LONG_LINES,
  ON_TEMPORARY,
  type Option,
  type Options,
  POLICIES,
  REMOTE_PORT,
  SENDER_POLICIES,
  SPOOL,
  STATUS,
  TLS_POLICIES,
  TRUST_AD,
  VERIFY,
} from "./option.ts";

const LISTENING: Options = {
  listen: {
    form: "many",
    word: "HOST:PORT[/KIND]|unix:PATH[/KIND]",
    help:
      "a port, or a unix socket of mode 0660; KIND is smtp, submission or lmtp, or smtps or submissions with TLS from the first byte; without KIND smtp; port 0 takes a free port",
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
      "lmtp:HOST:PORT": "the server there, by LMTP",
      "lmtp:unix:PATH": "the server at a socket, by LMTP",
      discard: "keep nothing",
    },
    default: DEFAULT_STORE,
  },
  quota: {
    form: "one",
    word: "SIZE",
    help:
      "what each Maildir may hold, as 1G; a full one refuses mail with 452 until there is room",
    default: "no limit",
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
  aliases: {
    form: "one",
    word: "FILE",
    help:
      "file of aliases, one NAME: ADDRESS, ADDRESS per line; @DOMAIN is a catch-all; reread on change",
    isReloaded: true,
  },
  "recipient-delimiter": {
    form: "one",
    word: "CHAR",
    help: "with +, mail to ann+shop goes to the mailbox of ann",
    isReloaded: true,
  },
  "local-recipients": {
    form: "one",
    word: "FILE",
    help:
      "file of the mailboxes that exist, one address or local part per line; others are refused; reread on change",
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
      "file of accounts, one NAME:SECRET per line; SECRET in plain text or from the command verifier; ! alone, or before a verifier, disables the account; reread on change",
    isReloaded: true,
  },
  "sender-policy": {
    form: "one",
    choices: SENDER_POLICIES,
    help:
      "addresses that users with login may send from, in MAIL and header: any, or their own",
    default: "any",
    isReloaded: true,
  },
  senders: {
    form: "one",
    word: "FILE",
    help:
      "file of users' own addresses, NAME: ADDRESS, @DOMAIN... per line; a NAME that is an address needs none; reread on change",
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
      "proxies; their connections must begin with a PROXY header that names the client; unix for those at unix sockets",
    isReloaded: true,
  },
  xclient: {
    form: "many",
    word: "CIDR",
    help:
      "proxies that may name their client by XCLIENT; unix for those at unix sockets",
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
    help:
      "relay mail from these networks as well; the word unix is for clients of unix sockets",
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
  dkim: DKIM,
  srs: {
    form: "one",
    word: "DOMAIN",
    help:
      "rewrite the sender of mail from outside that leaves again, as by an alias, to an address in DOMAIN, and take bounces there (SRS)",
    default: "senders stay",
  },
  "srs-secret": {
    form: "one",
    word: "FILE",
    help:
      "secrets of --srs, one a line; the first one makes addresses, all are accepted",
  },
  arc: {
    form: "one",
    word: "DOMAIN:SELECTOR:KEYFILE",
    help:
      "seal mail from outside that leaves again with what --verify has found (ARC)",
    default: "no seals",
  },
  chunking: CHUNKING,
  spool: SPOOL,
  dns: DNS,
  "trust-ad": TRUST_AD,
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
  "tls-reports": {
    form: "one",
    word: "FROM",
    help: "sender of reports on TLS to the domains that ask for them",
    default: "no reports",
  },
  "long-lines": {
    form: "one",
    choices: LONG_LINES,
    help: "relayed lines of more than 998 bytes",
    default: "keep",
  },
  "remote-port": REMOTE_PORT,
  "tls-policy": {
    form: "many",
    choices: TLS_POLICIES,
    help:
      "what may demand more of the TLS of other servers: DANE, which needs a validating name server on this machine or --trust-ad, and the MTA-STS policies of domains",
    default: "dane and mta-sts",
  },
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
  if (bytes === 0) return "0";
  const units = [["G", 2 ** 30], ["M", 2 ** 20], ["k", 2 ** 10]] as const;
  if (bytes === 0) return "0";
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
  const limits = [
    ...Object.values(LIMITS) as LimitTable[keyof LimitTable][],
    ...Object.values(USER_LIMITS),
  ];
  for (const limit of limits) {
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

export const TRUST: Options = {
  verify: {
    form: "one",
    choices: VERIFY,
    help:
      "check SPF, DKIM, DMARC and ARC of mail from outside and say the results in Authentication-Results; enforce also refuses what fails a DMARC policy of reject",
    default: "none",
    isReloaded: true,
  },
  "authserv-id": {
    form: "one",
    word: "NAME",
    help: "this server's name in Authentication-Results",
    default: "the hostname",
    isReloaded: true,
  },
  "verify-exempt": {
    form: "many",
    word: "CIDR|none",
    help: "networks whose mail is not checked, as those of gateways",
    default: "127.0.0.0/8, ::1, unix",
    isReloaded: true,
  },
  "verify-temporary": {
    form: "one",
    choices: ON_TEMPORARY,
    help: "mail whose check gets no answer: take it, or have it sent again",
    default: "accept",
    isReloaded: true,
  },
  "trusted-sealer": {
    form: "many",
    word: "DOMAIN",
    help:
      "forwarders whose ARC seal is believed: --verify enforce does not refuse their mail",
    isReloaded: true,
  },
};

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
    help:
      "form of log records on standard error; json is one object per line, postfix what pflogsumm and fail2ban read",
    default: "text",
  },
  "log-level": {
    form: "one",
    choices: LOG_LEVELS,
    help: "the lowest level of log records",
    default: "info for text, debug for json and postfix, warn with --quiet",
  },
  trace: {
    form: "many",
    word: "CIDR",
    help:
      "log the whole dialogue with clients of these networks, without secrets and content",
    isReloaded: true,
  },
  notify: {
    form: "flag",
    word: "[=no]",
    help:
      "report to the service manager that it listens, rereads, stops and lives, as systemd's Type=notify wants; needs --unstable-net",
    default: "where NOTIFY_SOCKET is set",
  },
  quiet: { form: "flag", help: "warnings and errors only, no first screen" },
  status: {
    ...STATUS,
    word: "PATH|none",
    default: "status.sock in the spool; none without a spool",
  },
  check: {
    form: "flag",
    help: "check all settings, report options without effect, and exit",
    key: null,
  },
};
/** The options of `serve` under their titles. */
export const SERVING: Readonly<Record<string, Options>> = {
  "Listeners": LISTENING,
  "Store and handlers": STORING,
  "Accounts and TLS": SECURITY,
  "Behind a proxy": FRONT,
  "Mail trust": TRUST,
  "Relaying": RELAYING,
  "Limits": LIMITING,
  "Output": OUTPUT,
};
