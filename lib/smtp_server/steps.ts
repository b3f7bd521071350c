/**
 * The steps of a session of smtp-server: the handlers that this server calls,
 * and the program's callbacks behind them. Owns the clients of the sessions;
 * listening and closing are the server's.
 */

import { isIP } from "node:net";
import { hostname } from "node:os";
import {
  type HandlerVerdict,
  type Message,
  type SmtpHandlers,
  SmtpReply,
  type SmtpSession,
} from "../../mod.ts";
import type { Credentials } from "../sasl/auth.ts";
import type { DnsClient } from "../dns/mod.ts";
import {
  answerEach,
  authenticationOf,
  called,
  dataStreamOf,
  failed,
  refusalOf,
  type ReplyForm,
  replyOf,
  untilRead,
} from "./callbacks.ts";
import { addressOf, Client } from "./client.ts";
import { disabledCommands, requiresLogin } from "./options.ts";
import type {
  SMTPServerAddress,
  SMTPServerAuthentication,
  SMTPServerAuthenticationResponse,
  SMTPServerCallbacks,
  SMTPServerConnection,
  SMTPServerConnectionInfo,
  SMTPServerDataResult,
  SMTPServerOptions,
  SMTPServerSession,
} from "./types.ts";

/** Milliseconds that a look-up of a client's name may take. */
const REVERSE_MS = 1500;

/** A name in the DNS: its owner may have put any bytes there. */
const HOST_NAME =
  /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$/i;

/** A command that no server knows: it gets 500, and counts as an error. */
const UNKNOWN = "XDISABLED";

/** The program: its options and callbacks, and what it sees of the clients. */
export interface Program extends Required<SMTPServerCallbacks> {
  readonly options: SMTPServerOptions;
  readonly connections: Set<SMTPServerConnection>;
  emit(event: "connect", facts: SMTPServerConnectionInfo): boolean;
}

/** The steps of all sessions of one server. */
export class Steps {
  /** The look-ups of the running server. */
  dns: DnsClient | undefined;
  readonly #program: Program;
  readonly #clients = new WeakMap<SmtpSession, Client>();
  readonly #form: ReplyForm;
  readonly #disabled: ReadonlySet<string>;

  constructor(program: Program) {
    this.#program = program;
    this.#disabled = new Set(disabledCommands(program.options));
    const { hideENHANCEDSTATUSCODES } = program.options;
    this.#form = { enhanced: hideENHANCEDSTATUSCODES === false };
  }

  /** The handlers of the server. */
  handlers(): SmtpHandlers {
    const { options } = this.#program;
    return {
      onConnect: (own) => this.#connected(own),
      onHelo: (own, name) => this.#greeted(own, name),
      onAuthenticate: (own, credentials) => this.#auth(own, credentials),
      onMailFrom: (own, address, parameters) =>
        this.#mail(own, addressOf(address, parameters, options), {
          before: (client) => client.mail(parameters),
        }),
      onRcptTo: (own, address, parameters) =>
        this.#rcpt(own, addressOf(address, parameters, options)),
      onMessage: (own, message) => this.#data(own, message),
      onReset: (own) => this.#clientOf(own).reset(),
      onDisconnect: (own) => {
        const client = this.#clientOf(own);
        this.#program.connections.delete(client);
        this.#program.onClose(client.session, () => {});
      },
      onCommand: (own, line) => this.#command(own, line),
    };
  }

  #clientOf(own: SmtpSession): Client {
    let client = this.#clients.get(own);
    if (client === undefined) {
      client = new Client(own, this.#program.options);
      this.#clients.set(own, client);
    }
    return client;
  }

  async #connected(own: SmtpSession): Promise<HandlerVerdict> {
    const client = this.#clientOf(own);
    const { session } = client;
    this.#program.connections.add(client);
    client.connected();
    session.clientHostname = await this.#nameOf(session);
    const said = await called((callback) =>
      this.#program.onConnect(session, callback)
    );
    if (said.error) return this.#refuse(client, said.error, 554);
    const secured = own.tls && await this.#secured(own, client);
    if (secured !== undefined) return secured;
    // With XCLIENT the client is known by it, or else by its HELO.
    const { useXClient } = this.#program.options;
    if (!useXClient || own.xclient !== undefined) this.#tell(client);
    const { login } = own.xclient ?? {};
    if (login === undefined || login === "[UNAVAILABLE]") return;
    return await this.#claimed(client, login);
  }

  /** Emits `connect`, once for each connection. */
  #tell(client: Client): void {
    if (client.isTold) return;
    client.isTold = true;
    const { id, localAddress, localPort, remoteAddress, remotePort } = client;
    const { hostNameAppearsAs, clientHostname } = client;
    this.#program.emit("connect", {
      ...{ id, localAddress, localPort, remoteAddress, remotePort },
      ...{ hostNameAppearsAs, clientHostname },
    });
  }

  /** The client's name by XCLIENT or in the DNS, else its address in brackets. */
  async #nameOf(
    { remoteAddress, xClient }: SMTPServerSession,
  ): Promise<string> {
    const named = xClient.get("NAME");
    const name = named === undefined
      ? await this.#lookedUp(remoteAddress)
      : named || undefined;
    return name !== undefined && HOST_NAME.test(name)
      ? name.replace(/\.$/, "")
      : `[${remoteAddress}]`;
  }

  /** The first name of an address that a lookup finds in time. */
  async #lookedUp(address: string): Promise<string | undefined> {
    const { disableReverseLookup, resolver } = this.#program.options;
    if (disableReverseLookup || !isIP(address)) return undefined;
    const signal = AbortSignal.timeout(REVERSE_MS);
    try {
      if (resolver !== undefined) {
        const said = await called<string[]>((callback) => {
          signal.onabort = () => callback(new Error("Timeout"));
          resolver.reverse(address, callback);
        });
        return said.value?.[0];
      }
      const found = await this.dns?.ptr(address, { signal });
      return found?.status === "found" ? found.records[0] : undefined;
    } catch {
      return undefined;
    }
  }

  /** Calls `onSecure` once the connection is encrypted; the refusal, if it refuses. */
  async #secured(
    own: SmtpSession,
    client: Client,
  ): Promise<HandlerVerdict> {
    if (client.isAnnounced) return;
    client.isAnnounced = true;
    client.secured();
    const said = await called((callback) =>
      this.#program.onSecure(client.socket, client.session, callback)
    );
    if (!said.error) return;
    const reply = this.#refuse(client, said.error, 421);
    own.close(reply.code === 421 ? reply : undefined);
    return reply;
  }

  /** A login that a proxy claims by XCLIENT. */
  async #claimed(client: Client, username: string): Promise<HandlerVerdict> {
    const said = await this.#asked(client, {
      ...{ method: "XCLIENT", username },
      validatePassword: () => false,
    });
    if (said instanceof SmtpReply) return said;
    client.loggedIn(said);
  }

  async #greeted(own: SmtpSession, name: string): Promise<HandlerVerdict> {
    const client = this.#clientOf(own);
    const refusal = own.tls && await this.#secured(own, client);
    if (refusal !== undefined) return refusal;
    client.greeted(name);
    this.#tell(client);
    const { heloResponse } = this.#program.options;
    if (heloResponse === undefined) return;
    const { clientHostname } = client.session;
    const names = [this.#program.options.name ?? hostname(), clientHostname];
    const text = heloResponse.replaceAll("%s", () => names.shift() ?? "");
    return new SmtpReply(250, text);
  }

  /** Refuses commands that the options disable, and too many without a login. */
  #command(own: SmtpSession, line: string): string {
    const { options } = this.#program;
    const verb = /^\S*/.exec(line)![0].toUpperCase();
    if (this.#isDisabled(own, verb)) return UNKNOWN;
    if (requiresLogin(options) && own.username === undefined) {
      const most = options.maxAllowedUnauthenticatedCommands ?? 10;
      if (verb !== "AUTH" && most !== false) {
        const client = this.#clientOf(own);
        if (++client.commands >= (most || 10)) {
          const text = "Error: too many unauthenticated commands";
          own.close(new SmtpReply(421, text, { enhanced: "4.7.0" }));
          return "";
        }
      }
      const text = options.authRequiredMessage;
      if (typeof text === "string" && /^(?:MAIL|RCPT|DATA)$/.test(verb)) {
        own.send(replyOf(530, text, this.#form).wire);
        return "";
      }
    }
    return options.lenientAddressParsing ? quoted(line) : line;
  }

  /** Whether the session disables a command, or else the options do. */
  #isDisabled(own: SmtpSession, verb: string): boolean {
    const { disabledCommands } = this.#clientOf(own).session;
    if (disabledCommands === undefined) return this.#disabled.has(verb);
    return disabledCommands.some((name) => name.toUpperCase() === verb);
  }

  async #auth(
    own: SmtpSession,
    credentials: Credentials,
  ): Promise<boolean | SmtpReply> {
    const client = this.#clientOf(own);
    const said = await this.#asked(client, authenticationOf(credentials));
    if (said instanceof SmtpReply) return said;
    // Programs of smtp-server see the authorization identity, and decide on it.
    credentials.identity = credentials.authorizationId || credentials.username;
    client.loggedIn(said);
    return true;
  }

  /** Asks `onAuth`; the user, or the refusal. */
  async #asked(
    client: Client,
    auth: SMTPServerAuthentication,
  ): Promise<unknown> {
    const said = await called<SMTPServerAuthenticationResponse>((callback) =>
      this.#program.onAuth(auth, client.session, callback)
    );
    if (said.error) return this.#refuse(client, said.error, 535);
    const { user, message, responseCode } = said.value ?? {};
    if (user) return user;
    const text = message ?? "Error: Authentication credentials invalid";
    return this.#refuse(client, { message: text, responseCode }, 535);
  }

  async #mail(
    own: SmtpSession,
    address: SMTPServerAddress,
    step: { before(client: Client): void },
  ): Promise<HandlerVerdict> {
    const client = this.#clientOf(own);
    step.before(client);
    const said = await called((callback) =>
      this.#program.onMailFrom(address, client.session, callback)
    );
    if (said.error) {
      client.reset();
      return this.#refuse(client, said.error, 550);
    }
    client.session.envelope.mailFrom = address;
  }

  async #rcpt(
    own: SmtpSession,
    address: SMTPServerAddress,
  ): Promise<HandlerVerdict> {
    const client = this.#clientOf(own);
    const said = await called((callback) =>
      this.#program.onRcptTo(address, client.session, callback)
    );
    if (said.error) return this.#refuse(client, said.error, 550);
    client.recipient(address);
  }

  async #data(own: SmtpSession, message: Message): Promise<HandlerVerdict> {
    const client = this.#clientOf(own);
    const { session } = client;
    const stream = dataStreamOf(
      message,
      this.#program.options.size || undefined,
    );
    try {
      const said = await called<
        string | readonly (SMTPServerDataResult | boolean | undefined)[]
      >((callback) => {
        failed(stream, callback);
        return this.#program.onData(stream, session, callback);
      });
      await untilRead(stream);
      if (said.error) return this.#refuse(client, said.error, 450);
      const answer = said.value;
      if (typeof answer === "string") return replyOf(250, answer, this.#form);
      if (typeof answer === "object" && this.#program.options.lmtp) {
        const form = this.#form;
        answerEach(message.recipients, answer, { session, form });
      }
      const done = this.#program.options.lmtp ? "accepted" : "queued";
      return replyOf(250, `OK: message ${done}`, this.#form);
    } finally {
      stream.destroy();
      client.finished();
    }
  }

  #refuse(
    { session }: Client,
    error: { message?: string; responseCode?: unknown },
    code: number,
  ): SmtpReply {
    return refusalOf(error, { code, form: this.#form, session });
  }
}

const PATH = /^((?:MAIL FROM|RCPT TO):\s*<)([^"\s<>@]+)(@[^\s<>@]+>.*)$/i;

/** A command whose local part breaks the rules of dots, with that part in quotes. */
function quoted(line: string): string {
  return line.replace(
    PATH,
    (all, before: string, local: string, after) =>
      /^\.|\.$|\.\./.test(local) ? `${before}"${local}"${after}` : all,
  );
}
