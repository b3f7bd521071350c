/**
 * The ARC sets of a message: three fields for each host that sealed it, read and
 * checked as far as that needs no key.
 *
 * Never throws: a chain that breaks a rule is a value with a reason. Sets beyond
 * the fiftieth break one, so the work for a message has a limit.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8617#section-4 | RFC 8617 sections 4} and
 * {@link https://www.rfc-editor.org/rfc/rfc8617#section-5.2 | 5.2}
 */

import {
  canonicalField,
  type Canonicalization,
  type RawField,
  valueOf,
  withoutSignature,
} from "./canonical_header.ts";
import { decodeBase64, type DkimPublicKey } from "./dkim_key.ts";
import { readDomain, readForms, readSelector } from "./dkim_signature.ts";
import {
  colonList,
  parseTagList,
  removeSpace,
  type Tags,
  trimSpace,
} from "./tag_list.ts";

/** Most sets of a chain (RFC 8617 section 5.1.1.2). */
export const MOST_SETS = 50;

/** What two of the fields have in common: a signature, and where its key is. */
export interface ArcSignature {
  readonly field: RawField;
  readonly domain: string;
  readonly selector: string;
  readonly keyType: DkimPublicKey["type"];
  readonly value: Uint8Array;
}

/** An ARC-Message-Signature. */
export interface ArcMessageSignature extends ArcSignature {
  readonly headerForm: Canonicalization;
  readonly bodyForm: Canonicalization;
  readonly fields: readonly string[];
  readonly bodyHash: Uint8Array;
  readonly bodyLimit: number | undefined;
}

/** An ARC-Seal, and what it says of the chain before it. */
export interface ArcSeal extends ArcSignature {
  readonly validity: "none" | "pass" | "fail";
}

/** One set. */
export interface ArcSet {
  /** ARC-Authentication-Results. */
  readonly results: RawField;
  readonly message: ArcMessageSignature;
  readonly seal: ArcSeal;
}

/** The sets of a message from the oldest, or why they are no chain. */
export interface ArcChain {
  readonly sets: readonly ArcSet[];
  /** The number of the newest set; of a broken chain as far as it can be read. */
  readonly instance: number;
  /** Why the chain is broken; unset for a whole one and for none. */
  readonly fault?: string | undefined;
}

/** The names of the fields of a set. */
const NAMES = {
  results: "arc-authentication-results",
  message: "arc-message-signature",
  seal: "arc-seal",
} as const;

/** Reads the sets of a message. */
export function readArcChain(fields: readonly RawField[]): ArcChain {
  const found = {
    results: fields.filter(({ name }) => name === NAMES.results),
    message: fields.filter(({ name }) => name === NAMES.message),
    seal: fields.filter(({ name }) => name === NAMES.seal),
  };
  const instance = Math.max(
    found.results.length,
    found.message.length,
    found.seal.length,
  );
  const broken = (fault: string): ArcChain => ({ sets: [], instance, fault });
  if (instance > MOST_SETS) {
    return {
      ...broken(`There are over ${MOST_SETS} sets`),
      instance: MOST_SETS,
    };
  }
  const sets: ArcSet[] = [];
  const results = numbered(found.results, readResults);
  const messages = numbered(found.message, readMessage);
  const seals = numbered(found.seal, readSeal);
  for (const read of [results, messages, seals]) {
    if (typeof read === "string") return broken(read);
  }
  for (let at = 1; at <= instance; at++) {
    const set = {
      results: (results as Map<number, RawField>).get(at),
      message: (messages as Map<number, ArcMessageSignature>).get(at),
      seal: (seals as Map<number, ArcSeal>).get(at),
    };
    if (!set.results || !set.message || !set.seal) {
      return broken(`Set ${at} is not complete`);
    }
    const wanted = at === 1 ? "none" : "pass";
    const { validity } = set.seal;
    if (validity === "fail") {
      return broken(`Set ${at} says that the chain has failed`);
    }
    if (validity !== wanted) return broken(`cv= of set ${at} is not ${wanted}`);
    sets.push(set as ArcSet);
  }
  return { sets, instance };
}

/** A field that was read: its number and what it says, or what is wrong with it. */
type Read<T> = { readonly instance: number; readonly value: T } | string;

/** The fields by their number, or what is wrong with one of them. */
function numbered<T>(
  fields: readonly RawField[],
  read: (field: RawField) => Read<T>,
): ReadonlyMap<number, T> | string {
  const found = new Map<number, T>();
  for (const field of fields) {
    const one = read(field);
    if (typeof one === "string") return one;
    const { instance, value } = one;
    if (found.has(instance)) return `Set ${instance} has a field twice`;
    found.set(instance, value);
  }
  return found;
}

/** The number of a set. */
function instanceOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^[1-9]\d?$/.test(text)) return undefined;
  const instance = Number(text);
  return instance <= MOST_SETS ? instance : undefined;
}

/** The number that an ARC-Authentication-Results value begins with. */
export function resultsInstance(value: string): number | undefined {
  const match = /^i[ \t\r\n]*=[ \t\r\n]*(\d{1,3})[ \t\r\n]*;/
    .exec(trimSpace(value));
  return instanceOf(match?.[1]);
}

function readResults(field: RawField): Read<RawField> {
  const instance = resultsInstance(valueOf(field));
  return instance === undefined
    ? "An ARC-Authentication-Results has no valid number"
    : { instance, value: field };
}

/** The tags of both kinds of signature. */
function readSignature(
  field: RawField,
  what: string,
): { instance: number; tags: Tags; signature: ArcSignature } | string {
  const { tags, fault } = parseTagList(valueOf(field));
  if (tags === undefined) return `${what}: ${fault}`;
  const instance = instanceOf(tags.get("i"));
  if (instance === undefined) return `${what} has no valid number`;
  const keyType = ALGORITHMS.get(tags.get("a") ?? "");
  if (keyType === undefined) return `${what} has no known algorithm`;
  const domain = readDomain(tags.get("d"));
  const selector = readSelector(tags.get("s"));
  if (domain === "") return `${what} has no valid domain`;
  if (selector === "") return `${what} has no valid selector`;
  const value = decodeBase64(tags.get("b") ?? "");
  if (value === undefined) return `${what} has no valid signature`;
  const time = tags.get("t");
  if (time !== undefined && !/^\d{1,12}$/.test(time)) {
    return `${what} has no valid time`;
  }
  const signature = { field, domain, selector, keyType, value };
  return { instance, tags, signature };
}

const ALGORITHMS: ReadonlyMap<string, DkimPublicKey["type"]> = new Map([
  ["rsa-sha256", "rsa"],
  ["ed25519-sha256", "ed25519"],
]);

function readMessage(field: RawField): Read<ArcMessageSignature> {
  const what = "An ARC-Message-Signature";
  const read = readSignature(field, what);
  if (typeof read === "string") return read;
  const { instance, tags, signature } = read;
  const forms = readForms(tags.get("c") ?? "relaxed/relaxed");
  if (forms === undefined) return `${what} has no known canonical form`;
  const list = tags.get("h");
  if (list === undefined) return `${what} lists no fields`;
  const fields = colonList(removeSpace(list));
  if (fields.some((name) => name.toLowerCase() === NAMES.seal)) {
    return `${what} signs an ARC-Seal`;
  }
  const bodyHash = decodeBase64(tags.get("bh") ?? "");
  if (bodyHash?.length !== 32) return `${what} has no valid digest`;
  const limit = tags.get("l");
  if (limit !== undefined && !/^\d{1,76}$/.test(limit)) {
    return `${what} has no valid length`;
  }
  const bodyLimit = limit === undefined ? undefined : Number(limit);
  const value = { ...signature, ...forms, fields, bodyHash, bodyLimit };
  return { instance, value };
}

function readSeal(field: RawField): Read<ArcSeal> {
  const what = "An ARC-Seal";
  const read = readSignature(field, what);
  if (typeof read === "string") return read;
  const { instance, tags, signature } = read;
  if (tags.has("h")) return `${what} has h=`;
  const validity = tags.get("cv");
  if (validity !== "none" && validity !== "pass" && validity !== "fail") {
    return `${what} has no valid cv=`;
  }
  return { instance, value: { ...signature, validity } };
}

/** The fields of a set in the order in which a seal covers them. */
export type SealedFields = readonly [
  results: RawField,
  message: RawField,
  seal: RawField,
];

/**
 * The text that a seal covers: all fields of its set and of those before it, its
 * own without the signature (RFC 8617 section 5.1.1).
 *
 * @param sets The fields of the sets, from the oldest to that of the seal
 */
export function sealedText(sets: readonly SealedFields[]): string {
  let text = "";
  for (const [at, set] of sets.entries()) {
    const isLast = at === sets.length - 1;
    for (const [place, field] of set.entries()) {
      const isOwn = isLast && place === set.length - 1;
      const signed = isOwn ? withoutSignature(field) : field;
      text += canonicalField(signed, "relaxed") + (isOwn ? "" : "\r\n");
    }
  }
  return text;
}
