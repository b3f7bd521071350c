/**
 * Sending mail: a client for SMTP and LMTP, with STARTTLS, authentication,
 * pipelining, CHUNKING, SMTPUTF8 and DSN.
 *
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import { SmtpClient } from "@smtp/server/client";
 * import { DiscardStore } from "@smtp/server/store";
 *
 * await using server = new SmtpServer({
 *   listen: "127.0.0.1:0",
 *   store: new DiscardStore(),
 * });
 * await server.start();
 *
 * await using client = await SmtpClient.connect({
 *   host: "127.0.0.1",
 *   port: server.addresses[0]!.port,
 * });
 * const { recipients } = await client.send({
 *   from: "me@client.example",
 *   to: ["you@example.com"],
 *   data: "Subject: hello\r\n\r\nIt works.\r\n",
 * });
 * console.assert(recipients[0]?.accepted === true);
 * ```
 *
 * A refused recipient is part of the result; a failure of the session is an
 * {@linkcode SmtpClientError} with the reply and the step. The option
 * `security` says how much TLS the session must have: `"none"`,
 * `"opportunistic"`, `"required"` or `"verified"`; the default is
 * `"opportunistic"`, and `"verified"` with a `login`. A login is sent only over
 * TLS, unless `allowInsecureAuth` says otherwise.
 *
 * `path` in place of `host` and `port` is a unix socket, and `lmtp: true` speaks
 * LMTP, as with Dovecot. Without further options `SmtpClient.connect()` takes the
 * text `"mail.example.com:25"`.
 *
 * Content is a string, bytes, a stream, or a function that opens a stream. Lines
 * get CRLF and dots on the way, never a bare CR or LF; content in 8 bits is
 * converted for servers that take 7 only. `longLines: "encode"` does the same for
 * lines of more than 998 bytes.
 *
 * @module
 */

export { type SendResult, type SentRecipient, SmtpClient } from "./client.ts";
export { type ClientStage, SmtpClientError } from "./error.ts";
export type { SendOptions } from "./message.ts";
export type { Login, NextHop, TlsSecurity } from "./next_hop.ts";
export type {
  ClientProgress,
  PeerCertificate,
  SmtpClientOptions,
} from "./options.ts";
export type { ClientTimeouts } from "./session.ts";
export {
  ClientCapabilities,
  type ClientLimits,
} from "../protocol/client/capabilities.ts";
