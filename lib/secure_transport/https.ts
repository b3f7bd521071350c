/**
 * One request over HTTPS: policies are fetched and reports are sent with it. The
 * platform's `fetch` would ask another resolver than the server's.
 *
 * The certificate must be for the host. A redirect is an answer like any other, and
 * never followed. Everything is bounded: the time, the header, the body.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc9112 | RFC 9112},
 * {@link https://www.rfc-editor.org/rfc/rfc8461#section-3.3 | RFC 8461 section 3.3}
 */

import type { DnsQuerier } from "../dns/outcome.ts";
import { errorMessage } from "../log.ts";
import { connectTcp } from "../net/deno_transport.ts";
import { upgradeClient } from "../net/tls_upgrade.ts";
import type { Transport } from "../net/transport.ts";
import { isLoopbackOrUnspecified } from "../protocol/ip.ts";
import type { Certificate } from "../tls/certificate.ts";

/** A request. */
export interface HttpsRequest {
  readonly host: string;
  /** The path, which begins with a slash. */
  readonly path: string;
  /** A body to send by POST; without one it is a GET. */
  readonly body?: Uint8Array | undefined;
  /** The media type of the body, and its encoding. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** How requests are made. */
export interface HttpsOptions {
  /** Asks for the addresses of hosts. */
  readonly dns: DnsQuerier;
  /** The port. Default: 443. */
  readonly port?: number | undefined;
  /** The trusted authorities. Default: the platform's. */
  readonly trusted?: readonly Certificate[] | undefined;
  /** Whether addresses of this machine may be asked. Default: no. */
  readonly allowLoopback?: boolean | undefined;
  /** Milliseconds for all of it. Default: 20,000. */
  readonly timeoutMs?: number | undefined;
  /** Most bytes of the body. Default: 65,536. */
  readonly maxBody?: number | undefined;
  /** Ends the request. */
  readonly signal?: AbortSignal | undefined;
}

/** An answer. */
export interface HttpsAnswer {
  readonly status: number;
  /** The fields, with names in lower case; the first of each name. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

/** A request that failed. */
export class HttpsError extends Error {
  override name = "HttpsError";
  /** Whether it failed for the certificate. */
  readonly isCertificate: boolean;

  constructor(message: string, isCertificate = false) {
    super(message);
    this.isCertificate = isCertificate;
  }
}

/** Most bytes of the header of an answer. */
const MOST_HEADER = 16_384;
/** Addresses of a host that are tried. */
const MOST_ADDRESSES = 4;

/**
 * Makes a request.
 *
 * @throws {HttpsError} If there is no answer, or it is too large or malformed
 */
export async function requestHttps(
  request: HttpsRequest,
  options: HttpsOptions,
): Promise<HttpsAnswer> {
  const { timeoutMs = 20_000 } = options;
  const stop = new AbortController();
  const late = new HttpsError(
    `Host "${request.host}" did not answer within ${timeoutMs} ms`,
  );
  const timer = setTimeout(() => stop.abort(late), timeoutMs);
  const forward = () =>
    stop.abort(new HttpsError(`The request to "${request.host}" was ended`));
  options.signal?.addEventListener("abort", forward, { once: true });
  if (options.signal?.aborted) forward();
  try {
    return await exchange(request, options, stop.signal);
  } catch (error) {
    if (stop.signal.aborted) throw stop.signal.reason;
    if (error instanceof HttpsError) throw error;
    throw new HttpsError(
      `Cannot ask host "${request.host}": ${errorMessage(error)}`,
    );
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", forward);
  }
}

async function exchange(
  request: HttpsRequest,
  options: HttpsOptions,
  signal: AbortSignal,
): Promise<HttpsAnswer> {
  const transport = await connect(request.host, options, signal);
  const close = () => transport.close();
  signal.addEventListener("abort", close, { once: true });
  try {
    signal.throwIfAborted();
    await transport.write(encode(request, options.port));
    return await readAnswer(transport, options.maxBody ?? 65_536);
  } finally {
    signal.removeEventListener("abort", close);
    transport.close();
  }
}

/** Connects to the first address that answers, with a certificate for the host. */
async function connect(
  host: string,
  options: HttpsOptions,
  signal: AbortSignal,
): Promise<Transport> {
  const { dns, port = 443, trusted, timeoutMs = 20_000 } = options;
  const answers = await Promise.all([
    dns.query("A", host, { signal }),
    dns.query("AAAA", host, { signal }),
  ]);
  const addresses = answers.flatMap((answer) =>
    answer.status === "found" ? answer.records : []
  ).filter((address) =>
    options.allowLoopback || !isLoopbackOrUnspecified(address)
  );
  if (addresses.length === 0) {
    throw new HttpsError(`Host "${host}" has no address`);
  }
  let last: unknown;
  for (const address of addresses.slice(0, MOST_ADDRESSES)) {
    try {
      const plain = await connectTcp({
        host: address,
        port,
        timeoutMs,
        signal,
      });
      const { transport, authorizationError } = await upgradeClient(plain, {
        ...{ serverName: host, handshakeTimeoutMs: timeoutMs, trusted, signal },
      });
      if (authorizationError === undefined) return transport;
      transport.close();
      throw new HttpsError(
        `Cannot trust host "${host}": ${authorizationError}`,
        true,
      );
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof HttpsError) throw error;
      last = error;
    }
  }
  throw last;
}

function encode(
  { host, path, body, headers = {} }: HttpsRequest,
  port = 443,
): Uint8Array {
  const lines = [
    `${body === undefined ? "GET" : "POST"} ${path} HTTP/1.1`,
    `Host: ${host}${port === 443 ? "" : `:${port}`}`,
    "Connection: close",
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...(body === undefined ? [] : [`Content-Length: ${body.length}`]),
  ];
  const head = new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
  const all = new Uint8Array(head.length + (body?.length ?? 0));
  all.set(head);
  if (body !== undefined) all.set(body, head.length);
  return all;
}

/**
 * Reads one answer.
 *
 * @param maxBody Most bytes of its body
 * @throws {HttpsError} If it is malformed, too large or cut off
 */
export async function readAnswer(
  transport: Pick<Transport, "read">,
  maxBody: number,
): Promise<HttpsAnswer> {
  return await new AnswerReader(transport, maxBody).read();
}

class AnswerReader {
  readonly #transport: Pick<Transport, "read">;
  readonly #maxBody: number;
  readonly #buffer = new Uint8Array(16_384);
  /** Bytes that came and are not read yet. */
  #rest: Uint8Array = new Uint8Array(0);

  constructor(transport: Pick<Transport, "read">, maxBody: number) {
    this.#transport = transport;
    this.#maxBody = maxBody;
  }

  async read(): Promise<HttpsAnswer> {
    let left = MOST_HEADER;
    const line = async () => {
      const text = await this.#line(left);
      left -= text.length + 2;
      return text;
    };
    const status = /^HTTP\/1\.[01] ([1-5]\d\d)(?: |$)/.exec(await line())?.[1];
    if (status === undefined) throw new HttpsError("The answer is no HTTP");
    const headers = new Map<string, string>();
    for (;;) {
      const text = await line();
      if (text === "") break;
      const colon = text.indexOf(":");
      const name = text.slice(0, Math.max(colon, 0)).toLowerCase();
      if (!/^[!-9;-~]+$/.test(name)) {
        throw new HttpsError("The header of the answer is malformed");
      }
      if (!headers.has(name)) headers.set(name, text.slice(colon + 1).trim());
    }
    return { status: Number(status), headers, body: await this.#body(headers) };
  }

  async #body(headers: ReadonlyMap<string, string>): Promise<Uint8Array> {
    const coding = headers.get("transfer-encoding")?.toLowerCase();
    if (coding === "chunked") return await this.#chunks();
    if (coding !== undefined) {
      throw new HttpsError("The encoding of the answer is unknown");
    }
    const length = headers.get("content-length");
    if (length === undefined) return await this.#toEnd();
    if (!/^\d{1,15}$/.test(length)) {
      throw new HttpsError("The length of the answer is malformed");
    }
    return await this.#exactly(Number(length));
  }

  async #chunks(): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let size = 0;
    for (;;) {
      const text = /^([0-9a-f]{1,8})[ \t]*(?:;|$)/i.exec(
        await this.#line(MOST_HEADER),
      )?.[1];
      if (text === undefined) throw new HttpsError("A chunk is malformed");
      const length = parseInt(text, 16);
      size += length;
      this.#bound(size);
      if (length === 0) return join(parts);
      parts.push(await this.#exactly(length));
      if (await this.#line(2) !== "") {
        throw new HttpsError("A chunk is malformed");
      }
    }
  }

  async #toEnd(): Promise<Uint8Array> {
    const parts = [this.#rest];
    let size = this.#rest.length;
    this.#rest = new Uint8Array(0);
    for (;;) {
      this.#bound(size);
      const more = await this.#more();
      if (more === undefined) return join(parts);
      parts.push(more);
      size += more.length;
    }
  }

  async #exactly(length: number): Promise<Uint8Array> {
    this.#bound(length);
    const bytes = new Uint8Array(length);
    let used = 0;
    while (used < length) {
      if (this.#rest.length === 0) {
        const more = await this.#more();
        if (more === undefined) throw new HttpsError("The answer is cut off");
        this.#rest = more;
      }
      const part = this.#rest.subarray(0, length - used);
      bytes.set(part, used);
      used += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return bytes;
  }

  #bound(size: number): void {
    if (size <= this.#maxBody) return;
    throw new HttpsError(`The answer has over ${this.#maxBody} bytes`);
  }

  /** The next line without its end, of so many bytes at most. */
  async #line(most: number): Promise<string> {
    let text = "";
    for (;;) {
      const end = this.#rest.indexOf(0x0a);
      const part = end < 0 ? this.#rest : this.#rest.subarray(0, end);
      if (text.length + part.length > most) {
        throw new HttpsError("The header of the answer is too large");
      }
      for (const byte of part) text += String.fromCharCode(byte);
      if (end >= 0) {
        this.#rest = this.#rest.subarray(end + 1);
        return text.replace(/\r$/, "");
      }
      const more = await this.#more();
      if (more === undefined) throw new HttpsError("The answer is cut off");
      this.#rest = more;
    }
  }

  async #more(): Promise<Uint8Array | undefined> {
    const count = await this.#transport.read(this.#buffer);
    return count === null ? undefined : this.#buffer.slice(0, count);
  }
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  const all = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
