/**
 * Other mail servers on addresses of the loopback, all on one port. Each relays
 * its mail to a port on 127.0.0.1, runs from a folder of its own, and is ended by
 * process id.
 */

import { BackgroundProcess, run } from "../process.ts";
import { DEADLINE_MS } from "../wait.ts";

/** Where a peer runs, and where it relays its mail. */
export interface PeerPlace {
  /** A folder of its own, readable for all. */
  readonly folder: string;
  /** Its address on the loopback. */
  readonly address: string;
  /** Its port. */
  readonly port: number;
  /** The port on 127.0.0.1 that it relays to. */
  readonly next: number;
  /** A certificate, and its key, as files. */
  readonly tls: { readonly cert: string; readonly key: string };
}

const TOOLS =
  new URL("../../../.ci/tools/peers/usr/sbin/", import.meta.url).pathname;

/** The program of a peer; `undefined` where it is not installed, or not run as root. */
export function peerProgram(name: "postfix" | "exim4" | "smtpd" | "smtp-sink"):
  | string
  | undefined {
  const folder = name.startsWith("exim") || name === "smtpd"
    ? TOOLS
    : "/usr/sbin/";
  try {
    const { isFile } = Deno.statSync(folder + name);
    return isFile && Deno.uid() === 0 ? folder + name : undefined;
  } catch {
    return undefined;
  }
}

/** Starts Postfix, with `further` lines in its main.cf. */
export async function startPostfix(
  place: PeerPlace,
  further = "",
): Promise<AsyncDisposable> {
  const { folder, address, port, next, tls } = place;
  const main = `compatibility_level = 3.6
queue_directory = ${folder}/spool
data_directory = ${folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
maillog_file = /dev/null
maillog_file_prefixes = /dev
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = postfix.test
mydestination =
relayhost = [127.0.0.1]:${next}
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_cert_file = ${tls.cert}
smtpd_tls_key_file = ${tls.key}
smtpd_tls_received_header = yes
smtputf8_enable = yes
smtp_dns_support_level = disabled
smtp_host_lookup = native
alias_maps =
local_recipient_maps =
${further}`;
  await Deno.mkdir(`${folder}/spool`);
  await Deno.mkdir(`${folder}/data`);
  await run("chown", ["postfix", `${folder}/data`]);
  await Deno.writeTextFile(`${folder}/main.cf`, main);
  const master = (await Deno.readTextFile("/usr/share/postfix/master.cf.dist"))
    .replace(
      /^smtp {6}inet.*$/m,
      `${address}:${port} inet n - n - - smtpd`,
    )
    // No service in a chroot: it would have no files there.
    .replace(
      /^(\S+ +(?:unix|inet|fifo|unix-dgram) +[-yn] +[-yn] +)[-y]( .*)$/gm,
      "$1n$2",
    );
  await Deno.writeTextFile(`${folder}/master.cf`, master);
  await run("postfix", ["-c", folder, "start"]);
  await listening(address, port);
  return {
    async [Symbol.asyncDispose]() {
      await run("postfix", ["-c", folder, "stop"], { anyCode: true });
    },
  };
}

/** Starts Exim. */
export async function startExim(place: PeerPlace): Promise<AsyncDisposable> {
  const { folder, address, port, next, tls } = place;
  const program = peerProgram("exim4")!;
  const config = `exim_path = ${program}
exim_user = mail
exim_group = mail
spool_directory = ${folder}/spool
log_file_path = ${folder}/log/%s
pid_file_path = ${folder}/exim.pid
primary_hostname = exim.test
daemon_smtp_ports = ${port}
local_interfaces = ${address}
tls_advertise_hosts = *
tls_certificate = ${tls.cert}
tls_privatekey = ${tls.key}
smtputf8_advertise_hosts = *
acl_smtp_rcpt = accept
acl_smtp_data = accept
chunking_advertise_hosts = *
dsn_advertise_hosts = *
begin acl
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = on
begin transports
on:
  driver = smtp
  port = ${next}
  allow_localhost
  hosts_try_chunking =
begin retry
* * F,1h,1s
`;
  for (const name of ["spool", "log"]) await Deno.mkdir(`${folder}/${name}`);
  await run("chown", ["mail:mail", `${folder}/spool`, `${folder}/log`]);
  await run("chown", ["mail", tls.key]);
  const file = `${folder}/exim.conf`;
  await Deno.writeTextFile(file, config);
  await run("chown", ["root:root", file]);
  const child = BackgroundProcess.start(program, [
    ...["-C", file, "-bdf", "-q5s"],
  ]);
  await listening(address, port);
  return child;
}

/** Starts OpenSMTPD. Its spool is the machine's own: only one of it can run. */
export async function startOpenSmtpd(
  place: PeerPlace,
): Promise<AsyncDisposable> {
  const { folder, address, port, next, tls } = place;
  const file = `${folder}/smtpd.conf`;
  await Deno.writeTextFile(
    file,
    `pki opensmtpd.test cert "${tls.cert}"
pki opensmtpd.test key "${tls.key}"
listen on ${address} port ${port} tls pki opensmtpd.test hostname opensmtpd.test
action "on" relay host smtp+notls://127.0.0.1:${next}
match from any for any action "on"
`,
  );
  await Deno.mkdir("/var/lib/opensmtpd/empty", { recursive: true });
  const child = BackgroundProcess.start(peerProgram("smtpd")!, [
    ...["-d", "-f", file],
  ]);
  await listening(address, port);
  return child;
}

/** Starts aiosmtpd, which relays nothing and writes a Maildir. */
export async function startAiosmtpd(
  place: Omit<PeerPlace, "next">,
): Promise<AsyncDisposable> {
  const { folder, address, port, tls } = place;
  const child = BackgroundProcess.start("/usr/bin/python3", [
    ...["-m", "aiosmtpd", "-n", "-l", `${address}:${port}`],
    ...["--tlscert", tls.cert, "--tlskey", tls.key, "--no-requiretls"],
    ...["-c", "aiosmtpd.handlers.Mailbox", `${folder}/mail`],
  ]);
  await listening(address, port);
  return child;
}

/** Whether aiosmtpd is installed for the system's Python. */
export function hasAiosmtpd(): boolean {
  try {
    return new Deno.Command("/usr/bin/python3", {
      args: ["-c", "import aiosmtpd"],
      stderr: "null",
    }).outputSync().success;
  } catch {
    return false;
  }
}

/** Starts smtp-sink with its flags. */
export async function startSink(
  place: Pick<PeerPlace, "address" | "port">,
  flags: readonly string[],
): Promise<BackgroundProcess> {
  const { address, port } = place;
  const child = BackgroundProcess.start(peerProgram("smtp-sink")!, [
    ...["-u", "nobody", ...flags, `${address}:${port}`, "100"],
  ]);
  await listening(address, port);
  return child;
}

/** Waits until a server listens there. */
export async function listening(address: string, port: number): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    try {
      (await Deno.connect({ hostname: address, port })).close();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** A port that is free on all the given addresses. */
export function freePort(addresses: readonly string[]): number {
  for (;;) {
    const listeners: Deno.Listener[] = [];
    try {
      let port = 0;
      for (const hostname of addresses) {
        const listener = Deno.listen({ hostname, port });
        listeners.push(listener);
        port = (listener.addr as Deno.NetAddr).port;
      }
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    } finally {
      for (const listener of listeners) listener.close();
    }
  }
}
