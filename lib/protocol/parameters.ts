/** What MAIL FROM may carry beside the address. */
export interface MailParameters {
  /** SIZE: octets announced (RFC 1870). */
  readonly size?: number;
  /** BODY (RFC 6152, RFC 3030). */
  readonly body?: "7BIT" | "8BITMIME" | "BINARYMIME";
  /** SMTPUTF8 was given (RFC 6531). */
  readonly smtpUtf8?: true;
  /** RET (RFC 3461). */
  readonly ret?: "FULL" | "HDRS";
  /** ENVID, xtext decoded (RFC 3461). */
  readonly envid?: string;
  /** AUTH=, xtext decoded; "<>" when given so (RFC 4954 section 5). */
  readonly auth?: string;
}
/** What RCPT TO may carry beside the address. */
export interface RcptParameters {
  /** NOTIFY (RFC 3461). */
  readonly notify?: readonly ("NEVER" | "SUCCESS" | "FAILURE" | "DELAY")[];
  /** ORCPT, xtext decoded (RFC 3461). */
  readonly orcpt?: { readonly type: string; readonly address: string };
}
