/** A next hop on a real socket that answers each line as a test says. */
import { Pauses } from "../wait.ts";

/** Waits `ms`; rejects when the hop ends. */
export type Pause = (ms: number) => Promise<void>;

/** What to say to a line: a reply without its last CRLF, `undefined` for nothing, `"drop"` to close. */
export type AnswerLine = (
  line: string,
  pause: Pause,
  connection: number,
) => string | undefined | Promise<string | undefined>;

/** The hop. */
export class ScriptedHop implements AsyncDisposable {
  /** Every line it got; content is in it, too. */
  readonly lines: string[] = [];
  /** Connections so far. */
  connections = 0;
  readonly #listener: Deno.Listener;
  readonly #conns = new Set<Deno.Conn>();
  readonly #pauses = new Pauses();
  readonly #answer: AnswerLine;
  readonly #greeting: (connection: number) => string;
  readonly #running: Promise<void>;

  /**
   * @param answer What it says to each line
   * @param greeting What it says to a connection
   * @param path A unix socket to listen on, instead of a port
   */
  constructor(
    answer: AnswerLine,
    greeting: (connection: number) => string = () => "220 hop ESMTP",
    path?: string,
  ) {
    this.#listener = path === undefined
      ? Deno.listen({ hostname: "127.0.0.1", port: 0 })
      : Deno.listen({ transport: "unix", path });
    this.#answer = answer;
    this.#greeting = greeting;
    this.#running = this.#accept();
  }

  /** Where it listens. */
  get port(): number {
    return (this.#listener.addr as Deno.NetAddr).port;
  }

  /** Connections that are open. */
  get open(): number {
    return this.#conns.size;
  }

  /** Says something unasked on all connections. */
  async say(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(`${text}\r\n`);
    for (const conn of this.#conns) await conn.write(bytes);
  }

  async #accept(): Promise<void> {
    const sessions: Promise<void>[] = [];
    for await (const conn of this.#listener) {
      this.#conns.add(conn);
      sessions.push(this.#serve(conn, ++this.connections).catch(() => {}));
    }
    await Promise.all(sessions);
  }

  async #serve(conn: Deno.Conn, number: number): Promise<void> {
    const say = (text: string) =>
      conn.write(new TextEncoder().encode(`${text}\r\n`));
    const pause = this.#pauses.wait;
    try {
      await say(this.#greeting(number));
      let rest = "";
      const decoder = new TextDecoder();
      for await (const chunk of conn.readable.values()) {
        const lines = (rest + decoder.decode(chunk, { stream: true }))
          .split("\r\n");
        rest = lines.pop()!;
        for (const line of lines) {
          this.lines.push(line);
          const reply = await this.#answer(line, pause, number);
          if (reply === "drop") return;
          if (reply !== undefined) await say(reply);
        }
      }
    } finally {
      this.#conns.delete(conn);
      try {
        conn.close();
      } catch {
        // The stream has closed it.
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.#pauses.end();
    for (const conn of this.#conns) {
      try {
        conn.close();
      } catch {
        // It was closed already.
      }
    }
    await this.#running;
  }
}
