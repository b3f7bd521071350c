/**
 * What the command line cannot use: the error behind exit code 2, and the texts
 * of `--help`.
 */

import { printable } from "../log.ts";
import { nearest } from "../spelling.ts";

/** A wrong use of the command line; its message is the one line that the user gets. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}

/** The known name that a mistyped one was meant to be, as a hint behind an error; empty where none is near. */
export function hint(name: string, known: Iterable<string>): string {
  const meant = nearest(name, known);
  return meant === undefined || meant === name
    ? ""
    : ` (did you mean ${meant}?)`;
}

/** A text as one line: what a user gave, or a library said, may have several. */
export function oneLine(text: string): string {
  return printable(text);
}

/** The most characters of a complaint: it may quote what was given. */
const MOST_CHARACTERS = 2000;

/** The message of an error as the one line that the user gets. */
export function complaint(error: Error): string {
  const line = oneLine(error.message);
  return line.length > MOST_CHARACTERS
    ? `${line.slice(0, MOST_CHARACTERS)}...`
    : line;
}

/** Why a file cannot be used, without the call of the platform and the path that it adds. */
export function reasonOf(error: unknown): string {
  return (error as Error).message.replace(/ \(os error \d+\).*/s, "");
}

/** What the command line was asked for cannot be done; its message is the one line, the exit code 1. */
export class RunError extends Error {
  override readonly name: string = "RunError";
}

/** The options of `serve`. */
const OPTIONS = `Where
  --listen HOST:PORT[/KIND]    repeatable; KIND smtp, submission, lmtp, or with
                               TLS from the first byte smtps, submissions;
                               port 0 takes any free one; default
                               127.0.0.1:2525/smtp
  --hostname NAME              own name in greeting, EHLO and Received; default:
                               this machine's
What is kept, and for whom
  --store KIND                 maildir:DIR   one Maildir a recipient under DIR
                               mbox:DIR      one mbox file a recipient
                               mbox:FILE.mbox  all in one mbox file
                               file:DIR      one .eml file a message
                               discard       nothing is kept
                               default maildir:./mail
  --store-owner UID|any        repeatable; users whose mailboxes get mail, too;
                               default: this process's, root and the owner of
                               the folder
  --domain NAME                repeatable; recipients here are local, others are
                               refused; without any, every recipient is local
  --bare-newlines normalize|reject|keep
                               content with LF or CR alone: made CRLF and a
                               blank, refused, or stored as it came; default
                               normalize
  --complete[=no]              add Date, Message-ID and the author's domain
                               where they are missing; default: on submission
                               listeners only
  --handlers MODULE            file that default-exports SmtpHandlers
  --threads N                  threads that receive; default 0: one for all
Who may send, and how it is protected
  --user NAME:SECRET           repeatable; an account
  --users FILE                 accounts, a NAME:SECRET a line; SECRET plain or
                               what the command verifier makes
  --auth none|allowed|required log-in; default allowed with accounts; submission
                               listeners always require it
  --allow-insecure-auth        log-in without TLS
  --cert FILE                  certificate chain in PEM; repeatable, chosen by
                               server name; reread on change and on SIGHUP
  --key FILE                   its key in PEM, where the chain's file has none
  --self-signed                a certificate made for this run
  --security none|allowed|required
                               STARTTLS; default allowed with a certificate
Who stands in front
  --proxy-protocol CIDR        repeatable; connections from there must begin
                               with a PROXY header that tells the client
  --xclient CIDR               repeatable; clients there may say by XCLIENT for
                               whom they speak
What goes elsewhere
  --relay                      take mail for other domains from clients that
                               have logged in; without --domain, all of it
  --relay-from CIDR            repeatable; and from these networks
  --smarthost HOST:PORT[/smtps|/starttls|/none]
                               send all of it there; repeatable, tried in order
  --smarthost-user NAME:SECRET log in there, over verified TLS unless /none
  --smarthost-mechanisms NAMES to log in with, in the order to try them, as
                               "PLAIN LOGIN"; default all, the strongest first
  --chunking=no                content by DATA alone, never by BDAT
  --spool DIR                  where it waits; default ./spool
  --dns IP[:PORT]              repeatable; name servers; default the system's
  --retry "SCHEDULE"           default "30s 2m 5m 15m 30m 1h 2h 4h"; the last
                               one repeats
  --expire TIME                return it after this; default 5d
  --bounce-from ADDRESS        sender of notices; default MAILER-DAEMON at the
                               hostname
  --long-lines keep|encode     lines of over 998 bytes; default keep
  --remote-port PORT           port of other servers, for tests; default 25
  --allow-loopback             send where MX records lead to 127.0.0.1 and the
                               like, for tests
Limits
  --max-size SIZE              largest message; default 50M, 0 for no limit
  --max-recipients N           of a message; default 1000
  --max-connections N          at once; default 10000
  --max-connections-per-ip N   at once of one address; default 50; 0 means no
                               limit, here and in what follows
  --connections-per-minute N   new ones of one address; default 300
  --messages-per-minute N      of one address; default 600
  --recipients-per-minute N    of one address; default 5000
  --bytes-per-minute SIZE      of one address; default 1G
  --exempt CIDR|none           repeatable; networks without limits per address;
                               default 127.0.0.0/8 and ::1
  --early-talkers refuse|allow clients that speak before the greeting; exempt
                               networks may; default refuse
  --max-errors N               of a session; default 10
  --timeout TIME               wait for a whole command, in seconds without a
                               unit; default 300
Output
  --log text|json              records on standard error; default text
  --quiet                      no first screen, only warnings and errors
  --config FILE.json           the same names in camelCase; options win over it
  --version, -v
  --help, -h
`;

/** In which forms options may be given. */
const FORMS =
  `An option without a value is on; =no, =false, =off or =0 turns it off. Sizes may
end in k, M or G (KiB, MiB, GiB), times in ms, s, m, h or d.`;

/** The texts of `COMMAND --help`. */
const HELPS: Readonly<Record<string, string>> = {
  serve: `cli.ts [serve] [options]     receive mail
cli.ts serve --check [options]
                             check all that can be checked, and end

${OPTIONS}
${FORMS}

SIGHUP rereads the files, --config too, and says what wants a restart.
Exit code: 0 stopped by SIGINT or SIGTERM, 1 failure, 2 wrong usage.
`,
  certificate:
    `cli.ts certificate create --name NAME [--name ...] --cert FILE --key FILE
                             make a self-signed certificate and its key
  --name NAME                repeatable; a host name or IP address it is for
  --cert FILE, --key FILE    where they are written; files that exist stay
  --days N                   how long it is valid; default 365
  --algorithm NAME           ecdsa-p256, rsa-2048 or ed25519; default ecdsa-p256
  --request                  a request for a certificate in place of one

cli.ts certificate show FILE tell what is in a certificate

Exit code: 0 done, 1 failure, 2 wrong usage.
`,
  queue:
    `cli.ts queue [list]          what waits to be relayed, also beside a running
                             server
cli.ts queue show MESSAGE|all
                             all that is known of a message
cli.ts queue retry MESSAGE|all
                             try it at once
cli.ts queue hold MESSAGE|all
                             do not try it until it is released
cli.ts queue release MESSAGE|all
                             end that
cli.ts queue remove MESSAGE|all
                             forget it, without a notice to the sender

  --spool DIR                where it waits; default ./spool
  --json                     an object a line
  --config FILE.json         the server's settings

Exit code: 0 done, 1 failure or no such message, 2 wrong usage.
`,
  lookup: `cli.ts lookup mx|a|aaaa|ptr|txt NAME
                             ask the DNS as the server does

  --dns IP[:PORT]            repeatable; name servers; default the system's
  --json                     the answer as an object

Exit code: 0 found, 1 no such record, 2 wrong usage, 75 no answer.
`,
  send: `cli.ts send --to ADDRESS FILE|-
                             send a message at once; - is standard input

  --to ADDRESS               repeatable
  --from ADDRESS             the sender; default the account of --user, or this
                             user at this machine; "" for the null address
  --server HOST:PORT[/smtps|/starttls|/none]
                             where to send it; default the servers of the
                             recipients' domains
  --user NAME:SECRET         log in to --server
  --mechanisms NAMES         to log in with, in the order to try them
  --chunking=no              content by DATA alone, never by BDAT
  --hostname NAME            own name in EHLO; default this machine's
  --dns IP[:PORT]            repeatable; name servers; default the system's
  --remote-port PORT         port of other servers, for tests; default 25

Exit code: 0 taken for all, 69 refused for some, 75 refused for now for some,
1 failure, 2 wrong usage.
`,
  verifier:
    `cli.ts verifier NAME         make a line for --users from a secret on
                             standard input

Exit code: 0 done, 2 wrong usage.
`,
};

/** The text of `--help` without a command. */
const HELP = `SMTP server

  cli.ts [serve] [options]     receive mail
  cli.ts serve --check [options]
                               check the settings, and end
  cli.ts queue list|show|retry|hold|release|remove [MESSAGE|all]
                               see and change what waits to be relayed
  cli.ts send --to ADDRESS FILE|-
                               send a message at once
  cli.ts lookup mx|a|aaaa|ptr|txt NAME
                               ask the DNS as the server does
  cli.ts certificate create|show ...
                               make or inspect a certificate
  cli.ts verifier NAME         make a line for --users
  cli.ts help COMMAND          what a command takes

Options of serve

${OPTIONS}
${FORMS}

Exit code: 0 stopped by SIGINT or SIGTERM, 1 failure, 2 wrong usage.
`;

/** The text of `--help`, of a command where one is named. */
export function helpOf(command?: string): string {
  return command === undefined ? HELP : HELPS[command]!;
}
