/**
 * An SMTP server to put into a program: it receives mail from any client, asks
 * the program which mail to accept, and stores each message safely before it
 * answers 250.
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
 * This entry point has the server, its handlers and the values that they get.
 * The others are `./store`, `./tls`, `./auth`, `./sasl`, `./queue`,
 * `./client`, `./dns`, `./testing`, `./smtp-server` and `./cli`, each with a
 * guide of its own.
 *
 * An option that does not exist, or has a value of the wrong kind, is a
 * `TypeError` when the server is made; the message names the option and what
 * was wanted. {@linkcode SmtpServerOptions} describes all options with their
 * defaults.
 *
 * ### A running server
 *
 * `server.addresses` has the listeners with the ports that were free,
 * `server.sessions` the connected clients, `server.relays` the queue and
 * `server.dns` the DNS client. `await server.reload({ domains })` changes
 * settings for the sessions that begin later. `server.serve(transport)` runs a
 * session on a connection that came through no listener; `listen: []` opens
 * none. `await server.stop()` takes no new connections, ends sessions without a
 * transaction at once and gives the others 10 seconds (`graceMs`) before 421.
 *
 * ### Handlers
 *
 * A handler is called at its step of the session. All are optional, and all
 * may be asynchronous. A slow handler delays its own session only; one that
 * never answers ends that session after `limits.handlerTimeoutMs`. {@linkcode
 * SmtpHandlers} describes each. In the order of a session they are `onConnect`,
 * `onHelo`, `onAuthenticate`, `onMailFrom`, `onRcptTo`, `onMessageStart` (the
 * last moment to choose `message.store` or `message.filename`), `onHeaders`
 * (edits of the headers are kept), `onMessage` (`message.bytes()`, `.text()` and
 * `.stream()` have the content, edits of `message.headers` are kept; the reply is
 * not sent yet), `onReset` and
 * `onDisconnect`; `onCommand` comes before each command, `onStateChange` with
 * each change of state, `onVerify` and `onExpand` at VRFY and EXPN, and
 * `onRelay...` follow mail in the queue.
 *
 * One rule holds for all answers:
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
 * import { type SmtpHandlers, SmtpReply, SmtpServer } from "@smtp/server";
 *
 * const handlers: SmtpHandlers = {
 *   onMailFrom: (_session, address) => address.domain !== "spam.example",
 *   onRcptTo(_session, address) {
 *     if (address.localPart === "full") {
 *       return new SmtpReply(452, "Mailbox full", { enhanced: "4.2.2" });
 *     }
 *   },
 *   onHeaders(_session, _message, headers) {
 *     headers.set("X-Checked", "yes");
 *   },
 * };
 * const server = new SmtpServer({ handlers });
 * console.assert(!server.active);
 * ```
 *
 * ### Change a message
 *
 * A handler changes a message in the cheapest way that does it:
 *
 * - {@linkcode Message.prepend} puts a field on top, above the Received field of
 *   this server. It never touches the content.
 * - `headers.set()`, `.add()` and `.remove()` edit the header: the headers that
 *   `onHeaders` gets before the content is there, or `message.headers` in
 *   `onMessage`, until the handler returns. Everywhere else an edit throws. A
 *   message that no handler edits is kept byte for byte.
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
 * Signatures cover the bytes of a message: an edit, or a new content, breaks those
 * of the sender (DKIM); a field on top with a name of its own does not.
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
 *       relay: { smarthosts: [{ host: "smtp.example.net", port: 587 }] },
 *     },
 *   },
 *   relay: { allow: "authenticated", spool: "./spool" },
 * });
 * console.assert(!server.active); // await server.reload({ domains });
 * ```
 *
 * Store and size go by the domain of the recipient, the smarthost and its login by
 * the domain of the user: `bob@b.example` sends by way of `smtp.example.net`,
 * wherever the mail goes. A message for both domains is saved in both stores, one
 * after the other. If the second fails, the client repeats the message, but the
 * first has its copy already and gets another one then.
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
 * a whole /64 of IPv6, in less than 64 MiB for a million of them. Each reply names its limit, as `421 4.7.0
 * Too many connections from 192.0.2.1, at most 50`, and each refusal is a
 * `refused` record of the log. Time that a handler or a store takes does not
 * count as the client's. Failed logins have limits of their own, which exempt no
 * network.
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
 * A proxy or a container network makes all clients look like one: name it in
 * `limits.exempt`.
 *
 * ### Limits for each user
 *
 * A client that logs in has further limits, counted by account over all sessions
 * and threads: 60 messages and 300 recipients a minute, 2,000 messages and 10,000
 * recipients a day. They bound what a stolen password can send. Beyond them MAIL
 * and RCPT get 450 4.7.28, `onLimit` is called and the log has a warning, once a
 * minute. With a spool folder the counts of the day survive a restart. {@linkcode
 * UserLimitOptions} has the details. `senderPolicy: "own"` lets users send from
 * their own addresses only, in MAIL and in the header; the aliases that lead to an
 * address are its user's as well, catch-alls are not.
 *
 * ```ts
 * import { AccountList, SmtpServer } from "@smtp/server";
 *
 * const server = new SmtpServer({
 *   senderPolicy: "own",
 *   accounts: new AccountList({
 *     "ann@example.com": "secret",
 *     shop: { secret: "other secret", addresses: ["@shop.example"] },
 *   }),
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
 * valid header within 5 seconds they are closed. Other connections are not
 * affected. `session.proxy` has the other facts of the header: the server name
 * that the client asked for, the proxy's TLS with it, and every
 * type-length-value vector. In HAProxy:
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
 * among those of `xclient`: NAME, ADDR, PORT, PROTO, HELO, LOGIN, DESTADDR and
 * DESTPORT. Everything it claims is trusted, including logins. After XCLIENT
 * the session starts over: `onConnect` is called for the new client, which
 * gets a greeting of its own. It may not send XCLIENT unless its address, too,
 * is among the networks. `session.xclient` has the attributes. Listeners may
 * have networks of their own: `listen: { port: 25, proxyProtocol: [], xclient:
 * [] }`.
 *
 * ### LMTP
 *
 * A listener of the kind `lmtp` speaks LMTP (RFC 2033): LHLO in place of EHLO,
 * and a reply for each recipient after the content. One full mailbox delays no
 * other recipient.
 *
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import { DiscardStore } from "@smtp/server/store";
 *
 * await using server = new SmtpServer({
 *   listen: ["127.0.0.1:0", "127.0.0.1:0/lmtp"],
 *   store: new DiscardStore(),
 * });
 * await server.start();
 * console.assert(server.addresses[1]?.kind === "lmtp");
 * ```
 *
 * ### Aliases, catch-all and unknown users
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
 * At RCPT, in this order: the syntax; the domain, with U-labels or A-labels; the
 * alias of the address, then of the address without its extension; the mailbox;
 * the catch-all; 550 5.1.1 for all others; 452 4.2.2 for a mailbox without room,
 * where the store can say so; `onRcptTo`, with the address as the
 * client said it. A catch-all takes no name that `localRecipients` knows, and no
 * target of an alias; without `localRecipients` it takes all that has no alias.
 * `postmaster` is accepted always. A domain's own aliases are looked up before
 * the server's, name before name and catch-all before catch-all; its own mailboxes
 * take the place of the server's.
 *
 * `session.envelope` and `message.recipients` have the mailboxes, and
 * `recipient.original` what the client said; Received and DSNs name that, too. A
 * mailbox that two recipients lead to gets one copy. An alias may name itself, to
 * keep a copy; other loops are 554 5.4.6. A target that does not exist is left
 * out, and the recipient refused if no other is left; the log warns of both, and
 * of aliases that lead nowhere when the server starts. LMTP replies once for each
 * RCPT, with the worst reply of its mailboxes. The sender of mail that goes
 * elsewhere stays what it is. For aliases in a file, and file
 * format, see {@linkcode AliasTable}; {@linkcode redirect} decides in a handler.
 *
 * ### Relaying
 *
 * Relaying is off: recipients outside `domains` get 550 5.7.1. With the option
 * `relay`, clients that have logged in, or come from networks of `relay.from`,
 * may send anywhere. The guide to it is that of `./queue`.
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
 * ENHANCEDSTATUSCODES, DSN, LIMITS, STARTTLS, AUTH, HELP.
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
export type { XclientAttributes } from "./lib/protocol/xclient.ts";
export type { DeliveryState } from "./lib/queue/job.ts";
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
  ServeOptions,
  SmtpServerOptions,
  StopOptions,
} from "./lib/server/options.ts";
export { SmtpServer } from "./lib/server/server.ts";
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
