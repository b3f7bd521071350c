/**
 * A program of smtp-server in TypeScript, as those are written against the
 * types of that package: every option, every callback with its types named, a
 * subclass, events, all forms of `listen()`. Only its import is of this server.
 */

import type { AddressInfo } from "node:net";
import type { TlsOptions, TLSSocket } from "node:tls";
import {
  type ms,
  SMTPServer,
  type SMTPServerAddress,
  type SMTPServerAddressArgs,
  type SMTPServerAuthentication,
  type SMTPServerAuthenticationMethod,
  type SMTPServerAuthenticationResponse,
  type SMTPServerConnectionInfo,
  type SMTPServerDataResult,
  type SMTPServerDataStream,
  type SMTPServerEnvelope,
  type SMTPServerEnvelopeDSN,
  type SMTPServerError,
  type SMTPServerOptions,
  type SMTPServerRecipientDSN,
  type SMTPServerResolver,
  type SMTPServerSession,
} from "@smtp/server/smtp-server";

/** What the program has seen, one line each. */
export const seen: string[] = [];

/** A logger in the shape of bunyan. */
const logger = {
  trace(..._params: unknown[]) {},
  debug(..._params: unknown[]) {},
  info(..._params: unknown[]) {},
  warn(..._params: unknown[]) {},
  error(..._params: unknown[]) {},
  fatal(..._params: unknown[]) {},
};

const resolver: SMTPServerResolver = {
  reverse(ip: string, callback) {
    callback(null, [`host-${ip.replaceAll(".", "-")}.example`]);
  },
};

function refuse(text: string, code: number): SMTPServerError {
  const error: SMTPServerError = new Error(text);
  error.responseCode = code;
  return error;
}

/** The options of the program, with the certificates that it has. */
export function options(
  tls: TlsOptions,
  sni: { [servername: string]: TlsOptions } | Map<string, TlsOptions>,
): SMTPServerOptions {
  const socketTimeout: ms = 60_000;
  return {
    ...tls,
    ...{ honorCipherOrder: true, sessionTimeout: 300, minVersion: "TLSv1.2" },
    secure: false,
    secured: false,
    needsUpgrade: false,
    name: "mx.example",
    banner: "Program",
    heloResponse: "%s greets %s",
    size: 1_000_000,
    hideSize: false,
    rejectOversized: true,
    authMethods: ["PLAIN", "LOGIN", "XOAUTH2", "CRAM-MD5"],
    authOptional: true,
    authRequiredMessage: "Log in",
    disabledCommands: ["VRFY"],
    hideSTARTTLS: false,
    hidePIPELINING: false,
    hide8BITMIME: false,
    hideSMTPUTF8: false,
    hideENHANCEDSTATUSCODES: true,
    hideDSN: false,
    hideREQUIRETLS: true,
    allowInsecureAuth: true,
    disableReverseLookup: false,
    resolver,
    sniOptions: sni,
    logger,
    component: "program",
    maxClients: 100,
    useProxy: false,
    ignoredHosts: ["192.0.2.1"],
    useXClient: ["192.0.2.1"],
    useXForward: false,
    lmtp: false,
    socketTimeout,
    closeTimeout: 1,
    maxAllowedUnauthenticatedCommands: false,
    maxRecipients: 100,
    lenientAddressParsing: false,
    requestCert: false,
    rejectUnauthorized: false,
    onConnect(
      session: SMTPServerSession,
      callback: (err?: Error | null) => void,
    ) {
      const host: string = session.clientHostname;
      seen.push(`connect ${host}`);
      callback();
    },
    onSecure(socket, session, callback) {
      const { version } = (socket as TLSSocket).getCipher();
      seen.push(`secure ${version.startsWith("TLS")} ${session.servername}`);
      callback();
    },
    onAuth(
      auth: SMTPServerAuthentication,
      _session: SMTPServerSession,
      callback: (
        err: Error | null | undefined,
        response?: SMTPServerAuthenticationResponse,
      ) => void,
    ) {
      const method: SMTPServerAuthenticationMethod = auth.method;
      seen.push(`auth ${method} ${auth.username} ${auth.password}`);
      if (auth.validatePassword("secret")) {
        return callback(null, { user: auth.username });
      }
      return callback(null, { message: "No", responseCode: 535, data: {} });
    },
    onMailFrom(
      address: SMTPServerAddress,
      session: SMTPServerSession,
      callback: (err?: Error | null) => void,
    ) {
      const args = address.args as SMTPServerAddressArgs;
      const opening: string = session.openingCommand;
      const dsn: SMTPServerEnvelopeDSN | undefined = session.envelope.dsn;
      seen.push(`mail ${address.address} ${args.SIZE} ${opening} ${dsn?.ret}`);
      callback();
    },
    onRcptTo(
      address: SMTPServerAddress,
      _session: SMTPServerSession,
      callback: (err?: Error | null) => void,
    ) {
      const dsn: SMTPServerRecipientDSN | undefined = address.dsn;
      if (address.address.startsWith("deny")) {
        return callback(refuse("Not here", 550));
      }
      seen.push(`rcpt ${address.address} ${dsn?.notify}`);
      return callback();
    },
    onData(
      stream: SMTPServerDataStream,
      session: SMTPServerSession,
      callback: (
        err?: Error | null,
        message?: string | SMTPServerDataResult[],
      ) => void,
    ) {
      const { mailFrom, rcptTo }: SMTPServerEnvelope = session.envelope;
      const from = mailFrom && mailFrom.address;
      stream.resume();
      stream.on("end", () => {
        if (stream.sizeExceeded) return callback(refuse("Too big", 552));
        seen.push(`data ${from} ${rcptTo.length} ${stream.byteLength}`);
        return callback(null, `Kept by ${session.user}`);
      });
    },
    onClose(
      session: SMTPServerSession,
      callback: (err?: Error | null) => void,
    ) {
      const name: string = session.hostNameAppearsAs;
      seen.push(`close ${name} ${session.transmissionType}`);
      callback();
    },
  };
}

/** A server of the program. */
export class Program extends SMTPServer {
  /** Listens on a free port, and calls back with it. */
  begin(done: (port: number) => void): void {
    this.on("error", (error) => seen.push(`error ${error.message}`));
    this.on("connect", (info: SMTPServerConnectionInfo) => {
      seen.push(`event ${info.remoteAddress} ${info.clientHostname}`);
    });
    this.once("close", () => seen.push("event close"));
    this.listen(0, "127.0.0.1", 10, () => {
      done((this.server.address() as AddressInfo).port);
    });
  }

  /** Closes it. */
  end(done: () => void): void {
    for (const connection of this.connections) connection.close();
    this.close(done);
  }
}
