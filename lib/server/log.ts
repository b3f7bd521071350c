/**
 * The log records of the server itself, all in one place: what it writes, at
 * which level, with which fields. The records of sessions are the sessions' own.
 */

import { describeError, type LogRecord } from "../log.ts";
import type { SocketAddress } from "../net/transport.ts";

/** What can be wrong with the header of a proxy. */
const PROXY_FAULTS = {
  malformed: "it did not begin with a PROXY header",
  incomplete: "its PROXY header has no end",
  silent: "it closed before its PROXY header",
  late: "its PROXY header came too late",
  broken: "its PROXY header could not be read",
} as const;

/** Why a connection of a proxy is refused. */
export type ProxyFault = keyof typeof PROXY_FAULTS;

/** What can be wrong with a listener. */
const LISTENER_FAULTS = {
  accepting: "Cannot accept connections for now",
  binding: "Cannot listen for now",
  rebinding: "Cannot listen any more",
} as const;

/** What a listener fails to do. */
export type ListenerFault = keyof typeof LISTENER_FAULTS;

/** The log records of a server. */
export const records = {
  /** The options of a server that starts deserve a warning. */
  warning: (message: string): LogRecord => ({
    level: "warn",
    event: "listening",
    message,
  }),

  /** A stop goes on without the store. */
  storeBusy: (): LogRecord => ({
    level: "error",
    event: "error",
    message: "The store is still busy: stopping without it",
  }),

  /** No file descriptor is free: `room` of the sessions go on. */
  outOfDescriptors: (sessions: number, room: number): LogRecord => ({
    level: "error",
    event: "error",
    message:
      `Out of file descriptors with ${sessions} sessions: going on with ${room} for a while; a higher limit (ulimit -n) or a lower maxConnections is needed`,
  }),

  /** Handshakes hang that the platform's TLS cannot end. */
  slowerTls: (reason: string): LogRecord => ({
    level: "warn",
    event: "error",
    message:
      `${reason}: going on with the slower TLS, which can break them off`,
  }),

  listenerFailed: (fault: ListenerFault, error: unknown): LogRecord => ({
    level: "error",
    event: "error",
    message: LISTENER_FAULTS[fault],
    error: describeError(error),
  }),

  /** A connection of a proxy is refused; `error` where the fault is "broken". */
  proxyRefused: (
    { address, port }: SocketAddress,
    fault: ProxyFault,
    error?: unknown,
  ): LogRecord => ({
    // Many a proxy looks whether the port is open, and does so all day.
    level: fault === "silent" ? "debug" : "warn",
    event: "refused",
    message: `Refused connection from proxy ${address}: ${PROXY_FAULTS[fault]}`,
    fields: { address, port },
    ...(error !== undefined && { error: describeError(error) }),
  }),

  /** A worker goes on after an exception outside of every promise. */
  uncaught: (error: unknown): LogRecord => ({
    level: "error",
    event: "error",
    message: "Going on after an exception that nothing caught",
    error: describeError(error),
  }),
} as const;
