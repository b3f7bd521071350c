/**
 * The evidence for a message, and how to give it to one's own: SPF, DKIM, DMARC
 * and ARC as functions. The server does all of this with its options `verify` and
 * `dkim`; the page `examples/mail_trust.md` is their guide. These functions are for
 * programs that have a message and no session: filters, archives, tests.
 *
 * ```ts
 * import { DnsClient } from "@smtp/server/dns";
 * import { testDns } from "@smtp/server/testing";
 * import { checkMessage, DkimPrivateKey, signDkim } from "@smtp/server/trust";
 *
 * const key = await DkimPrivateKey.generate("ed25519");
 * const text = "From: ann@example.com\r\nSubject: Hello\r\n\r\nHello\r\n";
 * const fields = await signDkim(new TextEncoder().encode(text), {
 *   domain: "example.com",
 *   selector: "s2026a",
 *   key,
 * });
 *
 * // In a program: new DnsClient(). This one knows two records.
 * const records = new Map([
 *   ["s2026a._domainkey.example.com.", key.record],
 *   ["_dmarc.example.com.", "v=DMARC1; p=reject"],
 * ]);
 * const dns = new DnsClient(testDns((name, type) => {
 *   const record = type === "TXT" ? records.get(name) : undefined;
 *   if (record !== undefined) return Promise.resolve([[record]]);
 *   throw new Deno.errors.NotFound(name);
 * }));
 * const { dkim, dmarc } = await checkMessage(
 *   new TextEncoder().encode(fields + text),
 *   {
 *     ip: "192.0.2.1",
 *     helo: "mx.example.com",
 *     from: "ann@example.com",
 *     receiver: "mx.example.org",
 *   },
 *   { dns },
 * );
 * console.assert(dkim[0]?.result === "pass");
 * console.assert(dmarc.result === "pass" && dmarc.alignedBy?.[0] === "dkim");
 * ```
 *
 * | function                              | standard                | says                                           |
 * | ------------------------------------- | ----------------------- | ---------------------------------------------- |
 * | {@linkcode checkMessage}              | RFC 8601                | all that follows of one message                |
 * | {@linkcode checkSpf}                  | RFC 7208                | may this client send for the domain?           |
 * | {@linkcode verifyDkim}                | RFC 6376, 8301, 8463    | which domains have signed it?                  |
 * | {@linkcode checkDmarc}                | RFC 9989                | does the author's domain vouch for it?         |
 * | {@linkcode verifyArc}                 | RFC 8617                | which forwarders have sealed it?               |
 * | {@linkcode signDkim}, {@linkcode sealArc} | the same            | gives the fields for the top of a message      |
 * | {@linkcode Srs}                       | none                    | rewrites the sender of what is forwarded       |
 * | {@linkcode lookupSpf}, {@linkcode lookupDkim}, {@linkcode lookupDmarc} | the same | explains a record, and its faults |
 *
 * No function throws for what a message or a record says: that is a result.
 * Results are words of RFC 8601 section 2.7, {@linkcode AuthResult}; an answer
 * that does not come is "temperror". Each asks the DNS a limited number of
 * questions.
 *
 * @module
 */

export { sealArc, type SealFacts } from "./arc_seal.ts";
export { verifyArc } from "./arc_verify.ts";
export {
  type AuthenticationResults,
  formatAuthenticationResults,
  type MethodResult,
  parseAuthenticationResults,
  type ResultsToReport,
  type ReverseResult,
} from "./authentication_results.ts";
export type { AuthorDomain } from "./author.ts";
export { type DkimLookup, lookupDkim } from "./dkim_lookup.ts";
export { type DkimKeyType, DkimPrivateKey } from "./dkim_private_key.ts";
export { type DkimKey, signDkim } from "./dkim_sign.ts";
export { verifyDkim, type VerifyDkimOptions } from "./dkim_verify.ts";
export { checkDmarc, type DmarcFacts } from "./dmarc.ts";
export { type DmarcLookup, lookupDmarc } from "./dmarc_lookup.ts";
export type {
  DmarcPolicies,
  DmarcPolicy,
  DmarcRecord,
} from "./dmarc_record.ts";
export { checkMessage, type CheckMessageOptions } from "./message_check.ts";
export {
  type ArcResult,
  type AuthenticationValues,
  type AuthResult,
  type CheckedReverse,
  type DkimResult,
  type DmarcResult,
  MessageAuthentication,
  type SpfResult,
  type TrustFinding,
} from "./result.ts";
export { checkSpf, checkSpfHelo, type SpfFacts, type SpfTools } from "./spf.ts";
export { lookupSpf, type SpfLookup, type SpfTermNote } from "./spf_lookup.ts";
export { Srs, type SrsOptions, type SrsOutcome } from "./srs.ts";
export type { DmarcOptions, DmarcStep } from "./tree_walk.ts";
