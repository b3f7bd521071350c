/**
 * DKIM-Signature fields: every tag read and checked, before a key is asked for or
 * a byte of the body is hashed.
 *
 * Never throws: a field that breaks a rule is a value with a reason, and keeps
 * what could be read of it. No domain, selector or identity that is read here has
 * a control character, a comment or a character that domains do not have.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-3.5 | RFC 6376 sections 3.5} and
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-6.1.1 | 6.1.1},
 * {@link https://www.rfc-editor.org/rfc/rfc8301#section-3.1 | RFC 8301 section 3.1} (no SHA-1),
 * {@link https://www.rfc-editor.org/rfc/rfc8616#section-4 | RFC 8616 section 4} (U-labels)
 */

import { Buffer } from "node:buffer";
import { isAscii } from "../protocol/bytes.ts";
import { asciiDomain } from "../protocol/domain.ts";
import {
  type Canonicalization,
  type RawField,
  valueOf,
} from "./canonical_header.ts";
import { decodeBase64, type DkimPublicKey } from "./dkim_key.ts";
import type { DkimResult } from "./result.ts";
import { colonList, parseTagList, removeSpace, type Tags } from "./tag_list.ts";

/** What a result names of a signature, `""` where it cannot be read. */
export type SignatureNames = Pick<
  DkimResult,
  "domain" | "selector" | "identity" | "algorithm" | "signature"
>;

/** A signature that keeps all rules; whether it is right is not known yet. */
export interface DkimSignature {
  /** The kind of key that it needs. */
  readonly keyType: DkimPublicKey["type"];
  /** The canonical form of the header. */
  readonly headerForm: Canonicalization;
  /** The canonical form of the body. */
  readonly bodyForm: Canonicalization;
  /** The names of the signed fields, `h=`. */
  readonly fields: readonly string[];
  /** The digest of the body, `bh=`. */
  readonly bodyHash: Uint8Array;
  /** Bytes of the canonical body that are signed, `l=`; `undefined` for all. */
  readonly bodyLimit: number | undefined;
  /** The signature itself, `b=`. */
  readonly value: Uint8Array;
}

/** A field that was read. The result of one with a fault is "permerror". */
export type SignatureOutcome =
  & { readonly names: SignatureNames }
  & (
    | { readonly signature: DkimSignature; readonly fault?: undefined }
    | { readonly signature?: undefined; readonly fault: string }
  );

/** How far ahead a signer's clock may be, in seconds: wrong time zones are common. */
const CLOCK_SLACK = 12 * 3600;

const NO_NAMES: SignatureNames = {
  domain: "",
  selector: "",
  identity: "",
  algorithm: "",
  signature: "",
};

/**
 * Reads a DKIM-Signature field.
 *
 * @param now The time in milliseconds since 1970, for `t=` and `x=`
 */
export function readDkimSignature(
  field: RawField,
  now: number,
): SignatureOutcome {
  const { tags, fault } = parseTagList(valueOf(field));
  if (tags === undefined) return { names: NO_NAMES, fault };
  const names = namesOf(tags);
  const signature = readTags(tags, names, now / 1000);
  return typeof signature === "string"
    ? { names, fault: signature }
    : { names, signature };
}

/** The tags that a signature must have (RFC 6376 section 3.5). */
const REQUIRED = ["v", "a", "b", "bh", "d", "h", "s"];

/** The signature, or what is wrong with it. */
function readTags(
  tags: Tags,
  names: SignatureNames,
  seconds: number,
): DkimSignature | string {
  for (const tag of REQUIRED) {
    if (!tags.has(tag)) return `There is no ${tag}=`;
  }
  if (tags.get("v") !== "1") return "The version is not 1";
  const keyType = ALGORITHMS.get(names.algorithm);
  if (keyType === undefined) {
    return names.algorithm === "rsa-sha1"
      ? "SHA-1 is no longer accepted"
      : "The algorithm in a= is unknown";
  }
  const forms = readForms(tags.get("c") ?? "simple");
  if (forms === undefined) return "The canonical form in c= is unknown";
  if (names.domain === "") return "The text in d= is no domain";
  if (names.selector === "") return "The text in s= is no selector";
  if (names.identity === "") return "The text in i= is no identity";
  if (!isBelow(domainOfIdentity(names.identity), names.domain)) {
    return "The domain in i= is not below the one in d=";
  }
  const fields = colonList(tags.get("h")!);
  if (!fields.some((name) => name.toLowerCase() === "from")) {
    return "From is not signed";
  }
  const methods = colonList(tags.get("q") ?? METHOD);
  if (!methods.some((method) => method.toLowerCase() === METHOD)) {
    return "The query method in q= is unknown";
  }
  const limit = tags.get("l");
  if (limit !== undefined && !/^\d{1,76}$/.test(limit)) {
    return "The text in l= is no length";
  }
  const times = checkTimes(tags, seconds);
  if (times !== undefined) return times;
  const bodyHash = decodeBase64(tags.get("bh")!);
  if (bodyHash?.length !== 32) return "The text in bh= is no digest";
  const value = decodeBase64(tags.get("b")!);
  if (value === undefined) return "The text in b= is no base64";
  const bodyLimit = limit === undefined ? undefined : Number(limit);
  return { keyType, ...forms, fields, bodyHash, bodyLimit, value };
}

const METHOD = "dns/txt";
const ALGORITHMS: ReadonlyMap<string, DkimPublicKey["type"]> = new Map([
  ["rsa-sha256", "rsa"],
  ["ed25519-sha256", "ed25519"],
]);

/** The forms in `c=`; the one of the body is simple where it is left out. */
export function readForms(
  value: string,
): Pick<DkimSignature, "headerForm" | "bodyForm"> | undefined {
  const [headerForm, bodyForm = "simple", ...more] = value.toLowerCase()
    .split("/");
  return isForm(headerForm) && isForm(bodyForm) && more.length === 0
    ? { headerForm, bodyForm }
    : undefined;
}

function isForm(word: string | undefined): word is Canonicalization {
  return word === "simple" || word === "relaxed";
}

/** What is wrong with `t=` and `x=`. */
function checkTimes(tags: Tags, now: number): string | undefined {
  const from = tags.get("t");
  const to = tags.get("x");
  const isTime = (text = "0") => /^\d{1,12}$/.test(text);
  if (!isTime(from)) return "The text in t= is no time";
  if (!isTime(to)) return "The text in x= is no time";
  if (from !== undefined && Number(from) > now + CLOCK_SLACK) {
    return "The time in t= is in the future";
  }
  if (to === undefined) return undefined;
  if (Number(to) <= Number(from ?? -1)) return "It expires before it begins";
  return Number(to) < now ? "It has expired" : undefined;
}

function namesOf(tags: Tags): SignatureNames {
  const domain = readName(tags.get("d"), DOMAIN);
  const algorithm = (tags.get("a") ?? "").toLowerCase();
  const signature = removeSpace(tags.get("b") ?? "").slice(0, 8);
  return {
    domain,
    selector: readName(tags.get("s"), SELECTOR),
    identity: domain && readIdentity(tags.get("i"), domain),
    algorithm: ALGORITHM.test(algorithm) ? algorithm : "",
    signature: BASE64.test(signature) ? signature : "",
  };
}

const ALGORITHM = /^[a-z][a-z0-9]{0,19}-[a-z][a-z0-9]{0,19}$/;
const BASE64 = /^[A-Za-z0-9+/]*=*$/;
const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
/** Two labels at least (RFC 6376 section 3.5). */
const DOMAIN = new RegExp(`^${LABEL}(?:\\.${LABEL})+$`);
const SELECTOR = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);
const MOST_NAME = 253;

/** The domain in `d=` as A-labels, `""` for other text. */
export function readDomain(value: string | undefined): string {
  return readName(value, DOMAIN);
}

/** The selector in `s=` as A-labels, `""` for other text. */
export function readSelector(value: string | undefined): string {
  return readName(value, SELECTOR);
}

/** The name as A-labels, `""` if it does not have the form. */
function readName(value: string | undefined, form: RegExp): string {
  // U-labels can be longer than their A-labels, but not by much.
  if (value === undefined || value.length > 4 * MOST_NAME) return "";
  const name = asciiDomain(utf8Of(value));
  return name.length <= MOST_NAME && form.test(name) && !value.endsWith(".")
    ? name
    : "";
}

/** The identity in `i=` with A-labels, `""` if it is no identity. */
function readIdentity(value: string | undefined, domain: string): string {
  if (value === undefined) return `@${domain}`;
  const text = utf8Of(decodeQuoted(value));
  const at = text.lastIndexOf("@");
  const name = at < 0 ? "" : readName(latin1Of(text.slice(at + 1)), DOMAIN);
  const local = text.slice(0, Math.max(at, 0));
  return name === "" || local.length > MOST_LOCAL || /\p{Cc}/u.test(local)
    ? ""
    : `${local}@${name}`;
}

/** Most characters of a local part; no mailbox has half as many. */
const MOST_LOCAL = 256;

/** The domain of an identity. */
export function domainOfIdentity(identity: string): string {
  return identity.slice(identity.lastIndexOf("@") + 1);
}

function isBelow(name: string, domain: string): boolean {
  return name === domain || name.endsWith(`.${domain}`);
}

/** DKIM's quoted-printable: `=` and two digits for a byte, and white space for nothing. */
function decodeQuoted(value: string): string {
  return removeSpace(value).replace(
    /=([0-9A-Fa-f]{2})/g,
    (_, digits) => String.fromCharCode(parseInt(digits, 16)),
  );
}

/** Text with a character for each byte, read as UTF-8. */
function utf8Of(text: string): string {
  return isAscii(text) ? text : Buffer.from(text, "latin1").toString("utf8");
}

function latin1Of(text: string): string {
  return isAscii(text) ? text : Buffer.from(text, "utf8").toString("latin1");
}
