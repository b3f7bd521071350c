/**
 * From nothing to a session that is ready for a message: connect, TLS, EHLO,
 * AUTH. Owns the order of these steps, the meaning of the four TLS policies and
 * the names of the failures. The handshake itself is in `net/tls_upgrade.ts`.
 *
 * Never logs in over a connection that the policy does not accept, never lets a
 * failed handshake weaken `required` or `verified`, and leaves no connection
 * open when it throws.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207},
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954},
 * {@link https://www.rfc-editor.org/rfc/rfc7435 | RFC 7435},
 * {@link https://www.rfc-editor.org/rfc/rfc8314 | RFC 8314}
 */

import { errorMessage } from "../log.ts";
import { connectTcp, connectUnix } from "../net/deno_transport.ts";
import { upgradeClient } from "../net/tls_upgrade.ts";
import type { Transport } from "../net/transport.ts";
import { ClientProtocol } from "../protocol/client/protocol.ts";
import { chooseMechanism, createClientMechanism } from "../sasl/registry.ts";
import type { ClientMechanism } from "../sasl/client_mechanism.ts";
import { MECHANISM_NAMES } from "../sasl/mechanism_name.ts";
import { tlsServerEndPoint } from "../sasl/channel_binding.ts";
import {
  faultError,
  localError,
  peerError,
  type SmtpClientError,
} from "./error.ts";
import { hopPort, type Login, type TlsSecurity } from "./next_hop.ts";
import type {
  ClientNetwork,
  SettledClientOptions,
  SmtpClientOptions,
} from "./options.ts";
import {
  ClientSession,
  type ClientTimeouts,
  clientTimeouts,
  type OrderHelp,
} from "./session.ts";

/** The policy in force. The default depends on `login`: credentials need a verified server. */
export function defaultSecurity(options: SmtpClientOptions): TlsSecurity {
  return options.security ?? (options.login ? "verified" : "opportunistic");
}

/**
 * Opens a session.
 *
 * @throws {SmtpClientError} If any step fails
 */
export async function openSession(
  options: SettledClientOptions,
  network: ClientNetwork,
): Promise<ClientSession> {
  const opening = new Opening(options, network);
  try {
    await opening.run();
    options.signal?.throwIfAborted();
  } catch (error) {
    opening.close();
    throw error;
  }
  return opening.session!;
}

/** One session while it opens. */
class Opening {
  session: ClientSession | undefined;
  #transport: Transport | undefined;
  readonly #options: SettledClientOptions;
  readonly #network: ClientNetwork;
  readonly #security: TlsSecurity;
  readonly #timeouts: ClientTimeouts;

  constructor(options: SettledClientOptions, network: ClientNetwork) {
    this.#options = options;
    this.#network = network;
    this.#security = defaultSecurity(options);
    this.#timeouts = clientTimeouts(options.timeouts);
  }

  close(): void {
    this.session?.transport.close();
    this.#transport?.close();
  }

  async run(): Promise<void> {
    const { implicitTls, lmtp, login, signal } = this.#options;
    await this.#connect();
    if (implicitTls) await this.#upgrade();
    const transport = this.#transport!;
    const hostname = this.#options.hostname ?? literal(transport.local.address);
    const protocol = new ClientProtocol({ hostname, lmtp });
    const timeouts = this.#timeouts;
    const session = new ClientSession(transport, { protocol, timeouts });
    session.signal = signal;
    session.allow("opening");
    this.session = session;
    protocol.open();
    await this.#order();
    if (!implicitTls) await this.#startTls();
    if (login) await this.#authenticate(login);
    if (!protocol.isReusable) {
      const text = `Host "${this.#options.host}" answers what was not asked`;
      throw localError("hello", "4.5.0", { text });
    }
    session.signal = undefined;
  }

  async #connect(): Promise<void> {
    const options = this.#options;
    const { address, host, path, signal } = options;
    const port = hopPort(options);
    options.onProgress?.("connecting");
    const limits = { timeoutMs: this.#timeouts.connect, signal };
    const open = this.#network.connect ?? connectTcp;
    try {
      this.#transport = path === undefined
        ? await open({ host: address ?? host, port, ...limits })
        : await connectUnix({ path, ...limits });
    } catch (error) {
      signal?.throwIfAborted();
      const place = path !== undefined
        ? `"${path}"`
        : `"${address ? `${host}" at "${address}` : host}" port ${port}`;
      const text = `Cannot connect to ${place}: ${errorMessage(error)}`;
      throw localError("connect", "4.4.1", { text, cause: error });
    }
    this.#network.connected?.(this.#transport.local);
    options.onProgress?.("connected");
  }

  /** Runs the pending order to its end; throws if it fails. */
  async #order(help: OrderHelp = {}): Promise<"done" | "startTls"> {
    const session = this.session!;
    const { onProgress } = this.#options;
    const end = await session.run({
      ...help,
      onPhase: (phase) => {
        if (phase === "hello") onProgress?.("hello");
      },
    });
    if (end.kind === "failed") {
      throw faultError(end.fault, this.#options.host);
    }
    if (end.kind === "startTls") return "startTls";
    if (session.protocol.state === "refused" && end.reply) {
      const { reply } = end;
      const greeted = session.protocol.replies > 1;
      this.#sendQuit(session);
      throw peerError(greeted ? "hello" : "greeting", reply);
    }
    return "done";
  }

  /** Sends QUIT to a server that refused the session, without waiting for the reply. */
  #sendQuit({ protocol, transport }: ClientSession): void {
    protocol.quit();
    const effect = protocol.next();
    if (effect.kind === "write") transport.write(effect.bytes).catch(() => {});
  }

  async #startTls(): Promise<void> {
    const session = this.session!;
    const { protocol } = session;
    const { host } = this.#options;
    const step = tlsStep(this.#security, protocol.capabilities.has("STARTTLS"));
    if (step === "skip") return;
    if (step === "refuse") {
      const text = `TLS is required, but host "${host}" does not offer it`;
      throw localError("startTls", "4.7.4", { text });
    }
    protocol.startTls();
    const end = await this.#tlsOrder("instead of beginning TLS");
    if (end === "done") {
      if (this.#security === "opportunistic") return;
      const text = `TLS is required, but host "${host}" refuses it`;
      throw localError("startTls", "4.7.4", { text });
    }
    session.transport = await this.#upgrade();
    protocol.secured();
    // A server that wants another client certificate ends the session here.
    await this.#tlsOrder("right after the TLS handshake");
  }

  /** As `#order()`, but a session that ends here is a failure of TLS. */
  async #tlsOrder(when: string): Promise<"done" | "startTls"> {
    try {
      return await this.#order();
    } catch (error) {
      const { fault } = this.session!.protocol;
      const kind = fault?.kind;
      if (fault?.reply || (kind !== "closed" && kind !== "network")) {
        throw error;
      }
      const text = `Host "${this.#options.host}" ends the session ${when}`;
      throw localError("tls", "4.7.5", { text, cause: error });
    }
  }

  async #upgrade(): Promise<Transport> {
    const options = this.#options;
    const { host, clientCertificate, trusted, signal } = options;
    const upgrade = this.#network.upgrade ?? upgradeClient;
    options.onProgress?.("negotiating-tls");
    let upgraded;
    try {
      upgraded = await upgrade(this.#transport!, {
        serverName: this.#network.serverName ?? host,
        handshakeTimeoutMs: this.#timeouts.tls,
        clientCertificate,
        trusted,
        signal,
      });
    } catch (error) {
      signal?.throwIfAborted();
      const text = `Cannot begin TLS with host "${host}": ${
        errorMessage(error)
      }`;
      throw localError("tls", "4.7.5", { text, cause: error });
    }
    this.#transport = upgraded.transport;
    const { certificate, authorizationError: error } = upgraded;
    const peer = { host, certificate, error };
    const refusal = this.#network.judge?.(peer);
    if (refusal !== undefined) {
      const text =
        `Cannot accept the certificate of host "${host}": ${refusal}`;
      throw localError("startTls", "4.7.5", { text });
    }
    const verdict = await options.onCertificate?.(peer);
    const facts = { error, verdict: verdict ?? undefined };
    if (!acceptsCertificate(this.#security, facts)) {
      const why = verdict === false ? "it was refused" : error;
      const text = `Cannot accept the certificate of host "${host}": ${why}`;
      throw localError("startTls", "4.7.5", { text });
    }
    options.onProgress?.("tls-established");
    return upgraded.transport;
  }

  /** Tries one mechanism after the other, as long as the refusals permit it. */
  async #authenticate(login: Login): Promise<void> {
    this.#options.onProgress?.("authenticating");
    let left = login.mechanisms ?? MECHANISM_NAMES;
    // To say "y" while the server offers PLUS is the mark of an attack. Danger:
    // after a refusal of PLUS it stays "y", because an attacker may have refused.
    const binds = left.includes("SCRAM-SHA-256-PLUS");
    let refusal: SmtpClientError | undefined;
    for (;;) {
      const mechanism = this.#mechanism(
        { ...login, mechanisms: left },
        binds,
      );
      if (!mechanism) throw refusal ?? this.#noMechanism();
      refusal = await this.#logIn(mechanism);
      if (!refusal) return;
      if (!this.#mayTryAnother(refusal)) throw refusal;
      const { name } = mechanism;
      left = left.filter((other) => other !== name);
    }
  }

  /** Runs one exchange. Returns the server's refusal, `undefined` after success. */
  async #logIn(
    mechanism: ClientMechanism,
  ): Promise<SmtpClientError | undefined> {
    const session = this.session!;
    const { host } = this.#options;
    let failure: unknown;
    session.protocol.authenticate(mechanism.name, mechanism.start());
    const end = await session.run({
      respond: async (challenge) => {
        try {
          return await mechanism.step(challenge);
        } catch (error) {
          failure = error;
          return undefined;
        }
      },
    });
    if (end.kind === "failed") throw faultError(end.fault, host);
    if (end.kind === "done" && end.reply?.isPositive) {
      try {
        mechanism.finish();
        return undefined;
      } catch (error) {
        failure = error;
      }
    }
    if (failure === undefined && end.kind === "done" && end.reply) {
      return peerError("authenticate", end.reply);
    }
    const text = `Cannot log in at host "${host}": ${errorMessage(failure)}`;
    throw localError("authenticate", "4.7.0", { text, cause: failure });
  }

  /**
   * Whether another mechanism may be tried after a refusal: after any 5xx but
   * 530, which asks for TLS. Without TLS not after 535 either: an attacker may
   * have sent it to get a weaker mechanism.
   */
  #mayTryAnother({ reply }: SmtpClientError): boolean {
    const { code } = reply;
    if (code === 535) return this.session!.transport.tls !== undefined;
    return code >= 500 && code !== 530;
  }

  /** @param binds Whether the login may be bound to the channel */
  #mechanism(login: Login, binds: boolean): ClientMechanism | undefined {
    const { transport, protocol } = this.session!;
    const { host, port, allowInsecureAuth, clientCertificate } = this.#options;
    const peer = transport.tls?.peerCertificate;
    const options = {
      ...login,
      host,
      port,
      external: clientCertificate !== undefined,
      channelBinding: binds && peer ? tlsServerEndPoint(peer) : undefined,
      secure: transport.tls !== undefined,
      allowInsecure: allowInsecureAuth === true,
    };
    const name = chooseMechanism(protocol.capabilities.mechanisms, options);
    return name && createClientMechanism(name, options);
  }

  #noMechanism(): SmtpClientError {
    const { host } = this.#options;
    const offered = this.session!.protocol.capabilities.mechanisms;
    const text = offered.length === 0
      ? `Cannot log in at host "${host}": it does not offer AUTH`
      : `Cannot log in at host "${host}": none of its mechanisms "${
        offered.join(" ")
      }" fits the login and the connection`;
    return localError("authenticate", "4.7.4", { text });
  }
}

/** What to do about TLS after EHLO. */
export type TlsStep = "use" | "skip" | "refuse";

/** Whether to send STARTTLS, by the policy and by what the server offers. */
export function tlsStep(security: TlsSecurity, offered: boolean): TlsStep {
  if (security === "none") return "skip";
  if (offered) return "use";
  return security === "opportunistic" ? "skip" : "refuse";
}

/** Whether a session may go on with a certificate. */
export function acceptsCertificate(
  security: TlsSecurity,
  facts: {
    /** Why the certificate is not trusted; `undefined` if it is. */
    error: string | undefined;
    /** What `onCertificate` decided; it overrides the policy. */
    verdict: boolean | undefined;
  },
): boolean {
  return facts.verdict ?? (security !== "verified" || !facts.error);
}

/** The address literal of an IP address (RFC 5321 section 4.1.3). */
function literal(address: string): string {
  if (address.includes(":")) return `[IPv6:${address.replace(/%.*$/, "")}]`;
  return /^[\d.]+$/.test(address) ? `[${address}]` : "localhost";
}
