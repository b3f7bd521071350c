/**
 * What the command line cannot use: the error behind exit code 2, and the texts
 * of `--help`.
 */

import { printable } from "../log.ts";

/** A wrong use of the command line; its message is the one line that the user gets. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}

/** A text as one line: what a user gave, or a library said, may have several. */
export function oneLine(text: string): string {
  return printable(text);
}

/** What the command line was asked for cannot be done; its message is the one line, the exit code 1. */
export class RunError extends Error {
  override readonly name: string = "RunError";
}

/** The text of `--help`. */
export const HELP = `SMTP server

  cli.ts [serve] [options]     receive mail
  cli.ts certificate create|show ...
                               make or inspect a certificate
  cli.ts queue list|show|retry|hold|release|remove [MESSAGE|all]
         [--spool DIR] [--json]
                               see and change what waits to be relayed, also
                               beside a running server
  cli.ts lookup mx|a|aaaa|ptr|txt NAME [--dns IP[:PORT]] [--json]
                               ask the DNS as the server does; exit code 1
                               without such records, 75 without an answer
  cli.ts send [--server HOST:PORT[/smtps|/starttls|/none]] --from ADDRESS
         --to ADDRESS [--user NAME:SECRET]
         [--mechanisms NAMES] [--no-chunking] [--dns IP[:PORT]] FILE|-
                               send a message at once, without --server to the
                               recipients' own; exit code 75 if somebody was
                               refused for now, 69 if somebody was for good
  cli.ts verifier NAME         make a line for --users from a secret on standard
                               input

Where
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
  --no-chunking                content by DATA alone, never by BDAT
  --spool DIR                  where it waits; default ./spool
  --dns IP[:PORT]              repeatable; name servers; default the system's
  --retry "SCHEDULE"           default "30s 2m 5m 15m 30m 1h 2h 4h"; the last
                               one repeats
  --expire TIME                return it after this; default 5d
  --bounce-from ADDRESS        sender of notices; default MAILER-DAEMON at the
                               hostname
  --remote-port PORT           port of other servers, for tests; default 25
  --allow-loopback             send where MX records lead to 127.0.0.1 and the
                               like, for tests
Limits
  --max-size BYTES             largest message; default 52428800, 0 for no limit
  --max-recipients N           of a message; default 1000
  --max-connections N          at once; default 10000
  --max-connections-per-ip N   at once of one address; default 50; 0 means no
                               limit, here and in what follows
  --connections-per-minute N   new ones of one address; default 300
  --messages-per-minute N      of one address; default 600
  --recipients-per-minute N    of one address; default 5000
  --bytes-per-minute BYTES     of one address; default 1073741824
  --exempt CIDR|none           repeatable; networks without limits per address;
                               default 127.0.0.0/8 and ::1
  --max-errors N               of a session; default 10
  --timeout SECONDS            wait for a whole command; default 300
Output
  --log text|json              records on standard error; default text
  --quiet                      no first screen, only warnings and errors
  --config FILE.json           the same names in camelCase; options win over it
  --version
  --help

An option without a value is on; =no, =false, =off or =0 turns it off.

Exit code: 0 stopped by SIGINT or SIGTERM, 1 failure, 2 wrong usage.
`;
