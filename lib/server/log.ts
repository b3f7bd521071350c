/**
 * The log records of the server itself: their levels, events and fields. The
 * session room has the records of sessions.
 */

import { describeError, type LogRecord } from "../log.ts";
import { formatHostPort, kindName } from "../net/listen_options.ts";
import type { SocketAddress } from "../net/transport.ts";
import type { ListeningAddress } from "./options.ts";

/** Descriptions of the faults of a proxy's header. */
const PROXY_FAULTS = {
  malformed: "it did not begin with a PROXY header",
  incomplete: "its PROXY header has no end",
  silent: "it closed before its PROXY header",
  late: "its PROXY header came too late",
  broken: "its PROXY header could not be read",
} as const;

/** A reason to refuse a proxy's connection. */
export type ProxyFault = keyof typeof PROXY_FAULTS;

/** Descriptions of the faults of a listener. */
const LISTENER_FAULTS = {
  accepting: "Cannot accept connections for now",
  binding: "Cannot listen for now",
  rebinding: "Cannot listen any more",
} as const;

/** A failure of a listener. */
export type ListenerFault = keyof typeof LISTENER_FAULTS;

/** The log records of a server. */
export const records = {
  /** A warning about the options of a server that starts. */
  warning: (message: string): LogRecord => ({
    level: "warn",
    event: "warning",
    message,
  }),

  /** Something about the options that is good to know. */
  notice: (message: string): LogRecord => ({
    level: "info",
    event: "warning",
    message,
  }),

  /** A listener is up. */
  listening: (at: ListeningAddress): LogRecord => ({
    level: "info",
    event: "listening",
    message: `Listening on ${formatHostPort(at)} (${kindName(at)})`,
    fields: at.path === undefined
      ? { address: at.address, port: at.port, kind: kindName(at) }
      : { path: at.path, kind: kindName(at) },
  }),

  /** Settings were changed. */
  reload: (options: readonly string[]): LogRecord => ({
    level: "info",
    event: "reload",
    message: `New settings are in force: ${options.join(", ")}`,
    fields: { options },
  }),

  /** New files of a certificate cannot be used. */
  certificateFault: (error: unknown): LogRecord => ({
    level: "warn",
    event: "warning",
    message: "Going on with the old certificate: new files cannot be used",
    error: describeError(error),
  }),

  /** A stop begins. */
  stopping: (sessions: number, graceMs: number): LogRecord => ({
    level: "info",
    event: "stopping",
    message: `Stopping: ${sessions} sessions may end within ${graceMs} ms`,
    fields: { sessions, graceMs },
  }),

  /** A stop does not wait longer for the store. */
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

  /** Handshakes stall that the platform's TLS cannot end. */
  slowerTls: (reason: string): LogRecord => ({
    level: "warn",
    event: "warning",
    message:
      `${reason}: going on with the slower TLS, which can break them off`,
  }),

  listenerFailed: (fault: ListenerFault, error: unknown): LogRecord => ({
    level: "error",
    event: "error",
    message: LISTENER_FAULTS[fault],
    error: describeError(error),
  }),

  /** A proxy's connection is refused; `error` is set if the fault is "broken". */
  proxyRefused: (
    { address, port }: SocketAddress,
    fault: ProxyFault,
    error?: unknown,
  ): LogRecord => ({
    // Many proxies only check, all day long, whether the port is open.
    level: fault === "silent" ? "debug" : "warn",
    event: "refused",
    message: `Refused connection from proxy ${address}: ${PROXY_FAULTS[fault]}`,
    fields: { address, port, reason: fault },
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
