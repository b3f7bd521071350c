/**
 * The GS2 header at the beginning of SCRAM and OAUTHBEARER messages: channel
 * binding flag and authorization identity, and the escaping of names in it.
 * Parses and prints only; the mechanisms act on the flag.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5801#section-4 | RFC 5801 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc5802#section-7 | RFC 5802 section 7}
 */

/** A GS2 header. */
export interface Gs2Header {
  /**
   * `"n"`: the client does not support channel binding. `"y"`: it does, and
   * believes that the server does not. `"p"`: it uses channel binding.
   */
  readonly flag: "n" | "y" | "p";
  /** The type of channel binding with `"p"`, as `"tls-server-end-point"`, else `""`. */
  readonly bindingType: string;
  /** The authorization identity, `""` for none. */
  readonly authorizationId: string;
  /** The header as written, both commas included. */
  readonly text: string;
}

const HEADER = /^(?:([ny])|p=([A-Za-z0-9.-]+)),(?:a=([^,\0]+))?,/;

/**
 * Reads the header at the beginning of a message.
 *
 * @param message The message
 * @returns The header, or `undefined` if the message has no well-formed one
 */
export function parseGs2Header(message: string): Gs2Header | undefined {
  const match = HEADER.exec(message);
  if (match === null) return undefined;
  const [text, flag, bindingType = "", name = ""] = match;
  const authorizationId = unescapeName(name);
  if (authorizationId === undefined) return undefined;
  return {
    flag: flag === "n" || flag === "y" ? flag : "p",
    bindingType,
    authorizationId,
    text,
  };
}

/**
 * Writes a header.
 *
 * @param header Flag, type of binding and authorization identity
 */
export function formatGs2Header(header: Omit<Gs2Header, "text">): string {
  const { flag, bindingType, authorizationId } = header;
  const binding = flag === "p" ? `p=${bindingType}` : flag;
  const name = authorizationId === "" ? "" : `a=${escapeName(authorizationId)}`;
  return `${binding},${name},`;
}

/**
 * A name in its form for messages: `,` and `=` escaped.
 *
 * @param name The name
 */
export function escapeName(name: string): string {
  return name.replaceAll("=", "=3D").replaceAll(",", "=2C");
}

/**
 * A name from a message, or `undefined` if a `=` escapes anything but `,` and
 * `=`.
 *
 * @param text The escaped name
 */
export function unescapeName(text: string): string | undefined {
  if (/=(?!2C|3D)/.test(text)) return undefined;
  return text.replaceAll("=2C", ",").replaceAll("=3D", "=");
}
