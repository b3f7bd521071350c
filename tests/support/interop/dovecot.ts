/**
 * A Dovecot of the tests' own: its configuration, its sockets and its users in
 * a folder of the test, POP3 on a free port of the loopback, nothing shared
 * with one that the machine may run.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { BackgroundProcess, run } from "../process.ts";
import { DEADLINE_MS } from "../wait.ts";

/** The owner of the mail: Debian's system user `mail`. Dovecot serves no mail as root. */
const MAIL_ID = 8;

/** Makes that user the owner of the folder and of all files in it. */
export async function giveToMailUser(path: string): Promise<void> {
  await run("chown", ["-R", `${MAIL_ID}:${MAIL_ID}`, path]);
}

/** What a Dovecot is started with. */
export interface DovecotOptions {
  /** For its own files. */
  readonly folder: string;
  /** Where the mail is, as `mbox:...:INBOX=...`. */
  readonly location: string;
  /** The users that there are, and a quota rule of each, as `*:bytes=1000`; any user if not given. */
  readonly users?: Readonly<Record<string, string>>;
  /** Whether it counts with `maildirsize`, by the quota that the file has or a user's rule. */
  readonly quota?: boolean;
}

function configuration(
  options: DovecotOptions & { port: number; lmtpPort: number },
): string {
  const { folder, location, port, lmtpPort, users, quota } = options;
  const identity = `uid=${MAIL_ID} gid=${MAIL_ID} home=${folder}/home`;
  return `
base_dir = ${folder}/run
state_dir = ${folder}/run
log_path = ${folder}/log
protocols = pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = ${location}
mail_privileged_group =
first_valid_uid = 1
mbox_read_locks = flock
mbox_write_locks = dotlock flock
pop3_uidl_format = %v.%u
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = ${users === undefined ? "static" : "passwd-file"}
  args = ${
    users === undefined
      ? `${identity} allow_all_users=yes`
      : `username_format=%u ${folder}/users`
  }
  ${users === undefined ? "" : `default_fields = ${identity}`}
}
mail_plugins = ${quota ? "quota" : ""}
plugin {
  ${quota ? "quota = maildir:User quota\n  quota_rule = Trash:ignore" : ""}
}
service lmtp {
  unix_listener lmtp {
    mode = 0666
  }
  inet_listener lmtp {
    port = ${lmtpPort}
  }
}
service pop3-login {
  inet_listener pop3 {
    port = ${port}
  }
  inet_listener pop3s {
    port = 0
  }
}
service anvil {
  chroot =
}
`;
}

/** A running Dovecot. */
export class Dovecot implements AsyncDisposable {
  /** The port that it speaks POP3 on. */
  readonly port: number;
  /** The port that it speaks LMTP on. */
  readonly lmtpPort: number;
  /** The unix socket that it speaks LMTP on. */
  readonly lmtpPath: string;
  readonly #process: BackgroundProcess;
  readonly #configuration: string;
  readonly #log: string;

  /**
   * @param process The master process
   * @param options Its ports of POP3 and LMTP, its folder and the path of its configuration
   */
  constructor(
    process: BackgroundProcess,
    options: {
      port: number;
      lmtpPort: number;
      folder: string;
      configuration: string;
    },
  ) {
    this.lmtpPort = options.lmtpPort;
    this.lmtpPath = `${options.folder}/run/lmtp`;
    this.#log = `${options.folder}/log`;
    this.#process = process;
    this.port = options.port;
    this.#configuration = options.configuration;
  }

  /** Starts one and waits until it answers. */
  static async start(options: DovecotOptions): Promise<Dovecot> {
    const [port, lmtpPort] = freePorts();
    const ports = { port, lmtpPort };
    const configuration = await writeConfiguration({ ...options, ...ports });
    const process = BackgroundProcess.start("dovecot", [
      ...["-F", "-c", configuration],
    ]);
    const { folder } = options;
    const dovecot = new Dovecot(process, {
      ...ports,
      folder,
      configuration,
    });
    try {
      await waitForPort(port);
      return dovecot;
    } catch (error) {
      await process.stop();
      throw error;
    }
  }

  /** The messages in a user's INBOX as `doveadm fetch` gives them, LF line ends. */
  async fetch(user: string): Promise<string[]> {
    const { stdout, stderr } = await run("doveadm", [
      ...["-f", "json", "-c", this.#configuration, "fetch", "-u", user],
      ...["text", "mailbox", "INBOX", "ALL"],
    ]);
    assertEquals(stderr, "");
    const rows = JSON.parse(stdout) as { text: string }[];
    return rows.map(({ text }) => text.replaceAll("\r\n", "\n"));
  }

  /** What a user's mailbox holds, as `doveadm quota get` has it. */
  async quota(
    user: string,
    options: { recalculate?: boolean } = {},
  ): Promise<{ messages: number; kibibytes: number; limit: string }> {
    const doveadm = (...args: string[]) =>
      run("doveadm", ["-f", "json", "-c", this.#configuration, ...args]);
    if (options.recalculate) await doveadm("quota", "recalc", "-u", user);
    const { stdout } = await doveadm("quota", "get", "-u", user);
    const rows = JSON.parse(stdout) as Record<string, string>[];
    const of = (type: string) => rows.find((row) => row.type === type)!;
    return {
      messages: Number(of("MESSAGE").value),
      kibibytes: Number(of("STORAGE").value),
      limit: of("STORAGE").limit!,
    };
  }

  /** Removes all messages of a user. */
  async expunge(user: string): Promise<void> {
    await run("doveadm", [
      ...["-c", this.#configuration, "expunge", "-u", user],
      ...["mailbox", "INBOX", "ALL"],
    ]);
  }

  /** Its complaints so far: damage, locks, sizes that do not fit. */
  async complaints(): Promise<string[]> {
    const log = await Deno.readTextFile(this.#log);
    return log.split("\n").filter((line) =>
      /\b(Error|Warning|Panic|Fatal):/.test(line)
    );
  }

  /** Ends it and all its processes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop();
  }
}

async function writeConfiguration(
  options: DovecotOptions & { port: number; lmtpPort: number },
): Promise<string> {
  const { folder, users = {} } = options;
  for (const name of ["run", "home"]) {
    await Deno.mkdir(`${folder}/${name}`, { recursive: true });
  }
  await giveToMailUser(`${folder}/home`);
  const lines = Object.entries(users).map(([name, rule]) =>
    `${name}:::::::${rule === "" ? "" : `userdb_quota_rule=${rule}`}\n`
  );
  await Deno.writeTextFile(`${folder}/users`, lines.join(""));
  const path = `${folder}/dovecot.conf`;
  await Deno.writeTextFile(path, configuration(options));
  return path;
}

/** Two ports that were free a moment ago. */
function freePorts(): [number, number] {
  using one = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return [one.addr.port, other.addr.port];
}

/** Tries to connect until a server listens. */
async function waitForPort(port: number): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    try {
      using client = await Pop3Client.connect(port);
      await client.command("QUIT");
      return;
    } catch (error) {
      if (
        !(error instanceof Deno.errors.ConnectionRefused) ||
        Date.now() > deadline
      ) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** A POP3 client that reads and removes mail. Text is bytes, one character each. */
export class Pop3Client implements Disposable {
  readonly #connection: Deno.Conn;
  readonly #deadline: ReturnType<typeof setTimeout>;
  #buffered = "";

  /** @param connection To the server; it is closed after `DEADLINE_MS` */
  constructor(connection: Deno.Conn) {
    this.#connection = connection;
    this.#deadline = setTimeout(() => connection.close(), DEADLINE_MS);
  }

  /** Connects and reads the greeting. */
  static async connect(port: number): Promise<Pop3Client> {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port });
    const client = new Pop3Client(connection);
    try {
      assertMatch(await client.#line(), /^\+OK/);
      return client;
    } catch (error) {
      client[Symbol.dispose]();
      throw error;
    }
  }

  /** Logs in; `false` where the mailbox is in use. */
  async login(user: string): Promise<boolean> {
    await this.command(`USER ${user}`);
    await this.#write("PASS secret");
    const answer = await this.#line();
    if (/^-ERR \[(IN-USE|SYS\/TEMP)\]/.test(answer)) return false;
    assertMatch(answer, /^\+OK/);
    return true;
  }

  /** How many messages there are. */
  async count(): Promise<number> {
    const [, count] = (await this.command("STAT")).split(" ");
    return Number(count);
  }

  /** One message, LF line ends. */
  async retrieve(number: number): Promise<string> {
    await this.command(`RETR ${number}`);
    const lines: string[] = [];
    for (;;) {
      const line = await this.#line();
      if (line === ".") return lines.map((text) => `${text}\n`).join("");
      lines.push(line.startsWith(".") ? line.slice(1) : line);
    }
  }

  /** Sends a command, asserts that it was taken, and gives the answer. */
  async command(text: string): Promise<string> {
    await this.#write(text);
    const answer = await this.#line();
    assertMatch(answer, /^\+OK/, `Answer to "${text}"`);
    return answer;
  }

  /** Closes without QUIT. */
  [Symbol.dispose](): void {
    clearTimeout(this.#deadline);
    try {
      this.#connection.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }

  async #write(text: string): Promise<void> {
    await this.#connection.write(new TextEncoder().encode(`${text}\r\n`));
  }

  async #line(): Promise<string> {
    const chunk = new Uint8Array(65536);
    for (;;) {
      const end = this.#buffered.indexOf("\r\n");
      if (end >= 0) {
        const line = this.#buffered.slice(0, end);
        this.#buffered = this.#buffered.slice(end + 2);
        return line;
      }
      const count = await this.#connection.read(chunk);
      if (count === null) throw new Error("The POP3 server hung up");
      this.#buffered += String.fromCharCode(...chunk.subarray(0, count));
    }
  }
}
