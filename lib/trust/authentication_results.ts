/**
 * The field Authentication-Results: what a server has found out about a message,
 * for programs behind it. Prints it and reads it.
 *
 * What a message or a domain says never reaches the field as syntax: a value that is
 * no plain word is quoted, one that cannot be quoted is left out, and comments have
 * words of this program only. Reading is total: a text that breaks the grammar is
 * `undefined`. Each text is read once.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8601#section-2.2 | RFC 8601 sections 2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc8601#section-2.7 | 2.7} and
 * {@link https://www.rfc-editor.org/rfc/rfc8601#section-5 | 5} (fields that must go)
 */

import { isAscii } from "../protocol/bytes.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { WANTED_LINE } from "../protocol/folding.ts";
import { decodeWords } from "../protocol/header_decoding.ts";
import { commentEnd, quotedEnd } from "../protocol/header_encoding.ts";
import { canonicalIp } from "../protocol/ip.ts";
import { mailDomain } from "./author.ts";
import { latin1Bytes } from "./canonical_header.ts";
import type {
  ArcResult,
  AuthResult,
  DkimResult,
  DmarcResult,
  SpfResult,
} from "./result.ts";
import { trimSpace } from "./tag_list.ts";

/** Whether the name of the client's address leads back to it (RFC 8601 section 3). */
export interface ReverseResult {
  /** The result. */
  readonly result: AuthResult;
  /** The name of the address, if it has one that leads back. */
  readonly name?: string | undefined;
  /** The address of the client. */
  readonly ip: string;
}

/** What goes into the field; what is unset was not checked. */
export interface ResultsToReport {
  /** SPF of MAIL FROM, or of HELO for a null sender. */
  readonly spf?: SpfResult | undefined;
  /** SPF of HELO. */
  readonly helo?: SpfResult | undefined;
  /** DKIM, one for each signature; `[]` for a message without signatures. */
  readonly dkim?: readonly DkimResult[] | undefined;
  /** DMARC. */
  readonly dmarc?: DmarcResult | undefined;
  /** The chain of ARC. */
  readonly arc?: ArcResult | undefined;
  /** The name of the client's address. */
  readonly reverse?: ReverseResult | undefined;
  /** The reverse-path without brackets: `smtp.mailfrom`. Default: the domain that SPF checked. */
  readonly from?: string | undefined;
}

/** One result of a field. */
export interface MethodResult {
  /** The method, as `"dkim"`, in lower case. */
  readonly method: string;
  /** The version of the method; 1 if the field has none. */
  readonly version: number;
  /** The result, in lower case; a word of {@linkcode AuthResult} for the known methods. */
  readonly result: string;
  /** Why, if the field says it. */
  readonly reason?: string | undefined;
  /** The properties by type and name, as `"header.d"`, in lower case; the first of two. */
  readonly properties: Readonly<Record<string, string>>;
}

/** The content of a field. */
export interface AuthenticationResults {
  /** The server that speaks, as written. */
  readonly authservId: string;
  /** The version of the field's syntax; 1 if the field has none. */
  readonly version: number;
  /** The results in order; none for "none", or if the version is not 1. */
  readonly methods: readonly MethodResult[];
}

const RESULTS: ReadonlySet<string> = new Set<AuthResult>([
  ...["pass", "fail", "softfail", "neutral"] as const,
  ...["none", "policy", "temperror", "permerror"] as const,
]);
/** RFC 2045: a value that needs no quotes. */
const TOKEN = /^[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+$/;
const DOT_ATOM = /^[!#-'*+\-/-9=?A-Z^-~]+(?:\.[!#-'*+\-/-9=?A-Z^-~]+)*$/;
const PRINTABLE = /^[ -~]+$/;
const QUOTED_LOCAL = /^"(?:[^"\\]|\\[ -~])*"$/;
const BASE64 = /^[A-Za-z0-9+/=]+$/;
const SELECTOR =
  /^[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/i;
/** Longest value of a property, in characters; a longer one is left out. */
const MOST_VALUE = 320;
/** Longest reason, in characters; a longer one is cut. */
const MOST_REASON = 200;

/**
 * Makes the value of the field: folded to 78 characters where blanks allow it, in
 * ASCII, without the field's name and without a line end behind it.
 *
 * @param authservId The name of the server that speaks; U-labels become A-labels
 * @param results What was found out
 * @throws {TypeError} If the name is empty, or has characters that no field may have
 *
 * @example A message without a signature, whose domain allows the client
 * ```ts
 * import { formatAuthenticationResults } from "@smtp/server/trust";
 * import type { ResultsToReport, SpfResult } from "@smtp/server/trust";
 *
 * const spf: SpfResult = {
 *   result: "pass",
 *   identity: "mailfrom",
 *   domain: "example.com",
 *   lookups: 0,
 * };
 * const results: ResultsToReport = { spf, from: "ann@example.com", dkim: [] };
 * console.assert(
 *   formatAuthenticationResults("mx.example.org", results) ===
 *     "mx.example.org;\r\n" +
 *       " spf=pass smtp.mailfrom=ann@example.com;\r\n dkim=none",
 * );
 * ```
 */
export function formatAuthenticationResults(
  authservId: string,
  results: ResultsToReport,
): string {
  const server = word(
    isAscii(authservId) ? authservId : asciiDomain(authservId),
  );
  if (server === undefined) {
    throw new TypeError(
      `Cannot make Authentication-Results of ${
        JSON.stringify(authservId)
      }: want the name of a server in printable characters`,
    );
  }
  const { spf, helo, dkim, dmarc, arc, reverse, from } = results;
  const clauses: (Clause | undefined)[] = [];
  if (reverse !== undefined) clauses.push(reverseClause(reverse));
  if (spf !== undefined) clauses.push(spfClause(spf, from));
  // For a null sender both are the same check.
  if (helo !== undefined && spf?.identity !== "helo") {
    clauses.push(spfClause(helo, from));
  }
  for (const one of dkim ?? []) clauses.push(dkimClause(one));
  if (dkim?.length === 0) clauses.push(["dkim=none"]);
  if (dmarc !== undefined) clauses.push(dmarcClause(dmarc));
  if (arc !== undefined) clauses.push(arcClause(arc));
  const made = clauses.filter((clause) => clause !== undefined);
  if (made.length === 0) made.push(["none"]);
  let text = server;
  for (const clause of made) text += `;\r\n${foldedClause(clause)}`;
  return text;
}

/** The parts of one result between which the line may be broken. */
type Clause = readonly string[];

/** What stands between two semicolons; `undefined` for an unknown result. */
function clause(
  method: string,
  { result, reason }: {
    readonly result: AuthResult;
    readonly reason?: string | undefined;
  },
  parts: {
    readonly comment?: string;
    readonly properties?: Readonly<Record<string, string | undefined>>;
  },
): Clause | undefined {
  if (!RESULTS.has(result)) return undefined;
  const clause = [`${method}=${result}`];
  if (parts.comment) clause.push(`(${parts.comment})`);
  const why = result === "pass" ? "" : cleanReason(reason ?? "");
  if (why !== "") clause.push(`reason=${quote(why)}`);
  for (const [name, value] of Object.entries(parts.properties ?? {})) {
    if (value !== undefined) clause.push(`${name}=${value}`);
  }
  return clause;
}

function spfClause(
  spf: SpfResult,
  from: string | undefined,
): Clause | undefined {
  const properties = spf.identity === "helo"
    ? { "smtp.helo": name(spf.domain) }
    : { "smtp.mailfrom": address(from ?? "") ?? name(spf.domain) };
  return clause("spf", spf, { properties });
}

function dkimClause(dkim: DkimResult): Clause | undefined {
  const { domain, selector, identity, algorithm, signature } = dkim;
  const notes: string[] = [];
  if (dkim.keyBits !== undefined) notes.push(`${+dkim.keyBits}-bit key`);
  if (dkim.testing) notes.push("test mode");
  if (dkim.unsigned) notes.push(`${+dkim.unsigned} bytes unsigned`);
  const isShort = selector.length <= MOST_VALUE;
  return clause("dkim", dkim, {
    comment: notes.join(", "),
    properties: {
      "header.d": mailDomain(domain),
      "header.i": address(identity, "@"),
      "header.s": isShort && SELECTOR.test(selector) ? selector : undefined,
      "header.a": algorithm.length < 64 && TOKEN.test(algorithm)
        ? algorithm
        : undefined,
      // At the end: some readers stop at quotes before another property.
      "header.b": signature.length < 64 && BASE64.test(signature)
        ? word(signature)
        : undefined,
    },
  });
}

function dmarcClause(dmarc: DmarcResult): Clause | undefined {
  const { author = "", policy, result } = dmarc;
  const isKnown = policy !== undefined && result !== "temperror" &&
    TOKEN.test(policy);
  return clause("dmarc", dmarc, {
    properties: {
      "header.from": mailDomain(author),
      "policy.dmarc": isKnown ? policy : undefined,
    },
  });
}

function arcClause(arc: ArcResult): Clause | undefined {
  const comment = arc.instance > 0 ? `i=${+arc.instance}` : "";
  return clause("arc", arc, { comment });
}

function reverseClause(reverse: ReverseResult): Clause | undefined {
  const ip = canonicalIp(reverse.ip);
  return clause("iprev", reverse, {
    comment: mailDomain(reverse.name ?? "") ?? "",
    properties: { "policy.iprev": ip === undefined ? undefined : word(ip) },
  });
}

/** A name of a host; quoted if it is something else. */
function name(text: string): string | undefined {
  return mailDomain(text) ?? word(text);
}

/** A mailbox, or `@` and a domain; the local part goes, for `instead`, if it cannot be quoted. */
function address(text: string, instead = ""): string | undefined {
  const at = text.lastIndexOf("@");
  if (at < 0) return undefined;
  const domain = mailDomain(text.slice(at + 1));
  if (domain === undefined) return word(text);
  const local = text.slice(0, at);
  if (local === "") return `@${domain}`;
  if (local.length > MOST_VALUE || !PRINTABLE.test(local)) {
    return instead + domain;
  }
  if (DOT_ATOM.test(local) || QUOTED_LOCAL.test(local)) {
    return `${local}@${domain}`;
  }
  return `${quote(local)}@${domain}`;
}

/** A value as a token, or quoted; `undefined` if it can be neither. */
function word(text: string): string | undefined {
  if (text.length > MOST_VALUE || !PRINTABLE.test(text)) return undefined;
  return TOKEN.test(text) ? text : quote(text);
}

function quote(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/** A reason on one line, in ASCII. */
function cleanReason(text: string): string {
  return text.slice(0, 2 * MOST_REASON).replace(/\s+/g, " ")
    .replace(/[^ -~]+/g, "?").trim().slice(0, MOST_REASON).trim();
}

/** The clause as lines that begin with a blank; a part that is too long is broken at its own blanks. */
function foldedClause(clause: Clause): string {
  const lines: string[] = [];
  let line = "";
  for (const part of clause) {
    const isLong = part.length >= WANTED_LINE;
    for (const piece of isLong ? part.split(/(?<! ) (?=[^ ])/) : [part]) {
      // A semicolon may follow.
      if (line !== "" && line.length + piece.length + 2 > WANTED_LINE) {
        lines.push(line);
        line = "";
      }
      line += ` ${piece}`;
    }
  }
  lines.push(line);
  return lines.join("\r\n");
}

/**
 * Reads the value of a field. Takes what servers write beside the grammar: values
 * with characters that want quotes, empty values, a semicolon at the end.
 *
 * @param value The value, folded or not, without the name of the field; of
 * ARC-Authentication-Results what follows `i=1;`
 * @returns The content, or `undefined` if the value breaks the grammar
 *
 * @example What the server in front has found out
 * ```ts
 * import { parseAuthenticationResults } from "@smtp/server/trust";
 * import type { AuthenticationResults, MethodResult } from "@smtp/server/trust";
 *
 * const results: AuthenticationResults | undefined = parseAuthenticationResults(
 *   "mx.example.org; dkim=pass (2048-bit key) header.d=example.com",
 * );
 * const [dkim]: readonly MethodResult[] = results?.methods ?? [];
 * console.assert(results?.authservId === "mx.example.org");
 * console.assert(dkim?.properties["header.d"] === "example.com");
 * ```
 */
export function parseAuthenticationResults(
  value: string,
): AuthenticationResults | undefined {
  const text = value.replace(/\r\n(?=[ \t])/g, "").replace(/\r\n$/, "");
  // deno-lint-ignore no-control-regex
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(text)) return undefined;
  return new Reader(text).read();
}

const BLANKS = /[ \t]*/y;
const BARE = /[^\s;()<>,"\\=]+/y;
/** A value of a property without quotes: more than the grammar allows, as servers write it. */
const BARE_VALUE = /[^\s;()"\\]*/y;
const DIGITS = /\d{1,9}(?![^\s;(])/y;
const KEYWORD = /[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?/y;
const DOMAIN = /@[^\s;()"\\]*/y;

/** One pass over a value. */
class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): AuthenticationResults | undefined {
    const authservId = this.server();
    if (authservId === undefined) return undefined;
    this.#space();
    const digits = this.#take(DIGITS);
    const version = digits === undefined ? 1 : Number(digits);
    if (version !== 1) return { authservId, version, methods: [] };
    const methods: MethodResult[] = [];
    while (this.#space() && !this.#isAtEnd) {
      if (!this.#character(";")) return undefined;
      this.#space();
      if (this.#isAtEnd || this.#text[this.#at] === ";") continue;
      const method = this.#method();
      if (method === undefined) return undefined;
      if (method !== "none") methods.push(method);
    }
    return this.#isAtEnd ? { authservId, version, methods } : undefined;
  }

  /** The name of the server, after blanks and comments. */
  server(): string | undefined {
    this.#space();
    return this.#quoted() ?? this.#take(BARE);
  }

  get #isAtEnd(): boolean {
    return this.#at >= this.#text.length;
  }

  #method(): MethodResult | "none" | undefined {
    const method = this.#keyword();
    if (method === undefined) return undefined;
    this.#space();
    if (method === "none" && (this.#isAtEnd || this.#text[this.#at] === ";")) {
      return "none";
    }
    let version = 1;
    if (this.#character("/")) {
      this.#space();
      const digits = this.#take(/\d{1,9}/y);
      if (digits === undefined) return undefined;
      version = Number(digits);
      this.#space();
    }
    if (!this.#character("=")) return undefined;
    this.#space();
    const result = this.#keyword();
    if (result === undefined) return undefined;
    let reason: string | undefined;
    const properties: Record<string, string> = {};
    while (this.#space() && !this.#isAtEnd && this.#text[this.#at] !== ";") {
      const type = this.#keyword();
      if (type === undefined) return undefined;
      this.#space();
      let key = type;
      if (this.#character(".")) {
        this.#space();
        const property = this.#keyword();
        if (property === undefined) return undefined;
        key = `${type}.${property}`;
        this.#space();
      }
      if (!this.#character("=")) return undefined;
      this.#space();
      const value = this.#value();
      if (key === "reason") reason ??= value;
      else if (!Object.hasOwn(properties, key)) properties[key] = value;
    }
    return { method, version, result, reason, properties };
  }

  /** A value: a token, a quoted string, or a mailbox, whose quotes stay. */
  #value(): string {
    const start = this.#at;
    const quoted = this.#quoted();
    if (quoted === undefined) return this.#take(BARE_VALUE)!;
    const domain = this.#take(DOMAIN);
    return domain === undefined
      ? quoted
      : this.#text.slice(start, this.#at - domain.length) + domain;
  }

  #keyword(): string | undefined {
    return this.#take(KEYWORD)?.toLowerCase();
  }

  /** A quoted string without its quotes; `undefined` without one, or if it has no end. */
  #quoted(): string | undefined {
    if (this.#text[this.#at] !== '"') return undefined;
    const start = this.#at + 1;
    for (let at = start; at < this.#text.length; at++) {
      if (this.#text[at] === "\\") at++;
      else if (this.#text[at] === '"') {
        this.#at = at + 1;
        return this.#text.slice(start, at).replace(/\\([^])/g, "$1");
      }
    }
  }

  #character(wanted: string): boolean {
    if (this.#text[this.#at] !== wanted) return false;
    this.#at++;
    return true;
  }

  /** Skips blanks and comments; a comment without an end goes to the end. Always true. */
  #space(): boolean {
    this.#take(BLANKS);
    while (this.#text[this.#at] === "(") {
      this.#at = commentEnd(this.#text, this.#at);
      this.#take(BLANKS);
    }
    return true;
  }

  #take(form: RegExp): string | undefined {
    form.lastIndex = this.#at;
    const found = form.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }
}

/**
 * Whether the value of a field bears the name of a server: such a field of a message
 * that comes from outside is a forgery, and goes. In doubt it does: what any reader
 * could take for the name counts, whatever the case, quotes, comments, folding,
 * encoded words and control characters.
 *
 * @param value The value as it came, one character for each byte
 * @param authservId The name of the server
 */
export function bearsAuthservId(value: string, authservId: string): boolean {
  const wanted = plainName(authservId);
  const texts = [value];
  if (!isAscii(value)) {
    texts.push(new TextDecoder().decode(latin1Bytes(value)));
  }
  return texts.some((text) =>
    serverNames(text).some((name) => plainName(name) === wanted)
  );
}

/** What readers could take for the name of the server. */
function serverNames(value: string): readonly string[] {
  // deno-lint-ignore no-control-regex
  const line = value.replace(/[\0-\x1f\x7f]+/g, " ");
  const text = line.includes("=?") ? decodeWords(line) : line;
  const names: string[] = [];
  for (const one of text === line ? [line] : [line, text]) {
    const read = new Reader(one).server();
    if (read !== undefined) names.push(read.trim());
    const bare = withoutComments(one).split(";", 1)[0]!.replace(/["\\]/g, "");
    const [first = ""] = bare.trim().split(/\s/, 1);
    // A reader that does not know comments begins with the text itself.
    const [raw = ""] = one.trim().split(/[\s;(/,]/, 1);
    names.push(first, raw, bare.replace(/\s+/g, ""));
  }
  return names;
}

function withoutComments(text: string): string {
  const parts: string[] = [];
  let from = 0;
  for (let at = 0; at < text.length;) {
    if (text[at] === '"') at = quotedEnd(text, at);
    else if (text[at] === "(") {
      parts.push(text.slice(from, at));
      from = at = commentEnd(text, at);
    } else at++;
  }
  return parts.join("") + text.slice(from);
}

function plainName(text: string): string {
  return text.length > 4 * MOST_VALUE ? text : asciiDomain(trimSpace(text));
}
