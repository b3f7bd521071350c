/**
 * The kinds of listeners, with all their differences in one row each. A kind
 * added only to {@linkcode ListenerKind} does not compile.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6409 | RFC 6409} (submission),
 * {@link https://www.rfc-editor.org/rfc/rfc8314#section-7.3 | RFC 8314 section 7.3} (submissions),
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033} (LMTP)
 */

/**
 * The purpose of a listener: `smtp` accepts mail from any host (MX, port 25),
 * `submission` from users that log in (RFC 6409), `lmtp` from a local mail
 * system (RFC 2033).
 */
export type ListenerKind = "smtp" | "submission" | "lmtp";

/** The differences between the kinds of listeners. */
export interface KindTraits {
  /**
   * Whether the name of the kind with an s, in `HOST:PORT/KIND`, means implicit
   * TLS. If not, only `security` can ask for it.
   */
  readonly hasTlsName: boolean;
  /** The default text of the greeting, after the host name. */
  readonly greeting: string;
  /** The verb with which a client begins; if it is EHLO, HELO is allowed as well. */
  readonly hello: "EHLO" | "LHLO";
  /**
   * The protocol in the `with` clause of Received: after HELO, after EHLO or
   * LHLO, and with SMTPUTF8 (RFC 3848, RFC 6531).
   */
  readonly received: ReceivedNames;
  /** Whether the end of a message gets one reply for each recipient. */
  readonly repliesPerRecipient: boolean;
  /** Whether clients must log in before MAIL, unless `authentication` is set otherwise. */
  readonly requiresLogin: boolean;
  /** Whether the server adds missing header fields and removes Bcc. */
  readonly completesMessages: boolean;
}

/** The names of a protocol in Received; S and A are added for TLS and AUTH. */
export interface ReceivedNames {
  readonly plain: string;
  readonly extended: string;
  readonly utf8: string;
}

const SMTP: KindTraits = {
  hasTlsName: true,
  greeting: "ESMTP ready",
  hello: "EHLO",
  received: { plain: "SMTP", extended: "ESMTP", utf8: "UTF8SMTP" },
  repliesPerRecipient: false,
  requiresLogin: false,
  completesMessages: false,
};

/** The traits of each kind. */
export const KINDS: Readonly<Record<ListenerKind, KindTraits>> = {
  smtp: SMTP,
  submission: {
    ...SMTP,
    requiresLogin: true,
    completesMessages: true,
  },
  lmtp: {
    hasTlsName: false,
    greeting: "LMTP ready",
    hello: "LHLO",
    received: { plain: "LMTP", extended: "LMTP", utf8: "UTF8LMTP" },
    repliesPerRecipient: true,
    requiresLogin: false,
    completesMessages: false,
  },
};

/** The kinds, in the order of lists for display. */
export const LISTENER_KINDS: readonly ListenerKind[] = Object.keys(
  KINDS,
) as ListenerKind[];
