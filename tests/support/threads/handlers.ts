/**
 * Handlers whose answers show in replies and log records. Given as an object and
 * loaded as a module they must behave alike.
 */

import { SmtpError, SmtpReply } from "../../../lib/protocol/reply.ts";
import {
  type Message,
  type MessageStore,
  StoreError,
} from "../../../lib/message/message.ts";
import type { HandlerContext } from "../../../lib/session/handler_module.ts";
import {
  type HandlerVerdict,
  SILENT_ALLOW,
  SILENT_DENY,
  type SmtpHandlers,
} from "../../../lib/session/handlers.ts";
import type { SmtpSession } from "../../../lib/session/session.ts";
import { MaildirStore } from "../../../lib/store/maildir_store.ts";

/** What handlers say to an address, by its local part. */
const VERDICTS: Readonly<
  Record<string, (session: SmtpSession) => HandlerVerdict>
> = {
  yes: () => true,
  no: () => false,
  reply: () => new SmtpReply(452, ["Two", "lines"], { enhanced: "4.2.2" }),
  error: () => new SmtpError(553, "As an error", { enhanced: "5.1.8" }),
  throws: () => {
    throw new SmtpError(450, "Thrown", { enhanced: "4.7.1" });
  },
  fault: () => {
    throw new RangeError("A fault of the handler");
  },
  number: () => 5 as unknown as undefined,
  unsendable: (session) => session.send(250 as unknown as string),
  unclosable: (session) => session.close("421" as unknown as SmtpReply),
  allow: (session) => {
    session.send("250 2.1.0 My own yes\r\n");
    return SILENT_ALLOW;
  },
  deny: (session) => {
    session.send("550 5.7.1 My own no\r\n");
    return SILENT_DENY;
  },
};

function verdictFor(session: SmtpSession, localPart: string): HandlerVerdict {
  return VERDICTS[localPart]?.(session);
}

/** A store that cannot keep what it gets. */
const FULL: MessageStore = {
  kind: "full",
  save() {
    return Promise.reject(
      Object.assign(new Error("No room"), { code: "ENOSPC" }),
    );
  },
};

/** A store that fails for the first recipient only. */
const PARTIAL: MessageStore = {
  kind: "partial",
  save(message) {
    const why = new SmtpError(552, "Full", { enhanced: "5.2.2" });
    return Promise.reject(
      new StoreError("Not for all", new Map([[message.recipients[0]!, why]])),
    );
  },
};

/** State of a session between its handlers. */
interface Memory {
  readonly steps: string[];
}

function remember(session: SmtpSession, step: string): void {
  const memory = (session.tag ??= { steps: [] }) as Memory;
  memory.steps.push(step);
}

/** Commands of the handlers' own. */
const COMMANDS: Readonly<
  Record<string, (session: SmtpSession) => string | undefined>
> = {
  XREWRITE: () => "VRFY rewritten",
  XSTEPS(session) {
    const { steps } = session.tag as Memory;
    session.send(`250 ${steps.splice(0).join(" ")}\r\n`);
    return "";
  },
  XSESSION(session) {
    const { helo, extended, state, username, messages, kind, tls } = session;
    const facts = [helo, extended, state, username, messages, kind];
    session.send(`250 ${[...facts, tls !== undefined].join(" ")}\r\n`);
    return "";
  },
  XPROXY(session) {
    const { tls, tlvs = [] } = session.proxy ?? {};
    const [{ type, value } = { type: 0, value: undefined }] = tlvs;
    const isBytes = value instanceof Uint8Array;
    session.send(
      `250 ${tls?.protocol} ${type} ${isBytes && value.toHex()}\r\n`,
    );
    return "";
  },
  XTLS(session) {
    const { protocol, ownCertificate, peerCertificate } = session.tls ?? {};
    const isBytes = ownCertificate instanceof Uint8Array;
    session.send(
      `250 ${protocol} ${
        isBytes && ownCertificate.length > 100
      } ${peerCertificate}\r\n`,
    );
    return "";
  },
  XCLOSE(session) {
    session.close(new SmtpReply(421, "Closed by the handler"));
    return "";
  },
  XFAULT() {
    throw new RangeError("A fault of onCommand");
  },
  XCRASH() {
    setTimeout(() => {
      throw new Error("Nobody catches this");
    }, 0);
    return "";
  },
  XREJECT() {
    Promise.reject(new Error("Nobody awaits this"));
    return "";
  },
  /** Thrown while none of our code runs, as the platform would throw it. */
  XPLATFORM() {
    setTimeout(JSON.parse as () => void, 0);
    return "";
  },
  XEXIT: () => Deno.exit(0),
};

function chooseStore(message: Message): void {
  const subject = message.recipients[0]!.address.localPart;
  const folder = /^in\+(.*)$/.exec(subject)?.[1];
  if (subject === "full") message.store = FULL;
  if (subject === "partial") message.store = PARTIAL;
  if (subject === "two") message.store = [FULL, PARTIAL];
  const { FOLDER } = Deno.env.toObject();
  if (folder === "maildir") {
    message.store = new MaildirStore({ folder: `${FOLDER}/chosen` });
  }
  if (folder === "file") message.filename = `${FOLDER}/chosen.eml`;
  if (folder === "append") {
    message.filename = `${FOLDER}/appended.mbox`;
    message.append = true;
  }
}

async function onMessage(
  session: SmtpSession,
  message: Message,
): Promise<HandlerVerdict> {
  remember(session, `message(${message.tag})`);
  const subject = message.headers.get("Subject") ?? "";
  if (subject === "measure") {
    let length = 0;
    for await (const chunk of message.chunks()) length += chunk.length;
    const before = length - message.size;
    return new SmtpReply(250, `${message.size} ${before > 0} ${length > 0}`);
  }
  if (subject === "replace") {
    await message.replace("Subject: replaced\r\n\r\nAnother\r\n");
  }
  if (subject === "replace large") {
    const lines = `${"x".repeat(78)}\r\n`.repeat(10_000);
    await message.replace(`Subject: replaced\r\n\r\n${lines}`);
  }
  if (subject === "each") {
    for (const [index, recipient] of message.recipients.entries()) {
      recipient.reply = new SmtpReply(250 + index, `For number ${index}`);
    }
  }
  return verdictFor(session, subject);
}

/** The handlers. */
export const handlers: SmtpHandlers = {
  onConnect: (session) => remember(session, "connect"),
  onCommand: (session, line) => COMMANDS[line]?.(session),
  onHelo(session, name) {
    remember(session, `helo(${name})`);
    return verdictFor(session, name);
  },
  async onAuthenticate(_session, credentials) {
    const known = { ann: "secret", bob: "word" }[credentials.username];
    const ok = await credentials.verify(known);
    if (ok && credentials.username === "bob") credentials.identity = "robert";
    return ok;
  },
  onMailFrom(session, address, parameters) {
    remember(session, `mail(${address},${parameters.size})`);
    return verdictFor(session, address.localPart);
  },
  async onRcptTo(session, address, parameters) {
    await Promise.resolve();
    remember(session, `rcpt(${address},${parameters.notify})`);
    return verdictFor(session, address.localPart);
  },
  onMessageStart(session, message) {
    remember(session, `start(${message.recipients.length})`);
    message.tag = message.id.length > 0 ? "tagged" : "no id";
    chooseStore(message);
    return verdictFor(session, message.from.domain.split(".")[0]!);
  },
  onHeaders(session, _message, headers) {
    remember(session, `headers(${headers.count})`);
    const subject = headers.get("Subject") ?? "";
    if (subject === "header no") return false;
    if (subject === "edit") {
      headers.set("Subject", "edited");
      headers.prepend("X-First", "1");
      headers.remove("X-Gone");
    }
  },
  onMessage,
  onReset: (session) => remember(session, "reset"),
  onDisconnect(session, reason) {
    const { steps } = session.tag as Memory;
    throw new Error(`${reason} after ${steps[0]}`);
  },
  onVerify: (_session, text) => text === "no" ? false : `Name <${text}@x>`,
  onExpand: (_session, text) => text === "all" ? ["<a@x>", "<b@x>"] : undefined,
  onStateChange(_session, state, previous) {
    if (state === "authenticating") {
      throw new Error(`${previous} to ${state}`);
    }
  },
};

/** The same, and mail for the queue, which only a module can hand over. */
export default ({ relays }: HandlerContext): SmtpHandlers => ({
  ...handlers,
  async onMessage(session, message) {
    if (message.headers.get("Subject") === "relay") {
      const id = await relays.add(message, {
        ...{ held: true, tag: "by module" },
        ...{ recipients: ["d@elsewhere.test"], schedule: "1m" },
      });
      return new SmtpReply(250, `Queued ${id.length > 0}`);
    }
    if (message.headers.get("Subject") === "note") {
      const id = await relays.add({
        ...{ from: null, to: "e@elsewhere.test" },
        // More than one message between threads has.
        data: `Subject: note\n\n${"x".repeat(99)}\n`.repeat(10_000),
      }, { held: true });
      return new SmtpReply(250, `Noted ${id.length > 0}`);
    }
    return await onMessage(session, message);
  },
});
