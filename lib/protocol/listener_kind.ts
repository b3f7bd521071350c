/**
 * The kinds of listeners, and all that differs between them: one row a kind. A
 * kind that is added to {@linkcode ListenerKind} alone does not compile.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6409 | RFC 6409} (submission),
 * {@link https://www.rfc-editor.org/rfc/rfc8314#section-7.3 | RFC 8314 section 7.3} (submissions),
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033} (LMTP)
 */

/**
 * What a listener is for: `smtp` takes mail from anybody (MX, port 25),
 * `submission` from users who log in (RFC 6409), `lmtp` from a mail system
 * next door (RFC 2033).
 */
export type ListenerKind = "smtp" | "submission" | "lmtp";

/** What differs between kinds of listeners. */
export interface KindTraits {
  /** The kind's name in `HOST:PORT/KIND` with TLS from the first byte; without one it has to be asked for by `security`. */
  readonly implicitTlsName: string | undefined;
  /** The default text of the greeting, after the host name. */
  readonly greeting: string;
  /** The verb a client begins with; where it is EHLO, HELO will do. */
  readonly hello: "EHLO" | "LHLO";
  /** The protocol in the `with` clause of Received: after HELO, after EHLO or LHLO, and with SMTPUTF8 (RFC 3848, RFC 6531). */
  readonly received: ReceivedNames;
  /** Whether the end of a message is answered once for each recipient. */
  readonly repliesPerRecipient: boolean;
  /** Whether clients must log in before MAIL, unless `authentication` says otherwise. */
  readonly requiresLogin: boolean;
  /** Whether header fields that a message lacks are added, and Bcc is removed. */
  readonly completesMessages: boolean;
}

/** How Received names a protocol; S and A are added for TLS and AUTH. */
export interface ReceivedNames {
  readonly plain: string;
  readonly extended: string;
  readonly utf8: string;
}

const SMTP: KindTraits = {
  implicitTlsName: "smtps",
  greeting: "ESMTP ready",
  hello: "EHLO",
  received: { plain: "SMTP", extended: "ESMTP", utf8: "UTF8SMTP" },
  repliesPerRecipient: false,
  requiresLogin: false,
  completesMessages: false,
};

/** The rows. */
export const KINDS: Readonly<Record<ListenerKind, KindTraits>> = {
  smtp: SMTP,
  submission: {
    ...SMTP,
    implicitTlsName: "submissions",
    requiresLogin: true,
    completesMessages: true,
  },
  lmtp: {
    implicitTlsName: undefined,
    greeting: "LMTP ready",
    hello: "LHLO",
    received: { plain: "LMTP", extended: "LMTP", utf8: "UTF8LMTP" },
    repliesPerRecipient: true,
    requiresLogin: false,
    completesMessages: false,
  },
};

/** The kinds, in the order in which lists of them are shown. */
export const LISTENER_KINDS: readonly ListenerKind[] = Object.keys(
  KINDS,
) as ListenerKind[];
