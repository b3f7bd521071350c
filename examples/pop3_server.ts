/**
 * One folder, two servers: mail comes in by SMTP, into a Maildir for each user,
 * and mail programs fetch it by POP3 (RFC 1939). The POP3 server is as small as
 * possible: it has the commands that mail programs use, and needs a TLS proxy
 * before it.
 *
 * ```sh
 * deno run -A examples/pop3_server.ts
 * ```
 *
 * The arguments may be ports other than 2525 for SMTP and 2110 for POP3.
 */

import { MaildirStore, SmtpServer } from "@smtp/server";

const FOLDER = "./mail";

const SECRETS: ReadonlyMap<string, string> = new Map([
  ["ann@example.com", "a secret of Ann"],
]);

/** A message in the Maildir, as POP3 sees it. */
interface Mail {
  readonly path: string;
  /** With CRLF, as on the wire. */
  readonly text: string;
  deleted: boolean;
}

/** The messages of a user, oldest first. Later messages appear in the next session. */
async function readMaildir(user: string): Promise<Mail[]> {
  const paths: string[] = [];
  for (const name of ["new", "cur"]) {
    const folder = `${FOLDER}/${user}/${name}`;
    try {
      for await (const file of Deno.readDir(folder)) {
        paths.push(`${folder}/${file.name}`);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return await Promise.all(
    paths.sort().map(async (path) => {
      // One character per byte, so the bytes sent are those of the file.
      const bytes = await Deno.readFile(path);
      const text = Array.from(bytes, (byte) => String.fromCharCode(byte))
        .join("");
      return { path, text: text.replaceAll(/\r?\n/g, "\r\n"), deleted: false };
    }),
  );
}

/** A POP3 session: takes one command and returns one answer, without line ends. */
class Pop3Session {
  #user = "";
  #mails: Mail[] | undefined;

  async answer(verb: string, argument: string): Promise<string> {
    if (verb === "USER") {
      this.#user = argument.toLowerCase();
      return "+OK";
    }
    if (verb === "PASS") return await this.#logIn(argument);
    if (verb === "QUIT") return await this.#quit();
    if (verb === "CAPA") return "+OK\r\nUSER\r\nUIDL\r\n.";
    if (this.#mails === undefined) return "-ERR Log in first";
    return this.#transaction(this.#mails, verb, argument);
  }

  async #logIn(secret: string): Promise<string> {
    if (SECRETS.get(this.#user) !== secret) return "-ERR No such login";
    this.#mails = await readMaildir(this.#user);
    return `+OK ${this.#mails.length} messages`;
  }

  #transaction(mails: Mail[], verb: string, argument: string): string {
    const rest = mails.filter(({ deleted }) => !deleted);
    const mail = mails[Number(argument) - 1];
    const list = (line: (mail: Mail) => string | number) =>
      rest.map((one) => `${mails.indexOf(one) + 1} ${line(one)}\r\n`).join("");
    const size = ({ text }: Mail) => text.length;
    switch (verb) {
      case "STAT":
        return `+OK ${rest.length} ${
          rest.reduce((n, one) => n + size(one), 0)
        }`;
      case "LIST":
        return `+OK\r\n${list(size)}.`;
      case "UIDL":
        return `+OK\r\n${list(({ path }) => path.split(/[/:]/).at(-1)!)}.`;
      case "NOOP":
        return "+OK";
      case "RSET":
        for (const one of mails) one.deleted = false;
        return "+OK";
    }
    if (mail === undefined || mail.deleted) return "-ERR No such message";
    if (verb === "RETR") return `+OK\r\n${mail.text.replace(/^\./gm, "..")}.`;
    if (verb !== "DELE") return "-ERR Not known";
    mail.deleted = true;
    return "+OK";
  }

  async #quit(): Promise<string> {
    for (const { path, deleted } of this.#mails ?? []) {
      if (deleted) await Deno.remove(path);
    }
    return "+OK Bye";
  }
}

async function servePop3(conn: Deno.Conn): Promise<void> {
  const session = new Pop3Session();
  const latin1 = (text: string) =>
    Uint8Array.from(text, (char) => char.charCodeAt(0));
  const writer = conn.writable.getWriter();
  try {
    await writer.write(latin1("+OK POP3 ready\r\n"));
    let text = "";
    for await (
      const piece of conn.readable.pipeThrough(new TextDecoderStream())
    ) {
      const lines = (text + piece).split("\r\n");
      text = lines.pop()!;
      for (const line of lines) {
        const [, verb = "", argument = ""] = /^(\S*) ?(.*)$/.exec(line) ?? [];
        const answer = await session.answer(verb.toUpperCase(), argument);
        await writer.write(latin1(`${answer}\r\n`));
        if (verb.toUpperCase() === "QUIT") return await writer.close();
      }
      if (text.length > 1000) throw new Error("Line too long");
    }
  } catch (error) {
    console.error(`POP3: ${(error as Error).message}`);
  }
}

const [smtpPort = "2525", pop3Port = "2110"] = Deno.args;
const server = new SmtpServer({
  listen: `127.0.0.1:${smtpPort}`,
  domains: ["example.com"],
  store: new MaildirStore({ folder: FOLDER }),
  handlers: {
    onRcptTo: (_session, address) =>
      SECRETS.has(address.toString().toLowerCase()),
  },
});
await server.start();
const pop3 = Deno.listen({ hostname: "127.0.0.1", port: Number(pop3Port) });
console.log(`listening on port ${server.addresses[0]!.port}`);
console.log(`POP3 on port ${pop3.addr.port}`);
for await (const conn of pop3) void servePop3(conn);
