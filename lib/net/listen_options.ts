/**
 * The options of a listener: address and port or the path of a unix socket,
 * kind, TLS. Parses the text form
 * that the command line and the `listen` option share.
 */

import { nearest } from "../spelling.ts";
import { parseIp } from "../protocol/ip.ts";
import {
  KINDS,
  LISTENER_KINDS,
  type ListenerKind,
} from "../protocol/listener_kind.ts";
import { parsePeers } from "./cidr.ts";
import { MOST_PATH_BYTES } from "./unix_socket.ts";
import { errorMessage, printable } from "../log.ts";
import {
  either,
  list,
  object,
  oneOf,
  type Place,
  type Rule,
  type Rules,
  text,
  where,
  whole,
} from "../options.ts";

/**
 * The use of TLS on a listener: `none`; STARTTLS `allowed`, or `required`
 * before MAIL and AUTH; `implicit`, TLS from the first byte (RFC 8314).
 */
export type ListenerSecurity = "none" | "allowed" | "required" | "implicit";

/** Whether clients of a listener may log in, or must before MAIL. */
export type AuthenticationPolicy = "none" | "allowed" | "required";

/**
 * Options of a listener.
 *
 * @example Two listeners, and where they are
 * ```ts
 * import {
 *   type AuthenticationPolicy,
 *   type ListenerKind,
 *   type ListenerSecurity,
 *   type ListeningAddress,
 *   type ListenOptions,
 *   SmtpServer,
 *   type SmtpServerOptions,
 * } from "@smtp/server";
 * import { DiscardStore } from "@smtp/server/store";
 *
 * const security: ListenerSecurity = "none";
 * function listener(
 *   kind: ListenerKind,
 *   authentication: AuthenticationPolicy,
 * ): ListenOptions {
 *   return { host: "127.0.0.1", port: 0, kind, security, authentication };
 * }
 * const options: SmtpServerOptions = {
 *   listen: [listener("smtp", "none"), listener("lmtp", "none")],
 *   store: new DiscardStore(),
 * };
 * await using server = new SmtpServer(options);
 * await server.start();
 * const show = ({ kind, address, port }: ListeningAddress) =>
 *   `${kind} on ${address}:${port}`;
 * console.assert(server.addresses.map(show)[1]?.startsWith("lmtp on 127.0.0.1"));
 * ```
 *
 * @example A unix socket on which Postfix delivers by LMTP
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import { DiscardStore } from "@smtp/server/store";
 *
 * const folder = await Deno.makeTempDir();
 * const path = `${folder}/lmtp.sock`;
 * // As root, `group` may be that of Postfix, whose members may connect then.
 * await using server = new SmtpServer({
 *   listen: { path, kind: "lmtp", mode: 0o660, group: Deno.gid() ?? 0 },
 *   store: new DiscardStore(),
 *   handlers: {
 *     onConnect: ({ remoteAddress }) => remoteAddress === "unix",
 *   },
 * });
 * await server.start();
 * console.assert(server.addresses[0]?.path?.endsWith("/lmtp.sock"));
 * await server.stop();
 * await Deno.remove(folder);
 * ```
 */
export interface ListenOptions {
  /** The address to bind, `"127.0.0.1"`, `"::1"` or a name of this machine. Default: all addresses. */
  readonly host?: string | undefined;
  /** The port; 0 takes any free one. Default 25. */
  readonly port?: number | undefined;
  /**
   * The path of a unix socket, in place of `host` and `port`. At most 107 bytes,
   * 103 beside Linux. A socket that no server answers on is replaced; a file of
   * another kind is never touched. Stopping removes the socket. Default: none.
   *
   * @throws {Deno.errors.AddrInUse} At the start, if a server answers there
   * @throws {Deno.errors.AlreadyExists} At the start, if another file is there
   */
  readonly path?: string | undefined;
  /** The permissions of the unix socket, which are its guard: users that may write to it may connect. Default 0o660. */
  readonly mode?: number | undefined;
  /** The number of the user that owns the unix socket. Default: the process's. */
  readonly owner?: number | undefined;
  /** The number of the group of the unix socket. Default: the process's. */
  readonly group?: number | undefined;
  /** The kind of listener. Default `"smtp"`. */
  readonly kind?: ListenerKind | undefined;
  /** The use of TLS. Default: the server's `security`; on a unix socket `"none"`. */
  readonly security?: ListenerSecurity | undefined;
  /** Whether clients may or must log in. Default: the server's `authentication`. */
  readonly authentication?: AuthenticationPolicy | undefined;
  /** The networks of the proxies in front of the listener, `"unix"` for those at a unix socket. Default: the server's `proxyProtocol`. */
  readonly proxyProtocol?: readonly string[] | undefined;
  /** The networks of the clients that may send XCLIENT, `"unix"` for those of a unix socket. Default: the server's `xclient`. */
  readonly xclient?: readonly string[] | undefined;
}

/** The rule for the `security` of a listener. */
export const SECURITY_RULE: Rule = oneOf(
  "none",
  "allowed",
  "required",
  "implicit",
);

/** The rule for the `authentication` of a listener. */
export const AUTHENTICATION_RULE: Rule = oneOf("none", "allowed", "required");

/** The rule for the `kind` of a listener. */
export const KIND_RULE: Rule = oneOf(...LISTENER_KINDS);

/** The rule for lists of networks. */
export const NETWORKS_RULE: Rule = list(
  {
    want: "a network",
    check(value, at) {
      text('a network, as "10.0.0.0/8"').check(value, at);
      try {
        parsePeers(String(value));
      } catch (error) {
        throw new SyntaxError(`Cannot use ${at.path}: ${errorMessage(error)}`);
      }
    },
  },
  'an array of networks, as ["10.0.0.0/8"]',
);

/** The highest number of a user or group. */
const MOST_ID = 0xfffffffe;

const RULES: Rules<ListenOptions> = {
  host: where(
    'a host, as "127.0.0.1"',
    (value) => typeof value === "string" && (value === "" || isHost(value)),
  ),
  port: whole(0, 65535),
  path: where(
    `the path of a unix socket, from 1 to ${MOST_PATH_BYTES} bytes`,
    (value) => typeof value === "string" && isSocketPath(value),
  ),
  mode: where(
    "permissions from 0o000 to 0o777",
    (value) =>
      Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 0o777,
  ),
  owner: whole(0, MOST_ID),
  group: whole(0, MOST_ID),
  kind: KIND_RULE,
  security: SECURITY_RULE,
  authentication: AUTHENTICATION_RULE,
  proxyProtocol: NETWORKS_RULE,
  xclient: NETWORKS_RULE,
};

const LISTEN_WANT =
  'HOST:PORT, as "127.0.0.1:2525", unix:PATH, an object, as { host: "127.0.0.1", port: 2525 }, or an array of these';
/** The rule for a text that {@linkcode parseListen} accepts. */
const LISTEN_TEXT: Rule = {
  want: LISTEN_WANT,
  check: (value) => void parseListen(String(value)),
};
const LISTENER_OBJECT = object(RULES, '{ host: "127.0.0.1", port: 2525 }');
const LISTENER_RULE: Rule = {
  want: LISTENER_OBJECT.want,
  check(value, at) {
    LISTENER_OBJECT.check(value, at);
    checkPlace(value as ListenOptions, at);
  },
};

/**
 * Checks that an object has what its place has: address and port, or a file.
 *
 * @throws {TypeError} If it has a name of the other
 */
function checkPlace(listen: ListenOptions, { path }: Place): void {
  const isUnix = listen.path !== undefined;
  const misplaced = isUnix
    ? ["host", "port"] as const
    : ["mode", "owner", "group"] as const;
  const one = misplaced.find((name) => listen[name] !== undefined);
  if (one === undefined) return;
  throw new TypeError(
    `Cannot use ${path}.${one}: ${
      isUnix ? "a unix socket has none" : "want path, only a unix socket has it"
    }`,
  );
}

/** The rule for the option `listen`. */
export const LISTEN_RULE: Rule = either({
  text: LISTEN_TEXT,
  object: LISTENER_RULE,
  list: list(either({ text: LISTEN_TEXT, object: LISTENER_RULE }, LISTEN_WANT)),
}, LISTEN_WANT);

/** The kinds by their names in text; the name with a final `s` means implicit TLS. */
const NAMES: ReadonlyMap<string, Pick<ListenOptions, "kind" | "security">> =
  new Map(
    LISTENER_KINDS.flatMap((kind) => {
      const plain = [kind, { kind }] as const;
      const secure = [`${kind}s`, { kind, security: "implicit" }] as const;
      return KINDS[kind].hasTlsName ? [plain, secure] : [plain];
    }),
  );

/**
 * Parses `HOST:PORT[/KIND]`, as `127.0.0.1:2525`, `[::1]:0/lmtp`, `:25`, or
 * `unix:PATH[/KIND]`. The last part of a path is a kind only if it is the name of
 * one: `unix:/run/mail/lmtp` is the socket `/run/mail` of kind `lmtp`, and
 * `unix:/run/mail/lmtp/lmtp` the socket `/run/mail/lmtp`.
 *
 * @throws {SyntaxError} If the text has another form
 */
export function parseListen(text: string): ListenOptions {
  if (/^unix:/i.test(text)) return parseUnix(text);
  const match = /^(?:\[([^\]\s]*)\]|([^:/[\]\s]*)):(-?\d+)(?:\/([^/]*))?$/.exec(
    text,
  );
  const given = printable(text);
  const port = Number(match?.[3]);
  const name = match?.[4] ?? "smtp";
  const kind = NAMES.get(name.toLowerCase());
  if (match === null) {
    throw new SyntaxError(
      `Cannot listen on "${given}": want HOST:PORT or HOST:PORT/KIND, as "127.0.0.1:2525" or "[::1]:2525/lmtp"`,
    );
  }
  if (!(port >= 0 && port <= 65535)) {
    throw new SyntaxError(
      `Cannot listen on "${given}": want a port from 0 to 65535`,
    );
  }
  if (kind === undefined) {
    const meant = nearest(name, NAMES.keys());
    throw new SyntaxError(
      `Cannot listen on "${given}": unknown kind "${
        printable(name)
      }", want one of ${[...NAMES.keys()].join(", ")}${
        meant === undefined ? "" : ` (did you mean ${meant}?)`
      }`,
    );
  }
  const host = match[1] ?? match[2];
  if (host !== "" && host !== "*" && !isHost(host!)) {
    throw new SyntaxError(
      `Cannot listen on "${given}": want an IP address or a name of this machine`,
    );
  }
  return {
    host: host === "" || host === "*" ? undefined : host,
    port,
    ...kind,
  };
}

function parseUnix(text: string): ListenOptions {
  const whole = text.slice("unix:".length);
  const slash = whole.lastIndexOf("/");
  const kind = slash < 0
    ? undefined
    : NAMES.get(whole.slice(slash + 1).toLowerCase());
  const path = kind === undefined ? whole : whole.slice(0, slash);
  if (isSocketPath(path)) return { path, ...(kind ?? { kind: "smtp" }) };
  throw new SyntaxError(
    `Cannot listen on "${printable(text)}": want ${
      path === "" || path.endsWith("/")
        ? 'unix:PATH or unix:PATH/KIND, as "unix:/run/smtp-server/lmtp.sock/lmtp"'
        : `a path of 1 to ${MOST_PATH_BYTES} bytes`
    }`,
  );
}

/** Whether a text can be the path of a unix socket. */
function isSocketPath(path: string): boolean {
  return path !== "" && !path.endsWith("/") && !path.includes("\0") &&
    new TextEncoder().encode(path).length <= MOST_PATH_BYTES;
}

/** Whether a text is an IP address or a possible host name. Digits and dots alone are not a host name. */
export function isHost(text: string): boolean {
  if (parseIp(text) !== undefined) return true;
  return /^[\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)*\.?$/u.test(text) &&
    !/^[\d.]+$/.test(text);
}

/** The name of a listener's kind, with a final `s` for implicit TLS. */
export function kindName(
  listener: {
    readonly kind: ListenerKind;
    readonly security: ListenerSecurity;
  },
): string {
  return listener.security === "implicit" ? `${listener.kind}s` : listener.kind;
}

/** A listener's place as one text: `192.0.2.1:25`, `[::1]:25`, `unix:/run/smtp`. */
export function formatHostPort(
  address: {
    readonly address: string;
    readonly port: number;
    readonly path?: string | undefined;
  },
): string {
  if (address.path !== undefined) return `unix:${address.path}`;
  return address.address.includes(":")
    ? `[${address.address}]:${address.port}`
    : `${address.address}:${address.port}`;
}
