/**
 * The command line of the server. `--help` tells the same as this page.
 *
 * ```sh
 * deno run -A cli.ts --listen 127.0.0.1:2525 --store maildir:./mail
 * ```
 *
 * The first lines on standard output are `listening on HOST:PORT (KIND)`, one a
 * listener, once all of them are up. SIGINT and SIGTERM let the sessions finish
 * for 10 seconds, a second signal ends that. Wrong usage is one line on standard
 * error.
 *
 * An option without a value, as `--relay`, is on; `--relay=no` turns it off, also
 * where the configuration file has turned it on. The words are `yes`, `true`,
 * `on`, `1` and `no`, `false`, `off`, `0`, and anything else is refused. Sizes may
 * have units: `10M` and `10MiB` are 10,485,760 bytes, `10MB` is 10,000,000. So may
 * times: `90s`, `5m`, `1h30m`; `--timeout` without a unit is in seconds.
 *
 * `serve --check` checks all settings without listening: the configuration file,
 * handlers (a function is called, as the start does), certificates, accounts,
 * listeners, threads, and whether store and spool can be written to. It says
 * which options have no effect, as `--smarthost` without `--relay`, and so does a
 * start, as warnings. What is wrong with a configuration file is told as
 * `smtp.json:3: maxSize -1: want ...`.
 *
 * SIGHUP rereads the files, `--config` too. The options that the tables mark with
 * "reload" are in force at once, for sessions that begin then; the log names what
 * wants a restart. Settings that cannot be used leave the old ones in force.
 *
 * A service manager has to start the server itself, as
 * `/usr/bin/deno run -A /srv/smtp/cli.ts --config /srv/smtp/config.json`. Under
 * `npx`, SIGTERM ends a shell in between and does not reach the server, which goes
 * on and keeps its ports.
 *
 * `completion` writes a script for a shell:
 *
 * ```sh
 * smtp-server completion bash > ~/.local/share/bash-completion/completions/smtp-server
 * smtp-server completion zsh > "${fpath[1]}/_smtp-server"
 * smtp-server completion fish > ~/.config/fish/completions/smtp-server.fish
 * ```
 *
 * <!-- options -->
 * ## serve
 *
 * | call | does |
 * |---|---|
 * | `cli.ts [serve] [options]` | receive mail |
 * | `cli.ts serve --check [options]` | check all that can be checked, and end |
 *
 * ### Where
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--listen HOST:PORT[/KIND]` | repeatable; KIND smtp, submission, lmtp, or with TLS from the first byte smtps, submissions; smtp unless told; port 0 takes any free one; default 127.0.0.1:2525/smtp | `listen` |  |
 * | `--hostname NAME` | own name in greeting, EHLO and Received; default this machine's | `hostname` |  |
 *
 * ### What is kept, and where
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--store KIND` | where mail is kept; default maildir:./mail; `maildir:DIR` one Maildir a recipient under DIR; `mbox:DIR` one mbox file a recipient; `mbox:FILE.mbox` all in one mbox file; `file:DIR` one .eml file a message; `discard` nothing is kept | `store` |  |
 * | `--store-owner UID\|any` | repeatable; users whose mailboxes get mail, too; default this process's, root and the owner of the folder | `storeOwner` |  |
 * | `--domain NAME` | repeatable; recipients here are local, others are refused; without any, every recipient is local | `domain` | reload |
 * | `--bare-newlines normalize\|reject\|keep` | content with LF or CR alone: made CRLF and a blank, refused, or stored as it came; default normalize | `bareNewlines` |  |
 * | `--complete[=no]` | add Date, Message-ID and the author's domain where they are missing; default on submission listeners only | `complete` |  |
 * | `--handlers MODULE` | path or URL of a module that default-exports SmtpHandlers, or a function that makes them | `handlers` |  |
 * | `--threads N` | threads that receive, all on the same ports; default 0: one for all | `threads` |  |
 *
 * ### Which clients may send, and how it is protected
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--user NAME:SECRET` | repeatable; an account | `user` | reload |
 * | `--users FILE` | accounts, a NAME:SECRET a line; SECRET plain or what the command verifier makes | `users` | reload |
 * | `--auth none\|allowed\|required` | log-in; submission listeners always require it; default allowed with accounts | `auth` | reload |
 * | `--allow-insecure-auth` | log-in without TLS | `allowInsecureAuth` | reload |
 * | `--cert FILE` | repeatable; certificate chain in PEM, chosen by server name; reread on change and on SIGHUP | `cert` | reload |
 * | `--key FILE` | repeatable; its key in PEM, where the chain's file has none | `key` | reload |
 * | `--self-signed` | a certificate made for this run | `selfSigned` | reload |
 * | `--security none\|allowed\|required` | STARTTLS; default allowed with a certificate | `security` |  |
 *
 * ### What stands in front
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--proxy-protocol CIDR` | repeatable; connections from there must begin with a PROXY header that tells the client | `proxyProtocol` | reload |
 * | `--xclient CIDR` | repeatable; clients there may say by XCLIENT which client they speak for | `xclient` | reload |
 *
 * ### What goes elsewhere
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--relay` | take mail for other domains from clients that have logged in; without --domain, all of it | `relay` |  |
 * | `--relay-from CIDR` | repeatable; take it from these networks, too | `relayFrom` |  |
 * | `--smarthost HOST:PORT[/smtps\|/starttls\|/none]` | repeatable; send all of it there; tried in order | `smarthost` |  |
 * | `--smarthost-user NAME:SECRET` | log in there, over verified TLS unless /none | `smarthostUser` |  |
 * | `--smarthost-mechanisms NAMES` | to log in with, in the order to try them, as "PLAIN LOGIN"; default all, the strongest first | `smarthostMechanisms` |  |
 * | `--chunking=no` | content by DATA alone, never by BDAT | `chunking` |  |
 * | `--spool DIR` | where mail waits to be relayed; default ./spool | `spool` |  |
 * | `--dns IP[:PORT]` | repeatable; name servers; default the system's | `dns` |  |
 * | `--retry "SCHEDULE"` | waits between tries, as 30s 5m\*3 1h\*12 4h; the last one repeats; default "30s 2m 5m 15m 30m 1h 2h 4h" | `retry` |  |
 * | `--expire TIME` | return it after this; default 5d | `expire` |  |
 * | `--bounce-from ADDRESS` | sender of notices; default MAILER-DAEMON at the hostname | `bounceFrom` |  |
 * | `--long-lines keep\|encode` | lines of over 998 bytes on their way out; default keep | `longLines` |  |
 * | `--remote-port PORT` | port of other servers, for tests; default 25 | `remotePort` |  |
 * | `--allow-loopback` | send where MX records lead to 127.0.0.1 and the like, for tests | `allowLoopback` |  |
 *
 * ### Limits
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--max-connections N` | sessions at once; default 10000 | `maxConnections` | reload |
 * | `--max-connections-per-ip N` | sessions at once of one address; 0 for no limit; default 50 | `maxConnectionsPerIp` | reload |
 * | `--connections-per-minute N` | new connections of one address; 0 for no limit; default 300 | `connectionsPerMinute` | reload |
 * | `--messages-per-minute N` | messages of one address; 0 for no limit; default 600 | `messagesPerMinute` | reload |
 * | `--recipients-per-minute N` | recipients of one address; 0 for no limit; default 5000 | `recipientsPerMinute` | reload |
 * | `--bytes-per-minute SIZE` | bytes from one address; 0 for no limit; default 1G | `bytesPerMinute` | reload |
 * | `--max-size SIZE` | largest message; 0 for no limit; default 50M | `maxSize` | reload |
 * | `--max-recipients N` | recipients of a message; default 1000 | `maxRecipients` | reload |
 * | `--max-errors N` | errors of a session; 0 for no limit; default 10 | `maxErrors` | reload |
 * | `--timeout TIME` | wait for a whole command, in seconds without a unit; default 300 | `timeout` | reload |
 * | `--exempt CIDR\|none` | repeatable; networks without limits per address; default 127.0.0.0/8, ::1/128 | `exempt` | reload |
 * | `--early-talkers refuse\|allow` | clients that speak before the greeting; exempt networks may; default refuse | `earlyTalkers` | reload |
 *
 * ### Output
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--log text\|json` | records on standard error; json is an object a line; default text | `log` |  |
 * | `--quiet` | no first screen, only warnings and errors | `quiet` |  |
 * | `--check` | check files, handlers, accounts, listeners, store and spool, and end; say which options have no effect |  |  |
 *
 * SIGHUP rereads the files, --config too, and says what wants a restart.
 * Exit code: 0 stopped by SIGINT or SIGTERM, 1 failure, 2 wrong usage.
 *
 * ## queue
 *
 * | call | does |
 * |---|---|
 * | `cli.ts queue [list]` | what waits to be relayed, also beside a running server |
 * | `cli.ts queue show MESSAGE\|all` | all that is known of a message |
 * | `cli.ts queue retry MESSAGE\|all` | try it at once |
 * | `cli.ts queue hold MESSAGE\|all` | do not try it until it is released |
 * | `cli.ts queue release MESSAGE\|all` | end that |
 * | `cli.ts queue remove MESSAGE\|all` | forget it, without a notice to the sender |
 *
 * ### Options
 *
 * | option | means |
 * |---|---|
 * | `--spool DIR` | where mail waits to be relayed; default ./spool |
 * | `--json` | an object a line in place of text |
 *
 * Exit code: 0 done, 1 failure or no such message, 2 wrong usage.
 *
 * ## send
 *
 * | call | does |
 * |---|---|
 * | `cli.ts send --to ADDRESS FILE\|-` | send a message at once; - is standard input |
 *
 * ### Options
 *
 * | option | means |
 * |---|---|
 * | `--to ADDRESS` | repeatable; a recipient |
 * | `--from ADDRESS` | the sender; "" for the null address; default the account of --user, or this user at this machine |
 * | `--server HOST:PORT[/smtps\|/starttls\|/none]` | where to send it; default the servers of the recipients' domains |
 * | `--user NAME:SECRET` | log in to --server |
 * | `--mechanisms NAMES` | to log in with, in the order to try them |
 * | `--chunking=no` | content by DATA alone, never by BDAT |
 * | `--hostname NAME` | own name in EHLO; default this machine's |
 * | `--dns IP[:PORT]` | repeatable; name servers; default the system's |
 * | `--remote-port PORT` | port of other servers, for tests; default 25 |
 *
 * Exit code: 0 taken for all, 69 refused for some, 75 refused for now for some, 1 failure, 2 wrong usage.
 *
 * ## lookup
 *
 * | call | does |
 * |---|---|
 * | `cli.ts lookup mx\|a\|aaaa\|ptr\|txt NAME` | ask the DNS as the server does |
 *
 * ### Options
 *
 * | option | means |
 * |---|---|
 * | `--dns IP[:PORT]` | repeatable; name servers; default the system's |
 * | `--json` | the answer as an object |
 *
 * Exit code: 0 found, 1 no such record, 2 wrong usage, 75 no answer.
 *
 * ## certificate
 *
 * | call | does |
 * |---|---|
 * | `cli.ts certificate create --name NAME [--name ...] --cert FILE --key FILE` | make a self-signed certificate and its key |
 * | `cli.ts certificate show FILE` | tell what is in a certificate |
 *
 * ### Options of create
 *
 * | option | means |
 * |---|---|
 * | `--name NAME` | repeatable; a host name or IP address it is for |
 * | `--cert FILE` | where the certificate is written; a file that exists stays |
 * | `--key FILE` | where its key is written; a file that exists stays |
 * | `--days N` | how long it is valid; default 365 |
 * | `--algorithm ecdsa-p256\|rsa-2048\|ed25519` | of the key; default ecdsa-p256 |
 * | `--request` | a request for a certificate in place of one |
 *
 * Exit code: 0 done, 1 failure, 2 wrong usage.
 *
 * ## verifier
 *
 * | call | does |
 * |---|---|
 * | `cli.ts verifier NAME` | make a line for --users from a secret on standard input |
 *
 * Exit code: 0 done, 1 failure, 2 wrong usage.
 *
 * ## completion
 *
 * | call | does |
 * |---|---|
 * | `cli.ts completion bash\|zsh\|fish [PROGRAM]` | write a script for the shell that completes the command lines of PROGRAM; default smtp-server |
 *
 * Exit code: 0 done, 2 wrong usage.
 *
 * ## Options of every command
 *
 * | option | means |
 * |---|---|
 * | `--config FILE.json` | settings of the server, by the names of its options in camelCase; options win over it |
 * | `--version, -v` | the version of this program |
 * | `--help, -h` | this text |
 *
 * An option without a value is on; =no, =false, =off or =0 turns it off. Sizes may end in k, M or G (KiB, MiB, GiB), times in ms, s, m, h or d.
 * <!-- end of options -->
 *
 * @module
 */

import manifest from "./deno.json" with { type: "json" };
import { serve } from "./lib/cli/serve.ts";
import { flag, parseArguments, type RawSettings } from "./lib/cli/arguments.ts";
import { atItsPlace, placedSettings } from "./lib/cli/config_file.ts";
import { type CommandName, COMMON, optionsOf } from "./lib/cli/options.ts";
import { helpOf } from "./lib/cli/help.ts";
import { certificate } from "./lib/cli/certificate.ts";
import { completion } from "./lib/cli/completion.ts";
import { lookup } from "./lib/cli/lookup.ts";
import { queue } from "./lib/cli/queue.ts";
import { send } from "./lib/cli/send.ts";
import { verifier } from "./lib/cli/security.ts";
import {
  complaint,
  hint,
  processOutput,
  RunError,
  UsageError,
} from "./lib/cli/output.ts";

/** Carries out a command with the words and options that it was given. */
type Run = (args: readonly string[], given: RawSettings) => Promise<number>;

/** The options of the server, for the file that \`--config\` names. */
const SERVER = optionsOf("serve");

/** Runs a command that takes its settings once, from the server's file too. */
function withConfig(
  run: (
    args: readonly string[],
    raw: RawSettings,
    output: typeof processOutput,
  ) => Promise<number>,
  /** Settings that mean something else in the server's file. */
  others: readonly string[] = [],
): Run {
  return async (args, given) => {
    const { raw: all, places } = await placedSettings(given, SERVER);
    const raw = new Map(
      [...all].filter(([name]) => given.has(name) || !others.includes(name)),
    );
    try {
      return await run(args, raw, processOutput);
    } catch (error) {
      throw atItsPlace(error, places);
    }
  };
}

/** The commands by their names. */
const RUNS: Readonly<Record<CommandName, Run>> = {
  serve([extra], given) {
    if (extra !== undefined) throw new UsageError(strayWord(extra));
    const read = () => placedSettings(given, SERVER);
    return serve({ read, check: flag(given, "check") }, processOutput);
  },
  certificate: withConfig(certificate),
  queue: withConfig(queue),
  lookup: withConfig(lookup),
  send: withConfig(send, ["user"]),
  verifier: (args) => verifier(args, processOutput),
  completion: (args) => completion(args, processOutput),
};

/** Whether a word is the name of a command. */
function isCommand(word: string): word is CommandName {
  return Object.hasOwn(RUNS, word);
}

/** What is wrong with a word that `serve` has no use for. */
function strayWord(word: string): string {
  return isCommand(word)
    ? `${word}: want the command before its options`
    : unknownCommand(word);
}

function unknownCommand(word: string): string {
  const names = [...Object.keys(RUNS), "help"];
  return `${word.trim() || `"${word}"`}: unknown command${hint(word, names)}`;
}

/** The text that `help` with these words asks for. */
function help([command]: readonly string[]): string {
  if (command === "help") return helpOf();
  if (command !== undefined && !isCommand(command)) {
    throw new UsageError(unknownCommand(command));
  }
  return helpOf(command);
}

/**
 * Runs the command line; resolves with the exit code.
 *
 * @example Ask for the version
 * ```ts
 * import { main } from "@smtp/server/cli";
 *
 * console.assert(await main(["--version"]) === 0);
 * ```
 */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const isNamed = args[0] !== undefined && !args[0].startsWith("-");
    const name = isNamed ? args[0]! : "serve";
    const rest = isNamed ? args.slice(1) : args;
    if (name === "help") {
      const { words } = parseArguments(rest, COMMON);
      return processOutput.out(help(words)), 0;
    }
    if (!isCommand(name)) throw new UsageError(unknownCommand(name));
    const { words, given } = parseArguments(rest, {
      ...optionsOf(name),
      ...COMMON,
    });
    if (flag(given, "help")) {
      return processOutput.out(helpOf(isNamed ? name : undefined)), 0;
    }
    if (flag(given, "version")) {
      return processOutput.out(`@smtp/server ${manifest.version}\n`), 0;
    }
    return await RUNS[name](words, given);
  } catch (error) {
    if (error instanceof RunError) {
      return processOutput.err(`error: ${complaint(error)}\n`), 1;
    }
    if (!(error instanceof UsageError)) throw error;
    processOutput.err(`${complaint(error)}; --help lists the options\n`);
    return 2;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
