/**
 * Relaying: a queue that survives crashes, the spool that it writes to, and
 * the deliveries to other servers.
 *
 * A server relays by the option `relay`. It is off by default: recipients
 * outside `domains` get 550 5.7.1. With it, clients that have logged in, or
 * come from networks of `from`, may send anywhere. Their mail is in the spool
 * before they get 250, and goes to the mail exchangers of each recipient's
 * domain, or to a smarthost. Mail that cannot be delivered is tried again for
 * five days, then returned with a delivery status notification (DSN, RFC
 * 3464). A crash at any point loses nothing that was accepted; at worst a
 * message arrives twice.
 *
 * ```ts
 * import { AccountList, Certificate, MaildirStore, SmtpServer } from "@smtp/server";
 *
 * const server = new SmtpServer({
 *   listen: [":25", ":587/submission"],
 *   domains: ["example.com"],
 *   store: new MaildirStore({ folder: "./mail" }),
 *   certificate: await Certificate.selfSigned({ names: ["mx.example.com"] }),
 *   accounts: new AccountList({ ann: "secret" }),
 *   relay: { allow: "authenticated", spool: "./spool" },
 * });
 * console.assert(server.relays.count === 0); // await server.start();
 * ```
 *
 * {@linkcode RelayingOptions} of the main entry point describes the option:
 * smarthosts and their login, TLS to other servers, the schedule of tries,
 * limits of concurrency, the pool of sessions. Mail for a sender in `domains`
 * that cannot be delivered comes back into the server's own store. Without
 * `spool` the queue is in memory, with a warning.
 *
 * A handler relays a message by `await server.relays.add(message)`; the program
 * queues one of its own by `await server.relays.add({ from, to, data })`. The
 * {@linkcode Relay} that it returns has the state of each recipient and the
 * methods `retry()`, `hold()`, `release()` and `remove()`. The handlers
 * `onRelayStateChange`, `onRelayCertificate`, `onRelayDone` and `onRelayError`
 * follow each delivery; `onRelayError` may return `"hold"` to keep a message
 * in place of a bounce. `onTlsResult` gets what became of the TLS of each
 * connection.
 *
 * ### Routes and tenants
 *
 * The option `domains` of the server gives each domain a way out of its own: the
 * smarthosts, the login and the TLS policy for the mail of its users
 * (`DomainOptions` of the main entry point). A handler may decide for each
 * message: {@linkcode RelayOptions} has the next hops, the login and the sender of
 * one message. All of it is stored with the message and survives a restart.
 *
 * `message.forRecipients()` is the same message for some recipients, without a
 * copy of the content. So one message may go several ways, each with its own
 * fields on top:
 *
 * ```ts
 * import { type SmtpHandlers, SmtpServer } from "@smtp/server";
 *
 * const partner = { host: "mx.partner.example", port: 25 };
 * const handlers: SmtpHandlers = {
 *   async onMessage(_session, message) {
 *     const isPartner = ({ address }: (typeof message.recipients)[number]) =>
 *       address.asciiDomain === "partner.example";
 *     const { true: near = [], false: far = [] } = Object.groupBy(
 *       message.recipients,
 *       (recipient) => `${isPartner(recipient)}`,
 *     );
 *     if (near.length > 0) {
 *       await server.relays.add(message.forRecipients(near), {
 *         smarthosts: [partner],
 *         security: "verified",
 *       });
 *     }
 *     for (const recipient of far) {
 *       const copy = message.forRecipients([recipient]);
 *       copy.prepend("X-Envelope-To", recipient.address.toString());
 *       await server.relays.add(copy, { from: "bounces@example.com" });
 *     }
 *     message.store = []; // The queue has it: no store.
 *   },
 * };
 * const server = new SmtpServer({ handlers, relay: { spool: "./spool" } });
 * console.assert(server.relays.count === 0);
 * ```
 *
 * Each `add` is an entry of its own in the queue: if the second one fails, the
 * handler throws, the client gets 451 and repeats the message, and the first
 * recipients get it twice.
 *
 * On the command line relaying is `--relay`, `--relay-from` and `--smarthost`.
 * `cli.ts queue list|show|retry|hold|release|remove` shows and changes the spool,
 * of a running server within a second; {@linkcode inspectSpool}, {@linkcode
 * spoolContent} and {@linkcode controlSpool} do it from a program.
 *
 * ### A queue without a server
 *
 * {@linkcode RelayQueue} takes a spool and a function that delivers.
 * {@linkcode Delivery} is the function for SMTP; any other may stand in its
 * place: `examples/webhook.ts` posts mail to a URL.
 *
 * ```ts
 * import { MemorySpool, RelayQueue } from "@smtp/server/queue";
 *
 * const queue = new RelayQueue({
 *   spool: new MemorySpool(),
 *   schedule: "10s 1m*5 1h",
 *   deliver: ({ id, from, recipients }) => {
 *     console.log(id, String(from), recipients.length);
 *     return Promise.resolve({ status: "delivered" });
 *   },
 * });
 * console.assert(queue.relays.count === 0);
 * ```
 *
 * @module
 */

export { Delivery } from "../delivery/delivery.ts";
export type {
  DeliveryOptions,
  RelayDns,
  RelayingOptions,
} from "../delivery/options.ts";
export type { ClientPoolOptions } from "../delivery/pool.ts";
export type {
  Deliver,
  DeliveryJob,
  DeliveryPath,
  DeliveryReport,
  DeliveryState,
  RecipientReport,
} from "./job.ts";
export type { RelayHooks, RelayQueueOptions } from "./options.ts";
export type { OutgoingMail } from "./outgoing.ts";
export { RelayQueue } from "./queue.ts";
export type { Relay, RelayOptions, RelayRecipient, Relays } from "./relay.ts";
export { parseDuration, RetrySchedule } from "./schedule.ts";
export { controlSpool, inspectSpool, spoolContent } from "../spool/control.ts";
export type {
  EnvelopeOptions,
  EnvelopeRecipient,
  Progress,
  RecipientAnswer,
  RecipientProgress,
  RecipientResult,
  RecipientStatus,
  RelayRoute,
  SpoolChange,
  SpoolEntry,
  StoredEnvelope,
} from "../spool/envelope.ts";
export { FileSpool, type FileSpoolOptions } from "../spool/file_spool.ts";
export { MemorySpool } from "../spool/memory_spool.ts";
export {
  type Spool,
  type SpoolAction,
  type SpoolAddition,
  SpoolError,
  type SpoolProblem,
  type SpoolRequest,
} from "../spool/spool.ts";
export {
  loadStsPolicy,
  type StsOutcome,
  type StsPolicy,
  type StsPolicyOptions,
} from "../secure_transport/sts_lookup.ts";
export type {
  ForwardingOptions,
  SrsForwarding,
} from "../delivery/forwarding_options.ts";
export type { TlsReportOptions } from "../secure_transport/tls_report_options.ts";
export type {
  TlsFailureType,
  TlsPolicy,
  TlsPolicyType,
  TlsResult,
} from "../secure_transport/tls_result.ts";
