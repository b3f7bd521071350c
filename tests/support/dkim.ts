/**
 * DKIM for tests: name servers that are tables, and a signer that makes any field
 * it is asked for, good or bad, with `node:crypto`.
 */

import {
  createHash,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";
import type { DnsOutcome, DnsQuerier } from "../../lib/dns/outcome.ts";
import { BodyHashes } from "../../lib/trust/body_hash.ts";
import {
  latin1Bytes,
  rawFields,
  signedText,
} from "../../lib/trust/canonical_header.ts";
import { bytesOf } from "./bytes.ts";

/** A name server for TXT that answers from a table, and counts what it is asked. */
export interface TextTable extends DnsQuerier {
  /** The names that it was asked for, in order. */
  readonly asked: string[];
}

/** Answers with the texts of a name, or with the outcome that stands there. */
export function textTable(
  table: Readonly<
    Record<string, string | readonly string[] | DnsOutcome<string>>
  >,
): TextTable {
  const asked: string[] = [];
  return {
    asked,
    query(_type: string, name: string): Promise<never> {
      asked.push(name);
      return Promise.resolve(outcomeOf(table[name]) as never);
    },
  };
}

function outcomeOf(
  entry: string | readonly string[] | DnsOutcome<string> | undefined,
): DnsOutcome<string> {
  if (entry === undefined) return { status: "none", why: "no-such-name" };
  if (typeof entry === "string") return { status: "found", records: [entry] };
  return "status" in entry ? entry : { status: "found", records: entry };
}

/** A key for tests, and its record. */
export interface TestKey {
  readonly privateKey: KeyObject;
  readonly algorithm: "rsa-sha256" | "ed25519-sha256";
  readonly record: string;
}

/** Makes a key. */
export function makeTestKey(
  type: "rsa" | "ed25519",
  options: { readonly bits?: number; readonly tags?: string } = {},
): TestKey {
  const { bits: modulusLength = 2048, tags = "" } = options;
  const { publicKey, privateKey } = type === "rsa"
    ? generateKeyPairSync("rsa", { modulusLength })
    : generateKeyPairSync("ed25519");
  const der = new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
  const bytes = type === "rsa" ? der : der.slice(12);
  const record = `v=DKIM1; k=${type}; ${tags}p=${bytes.toBase64()}`;
  return { privateKey, algorithm: `${type}-sha256`, record };
}

/**
 * The message with a DKIM-Signature field on top, signed by the test key.
 *
 * @param message Header and body, one character a byte, lines with CRLF
 * @param tags Tags in place of the usual ones; `undefined` leaves one out
 */
export function signForTest(
  message: string,
  key: TestKey,
  tags: Readonly<Record<string, string | undefined>> = {},
): string {
  const at = message.indexOf("\r\n\r\n");
  const [header, body] = [message.slice(0, at + 2), message.slice(at + 4)];
  const [headerForm, bodyForm = "simple"] = (tags.c ?? "relaxed/relaxed")
    .toLowerCase().split("/");
  const bodies = new BodyHashes();
  const hash = bodies.add({
    form: bodyForm === "relaxed" ? "relaxed" : "simple",
    limit: tags.l === undefined ? undefined : Number(tags.l),
  });
  bodies.write(bytesOf(body));
  bodies.end();
  const all: Record<string, string | undefined> = {
    v: "1",
    a: key.algorithm,
    c: "relaxed/relaxed",
    d: "a.test",
    s: "s",
    h: "From:To:Subject",
    bh: hash.digest.toBase64(),
    ...tags,
  };
  const list = Object.entries(all).filter(([, value]) => value !== undefined)
    .map(([tag, value]) => `${tag}=${value}; `).join("");
  const field = `DKIM-Signature: ${list}b=`;
  const text = signedText(rawFields(bytesOf(header)), {
    names: (all.h ?? "").split(":").map((name) => name.trim()),
    form: headerForm === "simple" ? "simple" : "relaxed",
    own: { name: "dkim-signature", text: field, at: 0 },
  });
  const bytes = latin1Bytes(text);
  const value = key.algorithm === "rsa-sha256"
    ? sign("sha256", bytes, key.privateKey)
    : sign(null, createHash("sha256").update(bytes).digest(), key.privateKey);
  return `${field}${new Uint8Array(value).toBase64()}\r\n${message}`;
}
