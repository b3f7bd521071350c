/**
 * The settings of all logins of one listener: the accounts or the handler that
 * decide, and the mechanisms that follow from them. The server makes them once;
 * sessions never change them.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954}
 */

import type { Logger } from "../log.ts";
import { AccountList, type Accounts } from "../sasl/accounts.ts";
import { MECHANISM_NAMES, type MechanismName } from "../sasl/mechanism_name.ts";
import { judgedBy } from "../sasl/registry.ts";
import type { SmtpHandlers } from "./handlers.ts";
import type { LoginCounter } from "./login_guard.ts";

/** Default mechanisms with a handler or without accounts: a handler can always check a password. */
const HANDLER_MECHANISMS: readonly MechanismName[] = ["PLAIN", "LOGIN"];

/** The settings of all logins of one listener. */
export interface AuthenticationContext {
  /** The server's own name. */
  readonly hostname: string;
  readonly accounts: Accounts | undefined;
  /** `onAuthenticate`, if set, decides in place of the accounts. */
  readonly handlers: SmtpHandlers;
  /** The mechanisms that may be offered, strongest first. */
  readonly mechanisms: readonly MechanismName[];
  /** Whether AUTH is available without TLS. */
  readonly allowInsecure: boolean;
  /** Counts failed logins. */
  readonly guard: LoginCounter;
  /** Key of SCRAM's salts for unknown users, the same on all threads of a server; if unset, the thread makes its own. */
  readonly saltKey?: Uint8Array | undefined;
  readonly log: Logger;
}

/** Makes the settings; without `mechanisms` it offers all that the accounts allow. */
export function authenticationContext(
  init: Omit<AuthenticationContext, "mechanisms"> & {
    readonly mechanisms: readonly MechanismName[] | undefined;
  },
): AuthenticationContext {
  const { mechanisms } = init;
  return {
    ...init,
    mechanisms: mechanisms === undefined
      ? defaultMechanisms(init)
      : MECHANISM_NAMES.filter((name) =>
        mechanisms.includes(name) && canServe(name, init)
      ),
  };
}

/** Whether the handler or the accounts can check a secret by this mechanism. */
function canServe(
  name: MechanismName,
  { accounts, handlers }: {
    readonly accounts: Accounts | undefined;
    readonly handlers: SmtpHandlers;
  },
): boolean {
  if (handlers.onAuthenticate !== undefined) return true;
  const by = judgedBy(name);
  if (by === "program") return false;
  return by !== "password" || !(accounts instanceof AccountList) ||
    accounts.isPlain;
}

/** The mechanisms that the stored secrets of the accounts allow. */
function defaultMechanisms(
  { accounts, handlers }: {
    readonly accounts: Accounts | undefined;
    readonly handlers: SmtpHandlers;
  },
): readonly MechanismName[] {
  if (handlers.onAuthenticate !== undefined || accounts === undefined) {
    return HANDLER_MECHANISMS;
  }
  const plain = accounts instanceof AccountList && accounts.isPlain;
  return MECHANISM_NAMES.filter((name) => {
    const by = judgedBy(name);
    return by === "verifier" || (plain && by === "password");
  });
}
