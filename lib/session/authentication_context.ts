/**
 * What the log-ins of one listener have in common: who decides, and which
 * mechanisms that allows. Made once, never changed by a session.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954}
 */

import type { Logger } from "../log.ts";
import { AccountList, type Accounts } from "../sasl/accounts.ts";
import { MECHANISM_NAMES, type MechanismName } from "../sasl/mechanism_name.ts";
import { judgedBy } from "../sasl/registry.ts";
import type { SmtpHandlers } from "./handlers.ts";
import type { LoginCounter } from "./login_guard.ts";

/** What a listener offers who has a handler and no accounts: what any handler can decide. */
const HANDLER_MECHANISMS: readonly MechanismName[] = ["PLAIN", "LOGIN"];

/** What the log-ins of a listener have in common. */
export interface AuthenticationContext {
  /** The server's own name. */
  readonly hostname: string;
  /** The accounts, if there are any. */
  readonly accounts: Accounts | undefined;
  /** Those of the program: `onAuthenticate` decides in place of the accounts. */
  readonly handlers: SmtpHandlers;
  /** The mechanisms that may be offered, strongest first. */
  readonly mechanisms: readonly MechanismName[];
  /** Whether AUTH is offered without TLS. */
  readonly allowInsecure: boolean;
  /** Counts failures. */
  readonly guard: LoginCounter;
  /** Key of SCRAM's salts for unknown users, which threads of one server share; the thread's own when not given. */
  readonly saltKey?: Uint8Array | undefined;
  /** Takes log records. */
  readonly log: Logger;
}

/** Makes the context of a listener's log-ins. */
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

/** Whether anybody can tell a right secret from a wrong one by this mechanism. */
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

/** What can be served: with accounts, all that their secrets allow. */
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
