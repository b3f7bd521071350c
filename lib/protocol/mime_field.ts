/**
 * The MIME fields with a value and parameters: Content-Type,
 * Content-Transfer-Encoding, Content-Disposition. This is the only parser for
 * them. It reads comments, quoted strings, and the continuations, charsets and
 * percent forms of RFC 2231.
 *
 * Never throws and never fails: it reads malformed text as most mail programs
 * do, and leaves out text that cannot be read. The time is linear in the length
 * of the text. It stands alone because every reader of MIME needs it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-5.1 | RFC 2045 section 5.1},
 * {@link https://www.rfc-editor.org/rfc/rfc2231 | RFC 2231}
 */

/** Most parameters read; more are an attack. */
const MAX_PARAMETERS = 1000;
/** Most sections of one continued parameter. */
const MAX_SECTIONS = 1000;

const LATIN1 = new TextDecoder("latin1");

/** A parsed field. */
export interface MimeField {
  /**
   * The value in lower case, without comments and blanks, such as
   * `"text/plain"`; `""` if the field has no value.
   */
  readonly value: string;
  /**
   * The parameters: names in lower case, values decoded. The first of two with
   * the same name counts.
   */
  readonly parameters: ReadonlyMap<string, string>;
}

/** One parameter as written. */
interface Written {
  readonly name: string;
  readonly value: string;
}

/**
 * Parses a field.
 *
 * @param text The text after the colon, folded or not
 *
 * @example
 * ```ts ignore
 * const field = parseMimeField('multipart/mixed (parts); boundary="a;b"');
 * field.value; // "multipart/mixed"
 * field.parameters.get("boundary"); // "a;b"
 * ```
 */
export function parseMimeField(text: string): MimeField {
  const scan = new FieldScanner(text);
  const value = scan.value().toLowerCase();
  const written: Written[] = [];
  for (let count = 0; count < MAX_PARAMETERS; count++) {
    const parameter = scan.parameter();
    if (parameter === undefined) break;
    if (parameter.name !== "") written.push(parameter);
  }
  return { value, parameters: gather(written) };
}

/**
 * The encoding in a Content-Transfer-Encoding field, in its usual spelling;
 * `"7bit"` if the field is missing or empty (RFC 2045 section 6.1).
 *
 * @param text The text after the colon; `undefined` without a field
 */
export function parseTransferEncoding(text: string | undefined): string {
  const { value } = parseMimeField(text ?? "");
  if (value === "") return "7bit";
  return ODD_ENCODINGS.get(value) ?? value;
}

/** Names that some programs write. */
const ODD_ENCODINGS: ReadonlyMap<string, string> = new Map([
  ["7-bit", "7bit"],
  ["8-bit", "8bit"],
  ["7bits", "7bit"],
  ["8bits", "8bit"],
  ["quoted_printable", "quoted-printable"],
  ["quotedprintable", "quoted-printable"],
  ["base-64", "base64"],
]);

/** Reads a field from beginning to end. */
class FieldScanner {
  readonly #text: string;
  #at = 0;

  /** @param text The field after its colon */
  constructor(text: string) {
    this.#text = text;
  }

  /** The text up to the first `;`, without comments and blanks; a second word ends it. */
  value(): string {
    const words: string[] = [];
    /** The last word that is not empty, so that the joined words need not be searched. */
    let last = "";
    for (;;) {
      this.#skip();
      const char = this.#text[this.#at];
      if (char === undefined || char === ";") break;
      const from = this.#at;
      const word = char === '"' ? this.#quoted() : this.#token();
      // Only blanks lie between two words: the second is a parameter without
      // its semicolon.
      if (
        char !== '"' && last !== "" && !last.endsWith("/") &&
        !word.startsWith("/")
      ) {
        this.#at = from;
        break;
      }
      words.push(word);
      if (word !== "") last = word;
    }
    return words.join("");
  }

  /** The next parameter; its name is `""` if it cannot be read. */
  parameter(): Written | undefined {
    const text = this.#text;
    for (;;) {
      this.#skip();
      if (text[this.#at] !== ";") break;
      this.#at++;
    }
    if (this.#at >= text.length) return undefined;
    const from = this.#at;
    const name = this.#name();
    this.#skip();
    if (text[this.#at] !== "=") {
      // Not a parameter: skip a character and go on.
      if (this.#at === from) this.#at++;
      return { name: "", value: "" };
    }
    this.#at++;
    this.#skip();
    const quoted = text[this.#at] === '"';
    const value = quoted ? this.#quoted() : this.#token();
    return { name: name.toLowerCase(), value };
  }

  /** Skips blanks, line ends and comments. */
  #skip(): void {
    const text = this.#text;
    for (; this.#at < text.length; this.#at++) {
      const code = text.charCodeAt(this.#at);
      if (code === 0x28) this.#comment();
      else if (!isSpace(code)) return;
    }
  }

  /** Skips a comment up to its closing parenthesis; comments nest. */
  #comment(): void {
    const text = this.#text;
    let depth = 0;
    for (; this.#at < text.length; this.#at++) {
      const char = text[this.#at];
      if (char === "\\") this.#at++;
      else if (char === "(") depth++;
      else if (char === ")" && --depth === 0) return;
    }
  }

  /** A quoted string without its quotes; without a closing quote it goes to the end. */
  #quoted(): string {
    const text = this.#text;
    const parts: string[] = [];
    let from = ++this.#at;
    for (; this.#at < text.length; this.#at++) {
      const char = text[this.#at];
      if (char === '"') break;
      if (char !== "\\") continue;
      parts.push(text.slice(from, this.#at));
      from = ++this.#at;
    }
    parts.push(text.slice(from, this.#at));
    this.#at++;
    return parts.join("");
  }

  /** A word up to a blank, `;` or a comment: some programs do not quote values that need quotes. */
  #token(): string {
    return this.#until((code) => code === 0x3b || code === 0x28);
  }

  #name(): string {
    return this.#until((code) =>
      code === 0x3b || code === 0x28 || code === 0x3d || code === 0x22
    );
  }

  #until(ends: (code: number) => boolean): string {
    const text = this.#text;
    const from = this.#at;
    for (; this.#at < text.length; this.#at++) {
      const code = text.charCodeAt(this.#at);
      if (isSpace(code) || ends(code)) break;
    }
    return text.slice(from, this.#at);
  }
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0d || code === 0x0a;
}

/** Joins continued parameters and decodes extended ones. */
function gather(written: readonly Written[]): Map<string, string> {
  const plain = new Map<string, string>();
  const sections = new Map<string, Map<number, Section>>();
  for (const { name, value } of written) {
    const match = /^([^*]+)\*(?:(\d{1,4})(\*)?)?$/.exec(name);
    if (match === null) {
      if (!plain.has(name)) plain.set(name, value);
      continue;
    }
    const base = match[1]!;
    const isWhole = match[2] === undefined;
    const number = isWhole ? 0 : Number(match[2]);
    if (number >= MAX_SECTIONS) continue;
    const of = sections.get(base) ?? new Map<number, Section>();
    sections.set(base, of);
    if (!of.has(number)) {
      of.set(number, { value, encoded: isWhole || match[3] !== undefined });
    }
  }
  // The extended form has more than the plain one with the same name.
  for (const [name, of] of sections) {
    const value = join(of);
    if (value !== undefined) plain.set(name, value);
  }
  return plain;
}

interface Section {
  readonly value: string;
  /** Whether the section has percent forms. */
  readonly encoded: boolean;
}

/** The value of a parameter in sections; `undefined` if the first is missing. */
function join(sections: ReadonlyMap<number, Section>): string | undefined {
  const first = sections.get(0);
  if (first === undefined) return undefined;
  let charset = "";
  let text = first.value;
  if (first.encoded) {
    const match = /^([^']*)'[^']*'([^]*)$/.exec(text);
    charset = match?.[1] ?? "";
    text = match?.[2] ?? text;
  }
  const bytes: number[] = [];
  const plain: string[] = [];
  const decoder = decoderOf(charset);
  const flush = () => {
    if (bytes.length > 0) plain.push(decoder.decode(Uint8Array.from(bytes)));
    bytes.length = 0;
  };
  for (let number = 0;; number++) {
    const section = sections.get(number);
    if (section === undefined) break;
    const value = number === 0 ? text : section.value;
    if (!section.encoded) {
      flush();
      plain.push(value);
      continue;
    }
    for (let at = 0; at < value.length; at++) {
      const hex = value[at] === "%" ? value.slice(at + 1, at + 3) : "";
      if (/^[0-9A-Fa-f]{2}$/.test(hex)) {
        bytes.push(parseInt(hex, 16));
        at += 2;
      } else if (value.charCodeAt(at) < 128) {
        bytes.push(value.charCodeAt(at));
      } else {
        flush();
        plain.push(value[at]!);
      }
    }
  }
  flush();
  return plain.join("");
}

function decoderOf(charset: string): TextDecoder {
  try {
    return new TextDecoder(charset || "utf-8");
  } catch {
    return LATIN1;
  }
}
