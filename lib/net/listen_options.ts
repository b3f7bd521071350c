/**
 * Where to listen, and as what: parsed from the form that the command line and
 * the `listen` option share.
 */

/**
 * What a listener is for: `smtp` takes mail from anybody (MX, port 25),
 * `submission` from users who log in (RFC 6409), `lmtp` from a mail system
 * next door (RFC 2033).
 */
export type ListenerKind = "smtp" | "submission" | "lmtp";

/** Where to listen, and as what. */
export interface ListenOptions {
  /** The address to bind, `"127.0.0.1"`, `"::1"` or a name of this machine; all addresses when not given. */
  readonly host?: string | undefined;
  /** The port; 0 takes any free one. Default 25. */
  readonly port?: number | undefined;
  /** What the listener is for. Default `"smtp"`. */
  readonly kind?: ListenerKind | undefined;
}

const KINDS: readonly string[] = ["smtp", "submission", "lmtp"];

/**
 * Parses `HOST:PORT[/KIND]`, as `127.0.0.1:2525`, `[::1]:0/lmtp`, `:25`.
 *
 * @throws {SyntaxError} If the text has another form
 */
export function parseListen(text: string): ListenOptions {
  const match = /^(?:\[([^\]]*)\]|([^:/[\]]*)):(\d{1,5})(?:\/([a-z]+))?$/.exec(
    text,
  );
  const port = Number(match?.[3]);
  const kind = match?.[4] ?? "smtp";
  if (match === null || port > 65535) {
    throw new SyntaxError(
      `Cannot listen on "${text}": want HOST:PORT or HOST:PORT/KIND, as "127.0.0.1:2525" or "[::1]:2525/lmtp"`,
    );
  }
  if (!KINDS.includes(kind)) {
    throw new SyntaxError(
      `Cannot listen on "${text}": unknown kind "${kind}", want one of ${
        KINDS.join(", ")
      }`,
    );
  }
  const host = match[1] ?? match[2];
  return {
    host: host === "" || host === "*" ? undefined : host,
    port,
    kind: kind as ListenerKind,
  };
}

/** An address and port as they are written together: `192.0.2.1:25`, `[::1]:25`. */
export function formatHostPort(
  address: { readonly address: string; readonly port: number },
): string {
  return address.address.includes(":")
    ? `[${address.address}]:${address.port}`
    : `${address.address}:${address.port}`;
}
