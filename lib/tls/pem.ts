/**
 * PEM: finds the blocks of a text and writes one. Knows nothing of what is in
 * them. Text around the blocks, which many tools write, is skipped.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7468 | RFC 7468}
 */

import { Buffer } from "node:buffer";
import type { Der } from "./der.ts";

const BLOCK =
  /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([^-]*(?:-[^-]+)*)-----END \1-----/g;

/** One block of a PEM text. */
export interface PemBlock {
  /** The label, as `"CERTIFICATE"` or `"EC PRIVATE KEY"`. */
  readonly label: string;
  /** The block's own text, from BEGIN to END. */
  readonly text: string;
}

/** The blocks of `text`, in order. */
export function readPem(text: string): PemBlock[] {
  const blocks: PemBlock[] = [];
  for (const match of text.matchAll(BLOCK)) {
    blocks.push({ label: match[1]!, text: `${match[0]}\n` });
  }
  return blocks;
}

/** One block with `der` in it, lines of 64 characters, line feed at the end. */
export function writePem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der).toString("base64");
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${
    lines.join("\n")
  }\n-----END ${label}-----\n`;
}

/** The octets of a block without headers. Characters that are not base64 are skipped. */
export function pemBytes(block: PemBlock): Der {
  const base64 = block.text.replace(/-----[^-]+-----/g, "");
  return Uint8Array.from(Buffer.from(base64, "base64"));
}
