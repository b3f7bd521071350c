/**
 * The command line of the server. `--help` has the same options as this page.
 *
 * ```sh
 * deno run -A jsr:@smtp/server/cli --listen 127.0.0.1:2525 --store maildir:./mail
 * ```
 *
 * In a checkout the program is `cli.ts`, as in the tables below. `cli.ts help
 * COMMAND` describes one command. A server of a domain, with aliases, accounts and
 * relaying for its users:
 *
 * ```sh
 * deno run -A jsr:@smtp/server/cli --listen :25 --listen :587/submission \
 *   --domain example.com --aliases aliases --local-recipients mailboxes \
 *   --store maildir:/var/mail/vhosts --quota 1G \
 *   --cert cert.pem --key key.pem --users users --sender-policy own \
 *   --relay --spool spool
 * ```
 *
 * Once all listeners are open, the server writes a line
 * `listening on HOST:PORT (KIND)` for each to standard output. After SIGINT or
 * SIGTERM it lets the sessions finish for 10 seconds; a second signal ends them at
 * once. Wrong usage is one line on standard error.
 *
 * ## Settings
 *
 * An option without a value, as `--relay`, is on. `--relay=no` turns it off, even
 * if the configuration file has turned it on. The words are `yes`, `true`, `on`,
 * `1` and `no`, `false`, `off`, `0`; any other word is wrong usage. Sizes may have
 * units: `10M` and `10MiB` are 10,485,760 bytes, `10MB` is 10,000,000. Times may
 * have units as well: `90s`, `5m`, `1h30m`; `--timeout` without a unit is in
 * seconds.
 *
 * `--config FILE.json` has the same options by their names in camelCase. Every one
 * of them may come from the environment as well: `SMTP_` and its name, as
 * `SMTP_MAX_SIZE` for `--max-size` and `SMTP_CONFIG` for `--config`. The command
 * line goes before the environment, and that before the file; an empty variable
 * does not count. Blanks or commas separate the values of a repeatable option, as
 * in `SMTP_LISTEN=":25 :587/submission"`. A text with a line end has one value a
 * line, so that any value can be written, and files and accounts always stand one
 * a line. Errors name the variable, never the secret in it; a variable that no
 * option has is a warning with the nearest name. `status`, `queue`, `send` and
 * `lookup` take the variables of the options that they share with the server, as
 * `SMTP_SPOOL`. Without the permission to read a variable the program does without
 * it and does not ask.
 *
 * `serve --check` checks all settings without listening: the configuration file,
 * handlers (it calls a function, as the start does), certificates, accounts,
 * aliases, listeners, threads, and whether store and spool can be written to. It
 * reports options without effect, as `--smarthost` without `--relay`; a start logs
 * them as warnings. An error in a configuration file reads
 * `smtp.json:3: maxSize -1: want ...`.
 *
 * SIGHUP rereads the files, including `--config`. The options that the tables mark
 * with "reload" apply at once, to sessions that begin from then on; the log names
 * the options that need a restart. If a setting is not valid, the old settings
 * stay in force.
 *
 * ## Accounts, certificates, aliases
 *
 * A certificate for experiments, and a line for `--users` without a password in
 * it, for a secret that comes on standard input:
 *
 * ```sh
 * deno run -A cli.ts certificate create --name mx.example.com --cert cert.pem --key key.pem
 * echo secret | deno run -A cli.ts verifier ann@example.com >> users
 * ```
 *
 * Keys for DKIM, with the records for the DNS; the server signs with them once it
 * has them, and `dkim verify` checks a message that has arrived elsewhere:
 *
 * ```sh
 * deno run -A cli.ts dkim create --domain example.com --type both --out keys
 * deno run -A cli.ts --relay --users users --self-signed \
 *   --dkim example.com:s2026a:keys/example.com.s2026a.pem
 * deno run -A cli.ts dkim verify letter.eml
 * ```
 *
 * `--verify report` says in a field, and in the log, which domain vouches for mail
 * from outside; `verify FILE` says it of a message in a file, and `lookup` explains
 * the records of a domain. `examples/mail_trust.md` is the guide.
 *
 * `examples/recipients.md` has the form of the files of `--aliases`,
 * `--local-recipients` and `--senders`.
 *
 * ## A running server
 *
 * A service manager must start the server itself, as
 * `/usr/bin/deno run -A /srv/smtp/cli.ts --config /srv/smtp/config.json`. Under
 * `npx`, SIGTERM ends a shell in between and does not reach the server, which goes
 * on and keeps its ports. `examples/deploy/` has a unit of systemd and a
 * Dockerfile.
 *
 * `status` asks the server that runs on a spool for its sessions, rates and queue
 * by destination; its exit code serves as a health check. The server answers on
 * the socket `status.sock` in the spool, mode 0600, or on that of `--status`. It
 * reads nothing from there. A server without a spool answers only with `--status`.
 * The rates are counted from log records; with `--quiet` they are made for that,
 * and not written.
 *
 * `queue` chooses messages by `--to`, `--from`, `--domain`, `--older` and `--held`,
 * to list them or, with `all`, to act on them. Patterns are globs: `*` is any text,
 * `?` any character. On many messages of a running server an action may take some
 * seconds. `queue show MESSAGE --content` writes the message unchanged, or at a
 * terminal without what a terminal obeys.
 *
 * The log goes to standard error; `examples/log.md` has its events.
 *
 * ## Manual pages and completion
 *
 * `man` writes a manual page, of the program or of a command. `completion` writes a
 * script for a shell; it completes commands, options, their values, and the names
 * of messages in the spool:
 *
 * ```sh
 * smtp-server man > /usr/local/share/man/man8/smtp-server.8
 * smtp-server man queue > /usr/local/share/man/man8/smtp-server-queue.8
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
 * | `cli.ts serve --check [options]` | check the settings and exit |
 *
 * ### Listeners
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--listen HOST:PORT[/KIND]\|unix:PATH[/KIND]` | repeatable; a port, or a unix socket of mode 0660; KIND is smtp, submission or lmtp, or smtps or submissions with TLS from the first byte; without KIND smtp; port 0 takes a free port; default 127.0.0.1:2525/smtp | `listen` |  |
 * | `--hostname NAME` | name of this host in greeting, EHLO and Received; default this machine's | `hostname` |  |
 *
 * ### Store and handlers
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--store KIND` | where to keep mail; default maildir:./mail; `maildir:DIR` a Maildir in DIR per recipient; `mbox:DIR` an mbox file per recipient; `mbox:FILE.mbox` one mbox file for all mail; `file:DIR` an .eml file per message; `lmtp:HOST:PORT` the server there, by LMTP; `lmtp:unix:PATH` the server at a socket, by LMTP; `discard` keep nothing | `store` |  |
 * | `--quota SIZE` | what each Maildir may hold, as 1G; a full one refuses mail with 452 until there is room; default no limit | `quota` |  |
 * | `--store-owner UID\|any` | repeatable; further users whose mailboxes get mail; default this process's, root and the owner of the folder | `storeOwner` |  |
 * | `--domain NAME` | repeatable; a local domain; recipients elsewhere are refused; without this option every recipient is local | `domain` | reload |
 * | `--aliases FILE` | file of aliases, one NAME: ADDRESS, ADDRESS per line; @DOMAIN is a catch-all; reread on change | `aliases` | reload |
 * | `--recipient-delimiter CHAR` | with +, mail to ann+shop goes to the mailbox of ann | `recipientDelimiter` | reload |
 * | `--local-recipients FILE` | file of the mailboxes that exist, one address or local part per line; others are refused; reread on change | `localRecipients` | reload |
 * | `--bare-newlines normalize\|reject\|keep` | bare LF and CR in content: replace LF by CRLF and CR by a space, refuse the message, or keep them; default normalize | `bareNewlines` |  |
 * | `--complete[=no]` | add Date, Message-ID and the author's domain if they are missing; default on submission listeners only | `complete` |  |
 * | `--handlers MODULE` | path or URL of a module whose default export is SmtpHandlers, or a function that makes them | `handlers` |  |
 * | `--threads N` | worker threads that receive, all on the same ports; default 0: the main thread receives | `threads` |  |
 *
 * ### Accounts and TLS
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--user NAME:SECRET` | repeatable; an account | `user` | reload |
 * | `--users FILE` | file of accounts, one NAME:SECRET per line; SECRET in plain text or from the command verifier; ! alone, or before a verifier, disables the account; reread on change | `users` | reload |
 * | `--sender-policy any\|own` | addresses that users with login may send from, in MAIL and header: any, or their own; default any | `senderPolicy` | reload |
 * | `--senders FILE` | file of users' own addresses, NAME: ADDRESS, @DOMAIN... per line; a NAME that is an address needs none; reread on change | `senders` | reload |
 * | `--auth none\|allowed\|required` | login; submission listeners always require it; default allowed with accounts | `auth` | reload |
 * | `--allow-insecure-auth` | allow login without TLS | `allowInsecureAuth` | reload |
 * | `--cert FILE` | repeatable; certificate chain in PEM, chosen by server name; reread on change | `cert` | reload |
 * | `--key FILE` | repeatable; its key in PEM, if the file of the chain has no key | `key` | reload |
 * | `--self-signed` | make a certificate for this run | `selfSigned` | reload |
 * | `--security none\|allowed\|required` | STARTTLS; default allowed with a certificate | `security` |  |
 *
 * ### Behind a proxy
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--proxy-protocol CIDR` | repeatable; proxies; their connections must begin with a PROXY header that names the client; unix for those at unix sockets | `proxyProtocol` | reload |
 * | `--xclient CIDR` | repeatable; proxies that may name their client by XCLIENT; unix for those at unix sockets | `xclient` | reload |
 *
 * ### Mail trust
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--verify none\|report\|enforce` | check SPF, DKIM, DMARC and ARC of mail from outside and say the results in Authentication-Results; enforce also refuses what fails a DMARC policy of reject; default none | `verify` | reload |
 * | `--authserv-id NAME` | this server's name in Authentication-Results; default the hostname | `authservId` | reload |
 * | `--verify-exempt CIDR\|none` | repeatable; networks whose mail is not checked, as those of gateways; default 127.0.0.0/8, ::1, unix | `verifyExempt` | reload |
 * | `--verify-temporary accept\|defer` | mail whose check gets no answer: take it, or have it sent again; default accept | `verifyTemporary` | reload |
 * | `--trusted-sealer DOMAIN` | repeatable; forwarders whose ARC seal is believed: --verify enforce does not refuse their mail | `trustedSealer` | reload |
 *
 * ### Relaying
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--relay` | relay mail for other domains from authenticated clients; without --domain, all mail | `relay` |  |
 * | `--relay-from CIDR` | repeatable; relay mail from these networks as well; the word unix is for clients of unix sockets | `relayFrom` |  |
 * | `--smarthost HOST:PORT[/smtps\|/starttls\|/none]` | repeatable; next hop of all relayed mail; several are tried in order | `smarthost` |  |
 * | `--smarthost-user NAME:SECRET` | login at the smarthost, over verified TLS unless /none | `smarthostUser` |  |
 * | `--smarthost-mechanisms NAMES` | SASL mechanisms of that login, in the order to try, as "PLAIN LOGIN"; default all, the strongest first | `smarthostMechanisms` |  |
 * | `--dkim DOMAIN:SELECTOR:KEYFILE` | repeatable; sign relayed mail of users and --relay-from, and DSNs, of authors in DOMAIN, with a key that the command dkim makes; several for a domain make a signature each | `dkim` | reload |
 * | `--srs DOMAIN` | rewrite the sender of mail from outside that leaves again, as by an alias, to an address in DOMAIN, and take bounces there (SRS); default senders stay | `srs` |  |
 * | `--srs-secret FILE` | secrets of --srs, one a line; the first one makes addresses, all are accepted | `srsSecret` |  |
 * | `--arc DOMAIN:SELECTOR:KEYFILE` | seal mail from outside that leaves again with what --verify has found (ARC); default no seals | `arc` |  |
 * | `--chunking=no` | send content by DATA only, never by BDAT | `chunking` |  |
 * | `--spool DIR` | folder of the mail that waits for relaying; default ./spool | `spool` |  |
 * | `--dns IP[:PORT]` | repeatable; name servers; default the system's | `dns` |  |
 * | `--trust-ad` | believe name servers on other machines that they have validated answers (DNSSEC) | `trustAd` |  |
 * | `--retry "SCHEDULE"` | waits between attempts, as 30s 5m\*3 1h\*12 4h; the last one repeats; default "30s 2m 5m 15m 30m 1h 2h 4h" | `retry` |  |
 * | `--expire TIME` | age at which a message bounces; default 5d | `expire` |  |
 * | `--bounce-from ADDRESS` | sender of DSNs; default MAILER-DAEMON at the hostname | `bounceFrom` |  |
 * | `--tls-reports FROM` | sender of reports on TLS to the domains that ask for them; default no reports | `tlsReports` |  |
 * | `--long-lines keep\|encode` | relayed lines of more than 998 bytes; default keep | `longLines` |  |
 * | `--remote-port PORT` | port of the other servers, for tests; default 25 | `remotePort` |  |
 * | `--tls-policy dane\|mta-sts\|none` | repeatable; what may demand more of the TLS of other servers: DANE, which needs a validating name server on this machine or --trust-ad, and the MTA-STS policies of domains; default dane and mta-sts | `tlsPolicy` |  |
 * | `--allow-loopback` | relay to loopback addresses that MX records name, for tests | `allowLoopback` |  |
 *
 * ### Limits
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--max-connections N` | sessions at once; default 10000 | `maxConnections` | reload |
 * | `--max-connections-per-ip N` | sessions at once from one address; 0 for no limit; default 50 | `maxConnectionsPerIp` | reload |
 * | `--connections-per-minute N` | new connections per minute from one address; 0 for no limit; default 300 | `connectionsPerMinute` | reload |
 * | `--messages-per-minute N` | messages per minute from one address; 0 for no limit; default 600 | `messagesPerMinute` | reload |
 * | `--recipients-per-minute N` | recipients per minute from one address; 0 for no limit; default 5000 | `recipientsPerMinute` | reload |
 * | `--bytes-per-minute SIZE` | bytes per minute from one address; 0 for no limit; default 1G | `bytesPerMinute` | reload |
 * | `--max-size SIZE` | size of a message; 0 for no limit; default 50M | `maxSize` | reload |
 * | `--max-recipients N` | recipients of a message; default 1000 | `maxRecipients` | reload |
 * | `--max-errors N` | errors of a session; 0 for no limit; default 10 | `maxErrors` | reload |
 * | `--timeout TIME` | longest wait for a whole command, in seconds without a unit; default 300 | `timeout` | reload |
 * | `--exempt CIDR\|none` | repeatable; networks without limits per address; default 127.0.0.0/8, ::1/128 | `exempt` | reload |
 * | `--user-messages-per-minute N` | messages per minute from one user; 0 for no limit; default 60 | `userMessagesPerMinute` | reload |
 * | `--user-recipients-per-minute N` | recipients per minute from one user; 0 for no limit; default 300 | `userRecipientsPerMinute` | reload |
 * | `--user-messages-per-day N` | messages per day from one user; 0 for no limit; default 2000 | `userMessagesPerDay` | reload |
 * | `--user-recipients-per-day N` | recipients per day from one user; 0 for no limit; default 10000 | `userRecipientsPerDay` | reload |
 * | `--user-bytes-per-day SIZE` | bytes per day from one user; 0 for no limit; default 0 | `userBytesPerDay` | reload |
 * | `--early-talkers refuse\|allow` | clients that send before the greeting; --exempt networks may; default refuse | `earlyTalkers` | reload |
 *
 * ### Output
 *
 * | option | means | in a file | SIGHUP |
 * |---|---|---|---|
 * | `--log text\|json\|postfix` | form of log records on standard error; json is one object per line, postfix what pflogsumm and fail2ban read; default text | `log` |  |
 * | `--log-level debug\|info\|warn\|error` | the lowest level of log records; default info for text, debug for json and postfix, warn with --quiet | `logLevel` |  |
 * | `--trace CIDR` | repeatable; log the whole dialogue with clients of these networks, without secrets and content | `trace` | reload |
 * | `--notify[=no]` | report to the service manager that it listens, rereads, stops and lives, as systemd's Type=notify wants; needs --unstable-net; default where NOTIFY\_SOCKET is set | `notify` |  |
 * | `--quiet` | warnings and errors only, no first screen | `quiet` |  |
 * | `--status PATH\|none` | socket on which the running server answers the command status; default status.sock in the spool; none without a spool | `status` |  |
 * | `--check` | check all settings, report options without effect, and exit |  |  |
 *
 * SIGHUP rereads the files, including --config, and logs the options that need a restart.
 * Exit code: 0 stopped by SIGINT or SIGTERM, 1 failure, 2 wrong usage.
 *
 * ## status
 *
 * | call | does |
 * |---|---|
 * | `cli.ts status` | show sessions, rates and queue of the server that runs on a spool |
 *
 * | option | means |
 * |---|---|
 * | `--spool DIR` | folder of the mail that waits for relaying; default ./spool |
 * | `--status PATH` | socket on which the running server answers the command status; default status.sock in the spool |
 * | `--json` | a JSON object instead of text |
 *
 * Exit code: 0 the server runs, 1 no server runs, it does not answer, or it stops, 2 wrong usage.
 *
 * ## queue
 *
 * | call | does |
 * |---|---|
 * | `cli.ts queue [list]` | list the mail that waits for relaying; the server may be running |
 * | `cli.ts queue show MESSAGE...\|all` | show all facts of a message |
 * | `cli.ts queue retry MESSAGE...\|all` | try it at once |
 * | `cli.ts queue hold MESSAGE...\|all` | do not try it until it is released |
 * | `cli.ts queue release MESSAGE...\|all` | release a held message |
 * | `cli.ts queue remove MESSAGE...\|all` | remove it without a DSN to the sender |
 *
 * | option | means |
 * |---|---|
 * | `--spool DIR` | folder of the mail that waits for relaying; default ./spool |
 * | `--json` | one JSON object per line instead of text |
 * | `--sort age\|next\|size` | order of the list: the oldest, the next to try, or the largest first; default age |
 * | `--limit N` | most messages that the list shows; it counts the others; default all |
 * | `--content` | show header and body of one message, unchanged unless on a terminal |
 *
 * ### Which messages, with list or all
 *
 * | option | means |
 * |---|---|
 * | `--to PATTERN` | repeatable; those that wait for a recipient like this; \* is any text, ? any character |
 * | `--from PATTERN` | repeatable; those of a sender like this; "" is the sender of DSNs |
 * | `--domain NAME` | repeatable; those that wait for a recipient in this domain, as \*.example.com |
 * | `--older TIME` | those that have waited longer, as 3d or 90m |
 * | `--held[=no]` | those that are held, or with =no those that are not |
 *
 * Options of several kinds all have to fit; of one kind one has to. retry all leaves held messages held, unless --held chooses them.
 * Exit code: 0 done, 1 failure or no such message, 2 wrong usage.
 *
 * ## send
 *
 * | call | does |
 * |---|---|
 * | `cli.ts send --to ADDRESS FILE\|-` | send a message at once; - is standard input |
 *
 * | option | means |
 * |---|---|
 * | `--to ADDRESS` | repeatable; a recipient |
 * | `--from ADDRESS` | the sender; "" for the null address; default the account of --user, or this user at this machine |
 * | `--server HOST:PORT[/smtps\|/starttls\|/none]` | server to send to; default the servers of the recipients' domains |
 * | `--user NAME:SECRET` | login at --server |
 * | `--mechanisms NAMES` | SASL mechanisms in the order to try |
 * | `--chunking=no` | send content by DATA only, never by BDAT |
 * | `--hostname NAME` | name of this host in EHLO; default this machine's |
 * | `--dns IP[:PORT]` | repeatable; name servers; default the system's |
 * | `--trust-ad` | believe name servers on other machines that they have validated answers (DNSSEC) |
 * | `--remote-port PORT` | port of the other servers, for tests; default 25 |
 * | `--json` | the result of each recipient as one JSON object per line |
 *
 * Exit code: 0 accepted for all recipients, 69 refused for some, 75 deferred for some, 1 failure, 2 wrong usage.
 *
 * ## lookup
 *
 * | call | does |
 * |---|---|
 * | `cli.ts lookup mx\|a\|aaaa\|ptr\|txt\|tlsa\|spf\|dkim\|dmarc\|mta-sts\|tls-rpt NAME` | ask the DNS as the server does |
 *
 * | option | means |
 * |---|---|
 * | `--dns IP[:PORT]` | repeatable; name servers; default the system's |
 * | `--trust-ad` | believe name servers on other machines that they have validated answers (DNSSEC) |
 * | `--json` | the answer as a JSON object |
 * | `--ip IP` | with spf: say what holds for this client, too |
 * | `--from ADDRESS` | its sender; default postmaster of the domain |
 * | `--helo NAME` | its name in HELO; default the domain |
 * | `--selector NAME` | repeatable; with dkim: the keys to look at |
 *
 * Exit code: 0 found, 1 no such record or a faulty one, 2 wrong usage, 75 no answer.
 *
 * ## certificate
 *
 * | call | does |
 * |---|---|
 * | `cli.ts certificate create --name NAME [--name ...] --cert FILE --key FILE` | make a self-signed certificate and its key |
 * | `cli.ts certificate show FILE` | show the content of a certificate |
 *
 * ### Options of create
 *
 * | option | means |
 * |---|---|
 * | `--name NAME` | repeatable; a host name or IP address of the certificate |
 * | `--cert FILE` | new file for the certificate; never replaces a file |
 * | `--key FILE` | new file for its key; never replaces a file |
 * | `--days N` | days that it is valid; default 365 |
 * | `--algorithm ecdsa-p256\|rsa-2048\|ed25519` | algorithm of the key; default ecdsa-p256 |
 * | `--request` | make a certificate request instead of a certificate |
 *
 * Exit code: 0 done, 1 failure, 2 wrong usage.
 *
 * ## dkim
 *
 * | call | does |
 * |---|---|
 * | `cli.ts dkim create --domain NAME --out DIR` | make keys, and write the records that the DNS needs |
 * | `cli.ts dkim sign FILE\|- --dkim DOMAIN:SELECTOR:KEYFILE` | write the message with its signatures on top |
 * | `cli.ts dkim verify FILE\|-` | check the signatures of a message |
 *
 * ### Options of create
 *
 * | option | means |
 * |---|---|
 * | `--domain NAME` | the domain that signs |
 * | `--selector NAME` | name of the key in the DNS; that of an Ed25519 key beside an RSA key ends with -ed25519; default s, the year, a |
 * | `--type rsa\|ed25519\|both` | kind of key; all receivers take rsa, of 2048 bits; default rsa |
 * | `--out DIR` | folder for the keys; never replaces a file |
 *
 * ### Options of sign
 *
 * | option | means |
 * |---|---|
 * | `--dkim DOMAIN:SELECTOR:KEYFILE` | repeatable; a key to sign with |
 *
 * ### Options of verify
 *
 * | option | means |
 * |---|---|
 * | `--dns IP[:PORT]` | repeatable; name servers; default the system's |
 * | `--json` | the result of each signature as one JSON object per line |
 *
 * Exit code: 0 done or a signature holds, 1 failure or no signature holds, 2 wrong usage, 75 a key could not be had.
 *
 * ## verify
 *
 * | call | does |
 * |---|---|
 * | `cli.ts verify FILE\|- --ip IP [--from ADDRESS] [--helo NAME]` | check SPF, DKIM, DMARC and ARC of a message, and write the field that the server would add |
 *
 * | option | means |
 * |---|---|
 * | `--ip IP` | the client that sent it |
 * | `--from ADDRESS` | its sender in MAIL FROM; default the null sender |
 * | `--helo NAME` | the client's name in HELO; default none |
 * | `--authserv-id NAME` | the name in the field; default localhost |
 * | `--dns IP[:PORT]` | repeatable; name servers; default the system's |
 * | `--json` | the results as a JSON object |
 *
 * Exit code: 0 the message is vouched for, 1 it is not, 2 wrong usage, 75 an answer did not come.
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
 * ## man
 *
 * | call | does |
 * |---|---|
 * | `cli.ts man [COMMAND]` | write the manual page of the program or of a command, for man(1) |
 *
 * Exit code: 0 done, 2 wrong usage.
 *
 * ## Options of every command
 *
 * | option | means |
 * |---|---|
 * | `--config FILE.json` | settings of the server: names of its options in camelCase; an option overrides the file |
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
import {
  atItsPlace,
  placedSettings,
  type SettingSources,
} from "./lib/cli/config_file.ts";
import { processVariables } from "./lib/cli/environment.ts";
import { type CommandName, COMMON } from "./lib/cli/option.ts";
import { COMMANDS, optionsOf, sharedOptions } from "./lib/cli/options.ts";
import { helpOf } from "./lib/cli/help.ts";
import { dkim } from "./lib/cli/dkim.ts";
import { verify } from "./lib/cli/verify.ts";
import { certificate, verifier } from "./lib/cli/security.ts";
import { completion } from "./lib/cli/completion.ts";
import { lookup } from "./lib/cli/lookup.ts";
import { man } from "./lib/cli/man.ts";
import { queue } from "./lib/cli/queue.ts";
import { send } from "./lib/cli/send.ts";
import { status } from "./lib/cli/status.ts";
import {
  complaint,
  hint,
  processOutput,
  RunError,
  UsageError,
} from "./lib/cli/output.ts";

/** Runs a command with its words and options. */
type Run = (args: readonly string[], given: RawSettings) => Promise<number>;

/** The options of the server, for the file of `--config`. */
const SERVER = optionsOf("serve");

/** Where the settings of a command come from, beside the command line. */
function sourcesOf(command: CommandName): SettingSources {
  return {
    options: SERVER,
    byVariable: sharedOptions(command),
    variables: processVariables(SERVER),
  };
}

/** Runs a command that reads its settings once: from the command line, the environment and the server's file. */
function withConfig(
  command: CommandName,
  run: (
    args: readonly string[],
    raw: RawSettings,
    output: typeof processOutput,
  ) => Promise<number>,
): Run {
  return async (args, given) => {
    const sources = sourcesOf(command);
    const { raw: all, places } = await placedSettings(given, sources);
    const others = COMMANDS[command].ownOptions ?? [];
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

/** The commands by name. */
const RUNS: Readonly<Record<CommandName, Run>> = {
  serve([extra], given) {
    if (extra !== undefined) throw new UsageError(strayWord(extra));
    const read = () => placedSettings(given, sourcesOf("serve"));
    const check = flag(given, "check");
    return serve({ read, check, version: manifest.version }, processOutput);
  },
  status: withConfig("status", status),
  certificate: withConfig("certificate", certificate),
  dkim: withConfig("dkim", dkim),
  verify: withConfig("verify", verify),
  queue: withConfig("queue", queue),
  lookup: withConfig("lookup", lookup),
  send: withConfig("send", send),
  verifier: (args) => verifier(args, processOutput),
  completion: (args) => completion(args, processOutput),
  man: (args) => man(args, manifest.version, processOutput),
};

/** Whether a word is the name of a command. */
function isCommand(word: string): word is CommandName {
  return Object.hasOwn(RUNS, word);
}

/** The error text for a word that `serve` does not take. */
function strayWord(word: string): string {
  return isCommand(word)
    ? `${word}: want the command before its options`
    : unknownCommand(word);
}

function unknownCommand(word: string): string {
  const names = [...Object.keys(RUNS), "help"];
  return `${word.trim() || `"${word}"`}: unknown command${hint(word, names)}`;
}

/** The text of `help` with these words. */
function help([command, extra]: readonly string[]): string {
  if (extra !== undefined) {
    throw new UsageError(`${extra}: want help and one command`);
  }
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
