/**
 * The class `SMTPServer` of the npm package smtp-server, on this server: a
 * program changes its import and nothing else.
 *
 * ```ts
 * import { once } from "node:events";
 * import { SMTPServer } from "@smtp/server/smtp-server";
 *
 * const server = new SMTPServer({
 *   authOptional: true,
 *   onData(stream, session, callback) {
 *     console.log(session.envelope.rcptTo);
 *     stream.resume().on("end", () => callback());
 *   },
 * });
 * await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
 * await new Promise<void>((done) => server.close(done));
 * ```
 *
 * ### What differs
 *
 * The server is stricter, and its defaults stay:
 *
 * - `onData` is called when the content is complete. Until then it is in memory,
 *   or in a file if it is long.
 * - A message larger than `size` gets 552 from the server, and `onData` is not
 *   called. `hideSize` leaves the decision to `stream.sizeExceeded`.
 * - `stream` never holds more than a chunk in memory; `destroy()` ends the reading,
 *   and an error of the stream that the program does not answer is 451.
 * - A bare LF in content becomes CRLF, a bare CR a space. Bcc fields of clients
 *   that logged in are removed.
 * - A client that sends before the greeting gets 554, unless it is of this
 *   machine.
 * - The limits of the server hold: 1000 recipients, numbers of connections and
 *   failed logins of one address, times.
 * - Without `cert` the certificate is made for each run; there is no built-in
 *   key that everyone knows.
 * - A refused XOAUTH2 token gets the error of RFC 7628 in place of `data`.
 * - A connection that breaks off is no event `error`; a callback that throws is
 *   451 and not the end of the process.
 * - With `hideSTARTTLS` there is no STARTTLS at all.
 * - After XCLIENT `onConnect` is called again, for the client that it names.
 * - `session.disabledCommands` refuses commands; EHLO lists what it listed, and a
 *   login that is required stays so.
 *
 * Not served, with a `TypeError` that says why: `useXForward`, `pfx`,
 * `SNICallback`, `secureContext`, `ciphers`, `sigalgs`, `crl`, `pskCallback`,
 * `secureProtocol`, `secureOptions`, versions of TLS other than 1.2 and 1.3,
 * `maxCommandLength`. Other options of `node:tls` and
 * `node:net` have no effect. The members `connect()`, `logger` and
 * `secureContext` are not there, nor those of the class SMTPConnection beside
 * facts and `close()`: {@linkcode SmtpServer.serve} takes connections that came
 * through no listener. `server.server` has `address()`, `listening` and events.
 *
 * @module
 */

export { SMTPServer } from "./server.ts";
export type {
  ms,
  SMTPServerAddress,
  SMTPServerAddressArgs,
  SMTPServerAuthentication,
  SMTPServerAuthenticationMethod,
  SMTPServerAuthenticationResponse,
  SMTPServerCallback,
  SMTPServerCallbacks,
  SMTPServerConnection,
  SMTPServerConnectionInfo,
  SMTPServerDataResult,
  SMTPServerDataStream,
  SMTPServerEnvelope,
  SMTPServerEnvelopeDSN,
  SMTPServerError,
  SMTPServerLogger,
  SMTPServerOptions,
  SMTPServerRecipientDSN,
  SMTPServerResolver,
  SMTPServerSecureSocket,
  SMTPServerSession,
} from "./types.ts";
