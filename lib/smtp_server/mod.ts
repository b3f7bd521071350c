/**
 * The class `SMTPServer` of the npm package smtp-server, on this server: a
 * program changes its import and nothing else.
 *
 * ```ts
 * import { SMTPServer } from "@smtp/server/smtp-server";
 *
 * const server = new SMTPServer({
 *   authOptional: true,
 *   onData(stream, session, callback) {
 *     console.log(session.envelope.rcptTo);
 *     stream.resume().on("end", () => callback());
 *   },
 * });
 * server.listen(0, "127.0.0.1", () => server.close());
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
 *
 * Not served, with a `TypeError` that says why: `useXForward`, `pfx`,
 * `SNICallback`, `secureContext`, `ciphers`, `maxCommandLength`,
 * `hideREQUIRETLS: false`. The methods `connect()` and those of the class
 * SMTPConnection are not there: {@linkcode SmtpServer.serve} takes connections
 * that came through no listener.
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
