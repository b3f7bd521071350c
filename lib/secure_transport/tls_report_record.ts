/**
 * The record at `_smtp._tls.DOMAIN`, by which a domain asks for reports on the TLS
 * of the mail to it, and the places that it names. Pure.
 *
 * Never throws: text that breaks the grammar is a value with a reason.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8460#section-3 | RFC 8460 section 3}
 */

import { Address } from "../protocol/address.ts";
import { isAscii } from "../protocol/bytes.ts";
import { trimBlanks } from "../protocol/folding.ts";

/** Where reports go. */
export type TlsReportPlace =
  | {
    readonly kind: "mail";
    /** The URI as it stands in the record. */
    readonly uri: string;
    /** The address. */
    readonly address: string;
  }
  | {
    readonly kind: "web";
    readonly uri: string;
    readonly host: string;
    readonly port: number;
    /** The path with its query. */
    readonly path: string;
  };

/** A record that was read, or why no record can be used. */
export type TlsReportRecord =
  | {
    /** The record as it stands in the DNS. */
    readonly text: string;
    /** The places that can be used, at least one. */
    readonly places: readonly TlsReportPlace[];
    /** The URIs that cannot be used. */
    readonly unusable: readonly string[];
    readonly fault?: undefined;
  }
  | {
    /** Why, as one sentence without a final period; unset if the domain asks for no reports. */
    readonly fault: string | undefined;
    readonly places?: undefined;
  };

/** Places of one record that get a report. */
const MOST_PLACES = 10;
/** Characters of a record that is read. */
const MOST_TEXT = 4096;
const FIELD = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*=([ \t!-:<-~]*)$/;

/** Reads the texts at `_smtp._tls.DOMAIN`. */
export function readTlsReportRecord(
  texts: readonly string[],
): TlsReportRecord {
  const records = texts.filter((text) => /^v=TLSRPTv1(?:[ \t]*;|$)/.test(text));
  const [text] = records;
  if (text === undefined) return { fault: undefined };
  if (records.length > 1) return { fault: "There are several records" };
  if (text.length > MOST_TEXT) return { fault: "The record is too long" };
  const fields = text.split(";").map(trimBlanks);
  // A semicolon may follow the last field.
  if (fields.length > 1 && fields.at(-1) === "") fields.pop();
  let list: string | undefined;
  for (const [at, field] of fields.entries()) {
    const match = FIELD.exec(field);
    if (match === null) return { fault: "The record is malformed" };
    if (at > 0 && match[1] === "rua") list ??= match[2]!;
  }
  if (list === undefined) return { fault: "The record has no rua" };
  const uris = [...new Set(list.split(",").map(trimBlanks))];
  const places = uris.map(placeOf).filter((place) => place !== undefined)
    .slice(0, MOST_PLACES);
  if (places.length === 0) {
    return { fault: "The record names no mailto: or https: address" };
  }
  const used = new Set(places.map(({ uri }) => uri));
  return { text, places, unusable: uris.filter((uri) => !used.has(uri)) };
}

function placeOf(uri: string): TlsReportPlace | undefined {
  return /^mailto:/i.test(uri) ? mailPlace(uri) : webPlace(uri);
}

function mailPlace(uri: string): TlsReportPlace | undefined {
  try {
    const text = decodeURIComponent(uri.slice("mailto:".length).split("?")[0]!);
    const address = Address.parse(text);
    return address.isNull || address.domain === "" || !isAscii(text)
      ? undefined
      : { kind: "mail", uri, address: String(address) };
  } catch {
    return undefined;
  }
}

function webPlace(uri: string): TlsReportPlace | undefined {
  if (!/^https:\/\//i.test(uri) || !URL.canParse(uri)) return undefined;
  const { hostname, port, pathname, search, username, password } = new URL(uri);
  if (username !== "" || password !== "") return undefined;
  return {
    ...{ kind: "web", uri, host: hostname },
    ...{ port: port === "" ? 443 : Number(port), path: pathname + search },
  };
}
