/**
 * Public keys of DKIM and ARC: the record at `SELECTOR._domainkey.DOMAIN`, and the
 * key in it.
 *
 * Never throws: what is wrong with a record is a value with a reason, and so is a
 * failure of the DNS.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-3.6.1 | RFC 6376 sections 3.6.1} and
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-6.1.2 | 6.1.2},
 * {@link https://www.rfc-editor.org/rfc/rfc8301 | RFC 8301},
 * {@link https://www.rfc-editor.org/rfc/rfc8463 | RFC 8463} (Ed25519)
 */

import { Buffer } from "node:buffer";
import { createPublicKey, hash, type KeyObject, verify } from "node:crypto";
import type { DnsQuerier } from "../dns/outcome.ts";
import { readRsaKey, type RsaPublicKey, verifyRsa } from "./rsa_verify.ts";
import { colonList, parseTagList, removeSpace } from "./tag_list.ts";

/** A key that signatures are checked with. */
export interface DkimPublicKey {
  /** The kind of the key. */
  readonly type: "rsa" | "ed25519";
  /** Bits of the key; an Ed25519 key has 256. */
  readonly bits: number;
  /**
   * Whether the signature is that of the key over the data, with SHA-256.
   *
   * @param data What was signed, not hashed
   */
  verify(data: Uint8Array, signature: Uint8Array): boolean;
}

/** What a key record says besides the key. */
export interface DkimKeyRecord {
  /** Whether the domain only tests DKIM (`t=y`). */
  readonly testing: boolean;
  /** Whether `i=` must have exactly the domain in `d=` (`t=s`). */
  readonly strict: boolean;
  /** A note for people (`n=`). */
  readonly notes?: string | undefined;
}

/** A key with its record, or why no key can be had. */
export type KeyOutcome =
  | {
    readonly key: DkimPublicKey;
    readonly record: DkimKeyRecord;
    readonly result?: undefined;
  }
  | {
    readonly key?: undefined;
    readonly result: "temperror" | "permerror";
    readonly reason: string;
  };

/** Most bytes of a record. */
const MOST_BYTES = 8192;
/** Most bytes of a domain name. */
const MOST_NAME = 253;

/**
 * Asks for a key and reads it. Never rejects: a failed question, and one that the
 * signal ends, is "temperror".
 *
 * @param place The domain and the selector, as A-labels
 */
export async function fetchDkimKey(
  place: { readonly domain: string; readonly selector: string },
  options: {
    readonly dns: DnsQuerier;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<KeyOutcome> {
  const { dns, signal } = options;
  const name = `${place.selector}._domainkey.${place.domain}`;
  if (name.length > MOST_NAME) return permerror("The key's name is too long");
  try {
    const outcome = await dns.query("TXT", name, { signal });
    if (outcome.status === "found") return readKeyRecords(outcome.records);
    // Names no name server: the reason goes into a field of the message.
    if (outcome.status === "failed") {
      return temperror("The DNS gave no answer about the key");
    }
    return permerror("There is no key record");
  } catch {
    return temperror("The question for the key has ended without an answer");
  }
}

/**
 * The key of the texts at its name. Texts that are no key records (those of a
 * wildcard, say) do not count; two key records are an error.
 */
export function readKeyRecords(texts: readonly string[]): KeyOutcome {
  if (texts.length === 1) return readKeyRecord(texts[0]!);
  const records = texts.filter(isKeyRecord);
  if (records.length === 0) return permerror("There is no key record");
  if (records.length > 1) return permerror("There are several key records");
  return readKeyRecord(records[0]!);
}

/** Whether a text has the form of a key record, whatever its key is worth. */
function isKeyRecord(text: string): boolean {
  const { tags } = parseTagList(text.slice(0, MOST_BYTES));
  return tags?.has("p") === true && (tags.get("v") ?? VERSION) === VERSION;
}

const VERSION = "DKIM1";

/** Records that were read, and what they say: the same keys come again and again. */
const known = new Map<string, KeyOutcome>();
/** Most records that are remembered; the oldest goes first. */
const MOST_KNOWN = 500;

/** Reads one record and its key. */
export function readKeyRecord(text: string): KeyOutcome {
  const before = known.get(text);
  if (before !== undefined) return before;
  const outcome = readNewRecord(text);
  if (outcome.key === undefined) return outcome;
  if (known.size >= MOST_KNOWN) known.delete(known.keys().next().value!);
  known.set(text, outcome);
  return outcome;
}

function readNewRecord(text: string): KeyOutcome {
  if (text.length > MOST_BYTES) {
    return permerror(`The key record has more than ${MOST_BYTES} bytes`);
  }
  const { tags, fault } = parseTagList(text);
  if (tags === undefined) return permerror(`The key record is bad: ${fault}`);
  const has = (tag: string, ...wanted: string[]): boolean => {
    const value = tags.get(tag);
    if (value === undefined) return true;
    return words(value).some((word) => wanted.includes(word));
  };
  if (
    tags.has("v") &&
    (tags.get("v") !== VERSION || tags.keys().next().value !== "v")
  ) {
    return permerror("The key record is of another version");
  }
  if (!has("h", "sha256")) return permerror("The key is not for SHA-256");
  if (!has("s", "*", "email")) return permerror("The key is not for mail");
  const value = tags.get("p");
  if (value === undefined) return permerror("The key record has no key");
  const outcome = readKey(tags.get("k")?.toLowerCase() ?? "rsa", value);
  if (outcome.key === undefined) return permerror(outcome.fault);
  const flags = words(tags.get("t") ?? "");
  const record: DkimKeyRecord = {
    testing: flags.includes("y"),
    strict: flags.includes("s"),
    notes: tags.get("n"),
  };
  return { key: outcome.key, record };
}

/** The words of a list; their case does not count (RFC 5234 section 2.3). */
function words(value: string): readonly string[] {
  return colonList(value.toLowerCase());
}

type Read =
  | { readonly key: DkimPublicKey; readonly fault?: undefined }
  | { readonly key?: undefined; readonly fault: string };

function readKey(type: string, value: string): Read {
  if (type !== "rsa" && type !== "ed25519") {
    return { fault: "The key is of an unknown type" };
  }
  if (value === "") return { fault: "The key is revoked" };
  const bytes = decodeBase64(value);
  if (bytes === undefined) return { fault: "The key is not base64" };
  if (type === "ed25519") return readEd25519Key(bytes);
  const { key, fault } = readRsaKey(bytes);
  return key === undefined ? { fault } : { key: new RsaKey(key) };
}

class RsaKey implements DkimPublicKey {
  readonly type = "rsa";
  readonly bits: number;
  readonly #key: RsaPublicKey;

  constructor(key: RsaPublicKey) {
    this.#key = key;
    this.bits = key.bits;
  }

  verify(data: Uint8Array, signature: Uint8Array): boolean {
    return verifyRsa(this.#key, data, signature);
  }
}

/** SubjectPublicKeyInfo of an Ed25519 key, up to its 32 bytes (RFC 8410). */
const ED25519_PREFIX = "302a300506032b6570032100";

function readEd25519Key(bytes: Uint8Array): Read {
  if (bytes.length !== 32) return { fault: "The key does not have 32 bytes" };
  try {
    const key = createPublicKey({
      key: Buffer.concat([Buffer.from(ED25519_PREFIX, "hex"), bytes]),
      format: "der",
      type: "spki",
    });
    return { key: new Ed25519Key(key) };
  } catch {
    return { fault: "The key is no Ed25519 key" };
  }
}

class Ed25519Key implements DkimPublicKey {
  readonly type = "ed25519";
  readonly bits = 256;
  readonly #key: KeyObject;

  constructor(key: KeyObject) {
    this.#key = key;
  }

  verify(data: Uint8Array, signature: Uint8Array): boolean {
    if (signature.length !== 64) return false;
    // What is signed is the digest (RFC 8463 section 3).
    const digest = hash("sha256", data, "buffer");
    try {
      return verify(null, digest, this.#key, signature);
    } catch {
      // The bytes are no point of the curve.
      return false;
    }
  }
}

/** The bytes of base64 with white space in it; `undefined` for other text. */
export function decodeBase64(text: string): Uint8Array | undefined {
  const digits = removeSpace(text);
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(digits)) return undefined;
  let length = digits.length;
  while (digits.charCodeAt(length - 1) === 0x3d) length--;
  return length % 4 === 1 ? undefined : Buffer.from(digits, "base64");
}

function permerror(reason: string): KeyOutcome {
  return { result: "permerror", reason };
}

function temperror(reason: string): KeyOutcome {
  return { result: "temperror", reason };
}
