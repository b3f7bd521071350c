/**
 * This server and those of others, each started as a process of its own with
 * its defaults: on a port of the loopback, with a limit of message size, and a
 * folder that gets a file for each message.
 */

import { SmtpServer } from "../../lib/server/server.ts";
import { FileStore } from "../../lib/store/file_store.ts";
import { packageFlags } from "../support/interop/server.ts";
import { BackgroundProcess, run } from "../support/process.ts";
import { freePort, listening } from "../support/interop/relay_peers.ts";
import {
  debianVersion,
  exists,
  npmVersion,
  PROGRAMS,
  TOOLS,
} from "./install.ts";

/** What a peer is started with. */
export interface PeerOptions {
  /** A folder of its own, for its configuration. */
  readonly folder: string;
  /** Where each message is to be kept as a file; `undefined` for nowhere. */
  readonly mail?: string | undefined;
  /** Largest message, in bytes. */
  readonly maxSize: number;
  /**
   * The port on 127.0.0.1 that everything is relayed to, from a queue on disk,
   * in place of being kept.
   */
  readonly next?: number | undefined;
  /** Whether clients of this machine get no more than strangers, where a server can tell. */
  readonly strangers?: boolean | undefined;
  /** Certificate and key, as files; without, there is no STARTTLS. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
}

/** A running peer; disposing of it ends it. */
export interface RunningPeer extends AsyncDisposable {
  /** Its port on 127.0.0.1. */
  readonly port: number;
  /** The first of its processes. */
  readonly pid: number;
}

/** A mail server to compare with. */
export interface Peer {
  /** Its name, as readers know it. */
  readonly name: string;
  /** Its version; `undefined` where it is not installed. */
  readonly version: () => string | undefined;
  /** Starts it. */
  readonly start: (options: PeerOptions) => Promise<RunningPeer>;
}

const HOST = "127.0.0.1";
const ROOT = new URL("../../", import.meta.url);

/** Starts a program that listens on `port`. */
async function launch(
  port: number,
  command: readonly string[],
  options: { env?: Readonly<Record<string, string>>; cwd?: string } = {},
): Promise<RunningPeer> {
  const [program = "", ...args] = command;
  const child = BackgroundProcess.start(program, args, options);
  try {
    await listening(HOST, port);
  } catch (error) {
    await child.stop();
    throw error;
  }
  return {
    port,
    pid: child.pid,
    [Symbol.asyncDispose]: async () => void await child.stop(),
  };
}

/** This server, by its command line. */
export const ours: Peer = {
  name: "@smtp/server",
  version: () =>
    JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT))).version,
  start({ folder, mail, next, maxSize, strangers, tls }) {
    const port = freePort([HOST]);
    const relay = [
      ...["--relay-from", "127.0.0.0/8", "--spool", `${folder}/spool`],
      ...["--smarthost", `${HOST}:${next}/none`],
    ];
    return launch(port, [
      ...[Deno.execPath(), "run", "-A", "--no-check", ...packageFlags],
      ...[new URL("cli.ts", ROOT).pathname, "serve", "--quiet"],
      ...["--listen", `${HOST}:${port}`, "--max-size", `${maxSize}`],
      ...["--store", mail === undefined ? "discard" : `file:${mail}`],
      ...(next === undefined ? [] : relay),
      ...(strangers ? ["--exempt", "none"] : []),
      ...(tls ? ["--cert", tls.cert, "--key", tls.key] : []),
    ], { cwd: folder });
  },
};

const smtpServer: Peer = {
  name: "smtp-server",
  version: () => npmVersion("smtp-server"),
  start({ folder, mail = "", maxSize, tls }) {
    const port = freePort([HOST]);
    return launch(port, [
      ...["node", `${PROGRAMS}/smtp_server.cjs`, HOST, `${port}`],
      ...[`${maxSize}`, tls?.cert ?? "", tls?.key ?? "", mail],
    ], { cwd: folder, env: { NODE_PATH: `${TOOLS}/node_modules` } });
  },
};

const haraka: Peer = {
  name: "Haraka",
  version: () => npmVersion("Haraka"),
  async start({ folder, mail = "", maxSize, tls }) {
    const port = freePort([HOST]);
    const defaults = await Deno.readTextFile(
      `${TOOLS}/node_modules/Haraka/config/connection.ini`,
    );
    const files: Record<string, string> = {
      "config/smtp.ini": `listen=${HOST}:${port}\nnodes=0\n`,
      "config/plugins": `${tls ? "tls\n" : ""}keep\n`,
      "config/log.ini": "level=error\n",
      "config/me": "peer.test\n",
      "config/connection.ini": defaults
        .replace(/^bytes=.*$/m, `bytes=${maxSize}`),
      "plugins/keep.js": await Deno.readTextFile(`${PROGRAMS}/haraka_keep.js`),
    };
    if (tls) {
      files["config/tls_cert.pem"] = await Deno.readTextFile(tls.cert);
      files["config/tls_key.pem"] = await Deno.readTextFile(tls.key);
      files["config/tls.ini"] = "[main]\n";
    }
    for (const name of ["config", "plugins", "queue"]) {
      await Deno.mkdir(`${folder}/${name}`);
    }
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${folder}/${name}`, text);
    }
    const program = `${TOOLS}/node_modules/.bin/haraka`;
    return launch(port, [program, "-c", folder], { env: { KEEP: mail } });
  },
};

const aiosmtpd: Peer = {
  name: "aiosmtpd",
  version: () => debianVersion("python3-aiosmtpd"),
  start({ folder, mail = "", maxSize, tls }) {
    const port = freePort([HOST]);
    return launch(port, [
      ...["/usr/bin/python3", `${PROGRAMS}/aiosmtpd_server.py`, HOST],
      ...[`${port}`, `${maxSize}`, tls?.cert ?? "", tls?.key ?? "", mail],
    ], { cwd: folder });
  },
};

const goSmtp: Peer = {
  name: "go-smtp",
  version: () =>
    exists(`${TOOLS}/go_smtp`)
      ? debianVersion("golang-github-emersion-go-smtp-dev")
      : undefined,
  start({ folder, mail = "", maxSize, tls }) {
    const port = freePort([HOST]);
    return launch(port, [
      ...[`${TOOLS}/go_smtp`, `${HOST}:${port}`, `${maxSize}`],
      ...[tls?.cert ?? "", tls?.key ?? "", mail],
    ], { cwd: folder });
  },
};

/** Postfix, which keeps its mail in a queue on disk. */
export const postfix: Peer = {
  name: "Postfix",
  version: () => Deno.uid() === 0 ? debianVersion("postfix") : undefined,
  start: startPostfix,
};

/** The servers of others, in the order of the tables. */
export const others: readonly Peer[] = [
  ...[smtpServer, haraka, aiosmtpd, goSmtp, postfix],
];

/** A server that accepts all mail from Postfix. */
async function startKeeper(mail: string | undefined): Promise<SmtpServer> {
  const keeper = new SmtpServer({
    listen: `${HOST}:0`,
    bareNewlines: "keep",
    log: () => {},
    ...(mail === undefined ? {} : { store: new FileStore({ folder: mail }) }),
  });
  await keeper.start();
  return keeper;
}

async function startPostfix(options: PeerOptions): Promise<RunningPeer> {
  const { folder, mail, next, maxSize, tls } = options;
  const port = freePort([HOST]);
  const keeper = next === undefined ? await startKeeper(mail) : undefined;
  const nextPort = next ?? keeper!.addresses[0]!.port;
  await Deno.chmod(folder, 0o755);
  for (const name of ["spool", "data"]) await Deno.mkdir(`${folder}/${name}`);
  await run("chown", ["postfix", `${folder}/data`]);
  await Deno.writeTextFile(
    `${folder}/main.cf`,
    postfixMain({ folder, nextPort, maxSize, tls }),
  );
  await Deno.writeTextFile(
    `${folder}/master.cf`,
    (await Deno.readTextFile("/usr/share/postfix/master.cf.dist"))
      .replace(/^smtp {6}inet.*$/m, `${HOST}:${port} inet n - n - - smtpd`)
      // No service in a chroot: it would have no files there.
      .replace(
        /^(\S+ +(?:unix|inet|fifo|unix-dgram) +[-yn] +[-yn] +)[-y]( .*)$/gm,
        "$1n$2",
      ),
  );
  await run("postfix", ["-c", folder, "start"]);
  await listening(HOST, port);
  const pid = await Deno.readTextFile(`${folder}/spool/pid/master.pid`);
  return {
    port,
    pid: Number(pid),
    async [Symbol.asyncDispose]() {
      await run("postfix", ["-c", folder, "stop"], { anyCode: true });
      await keeper?.stop({ graceMs: 0 });
    },
  };
}

/** The configuration: Debian's defaults, but for where things are. */
function postfixMain(
  init: Pick<PeerOptions, "folder" | "maxSize" | "tls"> & { nextPort: number },
): string {
  const { folder, nextPort, maxSize, tls } = init;
  return `compatibility_level = 3.6
queue_directory = ${folder}/spool
data_directory = ${folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = /dev/null
maillog_file_prefixes = /dev
mynetworks = 127.0.0.0/8
myhostname = peer.test
mydestination =
message_size_limit = ${maxSize}
relayhost = [127.0.0.1]:${nextPort}
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
smtputf8_enable = yes
alias_maps =
local_recipient_maps =
default_destination_concurrency_limit = 20
${
    tls
      ? `smtpd_tls_security_level = may
smtpd_tls_cert_file = ${tls.cert}
smtpd_tls_key_file = ${tls.key}
`
      : ""
  }`;
}
