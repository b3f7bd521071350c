/**
 * An SMTP server to put into a program: it receives mail from any client, asks
 * the program which mail to accept, and stores each message safely before it
 * answers 250.
 *
 * ### First minutes
 *
 * ```ts
 * import { MaildirStore, SmtpServer } from "@smtp/server";
 *
 * await using server = new SmtpServer({
 *   listen: "127.0.0.1:0",
 *   domains: ["example.com"],
 *   store: new MaildirStore({ folder: "./mail" }),
 * });
 * await server.start();
 * console.assert(server.addresses[0]!.port > 0);
 * ```
 *
 * This server takes mail for every name in `example.com`, keeps a Maildir for
 * each, and refuses the rest. {@linkcode SmtpServerOptions} describes all options
 * with their defaults. An option that does not exist, or has a value of the wrong
 * kind, is a `TypeError` when the server is made; the message names the option
 * and what was wanted.
 *
 * `server.addresses` has the listeners with the ports that were free,
 * `server.sessions` the connected clients, `server.relays` the queue and
 * `server.dns` the DNS client. `await server.reload({ domains })` changes
 * settings for the sessions that begin later. `server.serve(transport)` runs a
 * session on a connection that came through no listener; `listen: []` opens
 * none. `await server.stop()` takes no new connections, ends sessions without a
 * transaction at once and gives the others 10 seconds (`graceMs`) before 421.
 *
 * This entry point has the server, its handlers and the values that they get.
 * The others have guides of their own: `./store`, `./tls`, `./auth`, `./sasl`,
 * `./queue`, `./client`, `./dns`, `./trust`, `./testing`, `./cli`, and
 * `./smtp-server` for programs that use the npm package of that name.
 *
 * ### Handlers
 *
 * A handler is called at its step of the session. All are optional, and all
 * may be asynchronous. A slow handler delays its own session only; one that
 * never answers ends that session after `limits.handlerTimeoutMs`.
 *
 * | handler                             | is called                                                       |
 * | ----------------------------------- | --------------------------------------------------------------- |
 * | `onConnect`, `onHelo`               | at the start of a session                                       |
 * | `onAuthenticate`                    | at a login, in place of `accounts`                              |
 * | `onMailFrom`, `onRcptTo`            | for the sender, and for each recipient                          |
 * | `onMessageStart`                    | before the content: the last moment to choose `message.store`   |
 * | `onHeaders`                         | when the header is complete                                     |
 * | `onMessage`                         | when the content is complete; the reply is not sent yet         |
 * | `onReset`, `onDisconnect`           | at the end of a transaction without a message, and of a session |
 * | `onCommand`, `onVerify`, `onExpand` | before each command, at VRFY and at EXPN                        |
 * | `onLimit`                           | when a limit has refused something                              |
 * | `onStateChange`, `onDialogue`       | with each state of a session, and each line of it               |
 * | `onRelay...`                        | with each step of mail in the queue                             |
 *
 * One rule holds for all verdicts; {@linkcode SmtpHandlers} has the exceptions:
 *
 * - return nothing, or `true`, to accept;
 * - return `false` to refuse with the standard reply;
 * - return or throw an {@linkcode SmtpReply} or {@linkcode SmtpError} to
 *   choose the reply;
 * - any other error becomes `451 4.3.0` and a log record with its stack.
 *
 * `onAuthenticate` alone refuses unless it returns `true` or a 2xx reply.
 * {@linkcode SILENT_ALLOW} and {@linkcode SILENT_DENY} say that the handler
 * has sent its own reply with `session.send()`.
 *
 * ```ts
 * import { redirect, type SmtpHandlers, SmtpReply, SmtpServer } from "@smtp/server";
 *
 * const handlers: SmtpHandlers = {
 *   onMailFrom: (_session, address) => address.domain !== "spam.example",
 *   onRcptTo({ envelope, remoteAddress }, address) {
 *     console.log(remoteAddress, envelope?.from, envelope?.recipients.length);
 *     if (address.localPart === "moved") return redirect("ann@example.org");
 *     if (address.localPart === "full") {
 *       return new SmtpReply(452, "Mailbox full", { enhanced: "4.2.2" });
 *     }
 *   },
 *   async onMessage(_session, message) {
 *     return !(await message.text()).includes("lottery");
 *   },
 * };
 * const server = new SmtpServer({ handlers });
 * console.assert(!server.active);
 * ```
 *
 * `session.envelope` has what the client has said of the message so far, from
 * `onRcptTo` on. `session.tag` and `message.tag` keep a value of the program.
 *
 * ### Recipients and aliases
 *
 * Without further options every name in a local domain is a mailbox. `aliases`
 * sends the mail of names elsewhere, `localRecipients` says which mailboxes
 * exist, and `recipientDelimiter` delivers `ann+shop@` to `ann@`:
 *
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 *
 * const server = new SmtpServer({
 *   domains: ["example.com", "example.net"],
 *   localRecipients: ["ann@example.com", "bob@example.com"],
 *   recipientDelimiter: "+",
 *   aliases: {
 *     // Several, some of them elsewhere: the queue takes these.
 *     "info@example.com": ["ann@example.com", "carl@example.org"],
 *     // In every local domain; the target is in the same domain.
 *     "webmaster": "info",
 *     // All other names of a domain, and a domain that equals another.
 *     "@example.com": "bob@example.com",
 *     "@example.net": "@example.com",
 *   },
 * });
 * console.assert(!server.active);
 * ```
 *
 * Unknown names get 550 5.1.1, full mailboxes 452 4.2.2; `postmaster` is always
 * accepted. `message.recipients` has the mailboxes, and `recipient.original` what
 * the client said. A handler decides by {@linkcode redirect}; {@linkcode
 * AliasTable} reads a file. The page `examples/recipients.md` has the order
 * in which all of this is asked.
 *
 * ### Users
 *
 * Clients log in with `accounts` and a `certificate`: there is no login without
 * TLS. `./auth` is the guide to accounts and `onAuthenticate`.
 *
 * ```ts
 * import { AccountList, Certificate, SmtpServer } from "@smtp/server";
 *
 * const server = new SmtpServer({
 *   listen: [":25", ":587/submission"],
 *   certificate: await Certificate.selfSigned({ names: ["mx.example.com"] }),
 *   accounts: new AccountList({
 *     "ann@example.com": "secret",
 *     shop: { secret: "other secret", addresses: ["@shop.example"] },
 *     carl: { secret: "third secret", disabled: true },
 *   }),
 *   senderPolicy: "own",
 *   limits: { perUser: { messagesPerDay: 500, bytesPerDay: 1_000_000_000 } },
 *   handlers: {
 *     onLimit({ username }, limit) {
 *       console.warn("Is the password stolen?", username, limit);
 *     },
 *   },
 * });
 * console.assert(!server.active);
 * ```
 *
 * Each user has limits, counted over all sessions and threads: without an option
 * 60 messages and 300 recipients a minute, 2,000 messages and 10,000 recipients a
 * day. They bound what a stolen password can send. Beyond them MAIL and RCPT get
 * 450 4.7.28; once a minute the log has a warning and `onLimit` is called. With a
 * spool folder the counts of the day survive a restart. {@linkcode
 * UserLimitOptions} has the details. `senderPolicy: "own"` lets users send from
 * their own addresses only, in MAIL and in the header. The aliases that lead to
 * an address are its user's as well; catch-alls are not.
 *
 * ### Change a message
 *
 * From the cheapest way to the dearest:
 *
 * - {@linkcode Message.prepend} puts a field on top, above the Received field of
 *   this server. It does not touch the content.
 * - `headers.set()`, `.add()` and `.remove()` edit the headers that `onHeaders`
 *   gets, or `message.headers` in `onMessage`, until the handler returns.
 *   Everywhere else an edit throws.
 * - {@linkcode Message.replace} takes another content: text, bytes, or a stream
 *   that may be made from `message.stream()` while it is read.
 *
 * {@linkcode MessageHeaders} reads fields as they are (`get`) or as a reader sees
 * them: `text()` decodes encoded words, `addresses()` lists, `date()` dates.
 *
 * ```ts
 * import type { SmtpHandlers } from "@smtp/server";
 *
 * const handlers: SmtpHandlers = {
 *   onMessage(session, message) {
 *     const { headers } = message;
 *     message.prepend("X-Checked-By", `mx.example.com for ${session.remoteAddress}`);
 *     const [author] = headers.addresses("From");
 *     if (author?.address.endsWith("@example.com")) return;
 *     headers.set("Subject", `[External] ${headers.text("Subject") ?? ""}`);
 *   },
 * };
 * console.assert(handlers.onMessage !== undefined);
 * ```
 *
 * A message that no handler edits is kept byte for byte. An edit or a new content
 * breaks the sender's signature (DKIM); a field on top with a name of its own
 * does not.
 *
 * ### Domains
 *
 * `domains: ["a.example", "b.example"]` are alike. A record gives each its own
 * store, its own limit of size, aliases and mailboxes, and its own way out; what a
 * domain does not say is the server's. {@linkcode DomainOptions} has the details.
 *
 * ```ts
 * import { MaildirStore, SmtpServer } from "@smtp/server";
 *
 * const server = new SmtpServer({
 *   domains: {
 *     "a.example": { store: new MaildirStore({ folder: "./mail/a" }) },
 *     "b.example": {
 *       store: new MaildirStore({ folder: "./mail/b" }),
 *       maxSize: 5_000_000,
 *       localRecipients: ["bob", "carl"],
 *       aliases: { info: "bob, carl" },
 *       relay: { smarthosts: ["smtp.example.net:587"] },
 *     },
 *   },
 *   relay: { allow: "authenticated", spool: "./spool" },
 * });
 * console.assert(!server.active); // await server.reload({ domains });
 * ```
 *
 * Store and size go by the domain of the recipient, the smarthost and its login by
 * the domain of the user: `bob@b.example` sends by way of `smtp.example.net`,
 * wherever the mail goes. {@linkcode DomainOptions} says what becomes of a message
 * for both domains.
 *
 * ### Storing
 *
 * A store keeps each message before its 250: {@linkcode MaildirStore}, {@linkcode
 * MboxStore}, {@linkcode FileStore}, {@linkcode MemoryStore}, and in `./store`
 * those that write to a stream, keep nothing, or hand mail to Dovecot by LMTP. A
 * store of your own is an object with one method. A handler chooses another store
 * for one message by `message.store`, several, or with `[]` none.
 *
 * ```ts
 * import { Address, MaildirStore, type SmtpHandlers, SmtpServer } from "@smtp/server";
 * import { LmtpStore } from "@smtp/server/store";
 *
 * const store = new MaildirStore({ folder: "./mail", quota: 1_000_000_000 });
 * console.log("Her mail is in", store.folderOf(Address.parse("ann@example.com")));
 *
 * const dovecot = new LmtpStore({ path: "/run/dovecot/lmtp" });
 * const handlers: SmtpHandlers = {
 *   onMessageStart(_session, message) {
 *     if (message.from.domain === "example.com") message.store = dovecot;
 *   },
 * };
 * const server = new SmtpServer({ store, handlers });
 * console.assert(!server.active);
 * ```
 *
 * ### Relaying
 *
 * Relaying is off: recipients outside `domains` get 550 5.7.1. With the option
 * `relay`, clients that have logged in, or come from networks of `relay.from`,
 * may send anywhere. A handler sends a message on by `server.relays.add()`,
 * whatever `relay` allows, with other recipients or another sender if need be:
 *
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 *
 * const recipients = ["carl@example.org", "dora@example.net"];
 * const server = new SmtpServer({
 *   domains: ["lists.example.com"],
 *   relay: { spool: "./spool" },
 *   handlers: {
 *     async onMessage(_session, message) {
 *       const from = "team-owner@example.com"; // DSNs go there.
 *       await server.relays.add(message, { from, recipients });
 *     },
 *   },
 * });
 * console.assert(server.relays.count === 0);
 * ```
 *
 * `server.relays.add({ from, to, data })` queues a message of the program's own:
 * {@linkcode OutgoingMail}. The queue survives crashes; `./queue` is the guide to
 * it.
 *
 * ### Mail trust
 *
 * `verify` says which domain vouches for mail from outside (SPF, DKIM, DMARC,
 * ARC), in `message.authentication` and in an Authentication-Results field; `dkim`
 * signs the mail of users. What other domains demand of TLS, by DANE and MTA-STS,
 * is obeyed without an option; `relay.reports` tells them how it went.
 *
 * ```ts
 * import { MaildirStore, SmtpServer } from "@smtp/server";
 * import { DkimPrivateKey } from "@smtp/server/trust";
 *
 * const key = await DkimPrivateKey.generate("rsa"); // Or PEM text from a file.
 * const junk = new MaildirStore({ folder: "./junk" });
 * const server = new SmtpServer({
 *   domains: ["example.com"],
 *   verify: { dmarc: "enforce" }, // 550 where the author's domain wants it.
 *   dkim: { domain: "example.com", selector: "s2026a", key },
 *   relay: {
 *     allow: "authenticated",
 *     spool: "./spool",
 *     policies: ["dane", "mta-sts"], // The default.
 *     reports: { from: "tls-reports@example.com" },
 *   },
 *   handlers: {
 *     onMessage(_session, message) {
 *       const { result, policy } = message.authentication?.dmarc ?? {};
 *       if (result === "fail" && policy === "quarantine") message.store = junk;
 *     },
 *   },
 * });
 * console.assert(!server.active);
 * ```
 *
 * {@linkcode VerifyOptions} has the details; `./trust` has the checks as functions.
 * The page `examples/mail_trust.md` is the guide: records to publish, change of
 * keys, DANE and its name server.
 *
 * ### Log
 *
 * One record is one event, with the same ids for session, message, queue and
 * recipient in all of them. `log` takes the records, `logLevel` chooses the lowest
 * level, and {@linkcode logLines} writes them as text, as JSON or in Postfix's
 * form. Without `log` warnings and errors go to standard error.
 *
 * ```ts
 * import { logLines, SmtpServer } from "@smtp/server";
 *
 * const server = new SmtpServer({
 *   log: logLines("json"),
 *   logLevel: "info",
 *   trace: ["192.0.2.7"], // The whole dialogue with this client.
 * });
 * console.assert(!server.active);
 * ```
 *
 * No record has a secret or content. The page `examples/log.md` has all events,
 * fields and forms.
 *
 * ### Threads
 *
 * `threads: 2` makes two worker threads accept and serve connections, all on
 * the same ports; the kernel distributes the connections, which Linux alone
 * does. The queue, deliveries and the program stay on the main thread.
 * Handlers may stand in two places and behave the same in both:
 *
 * - `handlers: { ... }` stay on the main thread, with the program's variables
 *   around them. Each call costs some 20 microseconds; sessions that wait for
 *   no call go on meanwhile.
 * - `handlers: new URL("./handlers.ts", import.meta.url)`: every thread loads
 *   the module for itself. Calls cost nothing, but the threads share no
 *   variables.
 *
 * ```ts
 * // handlers.ts
 * import type { HandlerContext, SmtpHandlers } from "@smtp/server";
 *
 * // A module says `export default` in place of `const makeHandlers =`.
 * const makeHandlers = ({ relays }: HandlerContext): SmtpHandlers => ({
 *   onRcptTo: (_session, address) => address.domain === "example.com",
 *   async onMessage(_session, message) {
 *     // To the one queue of the server, from every thread.
 *     await relays.add(message);
 *   },
 * });
 * console.assert(typeof makeHandlers === "function");
 * ```
 *
 * Limits, login budgets, accounts, certificates, `server.sessions`, logs and
 * `reload()` are shared by all threads. Threads write Maildirs and single
 * files themselves; the main thread writes mailbox files and other stores, and
 * gets the content across. A thread that fails is replaced, with a log record:
 * its sessions end, those of the other threads go on, and nothing that was
 * acknowledged is lost.
 *
 * Threads need `--unstable-net`, or `"unstable": ["net"]` in the program's
 * `deno.json`; without it such a server does not start.
 *
 * ### Limits
 *
 * All limits are on, with room for real use; {@linkcode LimitOptions} has each
 * with its default. 0 means no limit; `maxConnections`, `maxRecipients` and the
 * time limits must be greater. Limits for each address count an IPv4 address, or
 * a whole /64 of IPv6. Each reply names its limit, as `421 4.7.0 Too many
 * connections from 192.0.2.1, at most 50`, and each refusal is a `refused` record
 * of the log. Time that a handler or a store takes does not count as the
 * client's. Failed logins have limits of their own, which exempt no network.
 *
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 *
 * const server = new SmtpServer({
 *   limits: { messagesPerMinute: 100, exempt: ["::1", "10.0.0.0/8"] },
 * });
 * console.assert(!server.active);
 * ```
 *
 * A container network makes all clients look like one: name it in
 * `limits.exempt`.
 *
 * ### Behind a proxy
 *
 * A proxy or load balancer hides the client. Name its networks, and limits,
 * log, Received and handlers see the real client again:
 *
 * ```ts
 * import { type SmtpHandlers, SmtpServer } from "@smtp/server";
 *
 * const handlers: SmtpHandlers = {
 *   onConnect({ remoteAddress, proxy }) {
 *     console.log(remoteAddress, "by way of", proxy?.address, proxy?.authority);
 *   },
 * };
 * const server = new SmtpServer({ handlers, proxyProtocol: ["10.0.0.0/24"] });
 * console.assert(!server.active);
 * ```
 *
 * Connections from there must begin with a header of the PROXY protocol,
 * version 1 or 2, before TLS on listeners where TLS comes first. Without a
 * valid header within 5 seconds they are closed. `session.proxy` has the other
 * facts of the header: the server name that the client asked for, the proxy's TLS
 * with it, and every type-length-value vector. In HAProxy:
 *
 * ```
 * listen smtp
 *   mode tcp
 *   bind :25
 *   server mx 10.0.0.2:25 send-proxy-v2 check check-send-proxy
 * ```
 *
 * TLS that ends at the proxy is not this server's: logins need TLS behind the
 * proxy, or `allowInsecureAuth`. Where the proxy itself does not know the
 * client, and in its health checks, the client is the proxy: keep its address
 * out of `relay.from`.
 *
 * A content filter or mail proxy that speaks SMTP names its client by
 * [XCLIENT](https://www.postfix.org/XCLIENT_README.html), if its network is
 * among those of `xclient`. Everything it claims is trusted, including logins.
 * The session then starts over: `onConnect` is called for the new client, which
 * gets a greeting of its own and may send XCLIENT only if its address, too, is
 * among the networks. `session.xclient` has the attributes. Listeners may have
 * networks of their own: `listen: { port: 25, proxyProtocol: [], xclient: [] }`.
 *
 * ### LMTP and unix sockets
 *
 * A listener of the kind `lmtp` speaks LMTP (RFC 2033): LHLO in place of EHLO,
 * and a reply for each recipient after the content. One full mailbox delays no
 * other recipient. Any listener may be a unix socket: `"unix:PATH"` and a kind, or
 * {@linkcode ListenOptions} with `path` and the socket's `mode`, `owner` and
 * `group`.
 *
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import { DiscardStore } from "@smtp/server/store";
 *
 * const folder = await Deno.makeTempDir();
 * await using server = new SmtpServer({
 *   listen: ["127.0.0.1:0", `unix:${folder}/mail.sock/lmtp`],
 *   store: new DiscardStore(),
 * });
 * await server.start();
 * console.assert(server.addresses[1]?.kind === "lmtp");
 * ```
 *
 * The mode, 0660 by default, is the guard of a socket: no limit per address counts
 * its clients, and they may log in without TLS. Their address is `unix`, also in
 * `relay.from`, `proxyProtocol` and `xclient`.
 *
 * ### What holds without any option
 *
 * - No login without TLS. TLS is 1.2 or 1.3. What a client sends before its
 *   handshake is discarded.
 * - Only CRLF ends a command and only CRLF.CRLF ends a message: content cannot
 *   become a command (SMTP smuggling). A bare LF in content becomes CRLF, a
 *   bare CR a space; `bareNewlines: "reject"` refuses the message with 550
 *   5.6.0.
 * - A client that speaks before the greeting gets 554, unless it comes from an
 *   exempt network or `earlyTalkers` is `"allow"`. A client that begins with TLS
 *   there gets 421, and so do HTTP requests and clients that make only errors.
 * - One byte a minute keeps no session open: a command has a time limit as a
 *   whole, content has a minimum rate, and a session without mail has an end.
 * - Every command has its place (503 5.5.1), every parameter is known (555
 *   5.5.4) and well-formed (501 5.5.4), every line has its limit (500 5.5.2).
 * - A size that is too large is refused at MAIL if it is declared, else at the
 *   end (552 5.3.4); recipients beyond the limit get 452 4.5.3.
 * - A refused BDAT chunk is read to its last byte, never as commands. A BDAT
 *   line that does not say how much follows ends the session.
 * - Lines, headers and bodies are bounded in memory; long bodies go to a file.
 * - Text without a header, or behind fields without an empty line, joins no
 *   field: an empty line comes before it. Bcc is removed from submitted mail.
 *   Final delivery writes the one Return-Path.
 * - Relayed content is encoded again: no bare CR or LF, and no dot that another
 *   server would take for an end, leaves the server.
 * - Peers' text stays text: no line, field, part, file name or terminal
 *   command comes of it in stored mail, DSNs, mailboxes or logs.
 * - A client, a handler, a store or another server that never answers is given
 *   up. Setting the machine's clock ends no session and delays no message.
 * - Out of file descriptors, the newest sessions get 421 and the others go on.
 *
 * Extensions: PIPELINING, SIZE, 8BITMIME, BINARYMIME, CHUNKING, SMTPUTF8,
 * ENHANCEDSTATUSCODES, DSN, LIMITS, FUTURERELEASE, DELIVERBY, REQUIRETLS,
 * STARTTLS, AUTH, HELP.
 *
 * @module
 */

export type { RelayingOptions } from "./lib/delivery/options.ts";
export type {
  LogEvent,
  Logger,
  LogLevel,
  LogRecord,
  LogValue,
} from "./lib/log.ts";
export {
  type LogForm,
  logLines,
  type LogLinesOptions,
} from "./lib/logging/log_lines.ts";
export { MessageBody } from "./lib/message/body.ts";
export type { Message, Recipient } from "./lib/message/message.ts";
export type {
  AuthenticationPolicy,
  ListenerSecurity,
  ListenOptions,
} from "./lib/net/listen_options.ts";
export type { SocketAddress, TlsInfo, Transport } from "./lib/net/transport.ts";
export { Address, AddressSyntaxError } from "./lib/protocol/address.ts";
export type { Envelope } from "./lib/protocol/envelope.ts";
export type { ExtensionKeyword } from "./lib/protocol/capabilities.ts";
export type { BareNewlinePolicy } from "./lib/protocol/data_decoder.ts";
export type { HeaderAddress } from "./lib/protocol/header_decoding.ts";
export { MessageHeaders } from "./lib/protocol/headers.ts";
export type { ListenerKind } from "./lib/protocol/listener_kind.ts";
export type {
  MailParameters,
  RcptParameters,
} from "./lib/protocol/parameters.ts";
export { type Redirect, redirect } from "./lib/protocol/redirect.ts";
export type { SessionProxy } from "./lib/protocol/proxy_header.ts";
export {
  SmtpError,
  SmtpReply,
  type SmtpReplyOptions,
} from "./lib/protocol/reply.ts";
export type { CloseReason } from "./lib/protocol/server/effects.ts";
export type { DeliverBy } from "./lib/protocol/timing.ts";
export type { XclientAttributes } from "./lib/protocol/xclient.ts";
export type { DeliveryState } from "./lib/queue/job.ts";
export type { OutgoingMail } from "./lib/queue/outgoing.ts";
export type {
  Relay,
  RelayOptions,
  RelayRecipient,
  Relays,
} from "./lib/queue/relay.ts";
export { AccountList } from "./lib/sasl/accounts.ts";
export type { DomainOptions } from "./lib/server/domain_options.ts";
export type {
  ListeningAddress,
  ReloadOptions,
  SmtpServerOptions,
} from "./lib/server/options.ts";
export type { ServeOptions, StopOptions } from "./lib/server/call_options.ts";
export { SmtpServer } from "./lib/server/server.ts";
export { MessageAuthentication } from "./lib/trust/result.ts";
export type { VerifyOptions } from "./lib/session/verify_options.ts";
export type {
  HandlerContext,
  HandlerModule,
} from "./lib/session/handler_module.ts";
export { AliasTable } from "./lib/session/aliases.ts";
export {
  type DialogueLine,
  DROP,
  type HandlerVerdict,
  type LimitName,
  SILENT_ALLOW,
  SILENT_DENY,
  type SmtpHandlers,
} from "./lib/session/handlers.ts";
export type { LimitOptions } from "./lib/session/limit_options.ts";
export type { UserLimitOptions } from "./lib/session/user_limit_options.ts";
export type { SessionState } from "./lib/protocol/server/state.ts";
export type { SmtpSession } from "./lib/session/session.ts";
export { FileStore } from "./lib/store/file_store.ts";
export { MaildirStore } from "./lib/store/maildir_store.ts";
export { MboxStore } from "./lib/store/mbox_store.ts";
export { MemoryStore } from "./lib/store/memory_store.ts";
export { Certificate } from "./lib/tls/certificate.ts";
