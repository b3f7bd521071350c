/**
 * Reports to the service manager that started the process, as systemd with
 * `Type=notify`: ready, reloading, stopping, a line of status, and a sign of life
 * while the event loop turns. Each is a datagram to the unix socket that the
 * environment names. It stands alone because a service manager and its clock are
 * no matter of the server.
 *
 * A report that cannot be sent is a warning and never the end of the server.
 *
 * {@link https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html | sd_notify(3)}
 */

import { errorMessage } from "../log.ts";
import { RunError } from "./output.ts";

/** The variables of the environment that are read. */
type Variable =
  | "NOTIFY_SOCKET"
  | "WATCHDOG_USEC"
  | "WATCHDOG_PID"
  | "RUNTIME_DIRECTORY";

/** Gets the one warning about reports that cannot be sent. */
type Warn = (message: string) => void;

/** The connection to the service manager. */
export class ServiceManager implements Disposable {
  readonly #socket: Deno.DatagramConn;
  readonly #to: Deno.UnixAddr;
  readonly #warn: Warn;
  #watchdog: ReturnType<typeof setInterval> | undefined;
  /** Sends one report after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #hasFailed = false;
  #isStopping = false;

  /** Made by {@linkcode ServiceManager.find}. */
  constructor(
    socket: Deno.DatagramConn,
    { to, warn }: { readonly to: string; readonly warn: Warn },
  ) {
    this.#socket = socket;
    // A leading @ stands for a name that is in no folder.
    this.#to = { transport: "unixpacket", path: to.replace(/^@/, "\0") };
    this.#warn = warn;
  }

  /**
   * The manager that the environment names; `undefined` without one.
   *
   * @param wanted Whether reports are wanted; `undefined` if only where a manager is named
   * @throws {RunError} If reports are wanted and cannot be sent
   */
  static find(
    wanted: boolean | undefined,
    warn: Warn,
  ): ServiceManager | undefined {
    if (wanted === false) return undefined;
    const to = variable("NOTIFY_SOCKET");
    if (to === undefined) {
      if (!wanted) return undefined;
      throw new RunError(
        "--notify: the environment names no NOTIFY_SOCKET, or --allow-env=NOTIFY_SOCKET is missing",
      );
    }
    try {
      return new ServiceManager(openSocket(), { to, warn });
    } catch (error) {
      const message = `cannot report to the service manager at "${to}": ${
        errorMessage(error)
      }`;
      if (wanted) throw new RunError(`--notify: ${message}`);
      warn(message.replace(/^c/, "C"));
      return undefined;
    }
  }

  /** Reports that the server takes mail, and begins the signs of life. */
  ready(status: string): void {
    if (this.#isStopping) return;
    this.#send("READY=1", `STATUS=${status}`);
    const ms = watchdogMs();
    if (ms === undefined || this.#watchdog !== undefined) return;
    this.#watchdog = setInterval(() => this.#send("WATCHDOG=1"), ms / 2);
  }

  /** Reports that settings are reread; {@linkcode ServiceManager.ready} ends that. */
  reloading(): void {
    if (this.#isStopping) return;
    this.#send("RELOADING=1", ...monotonic(), "STATUS=Rereading the settings");
  }

  /** Reports that the server stops; nothing but signs of life follows. */
  stopping(): void {
    this.#isStopping = true;
    this.#send("STOPPING=1", "STATUS=Stopping");
  }

  #send(...lines: readonly string[]): void {
    const text = lines.map((line) => line.replaceAll("\n", " ")).join("\n");
    this.#turn = this.#turn
      .then(() => this.#socket.send(new TextEncoder().encode(text), this.#to))
      .catch((error) => {
        if (this.#hasFailed) return;
        this.#hasFailed = true;
        this.#warn(
          `Cannot report to the service manager: ${errorMessage(error)}`,
        );
      });
  }

  /** Waits until all reports are sent. */
  async sent(): Promise<void> {
    await this.#turn;
  }

  /** Ends the reports. */
  [Symbol.dispose](): void {
    clearInterval(this.#watchdog);
    try {
      this.#socket.close();
    } catch {
      // Closed already.
    }
  }
}

/** A variable of the environment, if it may be read without a question to the user. */
function variable(name: Variable): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) || undefined : undefined;
}

/**
 * A socket to send from. The platform wants a name for it, and one that is in no
 * folder needs all permissions: else it is in the folder that the manager has
 * made for the service, or in that of temporary files.
 */
function openSocket(): Deno.DatagramConn {
  if (typeof Deno.listenDatagram !== "function") {
    throw new Deno.errors.NotSupported(
      'Want --unstable-net behind "deno run", or "unstable": ["net"] in deno.json',
    );
  }
  try {
    return Deno.listenDatagram({ transport: "unixpacket", path: "" });
  } catch {
    const folder = variable("RUNTIME_DIRECTORY")?.split(":")[0] ?? "/tmp";
    const path = `${folder}/notify-${Deno.pid}.sock`;
    const socket = Deno.listenDatagram({ transport: "unixpacket", path });
    // No one answers, so no one needs the name.
    Deno.removeSync(path);
    return socket;
  }
}

/** The time in which the manager wants a sign of life, in ms. */
function watchdogMs(): number | undefined {
  const micros = Number(variable("WATCHDOG_USEC"));
  const pid = variable("WATCHDOG_PID");
  if (!(micros >= 2000) || (pid !== undefined && Number(pid) !== Deno.pid)) {
    return undefined;
  }
  return Math.min(micros / 1000, 2 ** 31 - 1);
}

/**
 * The time of the manager's clock, which must not be before the signal: the
 * platform tells it in whole seconds, so one more than these.
 */
function monotonic(): string[] {
  const name = "osUptime";
  const { state } = Deno.permissions.querySync({ name: "sys", kind: name });
  return state === "granted"
    ? [`MONOTONIC_USEC=${(Deno.osUptime() + 1) * 1_000_000}`]
    : [];
}
