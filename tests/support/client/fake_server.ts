/** A server in memory that answers as it is told, fault by fault. */

/** What to do instead of the usual answer; `drop` closes without a word. */
export type Fault = string | "drop";

/** How a {@linkcode FakeServer} behaves. */
export interface FakeServerOptions {
  /** Lines of the EHLO reply after the first. */
  capabilities?: string[];
  /** Answers by command: `greeting`, a verb, `RCPT 2` for the second RCPT, `AUTH PLAIN` for a mechanism, `end`, `end 2` (LMTP). */
  faults?: Record<string, Fault>;
  /** Whether to speak LMTP. */
  lmtp?: boolean;
}

/** A message as the server took it. */
export interface TakenMessage {
  /** The line of MAIL. */
  mail: string;
  /** The lines of the accepted RCPTs. */
  rcpt: string[];
  /** The content, dots removed. */
  content: string;
}

/** A server in memory. Bytes in, bytes out; every byte is a character here. */
export class FakeServer {
  /** Every command line it saw. */
  readonly lines: string[] = [];
  /** The messages it took. */
  readonly messages: TakenMessage[] = [];
  /** Whether it has closed the connection. */
  closed = false;
  #buffer = "";
  #mail = "";
  #rcpt: string[] = [];
  #rcptSeen = 0;
  #mode: "commands" | "data" = "commands";
  #chunk: { left: number; last: boolean; content: string } | undefined;
  #content = "";
  readonly #options: FakeServerOptions;

  constructor(options: FakeServerOptions = {}) {
    this.#options = options;
  }

  /** The first word, or nothing where the fault drops the connection. */
  greet(): string {
    return this.#answer("greeting", "220 fake ESMTP");
  }

  /** Takes bytes and gives the answers to them. */
  receive(text: string): string {
    this.#buffer += text;
    let out = "";
    for (;;) {
      if (this.closed) return out;
      const answer = this.#step();
      if (answer === undefined) return out;
      out += answer;
    }
  }

  #step(): string | undefined {
    if (this.#mode === "data") return this.#data();
    if (this.#chunk) return this.#bdat();
    const end = this.#buffer.indexOf("\r\n");
    if (end < 0) return undefined;
    const line = this.#buffer.slice(0, end);
    this.#buffer = this.#buffer.slice(end + 2);
    this.lines.push(line);
    return this.#command(line);
  }

  #command(line: string): string {
    const verb = line.split(" ")[0]!.toUpperCase();
    switch (verb) {
      case "EHLO":
      case "LHLO": {
        const all = ["fake", ...this.#options.capabilities ?? []];
        const reply = all.map((text, at) =>
          `250${at === all.length - 1 ? " " : "-"}${text}`
        ).join("\r\n");
        return this.#answer(verb, reply);
      }
      case "MAIL": {
        const answer = this.#answer(verb, "250 2.1.0 Sender ok");
        if (answer.startsWith("2")) this.#begin(line);
        return answer;
      }
      case "RCPT": {
        this.#rcptSeen++;
        const key = `RCPT ${this.#rcptSeen}`;
        if (this.#mail === "") return "503 5.5.1 No MAIL\r\n";
        const answer = this.#has(key)
          ? this.#answer(key, "")
          : this.#answer("RCPT", "250 2.1.5 Recipient ok");
        if (answer.startsWith("2")) this.#rcpt.push(line);
        return answer;
      }
      case "DATA": {
        const usual = this.#mail === ""
          ? "503 5.5.1 No MAIL"
          : this.#rcpt.length === 0
          ? "554 5.5.1 No valid recipients"
          : "354 Go on";
        const answer = this.#answer(verb, usual);
        if (answer.startsWith("354")) this.#mode = "data";
        return answer;
      }
      case "BDAT": {
        const [, size, last] = line.split(" ");
        this.#chunk = { left: Number(size), last: !!last, content: "" };
        return "";
      }
      case "RSET":
        this.#reset();
        return this.#answer(verb, "250 2.0.0 Reset");
      case "QUIT": {
        const answer = this.#answer(verb, "221 2.0.0 Bye");
        this.closed = true;
        return answer;
      }
      case "STARTTLS":
        return this.#answer(verb, "220 2.0.0 Go");
      case "AUTH": {
        const key = `AUTH ${line.split(" ")[1]}`;
        return this.#answer(this.#has(key) ? key : verb, "235 2.7.0 Welcome");
      }
      case "HELO":
        return this.#answer(verb, "250 fake");
      default:
        return this.#answer(verb, "500 5.5.1 What");
    }
  }

  #begin(line: string): void {
    this.#reset();
    this.#mail = line;
  }

  #reset(): void {
    this.#mail = "";
    this.#rcpt = [];
    this.#rcptSeen = 0;
    this.#content = "";
  }

  #data(): string | undefined {
    if (this.#buffer === "") return undefined;
    if (this.#has("body")) {
      const answer = this.#answer("body", "");
      this.closed = true;
      return answer;
    }
    const all = `\r\n${this.#buffer}`;
    const end = all.indexOf("\r\n.\r\n");
    if (end < 0) return undefined;
    this.#buffer = all.slice(end + 5);
    this.#mode = "commands";
    this.#content = all.slice(0, end + 2).replaceAll("\r\n.", "\r\n").slice(2);
    return this.#finish();
  }

  #bdat(): string | undefined {
    const chunk = this.#chunk!;
    const part = this.#buffer.slice(0, chunk.left);
    this.#buffer = this.#buffer.slice(part.length);
    chunk.left -= part.length;
    this.#content += part;
    if (chunk.left > 0) return undefined;
    this.#chunk = undefined;
    if (this.#rcpt.length === 0) return "503 5.5.1 No valid recipients\r\n";
    if (!chunk.last) return this.#answer("BDAT", "250 2.0.0 Chunk ok");
    return this.#finish();
  }

  #finish(): string {
    const count = this.#options.lmtp ? this.#rcpt.length : 1;
    let out = "";
    for (let at = 1; at <= count && !this.closed; at++) {
      const key = this.#has(`end ${at}`) ? `end ${at}` : "end";
      out += this.#answer(key, "250 2.6.0 Taken");
    }
    if (out.startsWith("2")) {
      this.messages.push({
        mail: this.#mail,
        rcpt: this.#rcpt,
        content: this.#content,
      });
    }
    this.#reset();
    return out;
  }

  #has(key: string): boolean {
    return this.#options.faults?.[key] !== undefined;
  }

  #answer(key: string, usual: string): string {
    const fault = this.#options.faults?.[key];
    if (fault === "drop") {
      this.closed = true;
      return "";
    }
    const text = fault ?? usual;
    if (text.startsWith("421")) this.closed = true;
    return `${text}\r\n`;
  }
}
